"""A folder of made data: whole or not at all, and reused while what it is made of stays the same.

`about.json` in it keeps a fingerprint of what the data depend on and the size of every file.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pipelines.core.atomic import sync_and_rename
from tfattn.errors import InputError

ABOUT = "about.json"


def fingerprint(facts: Any, code: Iterable[str]) -> str:
    """Return a hash of facts that JSON can hold and of files of this package, by name."""
    digest = hashlib.sha256(json.dumps(facts).encode())
    for file in code:
        digest.update(Path(__file__).with_name(file).read_bytes())
    return digest.hexdigest()


def write_folder(
    folder: Path, mark: str, ours: Iterable[str], make: Callable[[Path], Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what `about.json` says of the folder, after writing it unless it is complete.

    Args:
        folder: receives the data.
        mark: the fingerprint.
        ours: names of all files and folders that `make` writes.
        make: writes into a new folder and returns what `about.json` is to say.

    Raises:
        InputError: `folder` is a file, or holds what is not among `ours`.
    """
    if is_complete(folder, mark):
        return read_about(folder)
    _check_replaceable(folder, {ABOUT, *ours})
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        new, old = Path(temporary, "new"), Path(temporary, "old")
        new.mkdir()
        about = make(new)
        files = sorted(path for path in new.rglob("*") if path.is_file())
        sizes = {path.relative_to(new).as_posix(): path.stat().st_size for path in files}
        about = {**about, "fingerprint": mark, "files": sizes}
        write_lines(new / ABOUT, [json.dumps(about, indent=2, ensure_ascii=False)])
        try:
            if folder.exists():
                folder.rename(old)
            sync_and_rename(new, folder)
        except OSError:
            if not is_complete(folder, mark):  # else another process was faster
                raise
    return read_about(folder)


def read_about(folder: Path) -> dict[str, Any]:
    """Return what `about.json` says."""
    return json.loads((folder / ABOUT).read_text("utf-8"))


def is_complete(folder: Path, mark: str) -> bool:
    """Tell whether the folder has this fingerprint and every file the length it was written in."""
    try:
        about = read_about(folder)
        sizes = {name: (folder / name).stat().st_size for name in about["files"]}
        return about["fingerprint"] == mark and about["files"] == sizes
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines as UTF-8, with the same line ends on every system."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def _check_replaceable(folder: Path, ours: set[str]) -> None:
    """Refuse to replace what was not written here."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder to write the corpus to.")
    foreign = sorted({path.name for path in folder.iterdir()} - ours)
    if foreign:
        raise InputError(
            f"{folder} holds {foreign[0]}, which is not of this corpus; expected an empty folder."
        )

"""Files and folders that are written whole or not at all, and durably.

Each is written under a temporary name beside its place, synced to disk, and renamed, which a POSIX
file system does at once: a reader finds the old content or the new one, whenever the writer died.
The temporary that a killed writer left is replaced by the next one.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class InUse(OSError):
    """Another process writes the same folder."""


def beside(path: Path, suffix: str = "tmp") -> Path:
    """Return the temporary name under which `path` is written: `.NAME.tmp` in the same folder."""
    return path.with_name(f".{path.name}.{suffix}")


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, with its line ends as they are."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a binary file."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_picture(path: Path, figure: Any) -> None:
    """Write a figure of matplotlib as a PNG."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the temporary path of a file to write, which replaces `path` unless there is an error.

    An error removes the temporary.
    """
    temporary = beside(path)
    try:
        yield temporary
        sync_and_rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path, suffix: str = "tmp", exclusive: bool = False) -> Iterator[Path]:
    """Yield an empty temporary folder, which becomes `path` unless there is an error.

    An error removes the temporary. `path` may be an empty folder; one that holds files is not
    replaced.

    Args:
        path: of the folder.
        suffix: of the temporary name.
        exclusive: whether to lock the temporary folder against other processes. The lock is the
            system's: it ends with the process that holds it, however that ends.

    Raises:
        InUse: another process writes this folder (only with `exclusive`).
        OSError: the folder cannot be written, or `path` holds files.
    """
    temporary = beside(path, suffix)
    if exclusive:
        with _locked(temporary):
            yield temporary
            sync_and_rename(temporary, path)
        return
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        sync_and_rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def sync_and_rename(source: Path, target: Path) -> None:
    """Sync a file, or a folder with all that it holds, and rename it durably."""
    if source.is_dir():
        for path in source.rglob("*"):
            sync(path)
    sync(source)
    os.replace(source, target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Have the system write to disk what it holds of a file, or of the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make the folder, lock and empty it; remove it at the end unless it was renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, locked = os.open(folder, os.O_RDONLY), False

    def is_ours() -> bool:  # neither renamed in between, nor made anew by another process
        return folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat())

    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = is_ours()
        if not locked:
            raise InUse(f"{folder}: another process writes it")
        _empty(folder)
        try:
            yield
        finally:
            if is_ours():
                shutil.rmtree(folder)
    finally:
        os.close(descriptor)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

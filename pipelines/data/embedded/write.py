"""The corpus that needs no download: the docstrings on this machine, split and written as files.

A folder holds `train.jsonl` and `validation.jsonl` to pretrain on, `task/*.tsv` to fine-tune on and
`about.json`, which says where every text comes from. A module's texts are all in one split, and
what resembles a training text is removed from the others. The folder appears whole or not at all,
and is reused while Python, the packages and this code stay what they were.
"""

import hashlib
import json
import platform
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pipelines.data.embedded.acceptability import Example, examples, sentences
from pipelines.data.embedded.docstrings import PACKAGES, Docstring, Progress, harvest
from pipelines.data.embedded.shingles import Shingles
from tfattn.errors import InputError

# Which share of the modules each split gets; the task's hold about 4,000 sentences, 3,500 wanted.
SHARES = {
    "task/train": 0.060,
    "task/validation": 0.016,
    "task/test": 0.022,
    "validation": 0.030,
    "train": 1.0,  # the rest
}
DOCUMENTS = ("train", "validation")
TASK_ROWS = {"task/train": 2000, "task/validation": 500, "task/test": 1000}
OVERLAP = 0.25  # share of a held-out text's shingles in training from which it is removed
SEED = 11

ABOUT = "about.json"
CODE = ("acceptability.py", "docstrings.py", "prose.py", "shingles.py", "write.py")
LICENCE = (
    "The texts are the documentation of packages installed on this machine, each under the licence "
    "of its package. They were read for training on this machine and stay here: do not publish "
    "this folder."
)


@dataclass(frozen=True)
class Embedded:
    """A written corpus: where its files are, and what `about.json` says of them."""

    folder: Path
    about: Mapping[str, Any]

    @property
    def train(self) -> Path:
        """The documents to pretrain on, one JSON object with `text` and `source` a line."""
        return self.folder / "train.jsonl"

    @property
    def validation(self) -> Path:
        """The documents to validate on, from other modules."""
        return self.folder / "validation.jsonl"

    @property
    def task(self) -> Path:
        """The folder of train.tsv, validation.tsv and test.tsv: columns `label` and `text`."""
        return self.folder / "task"


def write_embedded(
    folder: Path, progress: Progress | None = None, packages: Iterable[str] = PACKAGES
) -> Embedded:
    """Write the corpus to a folder, or reuse the folder if it holds just this corpus.

    `progress` is called with the number of source files read and of all files.
    """
    folder, packages = Path(folder), tuple(dict.fromkeys(packages))
    versions = package_versions(packages)
    fingerprint = _fingerprint(versions)
    if _is_complete(folder, fingerprint):
        return Embedded(folder, _about(folder))
    _check_replaceable(folder)
    documents = harvest(packages, progress)
    if not documents:
        raise InputError(f"No docstrings were found in the packages {', '.join(packages)}.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        new, old = Path(temporary, "new"), Path(temporary, "old")
        _write(new, documents, versions, fingerprint)
        try:
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
        except OSError:
            if not _is_complete(folder, fingerprint):  # else another process was faster
                raise
    return Embedded(folder, _about(folder))


def package_versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Return the version of each package, None for one without a distribution of its own."""
    distributions = metadata.packages_distributions()
    return {
        package: metadata.version(distributions[package][0]) if package in distributions else None
        for package in packages
    }


def _fingerprint(versions: Mapping[str, str | None]) -> str:
    digest = hashlib.sha256(json.dumps([platform.python_version(), versions]).encode())
    for file in CODE:
        digest.update(Path(__file__).with_name(file).read_bytes())
    return digest.hexdigest()


def _about(folder: Path) -> dict[str, Any]:
    return json.loads((folder / ABOUT).read_text("utf-8"))


def _is_complete(folder: Path, fingerprint: str) -> bool:
    """Tell whether the folder holds this corpus and every file has the length it was written in."""
    try:
        about = _about(folder)
        sizes = {name: (folder / name).stat().st_size for name in about["files"]}
        return about["fingerprint"] == fingerprint and about["files"] == sizes
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _check_replaceable(folder: Path) -> None:
    """Refuse to replace what this module did not write."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder to write the corpus to.")
    ours = {ABOUT, "task", *(f"{name}.jsonl" for name in DOCUMENTS)}
    foreign = sorted({path.name for path in folder.iterdir()} - ours)
    if foreign:
        raise InputError(
            f"{folder} holds {foreign[0]}, which is not of this corpus; expected an empty folder."
        )


def split(documents: Iterable[Docstring]) -> dict[str, list[Docstring]]:
    """Give every module to one split, by the hash of its name."""
    parts: dict[str, list[Docstring]] = {name: [] for name in SHARES}
    for document in documents:
        parts[_split_of(document.module)].append(document)
    return parts


def _split_of(module: str) -> str:
    digest = hashlib.sha256(module.encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    for name, share in SHARES.items():
        if place < share:
            return name
        place -= share
    return "train"


def make_task(parts: Mapping[str, list[Docstring]], training: Shingles) -> dict[str, list[Example]]:
    """Make the labelled task of the sentences that resemble neither training nor each other."""
    used = Shingles()
    rows = {}
    for name, wanted in TASK_ROWS.items():
        documents = _unlike(parts[name], training)
        new = [
            sentence
            for document in documents
            for sentence in sentences(document.text)
            if training.containment(sentence) < OVERLAP and used.add_if_new(sentence, OVERLAP)
        ]
        rows[name] = examples(new, SEED, wanted)
    return rows


def _unlike(documents: Iterable[Docstring], training: Shingles) -> list[Docstring]:
    return [document for document in documents if training.containment(document.text) < OVERLAP]


def _write(
    folder: Path,
    documents: list[Docstring],
    versions: Mapping[str, str | None],
    fingerprint: str,
) -> None:
    parts = split(documents)
    training = Shingles(document.text for document in parts["train"])
    parts["validation"] = _unlike(parts["validation"], training)
    rows = make_task(parts, training)
    files = {f"{name}.jsonl": [_json_line(d) for d in parts[name]] for name in DOCUMENTS}
    for name, found in rows.items():
        files[f"{name}.tsv"] = ["label\ttext", *(f"{row.label}\t{row.text}" for row in found)]
    (folder / "task").mkdir(parents=True)
    for name, lines in files.items():
        _write_lines(folder / name, lines)
    about = {
        "licence": LICENCE,
        "python": platform.python_version(),
        "fingerprint": fingerprint,
        "files": {name: (folder / name).stat().st_size for name in files},
        "documents": {name: _size(parts[name]) for name in DOCUMENTS},
        "task": {name: {"rows": len(rows[name]), "wanted": TASK_ROWS[name]} for name in rows},
        "packages": {
            package: {"version": version, **_size(d for d in documents if d.package == package)}
            for package, version in versions.items()
        },
    }
    _write_lines(folder / ABOUT, [json.dumps(about, indent=2)])


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def _json_line(document: Docstring) -> str:
    source = f"{document.module}:{document.name}".rstrip(":")
    return json.dumps({"text": document.text, "source": source}, ensure_ascii=False)


def _size(documents: Iterable[Docstring]) -> dict[str, int]:
    sizes = [len(document.text.encode()) for document in documents]
    return {"documents": len(sizes), "bytes": sum(sizes)}

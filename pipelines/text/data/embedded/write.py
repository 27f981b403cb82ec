"""The corpus that needs no download: the docstrings on this machine, split and written as files.

A folder holds `train.jsonl` and `validation.jsonl` to pretrain on, `task/*.tsv` to fine-tune on and
`about.json`, which says where every text comes from. A module's texts are all in one split, and
what resembles a training text is removed from the others. The folder appears whole or not at all,
and is reused while Python, the packages and this code stay what they were.
"""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pipelines.text.data.embedded.acceptability import Example, examples, sentences
from pipelines.text.data.embedded.docstrings import PACKAGES, Docstring, Progress, harvest
from pipelines.text.data.embedded.folder import fingerprint, write_folder, write_lines
from pipelines.text.data.embedded.shingles import Shingles
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

CODE = (
    "acceptability.py", "docstrings.py", "folder.py", "prose.py", "shingles.py", "write.py",
)  # fmt: skip
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

    def make(new: Path) -> dict[str, Any]:
        documents = harvest(packages, progress)
        if not documents:
            raise InputError(f"No docstrings were found in the packages {', '.join(packages)}.")
        return _write(new, documents, versions)

    ours = ("task", *(f"{name}.jsonl" for name in DOCUMENTS))
    mark = fingerprint([platform.python_version(), versions], CODE)
    return Embedded(folder, write_folder(folder, mark, ours, make))


def package_versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Return the version of each package, None for one without a distribution of its own."""
    distributions = metadata.packages_distributions()
    return {
        package: metadata.version(distributions[package][0]) if package in distributions else None
        for package in packages
    }


def split(documents: Iterable[Docstring]) -> dict[str, list[Docstring]]:
    """Give every module to one split, by the hash of its name."""
    parts: dict[str, list[Docstring]] = {name: [] for name in SHARES}
    for document in documents:
        parts[split_of(document.module)].append(document)
    return parts


def split_of(module: str) -> str:
    """Return the split of a module by the hash of its name."""
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
    folder: Path, documents: list[Docstring], versions: Mapping[str, str | None]
) -> dict[str, Any]:
    parts = split(documents)
    training = Shingles(document.text for document in parts["train"])
    parts["validation"] = _unlike(parts["validation"], training)
    rows = make_task(parts, training)
    files = {f"{name}.jsonl": [_json_line(d) for d in parts[name]] for name in DOCUMENTS}
    for name, found in rows.items():
        files[f"{name}.tsv"] = ["label\ttext", *(f"{row.label}\t{row.text}" for row in found)]
    (folder / "task").mkdir(parents=True)
    for name, lines in files.items():
        write_lines(folder / name, lines)
    return {
        "licence": LICENCE,
        "python": platform.python_version(),
        "documents": {name: _size(parts[name]) for name in DOCUMENTS},
        "task": {name: {"rows": len(rows[name]), "wanted": TASK_ROWS[name]} for name in rows},
        "packages": {
            package: {"version": version, **_size(d for d in documents if d.package == package)}
            for package, version in versions.items()
        },
    }


def _json_line(document: Docstring) -> str:
    source = f"{document.module}:{document.name}".rstrip(":")
    return json.dumps({"text": document.text, "source": source}, ensure_ascii=False)


def _size(documents: Iterable[Docstring]) -> dict[str, int]:
    sizes = [len(document.text.encode()) for document in documents]
    return {"documents": len(sizes), "bytes": sum(sizes)}

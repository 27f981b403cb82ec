"""Summarisation that needs no download: from the body of a docstring to its first line.

"Docstring Conventions" (PEP 257) asks for "a summary line" which stands alone and says what the
rest explains. The summary is a docstring's first sentence; the text is all prose that follows it.
A module's pairs are all in one split, and those of validation are of modules that neither the
summaries nor the embedded corpus (pipelines/text/data/embedded/write.py) train on.
"""

import inspect
import json
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.text.data.embedded.acceptability import BOUNDARY
from pipelines.text.data.embedded.docstrings import (
    NEAR,
    PACKAGES,
    Progress,
    Source,
    collect,
    docstrings_of,
    no_garbage_collection,
)
from pipelines.text.data.embedded.folder import fingerprint, write_folder, write_lines
from pipelines.text.data.embedded.locales import Split
from pipelines.text.data.embedded.prose import NOT_PROSE, paragraphs, prose
from pipelines.text.data.embedded.shingles import Shingles
from pipelines.text.data.embedded.write import LICENCE, OVERLAP, package_versions, split_of
from tfattn.errors import InputError

SHORTEST, LONGEST = 3, 30  # words of a summary
BODY = 30  # words of a text, at least
TRAINING = ("train", "task/train")  # splits of the embedded corpus that train
CODE = (
    "acceptability.py", "docstrings.py", "folder.py", "prose.py", "shingles.py", "summaries.py",
    "write.py",
)  # fmt: skip
BLANK = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True)
class Summary:
    """A documentation text, its paragraphs with an empty line between them, and its summary."""

    text: str
    summary: str
    module: str
    name: str


def summarised(docstring: str) -> tuple[str, str] | None:
    """Return the text and the summary of a docstring, None where it is not fit to learn from.

    The summary is one sentence of 3 to 30 words, nine in ten of them letters, that ends with a
    period and is not in the text; the text has at least 30 words.
    """
    first, *rest = BLANK.split(inspect.cleandoc(docstring), maxsplit=1)
    found = paragraphs(first)
    if len(found) != 1:  # a heading, a list
        return None
    summary, *more = BOUNDARY.split(found[0])
    text = "\n\n".join(filter(None, [" ".join(more), *prose("".join(rest))]))
    if len(text.split()) < BODY or not _is_summary(summary):
        return None
    return None if summary.rstrip(".").lower() in text.lower() else (text, summary)


def _is_summary(sentence: str) -> bool:
    words = sentence.split()
    if not SHORTEST <= len(words) <= LONGEST or NOT_PROSE.search(sentence):
        return False
    letters = sum(word.strip("\"'(),.;:-").replace("-", "").isalpha() for word in words)
    plain = sentence.isprintable() and letters >= 0.9 * len(words)
    return plain and sentence[0].isupper() and sentence[-1] == "."


def read_summaries(sources: list[Source]) -> list[Summary]:
    """Parse files and return their docstrings that are fit."""
    found = []
    with no_garbage_collection():
        for source in sources:
            for name, docstring in docstrings_of(source.path):
                if len(docstring.split()) > BODY and (pair := summarised(docstring)):
                    found.append(Summary(*pair, source.module, name))
    return found


def summaries(
    packages: Iterable[str] = PACKAGES,
    progress: Progress | None = None,
    processes: int | None = None,
) -> Split[Summary]:
    """Return the documentation of installed packages and its summaries.

    Of equal summaries, and of texts that are mostly copies of each other, the first is kept; what
    resembles a text of training is not in validation.

    Args:
        packages: top-level names; one that is not installed is skipped.
        progress: called with the number of files read and of all files.
        processes: that read them; default one per core, eight at most.
    """
    rows = collect(read_summaries, packages, progress, processes)
    seen, names = Shingles(), set()
    split = []
    for trains, limit in ((True, NEAR), (False, OVERLAP)):
        kept = []
        for row in rows:
            if (split_of(row.module) in TRAINING) != trains:
                continue
            if row.summary.lower() not in names and seen.add_if_new(row.text, limit):
                names.add(row.summary.lower())
                kept.append(row)
        split.append(kept)
    return Split(*split)


@dataclass(frozen=True)
class WrittenSummaries:
    """Two written tables, and what `about.json` says of them."""

    train: Path
    validation: Path
    about: dict[str, Any]


def write_summaries(
    folder: Path, progress: Progress | None = None, packages: Iterable[str] = PACKAGES
) -> WrittenSummaries:
    """Write train.jsonl and validation.jsonl, or reuse the folder if it holds just these.

    A line has the keys `text`, `summary` and `source`.

    Args:
        folder: receives the files.
        progress: called with the number of source files read and of all files.
        packages: whose documentation is read.

    Raises:
        InputError: a folder that holds other things, or packages without such documentation.
    """
    folder, packages = Path(folder), tuple(dict.fromkeys(packages))
    versions = package_versions(packages)

    def make(new: Path) -> dict[str, Any]:
        split = summaries(packages, progress)
        if not split.train:
            raise InputError(
                "packages: expected documentation that has summaries. "
                f"Received: none in {', '.join(packages)}."
            )
        for name, rows in (("train", split.train), ("validation", split.validation)):
            write_lines(new / f"{name}.jsonl", [_json_line(row) for row in rows])
        return {
            "licence": LICENCE,
            "python": platform.python_version(),
            "pairs": {"train": len(split.train), "validation": len(split.validation)},
            "packages": versions,
        }

    mark = fingerprint([platform.python_version(), versions], CODE)
    about = write_folder(folder, mark, ("train.jsonl", "validation.jsonl"), make)
    return WrittenSummaries(folder / "train.jsonl", folder / "validation.jsonl", about)


def _json_line(row: Summary) -> str:
    source = f"{row.module}:{row.name}".rstrip(":")
    line = {"text": row.text, "summary": row.summary, "source": source}
    return json.dumps(line, ensure_ascii=False)

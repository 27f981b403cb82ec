"""Embedded data by name: pairs, dates and summaries that need no download.

embedded:en-fr        phrases in any two languages of CLDR
embedded:en-iso       dates and times of a language, and the same in ISO 8601
embedded:summaries    documentation of this Python, and its first sentences
"""

from pathlib import Path

from pipelines.core.progress import bar
from pipelines.core.records import EMBEDDED, data_flag
from pipelines.text.corpora import CACHE
from pipelines.text.data.embedded.aligned import ISO, write_aligned
from pipelines.text.data.embedded.phrases import write_phrases
from pipelines.text.data.embedded.summaries import write_summaries
from tfattn.errors import InputError

SUMMARIES = "summaries"


def embedded_pairs(name: str, split: str) -> tuple[Path, str, str]:
    """Return the file of a split of `embedded:en-fr`, and the columns of sources and targets.

    Raises:
        InputError: no two languages, or one that CLDR does not have; it is named.
    """
    codes = languages(name)
    if codes is None:
        raise InputError(
            f"data.{split}: expected two languages, as in {EMBEDDED}:en-fr. Received: {name}."
        )
    if codes[1] == ISO:
        with data_flag(split):
            train, validation = write_aligned(CACHE / "-".join(codes), *codes)
        return (train if split == "train" else validation), *codes
    with bar(f"writing pairs of {codes[0]} and {codes[1]}", None) as report, data_flag(split):
        found = write_phrases(
            CACHE / "-".join(codes), *codes, progress=lambda n, of: report(n, f"of {of} kinds")
        )
    return (found.train if split == "train" else found.validation), *codes


def languages(name: str) -> tuple[str, str] | None:
    """Return the codes of `embedded:en-fr`, or None where it names no two."""
    source, dash, target = name.partition(":")[2].partition("-")
    return (source, target) if source and dash and target else None


def embedded_table(name: str, split: str) -> Path:
    """Return the file of a split of `embedded:summaries`, with the columns `text` and `summary`.

    Raises:
        InputError: another name.
    """
    if name != f"{EMBEDDED}:{SUMMARIES}":
        raise InputError(
            f"data.{split}: expected files or {EMBEDDED}:{SUMMARIES}. Received: {name}."
        )
    with bar("reading this Python's documentation", None) as report:
        found = write_summaries(
            CACHE / SUMMARIES, progress=lambda done, of: report(done, f"of {of} files")
        )
    return found.train if split == "train" else found.validation

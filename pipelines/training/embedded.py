"""Embedded data by name: `embedded:en-fr` pairs of two languages, `embedded:summaries`."""

from pathlib import Path

from pipelines import recipes
from pipelines.data.embedded.phrases import write_phrases
from pipelines.data.embedded.summaries import write_summaries
from pipelines.progress import bar
from pipelines.training.texts import CACHE
from tfattn.errors import InputError

SUMMARIES = "summaries"


def embedded_pairs(name: str, split: str) -> tuple[Path, str, str]:
    """Return the file of a split of `embedded:en-fr`, and the columns of sources and targets.

    Raises:
        InputError: no two languages, or one that CLDR does not have; it is named.
    """
    codes = name.partition(":")[2].split("-")
    if len(codes) != 2 or not all(codes):
        raise InputError(
            f"data.{split}: expected two languages, as in {recipes.EMBEDDED}:en-fr. "
            f"Received: {name}."
        )
    with bar(f"writing pairs of {codes[0]} and {codes[1]}", None) as report:
        found = write_phrases(
            CACHE / "-".join(codes), *codes, progress=lambda n, of: report(n, f"of {of} kinds")
        )
    return _of_split(found, split), codes[0], codes[1]


def embedded_table(name: str, split: str) -> Path:
    """Return the file of a split of `embedded:summaries`, with the columns `text` and `summary`.

    Raises:
        InputError: another name.
    """
    if name != f"{recipes.EMBEDDED}:{SUMMARIES}":
        raise InputError(
            f"data.{split}: expected files or {recipes.EMBEDDED}:{SUMMARIES}. Received: {name}."
        )
    with bar("reading this Python's documentation", None) as report:
        found = write_summaries(
            CACHE / SUMMARIES, progress=lambda done, of: report(done, f"of {of} files")
        )
    return _of_split(found, split)


def _of_split(found, split):
    """Return the file of a split; what is measured by any other flag is validation."""
    return found.train if split == "train" else found.validation

"""Sources and their targets, from tables and from two texts of a sentence a line."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.records import Encoding, expand, lines, missing, records, suffix, text_of
from tfattn.errors import InputError

TABLES = (".tsv", ".csv", ".jsonl", ".json")


@dataclass(frozen=True)
class Pairs:
    """Rows in the order of the files."""

    sources: list[str]
    targets: list[str]
    files: str  # where they are from, for people
    places: list[str]  # of each row: file and line

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.sources)


def read_pairs(
    files: Sequence[str],
    *,
    source: str | None = None,
    target: str | None = None,
    encoding_errors: Encoding = "strict",
) -> Pairs:
    """Read the pairs of all files.

    Args:
        files: globs of tables, or two texts: that of the sources and that of the targets.
        source: column of tables with a header; None = a .tsv without one, of two columns.
        target: the same.
        encoding_errors: whether bytes that are not UTF-8 are an error or become U+FFFD.

    Raises:
        InputError: no such file or column, sides of unequal length, an empty side, or a row of
            another width; file and line are named.
    """
    each = [path for name in files for path in expand([name], "tsv")]  # in the order they are given
    paths = list(dict.fromkeys(each))
    texts = [path for path in paths if suffix(path) not in TABLES]
    if texts and (len(paths) != 2 or len(texts) != 2):
        raise InputError(
            "files: expected tables, or two texts: the sources and their translations, a sentence "
            f"a line. Received: {', '.join(map(str, paths))}."
        )
    if texts:
        rows = _parallel(texts[0], texts[1], encoding_errors)
    else:
        rows = (row for path in paths for row in _table(path, source, target, encoding_errors))
    found = list(rows)
    if not found:
        raise InputError(f"files: expected pairs. Received: none in {', '.join(map(str, paths))}.")
    places, sources, targets = (list(column) for column in zip(*found, strict=True))
    return Pairs(sources, targets, ", ".join(map(str, paths)), places)


def _parallel(first: Path, second: Path, encoding_errors) -> Iterator[tuple[str, str, str]]:
    sides = [[line.strip() for line in lines(path, encoding_errors)] for path in (first, second)]
    counts = [len(side) for side in sides]
    if counts[0] != counts[1]:
        raise InputError(
            f"{second}: expected the {counts[0]:,} lines of {first}. Received: {counts[1]:,}."
        )
    for number, (source, target) in enumerate(zip(*sides, strict=True), 1):
        if not source and not target:  # a blank line in both parts paragraphs
            continue
        for path, text in ((first, source), (second, target)):
            _filled(text, f"{path}, line {number}")
        yield f"{first}, line {number}", source, target


def _table(path: Path, source, target, encoding_errors) -> Iterator[tuple[str, str, str]]:
    if source is not None:
        for where, record in records(path, encoding_errors):
            cells = []
            for column, flag in ((source, "source"), (target, "target")):
                if column not in record:
                    raise missing(column, record, where, flag)
                place = f"{where}, {column}"
                cells.append(_filled(text_of(record[column], place, encoding_errors), place))
            yield where, cells[0], cells[1]
        return
    if suffix(path) != ".tsv":
        raise InputError(
            f"{path}: expected --data.source and --data.target, which name the columns. "
            "Received: none."
        )
    for number, line in enumerate(lines(path, encoding_errors), 1):
        cells = line.rstrip("\r\n").split("\t")
        where = f"{path}, line {number}"
        if not any(cells):
            continue
        if len(cells) != 2:
            raise InputError(
                f"{where}: expected two columns, a source and a target; of a table with a header "
                f"--data.source and --data.target name them. Received: {len(cells)} columns."
            )
        for cell, side in zip(cells, ("source", "target"), strict=True):
            _filled(cell.strip(), f"{where}, {side}")
        yield where, cells[0].strip(), cells[1].strip()


def _filled(text: str, where: str) -> str:
    if not text:
        raise InputError(f"{where}: expected text. Received: none.")
    return text

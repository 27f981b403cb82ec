"""Files to lines, and tables to records: UTF-8 text, tab separated, CSV, JSON lines, each also .gz.

Everything is read as a stream, and every complaint names the file and the line.
"""

import contextlib
import csv
import glob
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pipelines.core.tfds import TFDS
from tfattn.errors import InputError
from tfattn.spec import unknown

EMBEDDED = "embedded"  # in place of files: data that comes with the installed packages
Encoding = Literal["strict", "replace"]
Record = dict[str, Any]

_SURROGATES = re.compile("[\ud800-\udfff]")  # half characters, which JSON can spell
_ACCEPT = "; --data.encoding-errors replace accepts it"


@contextlib.contextmanager
def data_flag(files: str) -> Iterator[None]:
    """Call by the flag `data.FILES` what readers know by another name, such as `files`."""
    try:
        yield
    except InputError as error:
        name, _, rest = str(error).partition(": ")
        if name == "vocab_size":
            raise InputError(f"data.{error}") from None
        if name not in ("files", "documents", "store", "locale", "locales"):
            raise
        raise InputError(f"data.{files}: {rest}") from None


def expand(files: Sequence[str], kind: str = "txt") -> list[Path]:
    """Return the files that the globs match, sorted, each once; `**` goes into folders.

    Args:
        files: globs.
        kind: suffix that is advised where one is a folder.

    Raises:
        InputError: a pattern that matches no file.
    """
    found: dict[Path, Path] = {}
    for pattern in [files] if isinstance(files, str) else files:
        path = Path(os.path.expanduser(pattern))
        matches = [path] if path.exists() else map(Path, glob.glob(str(path), recursive=True))
        regular = [match for match in matches if not match.is_dir()]
        if not regular:
            folder = f"a folder; name its files, as in {pattern}/**/*.{kind}"
            received = folder if path.is_dir() else f"none for {pattern}"
            raise InputError(f"files: expected at least one file. Received: {received}.")
        for match in sorted(regular):
            found.setdefault(Path(os.path.realpath(match)), match)
    return sorted(found.values())


def is_embedded(files: Sequence[str]) -> bool:
    """Return whether they name data that comes with the installed packages."""
    return len(files) == 1 and files[0].partition(":")[0] == EMBEDDED


def check_files(flag: str, files: Sequence[str]) -> None:
    """Refuse files that are missing, before anything slow.

    Args:
        flag: by which they are given, without `data.`.
        files: globs, data sets, or embedded data.

    Raises:
        InputError: names the flag and the glob.
    """
    with data_flag(flag):
        if not is_embedded(files):
            expand([name for name in files if not name.startswith(TFDS)])


def suffix(path: Path) -> str:
    """Return the suffix that tells the format: that of `a.csv.gz` is `.csv`."""
    return (Path(path.stem) if path.suffix.lower() == ".gz" else path).suffix.lower()


def lines(path: Path, encoding_errors: Encoding = "strict", advice: str = _ACCEPT) -> Iterator[str]:
    """Yield the lines with their ends, unpacked and without a byte order mark.

    Args:
        path: of the file.
        encoding_errors: whether bytes that are not UTF-8 are an error or become U+FFFD.
        advice: what to do about them, at the end of the complaint.

    Raises:
        InputError: a file that cannot be read, is damaged, or is not UTF-8.
    """
    offset, unpack = 0, gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with unpack(path, "rb") as file:
            for number, data in enumerate(file, start=1):
                try:
                    text = data.decode("utf-8", encoding_errors)
                except UnicodeDecodeError as error:
                    raise InputError(
                        f"{path}, line {number}: expected UTF-8. Received: byte "
                        f"0x{data[error.start]:02x} at offset {offset + error.start}{advice}."
                    ) from None
                yield text.removeprefix("\ufeff") if number == 1 else text
                offset += len(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: expected a readable file. Received: {error}.") from None


def records(path: Path, encoding_errors: Encoding = "strict") -> Iterator[tuple[str, Record]]:
    """Yield every row of a table as a dict, and where it is: "FILE, line N".

    Tab separated files have no quoting: a quote is a character. Blank lines are skipped.

    Raises:
        InputError: no header, a column twice, a row of another width, or what is not JSON.
    """
    source = lines(path, encoding_errors)
    match suffix(path):
        case ".jsonl" | ".json":
            yield from _objects(path, source)
        case ".csv":
            yield from _rows(path, _quoted(path, source))
        case ".tsv":
            cells = (line.rstrip("\r\n").split("\t") for line in source)
            yield from _rows(path, enumerate(cells, start=1))
        case other:
            raise InputError(
                f"{path}: expected a table, .tsv, .csv or .jsonl (.gz). Received: {other!r}."
            )


def missing(column: str, record: Record, where: str, flag: str | None = None) -> InputError:
    """Return the complaint that there is no such column; `data.FLAG` names another."""
    path, _, line = where.rpartition(", line ")
    if line and suffix(Path(path)) in (".csv", ".tsv"):
        where = f"{path}, header"  # which is the same for all rows
    known = unknown("column", column, [name[:40] for name in record])
    hint = "" if flag is None else f" --data.{flag} names the column."
    return InputError(f"{where}: {known}{hint}")


def text_of(value: Any, where: str, encoding_errors: Encoding = "strict") -> str:
    """Return `value` stripped, if it is text."""
    if not isinstance(value, str):
        raise InputError(f"{where}: expected text. Received: {json.dumps(value)[:80]}.")
    if half := _SURROGATES.search(value):
        if encoding_errors == "strict":
            raise InputError(
                f"{where}: expected Unicode text. Received: half a character, {half[0]!r}{_ACCEPT}."
            )
        value = _SURROGATES.sub("\ufffd", value)
    return value.strip()


def _objects(path: Path, source: Iterable[str]) -> Iterator[tuple[str, Record]]:
    for number, line in enumerate(source, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: expected one JSON object a line. {error}.") from None
        if not isinstance(record, dict):
            raise InputError(f"{where}: expected a JSON object. Received: {line.strip()[:80]}.")
        yield where, record


def _quoted(path: Path, source: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(2**31 - 1)  # documents are long
    reader = csv.reader(source, strict=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: expected CSV. {error}.") from None


def _rows(path: Path, rows: Iterable[tuple[int, list[str]]]) -> Iterator[tuple[str, Record]]:
    header: list[str] = []
    for number, cells in rows:
        where = f"{path}, line {number}"
        if not any(cells) and len(cells) <= 1:
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            twice = [name for name in header if header.count(name) > 1]
            if twice:
                raise InputError(
                    f"{where}: expected each column once. Received: {twice[0]!r} twice."
                )
        elif len(cells) != len(header):
            raise InputError(
                f"{where}: expected {len(header)} fields, as in the header. "
                f"Received: {len(cells)} fields."
            )
        else:
            yield where, dict(zip(header, cells, strict=True))
    if not header:
        raise InputError(f"{path}: expected a header with the names of the columns. It is empty.")

"""Documents for pretraining, as a stream of texts from files and from TensorFlow Datasets."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pipelines.core.records import Encoding, expand, lines, missing, records, suffix, text_of
from pipelines.core.tfds import TFDS, examples
from tfattn.errors import InputError
from tfattn.spec import unknown

Separator = Literal["blank-line", "line", "file"]


def read_documents(
    files: Sequence[str],
    *,
    column: str = "text",
    separator: Separator = "blank-line",
    encoding_errors: Encoding = "strict",
) -> Iterator[str]:
    """Return an iterator of the documents, stripped, without empty ones.

    Args:
        files: globs, and `tfds:NAME/SPLIT`. The suffix tells the format: .jsonl and .json hold one
            object a line, .csv and .tsv a table, .gz any of these packed; all else is plain text.
        column: where tables and JSON objects have the text.
        separator: what is between two documents of a plain text.
        encoding_errors: whether bytes that are not UTF-8 are an error or become U+FFFD.

    Raises:
        InputError: no such file (at once), or content that cannot be used (while reading).
    """
    entries = [files] if isinstance(files, str) else list(files)
    named = [entry for entry in dict.fromkeys(entries) if entry.startswith(TFDS)]
    paths = expand([entry for entry in entries if not entry.startswith(TFDS)])
    if not paths and not named:
        raise InputError("files: expected at least one file. Received: none.")
    if separator not in ("blank-line", "line", "file"):
        choices = ("blank-line", "line", "file")
        raise InputError(f"separator: {unknown('value', separator, choices)}")

    def documents() -> Iterator[str]:
        for path in paths:
            if suffix(path) in (".jsonl", ".json", ".csv", ".tsv"):
                yield from _from_table(path, column, encoding_errors)
            else:
                yield from _from_text(path, separator, encoding_errors)
        for entry in named:
            yield from _from_tfds(entry, column, encoding_errors)

    return filter(None, documents())


def _from_text(path: Path, separator: Separator, encoding_errors: Encoding) -> Iterator[str]:
    block: list[str] = []
    for line in lines(path, encoding_errors):
        block.append(line)
        if separator == "line" or (separator == "blank-line" and not line.strip()):
            yield "".join(block).strip()
            block.clear()
    yield "".join(block).strip()


def _from_table(path: Path, column: str, encoding_errors: Encoding) -> Iterator[str]:
    for where, record in records(path, encoding_errors):
        if column not in record:
            raise missing(column, record, where, "column")
        yield text_of(record[column], f"{where}, {column}", encoding_errors)


def _from_tfds(entry: str, column: str, encoding_errors: Encoding) -> Iterator[str]:
    for number, example in enumerate(examples(entry)):
        if column not in example:
            raise missing(column, example, entry, "column")
        where, value = f"{entry}, example {number}, {column}", example[column]
        if not isinstance(value, bytes):
            raise InputError(f"{where}: expected text. Received: {type(value).__name__}.")
        try:
            yield value.decode("utf-8", encoding_errors).strip()
        except UnicodeDecodeError as error:
            raise InputError(f"{where}: expected UTF-8. Received: {error}.") from None

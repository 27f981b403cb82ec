"""Labelled texts, or pairs of texts, from TSV, CSV and JSON lines."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipelines.core.records import Encoding, Record, expand, missing, records, text_of
from tfattn.errors import InputError
from tfattn.spec import unknown


class Labelled(Protocol):
    """What has labels."""

    @property
    def labels(self) -> list[str]:
        """Return the label of each row."""
        ...

    @property
    def places(self) -> list[str]:
        """Return where each label is."""
        ...

    @property
    def source(self) -> str:
        """Return the files."""
        ...


@dataclass(frozen=True)
class Table:
    """Rows in the order of the files; labels as they are written there."""

    texts: list[str]
    pairs: list[str] | None
    labels: list[str]
    source: str  # the files
    places: list[str]  # of each label: file, line and column

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.texts)


def read_table(
    files: Sequence[str],
    *,
    text: str = "text",
    text_pair: str | None = None,
    label: str = "label",
    encoding_errors: Encoding = "strict",
) -> Table:
    """Read the rows of all files.

    Where a table has no column `text` but exactly two columns, the one that is not the label is it.

    Raises:
        InputError: no such file or column, or a row that cannot be used; file and line are named.
    """
    names = [name for name in (text, text_pair, label) if name is not None]
    if len(set(names)) < len(names):
        raise InputError(f"columns: expected different ones. Received: {', '.join(names)}.")
    paths = expand(files, "tsv")
    texts: list[str] = []
    pairs: list[str] = []
    labels: list[str] = []
    places: list[str] = []
    for path in paths:
        column = None
        for where, record in records(path, encoding_errors):
            column = column or _text_column(record, text, text_pair, label, where)
            texts.append(_text(record, column, where, encoding_errors))
            if text_pair is not None:
                pairs.append(_text(record, text_pair, where, encoding_errors))
            labels.append(_label(record, label, where, encoding_errors))
            places.append(f"{where}, {label}")
        if column is None:
            raise InputError(f"{path}: expected rows. Received: none.")
    if not paths:
        raise InputError("files: expected at least one file. Received: none.")
    source = ", ".join(map(str, paths))
    return Table(texts, None if text_pair is None else pairs, labels, source, places)


def joined(tables: Sequence[Table]) -> Table:
    """Return the rows of all tables as one."""
    texts, labels, places = (
        [cell for table in tables for cell in getattr(table, name)]
        for name in ("texts", "labels", "places")
    )
    has_pairs = all(table.pairs is not None for table in tables)
    pairs = [cell for table in tables for cell in table.pairs or ()] if has_pairs else None
    return Table(texts, pairs, labels, ", ".join(table.source for table in tables), places)


def classes_of(table: Labelled) -> tuple[str, ...]:
    """Return the labels that occur, sorted: by value where all are whole numbers.

    Raises:
        InputError: fewer than two classes.
    """
    found = set(table.labels)
    if len(found) < 2:
        raise InputError(
            f"{table.source}: expected at least two classes. "
            f"Received: {', '.join(map(repr, found)) or 'none'}."
        )
    if all(re.fullmatch(r"[+-]?[0-9]{1,18}", label) for label in found):
        return tuple(sorted(found, key=lambda label: (int(label), label)))
    return tuple(sorted(found))


def label_ids(table: Labelled, classes: Sequence[str]) -> np.ndarray:
    """Return the number of each row's class, int32.

    Raises:
        InputError: a label that is not among the classes; file and line are named.
    """
    numbers = {name: i for i, name in enumerate(classes)}
    for label, place in zip(table.labels, table.places, strict=True):
        if label not in numbers:
            raise InputError(f"{place}: {unknown('class', label, classes)}")
    return np.array([numbers[label] for label in table.labels], np.int32)


def label_values(table: Table) -> np.ndarray:
    """Return the labels as numbers, float32.

    Raises:
        InputError: a label that is no finite number; file and line are named.
    """
    values, largest = np.empty(len(table), np.float32), float(np.finfo(np.float32).max)
    for i, (label, place) in enumerate(zip(table.labels, table.places, strict=True)):
        try:
            value = float(label)
        except ValueError:
            value = np.nan
        if not abs(value) <= largest:
            raise InputError(f"{place}: expected a finite number. Received: {label!r}.")
        values[i] = value
    return values


def _text_column(record: Record, text: str, text_pair: str | None, label: str, where: str) -> str:
    for name, flag in ((label, "label"), (text_pair, "text-pair")):
        if name is not None and name not in record:
            raise missing(name, record, where, flag)
    if text in record:
        return text
    others = [name for name in record if name != label]
    if len(others) != 1 or text_pair is not None:
        raise missing(text, record, where, "text")
    return others[0]


def _text(record: Record, column: str, where: str, encoding_errors: Encoding) -> str:
    if column not in record:
        raise missing(column, record, where)
    value = text_of(record[column], f"{where}, {column}", encoding_errors)
    if not value:
        raise InputError(f"{where}, {column}: expected text. Received: none.")
    return value


def _label(record: Record, column: str, where: str, encoding_errors: Encoding) -> str:
    value = record.get(column)
    if isinstance(value, bool | int | float):
        record = {**record, column: json.dumps(value)}
    return _text(record, column, where, encoding_errors)

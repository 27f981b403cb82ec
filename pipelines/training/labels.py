"""From a recipe's tables to labels and rows."""

from dataclasses import replace
from typing import Literal

import numpy as np

from pipelines import recipes
from pipelines.data.answer_rows import AnswerRows
from pipelines.data.records import data_flag
from pipelines.data.source_target_rows import SourceTargetRows
from pipelines.data.table_rows import TableRows
from pipelines.data.tables import (
    Table,
    classes_of,
    joined,
    label_ids,
    label_values,
    read_table,
)
from pipelines.generation.writer import end_of
from pipelines.recipes import unescaped
from pipelines.tokenization.tokenizer import Tokenizer
from pipelines.training.embedded import embedded_table
from tfattn.errors import InputError


def read_labelled(
    data: recipes.TableData, files: tuple[str, ...], flag: str, prefixes: tuple[str, ...] = ()
) -> Table:
    """Read a labelled table as the recipe says; `flag` is named where no files are given.

    Args:
        data: of the recipe.
        files: globs.
        flag: what they were given by.
        prefixes: before each text; one for all files, or one for each of `files`.
    """
    if not files:
        raise InputError(f"data.{flag}: expected at least one file or glob. Received none.")
    if len(prefixes) > 1 and len(prefixes) != len(files):
        raise InputError(
            f"text2text.prefix: expected one for all files, or one for each of the {len(files)} of "
            f"--data.{flag}. Received: {len(prefixes)}."
        )
    if recipes.is_embedded(files):
        data = replace(data, text="text", label="summary")
        files = (str(embedded_table(files[0], flag)),)
    groups = [(name,) for name in files] if len(prefixes) > 1 else [files]
    tables = []
    with data_flag(flag):
        for group in groups:
            table = read_table(
                group,
                text=data.text,
                text_pair=data.text_pair,
                label=data.label,
                encoding_errors=data.encoding_errors,
            )
            tables.append(table)
    if not prefixes:
        return tables[0]
    prefixed = [
        replace(table, texts=[unescaped(prefix) + text for text in table.texts])
        for prefix, table in zip(prefixes, tables, strict=True)
    ]
    return joined(prefixed)


def resolve_labels(
    objective: recipes.Objective, table: Table, pool: Literal["mean", "last"]
) -> recipes.Objective:
    """Return the objective with the classes, or the offset and scale, of the training labels.

    Args:
        objective: of the recipe.
        table: of training.
        pool: what is pooled where the objective does not say.

    Raises:
        InputError: one class only, or labels that are not numbers.
    """
    if isinstance(objective, recipes.Classification | recipes.Regression):
        objective = replace(objective, pool=objective.pool or pool)
    if isinstance(objective, recipes.Classification):
        return objective if objective.classes else replace(objective, classes=classes_of(table))
    if isinstance(objective, recipes.Regression) and not objective.scale:
        values = label_values(table)
        return replace(objective, offset=float(values.mean()), scale=float(values.std()) or 1.0)
    return objective


def labelled_rows(
    table: Table, objective: recipes.Objective, tokenizer: Tokenizer, length: int, pair: bool
) -> TableRows | AnswerRows | SourceTargetRows:
    """Return the rows of a table, with labels as the objective counts them.

    Args:
        table: of a split.
        objective: with what the labels said.
        tokenizer: of the model.
        length: tokens of a row, or of a side, at most.
        pair: whether the model reads a source and writes a target.
    """
    if isinstance(objective, recipes.TextToText):
        if pair:
            end = end_of(tokenizer)
            return SourceTargetRows(tokenizer, table.texts, table.labels, end, length)
        delimiter = unescaped(objective.delimiter)
        texts = [text + delimiter for text in table.texts]
        return AnswerRows(tokenizer, texts, table.labels, length)
    if isinstance(objective, recipes.Classification):
        labels = np.asarray(label_ids(table, objective.classes), np.int32)
    else:
        labels = np.asarray(label_values(table), np.float32)
    return TableRows(tokenizer, table.texts, table.pairs, labels, length)

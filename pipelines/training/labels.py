"""From a recipe's tables to labels and rows."""

from dataclasses import replace
from typing import Literal

import numpy as np

from pipelines import recipes
from pipelines.data.answer_rows import AnswerRows
from pipelines.data.records import data_flag
from pipelines.data.table_rows import TableRows
from pipelines.data.tables import Table, classes_of, label_ids, label_values, read_table
from pipelines.recipes import unescaped
from pipelines.tokenization.tokenizer import Tokenizer
from tfattn.errors import InputError


def read_labelled(data: recipes.TableData, files: tuple[str, ...], flag: str) -> Table:
    """Read a labelled table as the recipe says; `flag` is named where no files are given."""
    if not files:
        raise InputError(f"data.{flag}: expected at least one file or glob. Received none.")
    with data_flag(flag):
        return read_table(
            files,
            text=data.text,
            text_pair=data.text_pair,
            label=data.label,
            encoding_errors=data.encoding_errors,
        )


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
    table: Table, objective: recipes.Objective, tokenizer: Tokenizer, length: int
) -> TableRows | AnswerRows:
    """Return the rows of a table, with labels as the objective counts them."""
    if isinstance(objective, recipes.TextToText):
        delimiter = unescaped(objective.delimiter)
        texts = [text + delimiter for text in table.texts]
        return AnswerRows(tokenizer, texts, table.labels, length)
    if isinstance(objective, recipes.Classification):
        labels = np.asarray(label_ids(table, objective.classes), np.int32)
    else:
        labels = np.asarray(label_values(table), np.float32)
    return TableRows(tokenizer, table.texts, table.pairs, labels, length)

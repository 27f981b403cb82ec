"""Evaluation of a finished run on any split."""

from dataclasses import replace
from typing import Any

from rich.markup import escape
from rich.table import Table

from pipelines import recipes
from pipelines.data.batches import Batches
from pipelines.data.causal_rows import CausalRows
from pipelines.inference.finished import open_finished
from pipelines.progress import console, say
from pipelines.recipes import TrainConfig
from pipelines.training.engine import Engine
from pipelines.training.labels import labelled_rows, read_labelled
from pipelines.training.tasks import text_rows, work
from tfattn.errors import InputError
from tfattn.models.config import TransformerConfig


def evaluate(
    folder: str, files: tuple[str, ...], batch: int = 64, stride: int | None = None
) -> dict[str, Any]:
    """Return the metrics of a run's model on files of the kind that it was trained on.

    With them the `files`, none where they are a share of the run's own, and the `stride` if given.

    Args:
        folder: of a finished run.
        files: globs; none = its own validation split.
        batch: rows at a time.
        stride: of a causal model: tokens that each row has new, the rest being context of theirs.

    Raises:
        InputError: a run or files that cannot be used, or a stride that the run has no use for.
    """
    done = open_finished(folder)
    recipe, data = done.recipe, done.recipe.data
    if isinstance(data, recipes.TableData):
        if stride is not None:
            raise InputError(
                f"stride: expected none, for {folder} learnt from a table. Received: {stride}."
            )
        table = read_labelled(data, files or data.validation, "files" if files else "validation")
        length = data.length or done.model.config.max_length
        pair = not isinstance(done.model.config, TransformerConfig)
        rows = labelled_rows(table, recipe.objective, done.tokenizer, length, pair)
        objective = work(
            recipe.objective, done.model.config, done.model.heads, done.tokenizer, recipe.train.seed
        )
        batches = Batches(rows, objective.batch, min(batch, len(rows)), 0)
        count = {"rows": len(rows), "rows_cut": rows.cut}
    else:
        objective, rows, draws = text_rows(
            done.run, recipe, files, done.tokenizer, done.model.heads, stride
        )
        batches = Batches(rows, objective.batch, min(batch, len(rows)), 0, draws)
        count = {"rows": len(rows)}
        if stride is not None:
            count["stride"] = stride
            if isinstance(rows, CausalRows) and not rows.overlap:
                say(
                    f"stride: expected fewer tokens than the {data.length} of a row, and documents "
                    f"of more. No row overlaps another, so that {stride} changes nothing."
                )
    engine = Engine(done.model, objective, None, replace(TrainConfig(), compile="graph"))
    numbers = engine.evaluate(batches.in_order())
    measured = list(files or data.validation)
    return {"run": str(done.run.folder), "files": measured, **count, **numbers}


def print_table(title: str, numbers: dict[str, Any]) -> None:
    """Print the metrics for people, on the error stream, where the last line is for programs."""
    table = Table(title=escape(title), title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in numbers.items():
        shown = f"{value:,.4f}" if isinstance(value, float) else str(value)
        table.add_row(name, escape(shown))
    console.print(table)

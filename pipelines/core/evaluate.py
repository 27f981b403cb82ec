"""Evaluation of a finished run on any split."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from rich.markup import escape
from rich.table import Table

from pipelines.core.api import Finished
from pipelines.core.batches import Batches
from pipelines.core.engine import Engine
from pipelines.core.finished import open_finished
from pipelines.core.progress import console
from pipelines.core.records import Encoding
from pipelines.core.runtimes import runtime_of
from pipelines.core.spec import Options
from pipelines.core.train_config import TrainConfig
from tfattn.errors import InputError
from tfattn.spec import Spec


def evaluate(
    folder: str,
    files: tuple[str, ...],
    batch: int = 64,
    options: Mapping[str, Any] | None = None,
    encoding_errors: Encoding | None = None,
) -> dict[str, Any]:
    """Return the metrics of a run's model on files of the kind that it was trained on.

    Args:
        folder: of a finished run.
        files: globs; () = its own validation split.
        batch: rows at a time.
        options: of the task, by name, such as `stride`.
        encoding_errors: whether bytes that are not UTF-8 are an error; None = as in the run.

    Returns:
        The metrics, and with them `run`, `files` and what the task says of the split.

    Raises:
        InputError: a run or files that cannot be used, or an option that the task does not have.
    """
    done = open_finished(folder)
    if encoding_errors is not None:
        done = _with_encoding_errors(done, encoding_errors)
    task, runtime = done.task, runtime_of(done.task)
    chosen = options_of(task.evaluate_options, options or {}, f"{folder}, a run of {task.name},")
    split = runtime.split(done, files, chosen)
    named = list(files or done.recipe.data.validation_sources())
    found: dict[str, Any] = {"run": str(done.run.folder), "files": named, **split.about}
    batches = Batches(split.rows, split.objective.batch, min(batch, len(split.rows)), 0)
    engine = Engine(done.model, split.objective, None, replace(TrainConfig(), compile="graph"))
    found |= engine.evaluate(batches.in_order(), split.rows)
    return found | runtime.extra(done, split, chosen)


def options_of(kind: type[Options], given: Mapping[str, Any], where: str) -> Options:
    """Return the options of a task from those of a command, which knows all tasks' options.

    Args:
        kind: of the task.
        given: values that differ from their defaults, by name.
        where: what has no use for the others.

    Raises:
        InputError: an option that the task does not have; it is named.
    """
    known = {field.name for field in fields(kind)}
    for name, value in given.items():
        if name not in known:
            flag, received = _flag(name, value)
            raise InputError(
                f"{flag}: expected none, for {where} has no use for it. Received: {received}."
            )
    return kind(**given)


def _flag(name: str, value: Any) -> tuple[str, Any]:
    """Return the flag of an option and its value; of a group of flags the first that is given."""
    if isinstance(value, Spec):
        default = type(value)()
        own = vars(value).items()
        name, value = next((n, x) for n, x in own if x != getattr(default, n))
    return name.replace("_", "-"), value


def _with_encoding_errors(done: Finished, encoding_errors: Encoding) -> Finished:
    data = done.recipe.data
    if "encoding_errors" not in {field.name for field in fields(data)}:
        raise InputError(
            f"data.encoding_errors: expected none, for {done.run.folder} learnt from no text. "
            f"Received: {encoding_errors}."
        )
    named: dict[str, Any] = {"encoding_errors": encoding_errors}
    return replace(done, recipe=replace(done.recipe, data=replace(data, **named)))


def print_table(title: str, metrics: dict[str, Any]) -> None:
    """Print the metrics for people, on the error stream; the last line is for programs.

    A list of dicts is a table of its own, such as the metrics by length.
    """
    table = Table(title=escape(title), title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    lists = {}
    for name, value in metrics.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lists[name] = value
        elif name not in ("run", "files"):
            table.add_row(name, escape(_shown(value)))
    console.print(table)
    for name, rows in lists.items():
        table = Table(*rows[0], title=escape(name), title_justify="left")
        for row in rows:
            table.add_row(*(escape(_shown(value)) for value in row.values()))
        console.print(table)


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.4f}" if isinstance(value, float) else str(value)

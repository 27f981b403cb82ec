"""Evaluation of a finished run on any split."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.markup import escape
from rich.table import Table

from pipelines import recipes
from pipelines.data.batches import Batches, Draws
from pipelines.data.causal_rows import CausalRows
from pipelines.data.records import Encoding
from pipelines.inference.aligned import measure_alignment
from pipelines.inference.finished import open_finished
from pipelines.inference.written import Texts, labelled_split, measure_written, paired_split
from pipelines.objectives import Objective
from pipelines.progress import console, say
from pipelines.recipes import TrainConfig
from pipelines.training.engine import Engine
from pipelines.training.image_tasks import image_work, validation_rows
from pipelines.training.tasks import work
from pipelines.training.text_tasks import no_draws, text_rows
from tfattn.errors import InputError
from tfattn.models.config import Tokens, TransformerConfig


def evaluate(
    folder: str,
    files: tuple[str, ...],
    batch: int = 64,
    stride: int | None = None,
    beams: int = 4,
    picture: Path | None = None,
    encoding_errors: Encoding | None = None,
) -> dict[str, Any]:
    """Return the metrics of a run's model on files of the kind that it was trained on.

    Of a model that writes targets also how good these are, in all and by the length of the source.

    With them the `files`, none where they are a share of the run's own, and the `stride` if given.

    Args:
        folder: of a finished run.
        files: globs; none = its own validation split.
        batch: rows at a time.
        stride: of a causal model: tokens that each row has new, the rest being context of theirs.
        beams: of targets that are written.
        picture: where BLEU by length is drawn.
        encoding_errors: whether bytes that are not UTF-8 are an error; none = as in the run.

    Raises:
        InputError: a run or files that cannot be used, or a stride that the run has no use for.
    """
    done = open_finished(folder)
    if encoding_errors is not None and isinstance(done.recipe.data, recipes.ImageData):
        raise InputError(
            f"data.encoding_errors: expected none, for {folder} learnt from images. "
            f"Received: {encoding_errors}."
        )
    if encoding_errors is not None:
        data = replace(done.recipe.data, encoding_errors=encoding_errors)
        done = replace(done, recipe=replace(done.recipe, data=data))
    data = done.recipe.data
    paired = isinstance(data, recipes.TableData | recipes.PairData)
    writes = paired and not isinstance(done.model.config, TransformerConfig)
    if picture is not None and not writes:
        raise InputError(
            f"picture: expected none, for {folder} writes no targets. Received: {picture}."
        )
    if stride is not None and not isinstance(data, recipes.TextData):
        kind = "images" if isinstance(data, recipes.ImageData) else "a table"
        raise InputError(
            f"stride: expected none, for {folder} learnt from {kind}. Received: {stride}."
        )
    own = recipes.held_out(data) if paired else getattr(data, "validation", ())
    if isinstance(data, recipes.ImageData) and not own:  # a share of them, or their own
        own = data.images
    found: dict[str, Any] = {"run": str(done.run.folder), "files": list(files or own)}
    split = (
        _texts(done, files, stride) if isinstance(data, recipes.TextData) else _others(done, files)
    )
    found |= split.about
    batches = Batches(
        split.rows, split.objective.batch, min(batch, len(split.rows)), 0, split.draws
    )
    engine = Engine(done.model, split.objective, None, replace(TrainConfig(), compile="graph"))
    found |= engine.evaluate(batches.in_order())
    if split.texts is not None:
        found |= measure_written(done, *split.texts, beams, picture)
        found |= {} if files else measure_alignment(done)
    return found


class _Split(NamedTuple):
    """What is measured and how, what to say of it, and texts where the model writes targets."""

    objective: Objective
    rows: Any
    about: dict[str, Any]
    draws: Draws = no_draws
    texts: Texts | None = None


def _texts(done, files, stride):
    head = next((head for head in done.model.heads if isinstance(head, Tokens)), None)
    work = text_rows(done.run, done.recipe, files, done.tokenizer, head, stride)
    objective, rows, draws = work
    about = {"rows": len(rows)}
    if stride is not None:
        about["stride"] = stride
        if isinstance(rows, CausalRows) and not rows.overlap:
            say(
                f"stride: expected fewer tokens than the {done.recipe.data.length} of a row, and "
                f"documents of more. No row overlaps another, so that {stride} changes nothing."
            )
    return _Split(objective, rows, about, draws)


def _others(done, files):
    """Return the split of labelled texts, of pairs, or of images."""
    data, spec, seed = done.recipe.data, done.recipe.objective, done.recipe.train.seed
    if isinstance(data, recipes.ImageData):
        rows = validation_rows(data, spec, done.reader, files)
        objective = image_work(spec, done.model.config, done.reader, seed)
        return _Split(objective, rows, {"rows": len(rows)})
    objective = work(spec, done.model.config, done.model.heads, done.tokenizer, seed)
    split = labelled_split if isinstance(data, recipes.TableData) else paired_split
    rows, texts = split(done, files)
    return _Split(objective, rows, {"rows": len(rows), "rows_cut": rows.cut}, texts=texts)


def print_table(title: str, numbers: dict[str, Any]) -> None:
    """Print the metrics for people, on the error stream, where the last line is for programs."""
    table = Table(title=escape(title), title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    numbers = {name: value for name, value in numbers.items() if name not in ("run", "files")}
    lengths = numbers.pop("by_length", [])
    for name, value in numbers.items():
        shown = f"{value:,.4f}" if isinstance(value, float) else str(value)
        table.add_row(name, escape(shown))
    console.print(table)
    if lengths:
        table = Table("words of the source", "texts", "BLEU", "chrF", title_justify="left")
        for row in lengths:
            upper = f" to {row['to'] - 1}" if row["to"] else " and more"
            cells = (f"{row['from']}{upper}", str(row["texts"]))
            table.add_row(*cells, f"{row['bleu']:.1f}", f"{row['chrf']:.1f}")
        console.print(table)

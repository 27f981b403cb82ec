"""What the core asks of a task at work: protocols, and what passes between them.

    files --TaskRuntime.prepare--> Prepared: processor, rows, objective
    rows  --Objective.batch--> batch --Objective.measure--> sums --> one optimizer step
    outputs of a split --Metric--> numbers that choose the best weights
    a finished run --TaskRuntime.exported--> signatures of a SavedModel

A batch is `{"features", "targets", "weights"}`. An objective's `measure` gives each term's weighted
sum over the batch; the engine divides by the weights of all microbatches and devices together, so
that accumulated and distributed steps equal one large step exactly.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from pipelines.core.run import Run
from pipelines.core.spec import Options, Recipe, Task
from tfattn.models.config import Head
from tfattn.models.model_config import ModelConfig

Tensor = Any
Model = Any  # what tfattn.build returns
Batch = dict[str, Any]
Dataset = Any  # a tf.data.Dataset of batches
Sums = dict[str, Tensor]


class Processor(Protocol):
    """What turns raw input into features and goes with the weights, such as a tokenizer."""

    def save(self, folder: Path) -> None:
        """Write it beside the weights."""
        ...

    def in_graph(self) -> Any:
        """Return a tf.Module that does the same to raw input in a graph, for serving."""
        ...


class Rows(Protocol):
    """What examples are read from: any rows, in any order, as arrays of fixed width."""

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def draws(self, epoch: Tensor, row: Tensor) -> tuple[Tensor, ...]:
        """Return the random numbers that reading rows takes, each (b,); by default none.

        Args:
            epoch: (b,) int64.
            row: (b,) int64.
        """
        return ()

    @property
    def read(self) -> Callable[..., Mapping[str, np.ndarray]]:
        """From indices (b,) and the draws of these rows to arrays (b, ...)."""
        ...


class Metric(Protocol):
    """What is measured over a whole split from the outputs for each row.

    Outputs and targets have any shape and structure: classes, spans, boxes, strings, sequences.
    """

    def update(self, outputs: Any, batch: Batch) -> None:
        """Take the rows of one batch.

        Args:
            outputs: what `Objective.measure` returned, as numpy arrays, of real rows alone.
            batch: features, targets and weights of the same rows, as numpy arrays.
        """
        ...

    def result(self) -> dict[str, float]:
        """Return the numbers by name."""
        ...


class Selection(NamedTuple):
    """Which metric of an evaluation chooses the best weights."""

    metric: str
    higher_is_better: bool


@dataclass
class Report:
    """What an evaluation shows to people in TensorBoard."""

    table: list[str] = field(default_factory=list)  # lines of a Markdown table of predictions
    metrics: dict[str, float] = field(default_factory=dict)  # of the same few rows
    figures: dict[str, Figure] = field(default_factory=dict)


class Objective(Protocol):
    """A task at work: which heads, how rows become batches, and what is summed of the outputs."""

    heads: tuple[Head, ...]  # of the model
    terms: dict[str, str]  # name of each sum -> name of the batch's weights that divide it
    losses: tuple[str, ...]  # the terms whose sum is minimised
    selects: Selection
    unit: str = "tokens"  # of the speed
    row_independent: bool = False  # whether a row of a batch depends on that row of `rows` alone

    def batch(self, rows: dict[str, Tensor], epoch: Tensor, row: Tensor) -> Batch:
        """Turn rows into features, targets and weights.

        Args:
            rows: arrays (b, ...) as `Rows.read` gives them.
            epoch: (b,) int64.
            row: (b,) int64, the number of each row.
        """
        ...

    def training_batch(self, rows: dict[str, Tensor], epoch: Tensor, row: Tensor) -> Batch:
        """Do as `batch`, with what is changed in training alone."""
        return self.batch(rows, epoch, row)

    def measure(self, model: Model, batch: Batch, training: bool) -> tuple[Sums, Any]:
        """Run the model; return the weighted sum of each term over the batch, and the outputs.

        Outputs are tensors with a row for each row of the batch, in any structure, where `metrics`
        read them; else None. Where XLA compiles the step the batch comes without its string
        targets, and outputs are no strings; metrics get the whole batch.
        """
        ...

    def count(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return how many units there are in a batch, and how many with padding, float32."""
        count = tf.cast(tf.shape(tf.nest.flatten(batch["weights"])[0])[0], tf.float32)
        return count, count

    def metrics(self) -> tuple[Metric, ...]:
        """Return new metrics for one evaluation of a whole split; () = the terms say it all."""
        return ()

    def derived(self, metrics: dict[str, float], rows: Rows) -> dict[str, float]:
        """Return what follows from the metrics of an evaluation, such as the perplexity.

        Args:
            metrics: of the evaluation.
            rows: that were evaluated.
        """
        return {}

    def report(self, model: Model, batch: Batch, samples: int, figures: bool) -> Report:
        """Return what the model makes of a batch, for people.

        Args:
            model: in training, or finished.
            batch: of validation.
            samples: rows of the table at most; 0 = no table.
            figures: whether pictures are drawn.
        """
        return Report()


@dataclass(frozen=True)
class Start:
    """What a run starts from: an earlier run, a saved model, or a published checkpoint."""

    name: str
    config: ModelConfig
    heads: tuple[Head, ...]
    weights: dict[str, np.ndarray] | None  # None: a checkpoint of the run has newer ones
    processor: Processor


@dataclass(frozen=True)
class Prepared:
    """All that training needs of a task and its data."""

    config: ModelConfig
    task: Task  # with what the data says, such as the classes
    processor: Processor
    objective: Objective
    train: Rows
    validation: Rows


@dataclass(frozen=True)
class Finished:
    """A run that is done: its model in float32, processor and recipe."""

    run: Run
    recipe: Recipe
    model: Model
    processor: Processor

    @property
    def task(self) -> Task:
        """Return the task with what the data said."""
        return self.recipe.objective


@dataclass(frozen=True)
class Split:
    """What an evaluation measures on."""

    objective: Objective
    rows: Rows
    about: dict[str, Any] = field(default_factory=dict)  # reported before the metrics
    examples: Any = None  # what `TaskRuntime.extra` needs of the same rows
    is_own: bool = False  # whether it is the run's own validation split


class Exported(Protocol):
    """A tf.Module that is saved for serving."""

    def signatures(self) -> Mapping[str, Callable[..., Any]]:
        """Return tf.functions by signature name, `serving_default` among them."""
        ...


class TaskRuntime(Protocol):
    """The whole life of a task, in one file: from data to training, evaluation and export."""

    def load_processor(self, folder: Path, config: ModelConfig) -> Processor:
        """Read what goes with the weights in a folder.

        Raises:
            InputError: nothing there, or what does not fit the model.
        """
        ...

    def adapt(self, start: Start, recipe: Recipe) -> Start:
        """Return what a run starts from as its recipe changes it; by default as it is."""
        return start

    def prepare(self, run: Run, recipe: Recipe, start: Start | None) -> Prepared:
        """Read the data of a recipe.

        Raises:
            InputError: data that cannot be used, or a model that does not fit it.
        """
        ...

    def split(self, done: Finished, files: tuple[str, ...], options: Options) -> Split:
        """Return what an evaluation measures on.

        Args:
            done: the run.
            files: as in training; () = the run's own validation split.
            options: of `Task.evaluate_options`.

        Raises:
            InputError: files or options that cannot be used.
        """
        ...

    def extra(self, done: Finished, split: Split, options: Options) -> dict[str, Any]:
        """Return what an evaluation reports beside the metrics, such as BLEU; by default none."""
        return {}

    def exported(self, done: Finished, options: Options) -> Exported:
        """Return the module that is saved for serving.

        Raises:
            InputError: a run or options that cannot be used.
        """
        ...

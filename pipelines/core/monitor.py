"""What a run shows: numbers in metrics.jsonl and TensorBoard, weights, attention, predictions."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from pipelines.core.api import Batch, Model, Objective
from pipelines.core.atomic import write_text
from pipelines.core.profile import Place, as_markdown, places
from pipelines.core.progress import console
from pipelines.core.run import Run
from pipelines.core.spec import Recipe
from tfattn.spec import Spec
from tfattn.visualize import pixels


class Monitor:
    """Writes the numbers and pictures of one run.

    Args:
        run: where.
        recipe: becomes TensorBoard's hyperparameters.
        first: the step that the run starts or resumes at; what was written after it is dropped.
    """

    def __init__(self, run: Run, recipe: Recipe, first: int):
        self.settings = recipe.monitor
        kept = []
        if run.metrics.exists():
            lines = run.metrics.read_text(encoding="utf-8", errors="replace").splitlines()
            kept = [line for line in lines if _step(line) <= first]
        write_text(run.metrics, "".join(f"{line}\n" for line in kept))
        self._lines = open(run.metrics, "a", encoding="utf-8")  # noqa: SIM115 - closed in close()
        self._writer = tf.summary.create_file_writer(str(run.events))
        self._profiling = False
        self._began, self._spent = time.monotonic(), 0.0  # seconds, of them in pictures
        self._events = str(run.events)
        if first == 0:
            with self._writer.as_default():
                hparams.hparams(dict(flat(recipe)))

    def numbers(self, split: str, step: int, numbers: dict[str, float]) -> None:
        """Write numbers of a split at a step."""
        self._lines.write(json.dumps({"step": step, "split": split, **numbers}) + "\n")
        self._lines.flush()
        with self._writer.as_default(step):
            for name, value in numbers.items():
                tf.summary.scalar(f"{split}/{name}", value)

    def report(
        self, step: int, model: Model, objective: Objective, probe: Batch, always: bool = False
    ) -> None:
        """Write histograms, and the objective's report on a fixed probe batch.

        They are left out where they would take too much of the time, unless `always`.
        """
        began = time.monotonic()
        share = self.settings.share
        if not always and share < 1 and self._spent > share * (began - self._began):
            return
        with self._writer.as_default(step):
            if self.settings.histograms:
                for path, variable in model.weights_by_path().items():
                    tf.summary.histogram(path, variable.value)
            report = objective.report(model, probe, self.settings.samples, self.settings.attention)
            if report.metrics:
                self.numbers("watched", step, report.metrics)
            if report.table:
                tf.summary.text("predictions", "\n".join(report.table))
            for name, figure in report.figures.items():
                tf.summary.image(name, pixels(figure)[None])
        self._writer.flush()
        self._spent += time.monotonic() - began

    def profile(self, step: int) -> None:
        """Start or stop the profile that was asked for."""
        if self.settings.profile is None:
            return
        first, last = self.settings.profile
        if step == first and not self._profiling:
            tf.profiler.experimental.start(self._events)
            self._profiling = True
        elif step == last and self._profiling:
            tf.profiler.experimental.stop()
            self._profiling = False
            self._tell(places(Path(self._events), last - first), step)

    def _tell(self, found: list[Place], step: int) -> None:
        if not found:
            console.print("profile: TensorFlow wrote none of this machine's threads")
            return
        with self._writer.as_default(step):
            tf.summary.text("profile", as_markdown(found))
        most = ", ".join(f"{place.kind} {place.share:.0%}" for place in found[:3])
        said = f"profile: {most}; the rest is in TensorBoard, under text"
        console.print(said, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Write out what is buffered."""
        if self._profiling:
            tf.profiler.experimental.stop()
        self._lines.close()
        self._writer.close()


class Silence:
    """Shows nothing: of several workers all but the first."""

    def numbers(self, *given: Any) -> None:
        """Show no numbers."""

    def report(self, *given: Any) -> None:
        """Report nothing."""

    def profile(self, step: int) -> None:
        """Profile nothing."""

    def close(self) -> None:
        """There is nothing to write out."""


def flat(spec: Spec, prefix: str = "") -> list[tuple[str, Any]]:
    """Return the fields of a Spec as flat names with values that TensorBoard can show."""
    found = []
    for name in (field.name for field in dataclasses.fields(spec)):
        value = getattr(spec, name)
        if isinstance(value, Spec):
            found += flat(value, f"{prefix}{name}.")
        else:
            plain = isinstance(value, bool | int | float | str)
            found.append((prefix + name, value if plain else str(value)))
    return found


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):  # the last line of a killed run may be half-written
        return float("inf")

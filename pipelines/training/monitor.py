"""What a run shows: numbers in metrics.jsonl and TensorBoard, weights, attention, predictions."""

import json
import time
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from pipelines.objectives import Objective
from pipelines.progress import console
from pipelines.reader import Reader
from pipelines.recipes import Recipe
from pipelines.runs import Run, write_atomically
from pipelines.training.attention_maps import attention_maps
from pipelines.training.profile import as_markdown, places
from tfattn.models.build import Model
from tfattn.spec import Spec
from tfattn.visualize import heads_figure, pixels


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
        write_atomically(run.metrics, "".join(f"{line}\n" for line in kept))
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

    def pictures(
        self,
        step: int,
        model: Model,
        objective: Objective,
        reader: Reader,
        probe: dict[str, Any],
        always: bool = False,
    ) -> None:
        """Write histograms, the attention maps and predictions of a fixed probe batch.

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
            if self.settings.samples:
                rows, numbers = objective.watch(model, probe, reader, self.settings.samples)
                if numbers:
                    self.numbers("watched", step, numbers)
                tf.summary.text("predictions", "\n".join(rows))
            if self.settings.attention:
                maps = attention_maps(model, probe["features"], reader)
                figures = {name: heads_figure(shown) for name, shown in maps.items()}
                figures |= objective.figures(model, probe)
                for name, figure in figures.items():
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

    def _tell(self, found, step):
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

    def pictures(self, *given: Any) -> None:
        """Show no pictures."""

    def profile(self, step: int) -> None:
        """Profile nothing."""

    def close(self) -> None:
        """There is nothing to write out."""


def flat(spec: Spec, prefix: str = "") -> list[tuple[str, Any]]:
    """Return the fields of a Spec as flat names with values that TensorBoard can show."""
    found = []
    for name in spec.__dataclass_fields__:
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

"""The loop: steps, and once in a while a line, an evaluation, a checkpoint."""

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from rich.markup import escape

import tfattn
from pipelines.core.api import Batch, Model, Processor
from pipelines.core.batches import Batches, readable
from pipelines.core.checkpoint import Checkpoints, State, variables_by_path
from pipelines.core.engine import Engine
from pipelines.core.length_batches import LengthBatches
from pipelines.core.monitor import Monitor, Silence
from pipelines.core.progress import bar, say
from pipelines.core.run import Interrupted, Run
from pipelines.core.spec import Recipe


class Loop:
    """Takes a run from any state to its last step.

    Args:
        run: where everything is written.
        recipe: of the run.
        engine: takes the steps.
        batches: of training.
        validation: measured once in a while.
        processor: goes with the weights.
        steps: of the whole run.
    """

    def __init__(
        self,
        run: Run,
        recipe: Recipe,
        engine: Engine,
        batches: Batches | LengthBatches,
        validation: Batches,
        processor: Processor,
        steps: int,
    ):
        self.run, self.recipe, self.engine, self.steps = run, recipe, engine, steps
        self.batches, self.validation, self.processor = batches, validation, processor
        self.workers = engine.workers
        self.evaluate_every = recipe.train.evaluate_every or max(1, steps // 10)
        self.checkpoint_every = recipe.train.checkpoint_every or self.evaluate_every
        variables = variables_by_path(engine.model, engine.optimizer)
        self.checkpoints = Checkpoints(run.checkpoints, variables, recipe.train.keep)
        # Labelled data is small enough to be memorised, so the best weights are kept.
        self.keeps_best = recipe.objective.supervised
        limit = None if self.keeps_best else recipe.train.evaluate_batches
        self._seen = ""  # by the last evaluation, for people
        self._measured = validation.in_order(limit)  # made once, for its making takes a while

    def run_from(self, state: State | None) -> State:
        """Take every step that is left, from a restored state or from the start.

        Raises:
            InputError: the loss is not finite, or there is no room for a checkpoint.
            Interrupted: the user stopped it; a checkpoint was written.
        """
        first = state.step if state is not None else 0
        monitor = Monitor(self.run, self.recipe, first) if self.workers.is_first else Silence()
        try:
            if state is None:
                state = self._evaluate(State(step=0), monitor)
                self._save(state)
            elif not self._done(state):
                say(f"resuming {escape(str(self.run.folder))} at step {first:,} of {self.steps:,}")
            return state if self._done(state) else self._steps(state, monitor)
        finally:
            monitor.close()

    def measure(self) -> dict[str, float]:
        """Return the metrics of the validation split: of a table all of it, of texts a part."""
        return self.engine.evaluate(self._measured, self.validation.rows)

    def finish(self, state: State) -> dict[str, Any]:
        """Save the best weights, or the averaged ones if asked for, and mark the run as done.

        Returns:
            The numbers of the run, as `train` returns them.
        """
        self.workers.wait()  # for what the first one has written
        model = self.engine.model
        if self.recipe.train.average > 1:
            self.checkpoints.average(model, self.recipe.train.average)
        with self.engine.averaged():
            if self.keeps_best:
                _, _, weights = tfattn.read(self.run.best)
                tfattn.assign(model, weights, where=self.run.best)
                if state.best_step == 0:
                    metric = self.engine.objective.selects.metric
                    say(f"no evaluation had a better {metric} than the first: those weights stay")
            after = self.measure()
            if self.workers.is_first:
                save_model(self.run.model, model, self.processor)
                self.run.finish(self._result(state, after))
        self.workers.wait()
        return self.run.result or {}

    def _result(self, state: State, after: dict[str, float]) -> dict[str, Any]:
        lines = self.run.metrics.read_text(encoding="utf-8").splitlines()
        return {
            "before": _first_validation(lines),
            "after": after,
            "steps": state.step,
            "best_step": state.best_step,
            "seconds": round(state.seconds, 1),
            "parameters": self.engine.model.count_params(),
        }

    def _save(self, state: State) -> None:
        if self.workers.is_first:
            self.checkpoints.save(state)

    def _done(self, state: State) -> bool:
        patience = self.recipe.train.patience
        return state.step >= self.steps or (patience is not None and state.stale >= patience)

    def _steps(self, state: State, monitor: Monitor | Silence) -> State:
        batches = self.batches.stream(state.step, self.steps, self.engine.share())
        self.engine.expect(batches.element_spec)
        # Each process reads its own share of every batch, and its devices a part in turn.
        stream = self.engine.strategy.distribute_datasets_from_function(lambda _: batches)
        unit = self.engine.objective.unit
        clock = _Clock(state.seconds, unit)
        shown = bar(str(self.run.folder), self.steps, state.step)
        with readable(), shown as report, _stop_signals() as stop:
            for step, batch in enumerate(clock.waits(stream), state.step + 1):
                numbers = self.engine.step(batch)
                clock.tick(numbers)
                state = replace(state, step=step, seconds=clock.seconds)
                if step % self.recipe.train.log_every == 0 or step == self.steps:
                    numbers |= {f"{unit}_per_second": clock.speed, "seconds": clock.seconds}
                    numbers["waiting"] = clock.waiting()
                    monitor.numbers("train", step, numbers)
                monitor.profile(step)
                if step % self.evaluate_every == 0 or step == self.steps:
                    state = self._evaluate(state, monitor)
                    clock.skip()
                    report(step, f"loss {clock.loss:.3f}{self._seen} · {clock.speed:,.0f} {unit}/s")
                over, stopped = self._done(state), self.workers.any(stop.is_set())
                if step % self.checkpoint_every == 0 or over or stopped:
                    self._save(state)
                    clock.skip()
                if stopped:  # after the last step too: what comes next is not wanted either
                    raise Interrupted(
                        f"stopped at step {step:,} of {self.steps:,}; a checkpoint is in "
                        f"{self.run.checkpoints}. The same command goes on from there."
                    )
                if over:
                    break
        return state

    def _evaluate(self, state: State, monitor: Monitor | Silence) -> State:
        """Measure the validation split, show it, and keep the weights if they are the best."""
        model, objective = self.engine.model, self.engine.objective
        with self.engine.averaged():
            measured = self.measure()
            # What is decided by them is decided alike, should machines round differently.
            numbers = dict(zip(measured, self.workers.mean(list(measured.values())), strict=True))
            monitor.numbers("validation", state.step, numbers)
            probe = self.validation.at(0)
            ends = state.step in (0, self.steps)
            monitor.report(state.step, model, objective, probe, ends)
            metric, higher = objective.selects
            value = numbers[metric]
            self._seen = f" · validation {metric} {value:.3f}"
            better = state.best is None or (value > state.best if higher else value < state.best)
            if better and self.keeps_best and self.workers.is_first:
                save_model(self.run.best, model, self.processor)
        if better:
            return replace(state, best=value, best_step=state.step, stale=0)
        return replace(state, stale=state.stale + 1)


def save_model(folder: Path, model: Model, processor: Processor) -> None:
    """Write weights, config and processor: all that another run or an export starts from."""
    tfattn.save(model, folder)
    processor.save(folder)


def _first_validation(lines: list[str]) -> dict[str, float]:
    for line in lines:
        found = json.loads(line)
        if found["split"] == "validation":
            return {k: v for k, v in found.items() if k not in ("step", "split")}
    return {}


class _Clock:
    """Seconds of training, and the smoothed speed and loss that a person looks at.

    `waiting` is the share of them, 0 to 1, in which the loop stood still until the next batch was
    there. A step ends when its numbers are read, so that no work of the device hides behind it:
    what is well above 0 could be saved by a faster input.
    """

    def __init__(self, seconds: float, unit: str):
        self.unit = unit
        self.seconds, self.speed, self.loss = seconds, 0.0, 0.0
        self._last, self._ticks = time.monotonic(), 0
        self._taken, self._waited = 0.0, 0.0  # since the last line

    def tick(self, numbers: dict[str, float]) -> None:
        """Count a step."""
        now = time.monotonic()
        taken, self._last = max(now - self._last, 1e-9), now
        self.seconds += taken
        self._taken += taken
        self._ticks += 1
        # The first step compiles, which says nothing of the speed.
        share = 1.0 if self._ticks <= 2 else 0.05
        self.speed += share * (numbers[self.unit] / taken - self.speed)
        share = 1.0 if self._ticks == 1 else 0.05
        self.loss += share * (numbers["loss"] - self.loss)

    def waits(self, stream: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches, and count the seconds until each is there."""
        asked = time.monotonic()
        for batch in stream:
            self._waited += time.monotonic() - asked
            yield batch
            asked = time.monotonic()

    def waiting(self) -> float:
        """Return the share of the time of all steps since the last call that went in waiting."""
        share = min(self._waited / max(self._taken, 1e-9), 1.0)
        self._taken = self._waited = 0.0
        return share

    def skip(self) -> None:
        """Leave out the time since the last step."""
        self._last = time.monotonic()


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or termination into a stop after the current step."""
    event = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if event.is_set():  # the second time it is meant now
            raise KeyboardInterrupt
        event.set()

    main = threading.current_thread() is threading.main_thread()  # no other may handle signals
    old = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM) if main}
    try:
        yield event
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)

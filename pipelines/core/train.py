"""The main job: a recipe becomes a trained model. Pretraining and fine-tuning are one function.

1 strategy · 2 data · 3 seed and model · 4 optimizer · 5 weights · 6 loop · 7 evaluation and save
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import tfattn
from pipelines.core.api import Prepared, Start
from pipelines.core.batches import Batches
from pipelines.core.checkpoint import State
from pipelines.core.devices import check_memory, choose_lanes, choose_strategy, share_rows
from pipelines.core.engine import Engine
from pipelines.core.length_batches import LengthBatches, Sides
from pipelines.core.loop import Loop
from pipelines.core.optimize import build_optimizer
from pipelines.core.run import Run, discarded_on_bad_input, open_run
from pipelines.core.runtimes import runtime_of
from pipelines.core.spec import Recipe
from pipelines.core.start import initialise, keep_processor, resumed, starting_point
from pipelines.core.train_config import TrainConfig
from pipelines.core.workers import Workers
from tfattn.errors import InputError

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def train(recipe: Recipe, out: str | Path) -> dict[str, Any]:
    """Run a recipe in the directory `out`, or finish what an earlier call began there.

    Returns:
        The numbers of the finished run: `before` and `after`, the validation metrics of the first
        and the kept weights, and `steps`, `seconds`, `parameters`.

    Raises:
        InputError: anything in the recipe or its data that cannot be used.
        Interrupted: the user stopped it; the same call goes on.
    """
    # 1. Strategy: one device or several, of one process or several.
    share_rows(recipe.train)
    strategy = choose_strategy(recipe.train)
    workers = Workers(strategy)
    with workers.together():
        return _trained(recipe, out, strategy, workers)


def _trained(
    recipe: Recipe, out: str | Path, strategy: tf.distribute.Strategy, workers: Workers
) -> dict[str, Any]:
    with workers.first_before_others():
        run = open_run(out, recipe)
        if run.result is not None:
            return run.result
        with discarded_on_bad_input(run):
            # 2. Data: the processor, rows, and what the labels say about the task.
            recipe, start = resumed(run) or (recipe, starting_point(recipe))
            prepared = prepare(run, recipe, start)
            batches, validation = _batches(prepared, recipe, strategy.num_replicas_in_sync)
            steps = steps_of(recipe.train, batches.steps_per_epoch)
            heads = prepared.objective.heads
            check_memory(prepared.config, heads, choose_lanes(recipe.train))
    with discarded_on_bad_input(run):
        # 3. Model: of the recipe, or of what it starts from; the objective names the heads. New
        # weights and dropout depend on the seed, whether the data was prepared now or before.
        keras.utils.set_random_seed(recipe.train.seed)
        with strategy.scope():
            policy = POLICIES[recipe.train.precision]
            model = tfattn.build(prepared.config, *heads, dtype=policy)

            # 4. Optimizer.
            optimizer = build_optimizer(recipe.train, steps, model)
        engine = Engine(model, prepared.objective, optimizer, recipe.train, strategy)
        if workers.is_first:
            keep_processor(run, prepared.processor)
            resolved = replace(recipe, model=prepared.config, objective=prepared.task)
            resolved.save(run.resolved)
        loop = Loop(run, recipe, engine, batches, validation, prepared.processor, steps)

        # 5. Weights: the last checkpoint of this run > what it starts from > new ones.
        state = loop.checkpoints.restore()
        _check_shared(run, state, workers)
        if state is None and recipe.init is not None and not recipe.fresh:
            if start is None or start.weights is None:  # every checkpoint of the run is damaged
                start = starting_point(recipe)
            if start is not None:
                initialise(model, start, prepared.objective)

    # 6. Loop. 7. Evaluation and save: the best weights where a metric chooses, else the averaged.
    return loop.finish(loop.run_from(state))


def prepare(run: Run, recipe: Recipe, start: Start | None) -> Prepared:
    """Read the data of a recipe.

    Raises:
        InputError: data that cannot be used, or a model that does not fit it.
    """
    config = start.config if start is not None else recipe.model
    if config is None:
        raise InputError("model: expected a preset, or --init. Received neither.")
    recipe.objective.check_model(config, "model" if start is None else f"init: {recipe.init}")
    return runtime_of(recipe.objective).prepare(run, recipe, start)


def _check_shared(run: Run, state: State | None, workers: Workers) -> None:
    """Refuse workers of which one would begin at another step; none goes on before all are here."""
    if not workers.alike(-1 if state is None else state.step):
        raise InputError(
            f"{run.folder}: expected one folder that all workers share. Received one in which "
            f"other checkpoints are than in theirs."
        )


def steps_of(train: TrainConfig, epoch: float) -> int:
    """Return the steps of a run, where one pass over the rows takes `epoch` of them."""
    return max(train.steps or round((train.epochs or 1) * epoch), 1)


def _batches(
    prepared: Prepared, recipe: Recipe, parts: int
) -> tuple[Batches | LengthBatches, Batches]:
    train, objective, rows = recipe.train, prepared.objective, prepared.train
    validation = Batches(prepared.validation, objective.batch, train.batch, 0)
    transform = objective.training_batch
    if train.batch_tokens is None:
        size, by_row = train.batch * train.accumulate, objective.row_independent
        return Batches(rows, transform, size, train.seed, by_row), validation
    if not isinstance(rows, Sides):
        raise InputError(
            "train.batch_tokens: expected pairs of texts to put together by their length. "
            f"Received: {train.batch_tokens} for {prepared.task.name}."
        )
    sizes = (train.batch_tokens, train.accumulate, train.seed)
    return LengthBatches(rows, transform, *sizes, parts), validation

"""The main job: a recipe becomes a trained model. Pretraining and fine-tuning are one function.

1 strategy · 2 data · 3 seed and model · 4 optimizer · 5 weights · 6 loop · 7 evaluation and save
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

import tfattn
from pipelines.data.batches import Batches
from pipelines.data.length_batches import LengthBatches
from pipelines.data.source_target_rows import SourceTargetRows
from pipelines.devices import check_memory, choose_lanes, choose_strategy, share_rows
from pipelines.objectives import Objective
from pipelines.progress import say
from pipelines.recipes import Recipe, TrainConfig
from pipelines.runs import discarded_on_bad_input, open_run
from pipelines.training.checkpoint import State
from pipelines.training.engine import Engine
from pipelines.training.loop import Loop, save_model
from pipelines.training.optimize import build_optimizer
from pipelines.training.task import Start, starting_point
from pipelines.training.tasks import prepare
from pipelines.training.workers import Workers
from tfattn.errors import InputError
from tfattn.models.build import Model

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


def _trained(recipe, out, strategy, workers):
    with workers.first_before_others():
        run = open_run(out, recipe)
        if run.result is not None:
            return run.result
        with discarded_on_bad_input(run):
            # 2. Data: the vocabulary, rows, and what the labels say about the objective.
            start = starting_point(recipe)
            task = prepare(run, recipe, start)
            batches, validation = _batches(task, recipe, strategy.num_replicas_in_sync)
            steps = steps_of(recipe.train, batches.steps_per_epoch)
            check_memory(task.config, task.objective.heads, choose_lanes(recipe.train))
    with discarded_on_bad_input(run):
        # 3. Model: of the recipe, or of what it starts from; the objective names the heads. New
        # weights and dropout hang on the seed, whether the data was prepared now or before.
        keras.utils.set_random_seed(recipe.train.seed)
        with strategy.scope():
            policy = POLICIES[recipe.train.precision]
            model = tfattn.build(task.config, *task.objective.heads, dtype=policy)

            # 4. Optimizer.
            optimizer = build_optimizer(recipe.train, steps, model)
        engine = Engine(model, task.objective, optimizer, recipe.train, strategy)
        if workers.is_first:
            replace(recipe, model=task.config, objective=task.spec).save(run.resolved)
        loop = Loop(run, recipe, engine, batches, validation, task.reader, steps)

        # 5. Weights: the last checkpoint of this run > what it starts from > new ones.
        state = loop.checkpoints.restore()
        _check_shared(run, state, workers)
        if state is None and start is not None and not recipe.fresh:
            _initialise(model, start, task.objective)

    # 6. Loop.
    state = loop.run_from(state)

    # 7. Evaluation and save: the best weights where a metric chooses, the averaged ones if kept.
    return _finish(loop, state)


def _check_shared(run, state, workers):
    """Refuse workers of which one would begin at another step; none goes on before all are here."""
    if not workers.alike(-1 if state is None else state.step):
        raise InputError(
            f"{run.folder}: expected one folder that all workers share. Received one in which "
            f"other checkpoints are than in theirs."
        )


def steps_of(train: TrainConfig, epoch: float) -> int:
    """Return the steps of a run, where one pass over the rows takes `epoch` of them."""
    return max(train.steps or round((train.epochs or 1) * epoch), 1)


def _batches(task, recipe, parts):
    train, objective = recipe.train, task.objective
    transform = objective.training_batch
    validation = Batches(task.validation, objective.batch, train.batch, 0, task.draws_validation)
    if train.batch_tokens is not None:
        if not isinstance(task.train, SourceTargetRows):
            raise InputError(
                "train.batch_tokens: expected pairs of texts to put together by their length. "
                f"Received: {train.batch_tokens} for {type(task.spec).__name__}."
            )
        sizes = (train.batch_tokens, train.accumulate, train.seed)
        return LengthBatches(task.train, transform, *sizes, parts), validation
    size = train.batch * train.accumulate
    how = (train.seed, task.draws_train, objective.by_row)
    return Batches(task.train, transform, size, *how), validation


def _initialise(model: Model, start: Start, objective: Objective) -> None:
    """Take over every part that the starting point has; heads of its own are left behind."""
    parts = {path.split("/")[0] for path in model.weights_by_path()}
    theirs = {path.split("/")[0] for path in start.weights}
    needed = ("stem", "target_stem", "encoder", "initial", "decoder")
    fresh = tuple(part for part in parts - theirs if part not in needed)
    heads = {head.name for head in objective.heads}
    weights = start.weights
    if heads & theirs and not start.same_heads(objective.heads):  # of another number of classes
        fresh += tuple(heads)
        weights = {p: w for p, w in weights.items() if p.split("/")[0] not in heads}
    tfattn.assign(model, weights, where=start.name, fresh=fresh, unused=tuple(theirs - parts))


def _finish(loop: Loop, state: State) -> dict[str, Any]:
    loop.workers.wait()  # for what the first one has written
    if loop.recipe.train.average > 1:
        loop.checkpoints.average(loop.engine.model, loop.recipe.train.average)
    with loop.engine.averaged():
        if loop.keeps_best:
            _, _, weights = tfattn.read(loop.run.best)
            tfattn.assign(loop.engine.model, weights, where=loop.run.best)
            if state.best_step == 0:
                metric, _ = loop.engine.objective.selects
                say(f"no evaluation had a better {metric} than the first: the first weights stay")
        after = loop.measure()
        if loop.workers.is_first:
            save_model(loop.run.model, loop.engine.model, loop.reader)
            loop.run.finish(_result(loop, state, after))
    loop.workers.wait()
    return loop.run.result or {}


def _result(loop, state, after):
    lines = loop.run.metrics.read_text(encoding="utf-8").splitlines()
    return {
        "before": _first_validation(lines),
        "after": after,
        "steps": state.step,
        "best_step": state.best_step,
        "seconds": round(state.seconds, 1),
        "parameters": loop.engine.model.count_params(),
    }


def _first_validation(lines):
    for line in lines:
        found = json.loads(line)
        if found["split"] == "validation":
            return {k: v for k, v in found.items() if k not in ("step", "split")}
    return {}

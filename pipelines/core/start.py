"""What a run starts from: its own checkpoint, an earlier run, a saved or a published model."""

import numpy as np

import tfattn
from pipelines.core.api import Model, Objective, Processor, Start
from pipelines.core.atomic import replacing_folder
from pipelines.core.run import Run, find_run, user_path
from pipelines.core.runtimes import runtime_of
from pipelines.core.spec import Recipe
from tfattn.errors import InputError
from tfattn.models.config import Head

Weights = dict[str, np.ndarray]


def starting_point(recipe: Recipe) -> Start | None:
    """Read what the recipe starts from, or return None.

    Raises:
        InputError: nothing there that can be started from, or a kind of model that cannot learn
            the task.
    """
    if recipe.init is None:
        return None
    folder = user_path(recipe.init)
    if (folder / "recipe.json").exists():
        run = find_run(folder, finished=True)
        run.recipe()  # refuses a run of another format
        folder = run.model
    if not folder.is_dir():
        raise InputError(f"init: expected a run or a folder with a model. Received: {folder}.")
    config, heads, weights = tfattn.read(folder)
    recipe.objective.check_model(config, f"init: {recipe.init}")
    runtime = runtime_of(recipe.objective)
    processor = runtime.load_processor(folder, config)
    return runtime.adapt(Start(str(folder), config, heads, weights, processor), recipe)


def resumed(run: Run) -> tuple[Recipe, Start] | None:
    """Return the resolved recipe and the start of a run that was begun before, or None.

    All that a checkpoint does not hold is in the run directory, so that a run goes on when what it
    started from is gone.

    Raises:
        InputError: a resolved recipe or a processor that is damaged.
    """
    if not (
        run.resolved.exists() and run.processor.exists() and any(run.checkpoints.glob("step-*"))
    ):
        return None
    recipe = Recipe.load(run.resolved)
    config = recipe.model
    if config is None:
        raise InputError(f"{run.resolved}: expected the config of the model. Received none.")
    processor = runtime_of(recipe.objective).load_processor(run.processor, config)
    return recipe, Start(str(run.folder), config, (), None, processor)


def keep_processor(run: Run, processor: Processor) -> None:
    """Write the processor into the run, whole or not at all, unless it is there."""
    if not run.processor.exists():
        with replacing_folder(run.processor) as folder:
            processor.save(folder)


def initialise(model: Model, start: Start, objective: Objective) -> None:
    """Take over every part that the starting point has; heads of its own are left behind.

    Raises:
        InputError: parts of another shape, or missing ones.
    """
    weights: Weights = start.weights or {}
    parts = {path.split("/")[0] for path in model.weights_by_path()}
    theirs = {path.split("/")[0] for path in weights}
    heads = {head.name for head in objective.heads}
    # What is no head must be there; a pooler is made for a head.
    new = tuple(part for part in parts - theirs if part in {*heads, "pooler"})
    if heads & theirs and not _same_heads(start.heads, objective.heads):  # other classes
        new += tuple(heads)
        weights = {p: w for p, w in weights.items() if p.split("/")[0] not in heads}
    tfattn.assign(model, weights, where=start.name, fresh=new, unused=tuple(theirs - parts))


def _same_heads(theirs: tuple[Head, ...], ours: tuple[Head, ...]) -> bool:
    """Return whether weights of these heads can be taken over."""
    shapes = {(head.name, getattr(head, "classes", None)) for head in theirs}
    return all((head.name, getattr(head, "classes", None)) in shapes for head in ours)

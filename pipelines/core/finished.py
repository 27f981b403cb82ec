"""A finished run, opened to be used."""

import tfattn
from pipelines.core.api import Finished, Model
from pipelines.core.run import find_run
from pipelines.core.runtimes import runtime_of
from pipelines.core.spec import Recipe
from tfattn.errors import InputError


def open_finished(folder: str) -> Finished:
    """Load the model of a run.

    Raises:
        InputError: no run there, one that is not finished, or a recipe of another model.
    """
    run = find_run(folder, finished=True)
    recipe, model = Recipe.load(run.resolved), tfattn.load(run.model, dtype="float32")
    if not recipe.objective.is_answered_by(model.heads):
        raise InputError(
            f"{run.resolved}: expected what the model in {run.model} learnt. "
            f"Received: {type(recipe.objective).__name__}."
        )
    processor = runtime_of(recipe.objective).load_processor(run.model, model.config)
    return Finished(run, recipe, model, processor)


def without_heads(done: Finished) -> Model:
    """Return the model of a run without its heads, which gives hidden states."""
    config, _, weights = tfattn.read(done.run.model)
    model = tfattn.build(config, dtype="float32")
    parts = {path.split("/")[0] for path in weights}
    unused = parts - {path.split("/")[0] for path in model.weights_by_path()}
    tfattn.assign(model, weights, where=done.run.model, unused=tuple(unused))
    return model

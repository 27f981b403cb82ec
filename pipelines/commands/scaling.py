"""The command that fits scaling laws, and its flags.

Nothing here imports Keras or TensorFlow at the top: help is answered at once.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, cast

import tyro

from pipelines.commands import flags
from pipelines.commands.quiet import import_tensorflow
from pipelines.core.run import user_path
from pipelines.core.train_config import TrainConfig
from pipelines.experiments import ladder
from pipelines.text.presets import PRESETS
from pipelines.text.sources import TextData
from tfattn.errors import InputError

LADDER = ("nanogpt-tiny",)  # minutes on two cores
SHARES = (0.125, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Scaling:
    """Train models of several sizes, and fit the laws by which the loss falls.

    Power laws of parameters, tokens and compute, with their uncertainty, and drawn.

    Example: python -m pipelines scaling --presets gpt2-tiny gpt2-mini gpt2-small

    or: python -m pipelines scaling --presets gpt2-tiny --widths 32 64 128 256
    """

    # Several, of the same objective and kind of tokens; or one, for a ladder of its widths.
    presets: tuple[str, ...] = LADDER
    widths: tuple[int, ...] = ()  # of the one preset; none: 1/4, 3/8, 1/2, 3/4 and all of its own
    # Of the steps: each size is trained for each share anew, with a whole schedule.
    token_shares: tuple[float, ...] = SHARES
    seeds: int = 1  # repetitions of each run, from --train.seed on
    # Of the run directories, the picture and scaling.json; the same command again goes on.
    out: Annotated[str, tyro.conf.arg(metavar="FOLDER")] = "runs/scaling"
    data: TextData = cast(TextData, PRESETS[LADDER[0]].data)  # one corpus and vocabulary for all
    # The same for all sizes, but for the rate unless --train.rate is given: each preset has its
    # own, and a width that of the preset times the preset's width over it.
    train: TrainConfig = PRESETS[LADDER[0]].train
    own_rates: Annotated[bool, tyro.conf.Suppress] = True  # whether --train.rate is not given

    def rungs(self) -> list[ladder.Rung]:
        """Return every run."""
        recipes = ladder.sizes(self.presets, self.widths)
        if not self.own_rates:
            recipes = {
                size: replace(recipe, train=replace(recipe.train, rate=self.train.rate))
                for size, recipe in recipes.items()
            }
        return ladder.rungs(recipes, self.data, self.train, self.token_shares, self.seeds)

    def run(self, base: Any = None) -> dict[str, Any]:
        """Train the ladder, and return what to print."""
        if not self.out:
            raise InputError("out: expected a folder. Received: ''.")
        out = user_path(self.out)
        rungs = self.rungs()
        ladder.check_folder(out)
        self.data.check_sources()
        import_tensorflow()
        from pipelines.experiments.scaling import scaling

        return scaling(rungs, out)


def scaling_defaults(seen: Scaling | None, words: list[str]) -> Scaling:
    """Return the flags' defaults: data and steps of the first preset in `words`."""
    found = Scaling(own_rates=not flags.is_given(words, "--train.rate"))
    recipe = PRESETS.get(seen.presets[0]) if seen is not None and seen.presets else None
    if recipe is None or recipe.objective.data is not TextData:  # which is told later
        return found
    return replace(found, data=cast(TextData, recipe.data), train=recipe.train)

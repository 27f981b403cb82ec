"""The commands that train, and their flags: pretrain, finetune, demo; and the list of presets.

Flags are dataclasses: their types are the flags, and the comments behind them the help. Nothing
here imports Keras or TensorFlow at the top: help is answered at once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pipelines import recipes
from pipelines.commands.flags import check_files
from pipelines.commands.quiet import import_tensorflow
from pipelines.defaults import FINETUNE, OBJECTIVES, RECIPES, TASKS
from pipelines.recipes import (
    ImageData,
    ModelOverrides,
    MonitorConfig,
    PairData,
    Recipe,
    TableData,
    TextData,
)
from tfattn.errors import InputError
from tfattn.models.model_config import changed
from tfattn.models.vision_config import VisionConfig
from tfattn.spec import unknown

From = Annotated[str | None, tyro.conf.arg(name="from", metavar="RECIPE.JSON")]
Folder = Annotated[str | None, tyro.conf.arg(metavar="FOLDER")]
Task = Annotated[str | None, tyro.conf.arg(metavar="TASK")]
PresetName = Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[PRESET]")]


@dataclass(frozen=True)
class Pretrain:
    """Train a model on raw text, on pairs of texts such as translations, or on images.

    Before --help a preset shows the flags of its own data and objective.

    Example: python -m pipelines pretrain bert-mini
    --data.files 'corpus/*.txt' --out runs/mine

    Example: python -m pipelines pretrain transformer-nmt-mini
    --out runs/nmt --data.train a.en a.fr --data.validation b.en b.fr

    Example: python -m pipelines pretrain vit-mini --data.images pictures
    --out runs/vit
    """

    preset: PresetName = None  # such as bert-mini; `python -m pipelines presets` lists them
    out: Folder = None  # run directory; the same command again resumes; none: runs/PRESET
    init: Folder = None  # a run, a saved model or a published checkpoint to go on from
    fresh: bool = False  # take only shape and vocabulary from --init
    from_: From = None  # recipe of a run to repeat, RUN/recipe.json; flags beside it win
    # What to learn: masked-lm, causal-lm, span-corruption, text-infilling, prefix-lm, translation;
    # of images masked-images, image-classification; none: what the preset is for.
    task: Task = None
    model: ModelOverrides = ModelOverrides()  # fields of the preset to change; none: as it has them
    data: recipes.Data = TextData()  # that of the preset
    objective: recipes.Objective = recipes.MaskedLM()  # that of the preset
    train: recipes.TrainConfig = recipes.TrainConfig()
    monitor: MonitorConfig = MonitorConfig()

    def recipe(self, base: Recipe | None) -> Recipe:
        """Return the whole run as data; `base` is the recipe that is repeated."""
        config = head = None
        if self.init is None:
            if self.preset is not None:
                base = _recipe_of(self.preset)
            if base is None or base.model is None:
                listed = ", ".join(RECIPES)
                raise InputError(f"preset: expected --init, --from or one of: {listed}.")
            config, head, data = base.model, base.head, self.data
            if isinstance(data, TextData | PairData) and not isinstance(config, VisionConfig):
                if self.preset is not None:  # room for what the data has, no more
                    config = changed(config, max_length=data.length)
                config = changed(config, vocab_size=data.vocab_size)
            config = self.model.apply(config)
        elif self.preset is not None or self.model != ModelOverrides():
            raise InputError(
                "init: expected no preset and no --model flags beside it, "
                f"for the model is that of {self.init}. Received them."
            )
        return Recipe(
            config, self.objective, self.data, self.train, self.monitor, self.init, self.fresh, head
        )

    def run(self, base: Recipe | None = None) -> dict[str, Any]:
        """Train, and return what to print."""
        if self.task is not None and self.task not in OBJECTIVES:
            raise InputError(f"task: {unknown('task', self.task, OBJECTIVES)}")
        recipe = self.recipe(base)
        if not isinstance(self.data, ImageData):  # of which folders are files
            for flag in ("files", "train", "validation"):
                check_files(flag, getattr(self.data, flag, ()))
        import_tensorflow()
        from pipelines.training.train import train

        out = f"runs/{self.preset or 'pretrained'}" if self.out is None else self.out
        return {"run": out, **train(recipe, out)}


@dataclass(frozen=True)
class Finetune:
    """Train a model that starts from another on labelled texts or images.

    Example: python -m pipelines finetune classify --init runs/mine
    --data.train train.tsv --data.validation val.tsv --out runs/reviews

    Example: python -m pipelines finetune image --data.images pictures
    --init runs/vit --out runs/kinds
    """

    # What to learn: the class of a text, a number for it, a text that answers it, or the class of
    # an image.
    task: tyro.conf.Positional[Literal["classify", "regress", "text2text", "image"]] = "classify"
    out: Folder = None  # run directory; the same command again resumes; none: runs/TASK
    init: Folder = None  # required: a run, a saved model or a published checkpoint to start from
    fresh: bool = False  # take only shape and vocabulary from --init: does pretraining pay?
    from_: From = None  # recipe of a run to repeat, RUN/recipe.json; flags beside it win
    data: recipes.Data = TableData()  # that of the task
    classify: recipes.Classification = recipes.Classification()
    regress: recipes.Regression = recipes.Regression()
    text2text: recipes.TextToText = recipes.TextToText()
    image: recipes.ImageClassification = recipes.ImageClassification()
    train: recipes.TrainConfig = FINETUNE
    monitor: MonitorConfig = MonitorConfig()

    def run(self, base: Recipe | None = None) -> dict[str, Any]:
        """Train, and return what to print."""
        if self.init is None:
            raise InputError("init: expected a run or a folder with a model. Received none.")
        objectives = {name: getattr(self, name) for name in TASKS}
        objective = objectives.pop(self.task)
        for name, other in objectives.items():
            if other != TASKS[name]:
                raise InputError(f"{name}: expected no such flags, for the task is {self.task}.")
        recipe = Recipe(None, objective, self.data, self.train, self.monitor, self.init, self.fresh)
        if isinstance(self.data, TableData):
            for flag, files in (
                ("train", self.data.train),
                ("validation", recipes.held_out(self.data)),
            ):
                if not files:
                    raise InputError(
                        f"data.{flag}: expected at least one file or glob. Received none."
                    )
                check_files(flag, files)
        import_tensorflow()
        from pipelines.training.train import train

        out = f"runs/{self.task}" if self.out is None else self.out
        return {"run": out, **train(recipe, out)}


@dataclass(frozen=True)
class Presets:
    """List the models, with the exact numbers of parameters as published.

    A run has others where its vocabulary, images or heads are others.
    """

    def run(self, base: Recipe | None = None) -> dict[str, Any]:
        """Return what to print."""
        from rich.console import Console
        from rich.table import Table

        table = Table("preset", "dim", "depth", "heads", "parameters", title="presets")
        counts = {}
        for name, recipe in RECIPES.items():
            config = recipe.model
            if config is not None:
                counts[name] = config.parameter_count()
                row = (config.dim, config.depth, getattr(config, "heads", ""), f"{counts[name]:,}")
                table.add_row(name, *map(str, row))
        Console(stderr=True).print(table)
        return counts


@dataclass(frozen=True)
class Demo:
    """From nothing to a served model: what `make pretrain` runs.

    It pretrains on the documentation of this Python, fine-tunes, and exports.
    """

    out: str = "runs/demo"  # where everything goes; the same command again resumes
    steps: int | None = None  # of pretraining; none: 3000, some four minutes on two cores
    seeds: int = 3  # fine-tunings of each kind

    def run(self, base: Recipe | None = None) -> dict[str, Any]:
        """Run the whole way, and return what to print."""
        import_tensorflow()
        from pipelines.experiments.demo import demo

        return demo(Path(self.out), self.steps, self.seeds)


def _recipe_of(preset):
    if preset not in RECIPES:
        raise InputError(f"preset: {unknown('preset', preset, RECIPES)}")
    return RECIPES[preset]

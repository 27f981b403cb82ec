"""The commands and their flags: dataclasses whose types are the flags and comments the help.

Nothing here imports Keras or TensorFlow at the top: help is answered at once.
"""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pipelines import flags, recipes
from pipelines.defaults import FINETUNE, RECIPES, TASKS
from pipelines.quiet import import_tensorflow
from pipelines.recipes import ModelOverrides, MonitorConfig, Recipe, TableData, TextData
from pipelines.run_commands import Evaluate, Export, FewShot, Fill, Generate, check_files
from pipelines.scaling_command import Scaling, scaling_defaults
from tfattn.errors import InputError
from tfattn.families import FORMATS
from tfattn.models.config import TransformerConfig
from tfattn.spec import unknown

From = Annotated[str | None, tyro.conf.arg(name="from", metavar="RECIPE.JSON")]
Folder = Annotated[str | None, tyro.conf.arg(metavar="FOLDER")]
PresetName = Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[PRESET]")]


@dataclass(frozen=True)
class Pretrain:
    """Train a model on raw text.

    Example: python -m pipelines pretrain bert-mini
    --data.files 'corpus/*.txt' --out runs/mine
    """

    preset: PresetName = None  # such as bert-mini; `python -m pipelines presets` lists them
    out: Folder = None  # run directory; the same command again resumes; none: runs/PRESET
    init: Folder = None  # a run, a saved model or a published checkpoint to go on from
    fresh: bool = False  # take only shape and vocabulary from --init
    from_: From = None  # recipe of a run to repeat, RUN/recipe.json; flags beside it win
    model: ModelOverrides = ModelOverrides()
    data: TextData = TextData()
    objective: recipes.Objective = recipes.MaskedLM()  # that of the preset
    train: recipes.TrainConfig = recipes.TrainConfig()
    monitor: MonitorConfig = MonitorConfig()

    def recipe(self, base: TransformerConfig | None) -> Recipe:
        """Return the whole run as data; `base` is the model of a repeated recipe."""
        config = None
        if self.init is None:
            if self.preset is not None:
                base = _recipe_of(self.preset).model
            if base is None:
                listed = ", ".join(RECIPES)
                raise InputError(f"preset: expected --init, --from or one of: {listed}.")
            config = base
            if self.preset is not None:  # room for what the data has, no more
                config = replace(config, max_length=self.data.length)
            config = self.model.apply(replace(config, vocab_size=self.data.vocab_size))
        elif self.preset is not None or self.model != ModelOverrides():
            raise InputError(
                "init: expected no preset and no --model flags beside it, "
                f"for the model is that of {self.init}. Received them."
            )
        return Recipe(
            config, self.objective, self.data, self.train, self.monitor, self.init, self.fresh
        )

    def run(self, base: TransformerConfig | None = None) -> dict[str, Any]:
        """Train, and return what to print."""
        recipe = self.recipe(base)
        check_files("files", self.data.files)
        check_files("validation", self.data.validation)
        import_tensorflow()
        from pipelines.train import train

        out = f"runs/{self.preset or 'pretrained'}" if self.out is None else self.out
        return {"run": out, **train(recipe, out)}


@dataclass(frozen=True)
class Finetune:
    """Train a model that starts from another on labelled texts, or on answers.

    Example: python -m pipelines finetune classify --init runs/mine
    --data.train train.tsv --data.validation val.tsv --out runs/reviews
    """

    # What to learn: the class of a text, a number for it, or a text that answers it.
    task: tyro.conf.Positional[Literal["classify", "regress", "text2text"]] = "classify"
    out: Folder = None  # run directory; the same command again resumes; none: runs/TASK
    init: Folder = None  # required: a run, a saved model or a published checkpoint to start from
    fresh: bool = False  # take only shape and vocabulary from --init: does pretraining pay?
    from_: From = None  # recipe of a run to repeat, RUN/recipe.json; flags beside it win
    data: TableData = TableData()
    classify: recipes.Classification = recipes.Classification()
    regress: recipes.Regression = recipes.Regression()
    text2text: recipes.TextToText = recipes.TextToText()
    train: recipes.TrainConfig = FINETUNE
    monitor: MonitorConfig = MonitorConfig()

    def run(self, base: TransformerConfig | None = None) -> dict[str, Any]:
        """Train, and return what to print."""
        if self.init is None:
            raise InputError("init: expected a run or a folder with a model. Received none.")
        objectives = {name: getattr(self, name) for name in TASKS}
        objective = objectives.pop(self.task)
        for name, other in objectives.items():
            if other != TASKS[name]:
                raise InputError(f"{name}: expected no such flags, for the task is {self.task}.")
        recipe = Recipe(None, objective, self.data, self.train, self.monitor, self.init, self.fresh)
        for flag, files in (("train", self.data.train), ("validation", self.data.validation)):
            if not files:
                raise InputError(f"data.{flag}: expected at least one file or glob. Received none.")
            check_files(flag, files)
        import_tensorflow()
        from pipelines.train import train

        out = f"runs/{self.task}" if self.out is None else self.out
        return {"run": out, **train(recipe, out)}


@dataclass(frozen=True)
class Presets:
    """List the models, with their exact numbers of parameters."""

    def run(self, base: TransformerConfig | None = None) -> dict[str, Any]:
        """Return what to print."""
        from rich.console import Console
        from rich.table import Table

        table = Table("preset", "dim", "depth", "heads", "parameters", title="presets")
        counts = {}
        for name, recipe in RECIPES.items():
            config = recipe.model
            if config is not None:
                counts[name] = config.parameter_count()
                row = (config.dim, config.depth, config.heads, f"{counts[name]:,}")
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

    def run(self, base: TransformerConfig | None = None) -> dict[str, Any]:
        """Run the whole way, and return what to print."""
        import_tensorflow()
        from pipelines.demo import demo

        return demo(Path(self.out), self.steps, self.seeds)


COMMANDS = {
    "pretrain": Pretrain,
    "finetune": Finetune,
    "evaluate": Evaluate,
    "export": Export,
    "fewshot": FewShot,
    "fill": Fill,
    "generate": Generate,
    "presets": Presets,
    "demo": Demo,
    "scaling": Scaling,
}


def defaults(name: str, words: list[str]) -> tuple[Any, TransformerConfig | None]:
    """Return the command's defaults, and the model, as `--from` or the preset in `words` has them.

    Raises:
        InputError: no such recipe, or one of another command.
    """
    seen = flags.glance(COMMANDS[name], words)
    given, model = getattr(seen, "from_", None), None
    preset = RECIPES.get(getattr(seen, "preset", None) or "")
    if given is not None:
        found, model = _repeat(name, given)
    elif name == "scaling":
        found = scaling_defaults(seen, words)
    elif preset is not None:
        own: dict[str, Any] = {"data": preset.data, "train": preset.train}
        found = Pretrain(**own, objective=preset.objective)
    elif name == "pretrain" and getattr(seen, "init", None):
        found = _going_on(Path(seen.init).expanduser())
    else:
        return None, None
    if flags.is_given(words, "--train.epochs"):  # instead of the steps, unless both are given
        found = replace(found, train=replace(found.train, steps=None))
    return found, model


def _going_on(folder):
    """Return the defaults of pretraining that goes on from a folder: its objective and its rows."""
    if (folder / "recipe.json").exists():
        recipe = Recipe.load(folder / "recipe.json")
        if isinstance(recipe.data, TextData):
            new = TextData()
            data = replace(recipe.data, files=new.files, validation=(), tokenizer=None)
            return Pretrain(objective=recipe.objective, data=data)
    try:
        described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        heads = described.get("heads", ())
        causal = any(h.get("spec") == "Tokens" and not h.get("transform", True) for h in heads)
        kind = FORMATS.get(described.get("model_type"))
    except (OSError, ValueError, AttributeError):
        return Pretrain()  # what is wrong with it is told when it is read
    causal = causal or kind is not None and not kind.tokens[0].transform
    return Pretrain(objective=recipes.CausalLM()) if causal else Pretrain()


def _repeat(name, given):
    recipe = Recipe.load(given)
    own: dict[str, Any] = {"data": recipe.data, "train": recipe.train}
    own |= {"monitor": recipe.monitor, "init": recipe.init, "fresh": recipe.fresh, "from_": given}
    kind = type(recipe.objective)
    if name == "pretrain" and isinstance(recipe.data, TextData):
        return Pretrain(**own, objective=recipe.objective), recipe.model
    task = {type(objective): task for task, objective in TASKS.items()}.get(kind)
    if name == "finetune" and task is not None:
        return Finetune(**own, **{"task": task, task: recipe.objective}), None
    raise InputError(f"{given}: expected a recipe of {name}. Received one of {kind.__name__}.")


def _recipe_of(preset):
    if preset not in RECIPES:
        raise InputError(f"preset: {unknown('preset', preset, RECIPES)}")
    return RECIPES[preset]


def as_json(result: dict[str, Any]) -> str:
    """Return the result as one line of strict JSON: what is not a finite number is null."""
    return json.dumps(_strict(result), allow_nan=False)


def _strict(value):
    if isinstance(value, dict):
        return {name: _strict(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""The commands and their flags: dataclasses whose types are the flags and comments the help.

Nothing here imports Keras or TensorFlow at the top: help is answered at once.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pipelines import recipes
from pipelines.recipes import ModelOverrides, MonitorConfig, Recipe, TableData, TextData
from tfattn.errors import InputError
from tfattn.models.config import TransformerConfig
from tfattn.spec import unknown

From = Annotated[str | None, tyro.conf.arg(name="from", metavar="RECIPE.JSON")]


@dataclass(frozen=True)
class Pretrain:
    """Train a model on raw text.

    Example: python -m pipelines pretrain bert-mini --data.files 'corpus/*.txt' --out runs/mine
    """

    preset: tyro.conf.Positional[str | None] = None  # such as bert-mini; see `presets`
    out: str | None = None  # run directory; the same command again resumes; default runs/PRESET
    init: str | None = None  # a run, a saved model or a published checkpoint to go on from
    from_: From = None  # recipe.json of a run to repeat; flags given besides it win
    model: ModelOverrides = ModelOverrides()
    data: TextData = TextData()
    objective: recipes.MaskedLM = recipes.MaskedLM()
    train: recipes.TrainConfig = recipes.TrainConfig()
    monitor: MonitorConfig = MonitorConfig()

    def recipe(self, base: TransformerConfig | None) -> Recipe:
        """Return the whole run as data; `base` is the model of a repeated recipe."""
        config = None
        if self.init is None:
            if self.preset is not None:
                base = _recipe_of(self.preset).model
            if base is None:
                listed = ", ".join(recipes.RECIPES)
                raise InputError(f"preset: expected one of: {listed}. Received none.")
            config = base
            if self.preset is not None:  # room for what the data has, no more
                config = replace(config, max_length=self.data.length)
            config = self.model.apply(replace(config, vocab_size=self.data.vocab_size))
        elif self.preset is not None or self.model != ModelOverrides():
            raise InputError(
                "init: expected no preset and no --model flags beside it, "
                f"for the model is that of {self.init}. Received both."
            )
        return Recipe(config, self.objective, self.data, self.train, self.monitor, self.init)

    def run(self, base: TransformerConfig | None = None) -> dict[str, Any]:
        """Train, and return what to print."""
        from pipelines.train import train

        recipe = self.recipe(base)
        out = self.out or f"runs/{self.preset or 'pretrained'}"
        return _report(out, train(recipe, out))


@dataclass(frozen=True)
class Finetune:
    """Train a model that starts from another on labelled texts.

    Example: python -m pipelines finetune classify --init runs/mine --data.train train.tsv
    --data.validation val.tsv --out runs/reviews
    """

    task: tyro.conf.Positional[Literal["classify", "regress"]] = "classify"
    out: str | None = None  # run directory; the same command again resumes; default runs/TASK
    init: str | None = None  # a run, a saved model or a published checkpoint to start from
    fresh: bool = False  # take only shape and vocabulary from --init: does pretraining pay?
    from_: From = None  # recipe.json of a run to repeat; flags given besides it win
    data: TableData = TableData()
    classify: recipes.Classification = recipes.Classification()
    regress: recipes.Regression = recipes.Regression()
    train: recipes.TrainConfig = recipes.FINETUNE
    monitor: MonitorConfig = MonitorConfig()

    def run(self, base: TransformerConfig | None = None) -> dict[str, Any]:
        """Train, and return what to print."""
        from pipelines.train import train

        if self.init is None:
            raise InputError("init: expected a run or a folder with a model. Received none.")
        objective = {"classify": self.classify, "regress": self.regress}[self.task]
        recipe = Recipe(None, objective, self.data, self.train, self.monitor, self.init, self.fresh)
        out = self.out or f"runs/{self.task}"
        return _report(out, train(recipe, out))


@dataclass(frozen=True)
class EvaluateData:
    """What to measure on."""

    files: tuple[str, ...] = ()  # like those of the run; default its own validation split


@dataclass(frozen=True)
class Evaluate:
    """Measure a finished run; the last line printed is one JSON object."""

    run_: Annotated[tyro.conf.Positional[str], tyro.conf.arg(name="run")]  # run directory
    data: EvaluateData = EvaluateData()
    batch: int = 64  # rows at a time

    def run(self, base: TransformerConfig | None = None) -> dict[str, Any]:
        """Evaluate, and return what to print."""
        from pipelines.evaluate import evaluate, print_table

        if self.batch < 1:
            raise InputError(f"batch: expected at least 1. Received: {self.batch}.")
        numbers = evaluate(self.run_, self.data.files, self.batch)
        print_table(self.run_, numbers)
        return numbers


@dataclass(frozen=True)
class Export:
    """Write a finished run as a SavedModel that takes raw strings."""

    run_: Annotated[tyro.conf.Positional[str], tyro.conf.arg(name="run")]  # run directory
    out: str = "exported"  # an empty folder; the model goes into its subfolder 1, as servers expect

    def run(self, base: TransformerConfig | None = None) -> dict[str, Any]:
        """Export, and return what to print."""
        from pipelines.export import export

        return export(self.run_, self.out)


@dataclass(frozen=True)
class Fill:
    """Say what a pretrained model would put in place of [MASK]."""

    run_: Annotated[tyro.conf.Positional[str], tyro.conf.arg(name="run")]  # run directory
    text: tuple[str, ...] = ()  # one or several texts, each with one or several [MASK]
    top: int = 3  # guesses a mask

    def run(self, base: TransformerConfig | None = None) -> dict[str, Any]:
        """Fill in, and return what to print."""
        from pipelines.evaluate import open_finished
        from pipelines.fill import fill

        if not self.text or self.top < 1:
            raise InputError("text and top: expected at least one of each. Received none.")
        done = open_finished(self.run_)
        return {text: fill(done, text, self.top) for text in self.text}


@dataclass(frozen=True)
class Presets:
    """List the models, with their exact numbers of parameters."""

    def run(self, base: TransformerConfig | None = None) -> dict[str, Any]:
        """Return what to print."""
        from rich.console import Console
        from rich.table import Table

        table = Table("preset", "dim", "depth", "heads", "parameters", title="presets")
        counts = {}
        for name, recipe in recipes.RECIPES.items():
            config = recipe.model
            if config is not None:
                counts[name] = config.parameter_count()
                row = (config.dim, config.depth, config.heads, f"{counts[name]:,}")
                table.add_row(name, *map(str, row))
        Console(stderr=True).print(table)
        return counts


@dataclass(frozen=True)
class Demo:
    """From nothing to a served model: the main job of `make pretrain`, with no input at all.

    Harvests the documentation of this Python environment, pretrains a small BERT on it, fine-tunes
    it beside the same model from scratch, and exports it.
    """

    out: str = "runs/demo"  # where everything goes; the same command again resumes
    steps: int | None = None  # of pretraining; default what five minutes on two cores allow
    seeds: int = 3  # fine-tunings of each kind

    def run(self, base: TransformerConfig | None = None) -> dict[str, Any]:
        """Run the whole way, and return what to print."""
        from pipelines.demo import demo

        return demo(Path(self.out), self.steps, self.seeds)


COMMANDS = {
    "pretrain": Pretrain,
    "finetune": Finetune,
    "evaluate": Evaluate,
    "export": Export,
    "fill": Fill,
    "presets": Presets,
    "demo": Demo,
}


def defaults(name: str, words: list[str]) -> tuple[Any, TransformerConfig | None]:
    """Return the command's defaults as the preset or the `--from` recipe of `words` has them.

    Raises:
        InputError: no such preset or recipe.
    """
    given = _value(words, "--from")
    if given is not None:
        recipe = Recipe.load(given)
        own: dict[str, Any] = {"data": recipe.data, "train": recipe.train}
        own |= {"monitor": recipe.monitor, "init": recipe.init, "from_": given}
        kind = type(recipe.objective)
        if name == "pretrain" and isinstance(recipe.objective, recipes.MaskedLM):
            return Pretrain(**own, objective=recipe.objective), recipe.model
        task = {recipes.Classification: "classify", recipes.Regression: "regress"}.get(kind)
        if name == "finetune" and task is not None:
            own |= {"task": task, task: recipe.objective, "fresh": recipe.fresh}
            return Finetune(**own), None
        raise InputError(f"{given}: expected a recipe of {name}. Received one of {kind.__name__}.")
    if name == "pretrain":
        for word in words:
            if word in recipes.RECIPES:
                return _pretrain_of(recipes.RECIPES[word]), None
    return None, None


def _pretrain_of(recipe: Recipe) -> Pretrain:
    own: dict[str, Any] = {"data": recipe.data, "train": recipe.train}
    return Pretrain(**own)


def _recipe_of(preset):
    if preset not in recipes.RECIPES:
        raise InputError(f"preset: {unknown('preset', preset, recipes.RECIPES)}")
    return recipes.RECIPES[preset]


def _value(words, flag):
    for word, following in zip(words, [*words[1:], None], strict=False):
        if word == flag:
            return following
        if word.startswith(f"{flag}="):
            return word.removeprefix(f"{flag}=")
    return None


def _report(out, result):
    return {"run": out, **result}


def as_json(result: dict[str, Any]) -> str:
    """Return the result as one line."""
    return json.dumps(result)

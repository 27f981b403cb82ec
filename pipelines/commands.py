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
from pipelines.data.records import TFDS, data_flag, expand
from pipelines.quiet import import_tensorflow
from pipelines.recipes import ModelOverrides, MonitorConfig, Recipe, TableData, TextData
from pipelines.runs import find_run
from tfattn.errors import InputError
from tfattn.models.config import TransformerConfig
from tfattn.models.sampling import Sampling
from tfattn.spec import unknown

From = Annotated[str | None, tyro.conf.arg(name="from", metavar="RECIPE.JSON")]
Folder = Annotated[str | None, tyro.conf.arg(metavar="FOLDER")]
RunFolder = Annotated[str, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
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
                listed = ", ".join(recipes.RECIPES)
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
        _check_files("files", self.data.files)
        _check_files("validation", self.data.validation)
        import_tensorflow()
        from pipelines.train import train

        out = f"runs/{self.preset or 'pretrained'}" if self.out is None else self.out
        return {"run": out, **train(recipe, out)}


@dataclass(frozen=True)
class Finetune:
    """Train a model that starts from another on labelled texts.

    Example: python -m pipelines finetune classify --init runs/mine
    --data.train train.tsv --data.validation val.tsv --out runs/reviews
    """

    # What to learn: the class of a text, or a number for it.
    task: tyro.conf.Positional[Literal["classify", "regress"]] = "classify"
    out: Folder = None  # run directory; the same command again resumes; none: runs/TASK
    init: Folder = None  # required: a run, a saved model or a published checkpoint to start from
    fresh: bool = False  # take only shape and vocabulary from --init: does pretraining pay?
    from_: From = None  # recipe of a run to repeat, RUN/recipe.json; flags beside it win
    data: TableData = TableData()
    classify: recipes.Classification = recipes.Classification()
    regress: recipes.Regression = recipes.Regression()
    train: recipes.TrainConfig = recipes.FINETUNE
    monitor: MonitorConfig = MonitorConfig()

    def run(self, base: TransformerConfig | None = None) -> dict[str, Any]:
        """Train, and return what to print."""
        if self.init is None:
            raise InputError("init: expected a run or a folder with a model. Received none.")
        objectives = {"classify": self.classify, "regress": self.regress}
        objective = objectives.pop(self.task)
        for name, other in objectives.items():
            if other != recipes.TASKS[name]:
                raise InputError(f"{name}: expected no such flags, for the task is {self.task}.")
        recipe = Recipe(None, objective, self.data, self.train, self.monitor, self.init, self.fresh)
        for flag, files in (("train", self.data.train), ("validation", self.data.validation)):
            if not files:
                raise InputError(f"data.{flag}: expected at least one file or glob. Received none.")
            _check_files(flag, files)
        import_tensorflow()
        from pipelines.train import train

        out = f"runs/{self.task}" if self.out is None else self.out
        return {"run": out, **train(recipe, out)}


@dataclass(frozen=True)
class EvaluateData:
    """What to measure on."""

    files: tuple[str, ...] = ()  # like those of the run; none: its own validation split


@dataclass(frozen=True)
class Evaluate:
    """Measure a finished run, in float32; the last line printed is one JSON object.

    Example: python -m pipelines evaluate runs/reviews --data.files val.tsv
    """

    run_: RunFolder  # directory of a finished run
    data: EvaluateData = EvaluateData()
    batch: int = 64  # rows at a time

    def run(self, base: TransformerConfig | None = None) -> dict[str, Any]:
        """Evaluate, and return what to print."""
        if self.batch < 1:
            raise InputError(f"batch: expected at least 1. Received: {self.batch}.")
        find_run(self.run_, finished=True)
        _check_files("files", self.data.files)
        import_tensorflow()
        from pipelines.evaluate import evaluate, print_table

        numbers = evaluate(self.run_, self.data.files, self.batch)
        print_table(self.run_, numbers)
        return numbers


@dataclass(frozen=True)
class Export:
    """Write a finished run as a SavedModel that takes raw strings.

    It gives labels and probabilities, or numbers, or a vector (pretrained).

    Example: python -m pipelines export runs/reviews --out exported
    """

    run_: RunFolder  # directory of a finished run
    # Where its subfolder 1, or the next version, is written: what model servers read.
    out: Annotated[str, tyro.conf.arg(metavar="FOLDER")] = "exported"

    def run(self, base: TransformerConfig | None = None) -> dict[str, Any]:
        """Export, and return what to print."""
        find_run(self.run_, finished=True)
        import_tensorflow()
        from pipelines.export import export

        return export(self.run_, self.out)


@dataclass(frozen=True)
class Fill:
    """Say what a pretrained model would put in place of [MASK].

    Example: python -m pipelines fill runs/mine --text "The [MASK] was late."
    """

    run_: RunFolder  # directory of a finished run
    text: tuple[str, ...]  # one or several, each with one or several [MASK]
    top: int = 3  # guesses for each [MASK]

    def run(self, base: TransformerConfig | None = None) -> dict[str, Any]:
        """Fill in, and return what to print."""
        for name, value in (("text", len(self.text)), ("top", self.top)):
            if value < 1:
                raise InputError(f"{name}: expected at least 1. Received: {value}.")
        find_run(self.run_, finished=True)
        import_tensorflow()
        from pipelines.evaluate import open_finished
        from pipelines.fill import fill

        done = open_finished(self.run_)
        return {text: fill(done, text, self.top) for text in self.text}


@dataclass(frozen=True)
class Generate:
    """Continue texts with a language model; the last line printed is one JSON object.

    Example: python -m pipelines generate runs/gpt --prompt "ROMEO:" --tokens 200 --top-p 0.9
    """

    run_: RunFolder  # directory of a finished run
    prompt: tuple[str, ...]  # one or several texts to continue
    tokens: int = 200  # to add at most; a text may end before
    greedy: bool = False  # always the likeliest token
    temperature: float = 1.0  # below 1 prefers likely tokens, above 1 unlikely ones
    top_k: int | None = None  # choose from so many of the likeliest tokens
    top_p: float | None = None  # choose from the likeliest that have this probability together
    repetition_penalty: float = 1.0  # above 1, tokens that were there already become unlikely
    seed: int = 0  # the same one gives the same text

    def run(self, base: TransformerConfig | None = None) -> dict[str, Any]:
        """Generate, and return what to print."""
        for name, value in (("prompt", len(self.prompt)), ("tokens", self.tokens)):
            if value < 1:
                raise InputError(f"{name}: expected at least 1. Received: {value}.")
        sampling = Sampling(
            self.greedy, self.temperature, self.top_k, self.top_p, self.repetition_penalty
        )
        find_run(self.run_, finished=True)
        import_tensorflow()
        from pipelines.evaluate import open_finished
        from pipelines.generate import generate
        from pipelines.progress import texts

        done = open_finished(self.run_)
        with texts(self.prompt) as show:
            return generate(done, self.prompt, self.tokens, sampling, self.seed, show)


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


def _check_files(flag: str, files: tuple[str, ...]) -> None:
    """Complain at once of files that are not there, before anything slow."""
    with data_flag(flag):
        expand([name for name in files if name != recipes.EMBEDDED and not name.startswith(TFDS)])


COMMANDS = {
    "pretrain": Pretrain,
    "finetune": Finetune,
    "evaluate": Evaluate,
    "export": Export,
    "fill": Fill,
    "generate": Generate,
    "presets": Presets,
    "demo": Demo,
}


def defaults(name: str, words: list[str]) -> tuple[Any, TransformerConfig | None]:
    """Return the command's defaults, and the model, as `--from` or the preset in `words` has them.

    Raises:
        InputError: no such recipe, or one of another command.
    """
    seen = flags.glance(COMMANDS[name], words)
    given, model = getattr(seen, "from_", None), None
    preset = recipes.RECIPES.get(getattr(seen, "preset", None) or "")
    if given is not None:
        found, model = _repeat(name, given)
    elif preset is not None:
        own: dict[str, Any] = {"data": preset.data, "train": preset.train}
        found = Pretrain(**own, objective=preset.objective)
    else:
        return None, None
    if flags.is_given(words, "--train.epochs"):  # instead of the steps, unless both are given
        found = replace(found, train=replace(found.train, steps=None))
    return found, model


def _repeat(name, given):
    recipe = Recipe.load(given)
    own: dict[str, Any] = {"data": recipe.data, "train": recipe.train}
    own |= {"monitor": recipe.monitor, "init": recipe.init, "fresh": recipe.fresh, "from_": given}
    kind = type(recipe.objective)
    if name == "pretrain" and isinstance(recipe.data, TextData):
        return Pretrain(**own, objective=recipe.objective), recipe.model
    task = {recipes.Classification: "classify", recipes.Regression: "regress"}.get(kind)
    if name == "finetune" and task is not None:
        return Finetune(**own, **{"task": task, task: recipe.objective}), None
    raise InputError(f"{given}: expected a recipe of {name}. Received one of {kind.__name__}.")


def _recipe_of(preset):
    if preset not in recipes.RECIPES:
        raise InputError(f"preset: {unknown('preset', preset, recipes.RECIPES)}")
    return recipes.RECIPES[preset]


def as_json(result: dict[str, Any]) -> str:
    """Return the result as one line of strict JSON: what is not a finite number is null."""
    return json.dumps(_strict(result), allow_nan=False)


def _strict(value):
    if isinstance(value, dict):
        return {name: _strict(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

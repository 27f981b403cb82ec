"""The commands that train, and their flags: pretrain, finetune, demo; and the list of presets.

Flags are dataclasses: their types are the flags, and the comments behind them the help. Those of
tasks, data and models come from the registry. Nothing here imports Keras or TensorFlow at the top:
help is answered at once.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

import tyro

from pipelines.commands.derived import derived
from pipelines.commands.overrides import ModelOverrides, overrides_of
from pipelines.commands.quiet import import_tensorflow
from pipelines.core.spec import Data, Recipe, Stage, Task
from pipelines.core.train_config import MonitorConfig, TrainConfig
from pipelines.domains import presets, tasks
from tfattn.errors import InputError
from tfattn.spec import unknown

From = Annotated[str | None, tyro.conf.arg(name="from", metavar="RECIPE.JSON")]
Folder = Annotated[str | None, tyro.conf.arg(metavar="FOLDER")]
PresetName = Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[PRESET]")]
FIRST_PRESET, FIRST_TASK = "bert-mini", "classify"  # whose flags are shown where none is named


def task_word(stage: Stage) -> Any:
    """Return the help of a flag that names a task of this stage."""
    words = ", ".join(tasks(stage))
    return tyro.conf.arg(metavar="TASK", help=f"What to learn: {words}.")


@dataclass(frozen=True)
class Pretrain:
    """Train a model on raw text, on pairs of texts such as translations, or on images.

    Before --help a preset shows the flags of its own data, objective and model.

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
    task: str | None = None  # none: what the preset is for
    data: Data = field(default_factory=lambda: presets()[FIRST_PRESET].data)  # that of the preset
    # That of the preset.
    objective: Task = field(default_factory=lambda: presets()[FIRST_PRESET].objective)
    train: TrainConfig = TrainConfig()
    monitor: MonitorConfig = MonitorConfig()
    model: ModelOverrides = field(default_factory=lambda: preset_overrides(FIRST_PRESET))

    def recipe(self, base: Recipe | None) -> Recipe:
        """Return the whole run as data; `base` is the recipe that is repeated."""
        config = None
        if self.init is None:
            if self.preset is not None:
                base = preset_recipe(self.preset)
            if base is None or base.model is None:
                listed = ", ".join(presets())
                raise InputError(f"preset: expected --init, --from or one of: {listed}.")
            self.objective.check_model(base.model, "model")
            config = self.data.size_model(base.model, is_preset=self.preset is not None)
            config = self.model.apply(config)
        elif self.preset is not None or self.model.given():
            raise InputError(
                "init: expected no preset and no --model flags beside it, "
                f"for the model is that of {self.init}. Received them."
            )
        train, monitor = self.train, self.monitor
        return Recipe(config, self.objective, self.data, train, monitor, self.init, self.fresh)

    def run(self, base: Recipe | None = None) -> dict[str, Any]:
        """Train, and return what to print."""
        if self.task is not None and self.task not in tasks("pretrain"):
            raise unknown_task(self.task, "pretrain")
        recipe = self.recipe(base)
        out = f"runs/{self.preset or 'pretrained'}" if self.out is None else self.out
        return _train(recipe, out)


@dataclass(frozen=True)
class Finetune:
    """Train a model that starts from another on labelled examples.

    Before --help a task shows the flags of its own.

    Example: python -m pipelines finetune classify --init runs/mine
    --data.train train.tsv --data.validation val.tsv --out runs/reviews

    Example: python -m pipelines finetune image-classification
    --data.images pictures --init runs/vit --out runs/kinds
    """

    task: tyro.conf.Positional[str] = FIRST_TASK
    out: Folder = None  # run directory; the same command again resumes; none: runs/TASK
    init: Folder = None  # required: a run, a saved model or a published checkpoint to start from
    fresh: bool = False  # take only shape and vocabulary from --init: does pretraining pay?
    from_: From = None  # recipe of a run to repeat, RUN/recipe.json; flags beside it win
    data: Data = field(default_factory=lambda: tasks()[FIRST_TASK].data())  # that of the task
    train: TrainConfig = field(default_factory=lambda: tasks()[FIRST_TASK].defaults)
    monitor: MonitorConfig = MonitorConfig()

    def run(self, base: Recipe | None = None) -> dict[str, Any]:
        """Train, and return what to print."""
        if self.task not in tasks("finetune"):
            raise unknown_task(self.task, "finetune")
        if self.init is None:
            raise InputError("init: expected a run or a folder with a model. Received none.")
        task = cast(Task, getattr(self, field_of(self.task)))
        recipe = Recipe(None, task, self.data, self.train, self.monitor, self.init, self.fresh)
        return _train(recipe, f"runs/{self.task}" if self.out is None else self.out)


def pretrain_command() -> type[Pretrain]:
    """Return the command with the names of the registered tasks in its help."""
    return derived(Pretrain, {"task": (Annotated[str | None, task_word("pretrain")], None)})


def finetune_command(task: str | None = None) -> type[Finetune]:
    """Return the command with the flags of one task.

    Args:
        task: its word; None or an unknown one = the first.
    """
    word = task if task in tasks("finetune") else FIRST_TASK
    kind = tasks()[word]
    named = Annotated[str, tyro.conf.Positional, task_word("finetune")]
    return derived(Finetune, {"task": (named, FIRST_TASK), field_of(word): (kind, kind())})


def field_of(task: str) -> str:
    """Return the field of the command that holds the flags of a task."""
    return task.replace("-", "_")


def unknown_task(word: str, stage: Stage) -> InputError:
    """Return what to raise of a word that is no task: one that it begins is the nearest."""
    known = tasks(stage)
    begun = [name for name in known if word and name.startswith(f"{word}-")]
    if len(begun) == 1:
        listed = ", ".join(sorted(known))
        hint = f"Did you mean {begun[0]!r}? Expected one of: {listed}."
        return InputError(f"task: unknown task {word!r}. {hint}")
    return InputError(f"task: {unknown('task', word, known)}")


def preset_recipe(preset: str) -> Recipe:
    """Return the recipe of a preset.

    Raises:
        InputError: no such preset; the nearest one is named.
    """
    if preset not in presets():
        raise InputError(f"preset: {unknown('preset', preset, presets())}")
    return presets()[preset]


def preset_overrides(preset: str) -> ModelOverrides:
    """Return the fields of a preset that flags may change."""
    config = presets()[preset].model
    return ModelOverrides() if config is None else overrides_of(config)


def _train(recipe: Recipe, out: str) -> dict[str, Any]:
    recipe.data.check_sources()
    import_tensorflow()
    from pipelines.core.train import train

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
        for name, recipe in presets().items():
            config: Any = recipe.model
            if config is not None:
                counts[name] = config.parameter_count()
                shape = (getattr(config, size, "") for size in ("dim", "depth", "heads"))
                table.add_row(name, *map(str, shape), f"{counts[name]:,}")
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

"""A whole run as data: the model, the task, where examples come from, and how to train.

Nothing here imports Keras or TensorFlow: the command line reads these classes for its flags (the
comment behind a field is its help), and a run directory keeps its recipe as JSON.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeVar

from pipelines.core.train_config import MonitorConfig, TrainConfig
from tfattn.errors import InputError
from tfattn.models.config import Head
from tfattn.models.model_config import ModelConfig
from tfattn.spec import Spec

FORMAT = 1  # of a run directory; a change that old ones do not survive adds one
FORMATS = {0: "tfattn 0.1", FORMAT: "tfattn 0.2"}  # which version writes each

Stage = Literal["pretrain", "finetune"]


@dataclass(frozen=True)
class Data(Spec):
    """Where examples come from."""

    def check_sources(self) -> None:
        """Refuse sources that are missing, before anything slow; folders are checked later.

        Raises:
            InputError: names the flag and the file.
        """

    def validation_sources(self) -> tuple[str, ...]:
        """Return what `evaluate` measures on by itself; () = a share of the training data."""
        return ()

    def without_sources(self) -> Self:
        """Return the same settings with the default sources, for a run that continues another."""
        return self

    def size_model(self, config: ModelConfig, is_preset: bool) -> ModelConfig:
        """Return the config of a new model with room for this data.

        Args:
            config: of the preset, or of a recipe that is repeated.
            is_preset: whether it is a preset's, whose length may be another.
        """
        return config

    @classmethod
    def like(cls, other: "Data") -> Self:
        """Return the defaults where a preset's task is replaced by one of this data.

        Args:
            other: data of the preset, whose settings may be taken over.
        """
        return cls()


@dataclass(frozen=True)
class Options(Spec):
    """Flags that a task adds to a command on a finished run; by default none."""

    def check(self) -> None:
        """Refuse values before anything slow, such as a file that cannot be written.

        Raises:
            InputError: names the flag.
        """


@dataclass(frozen=True)
class Task(Spec):
    """What a model is trained to do. A subclass is one task; its fields are the task's flags."""

    name: ClassVar[str]  # the word on the command line, unique over all domains
    stages: ClassVar[frozenset[Stage]]
    data: ClassVar[type[Data]]
    models: ClassVar[tuple[type[ModelConfig], ...]]  # the kinds of model that can learn it
    # Whether examples are labelled, so that the weights with the best metric are kept.
    supervised: ClassVar[bool] = False
    defaults: ClassVar[TrainConfig] = TrainConfig()  # of fine-tuning
    # By family, where its models are fine-tuned in another way.
    family_defaults: ClassVar[Mapping[str, TrainConfig]] = {}
    runtime: ClassVar[str]  # "module:class" of the TaskRuntime, imported when it runs
    evaluate_options: ClassVar[type[Options]] = Options
    export_options: ClassVar[type[Options]] = Options

    def check(self, recipe: "Recipe") -> None:
        """Refuse a recipe whose fields do not fit each other.

        Raises:
            InputError: names the field.
        """

    def check_model(self, config: ModelConfig, where: str) -> None:
        """Refuse a kind of model that cannot learn this task.

        Args:
            config: of the model.
            where: what the model was given by.

        Raises:
            InputError: names both kinds.
        """
        if not isinstance(config, self.models):
            wanted = " or ".join(dict.fromkeys(kind.summary for kind in self.models))
            raise InputError(
                f"{where}: expected {wanted} for {self.name}. Received: {config.summary}."
            )

    @classmethod
    def continues(cls, config: ModelConfig, heads: tuple[Head, ...]) -> bool:
        """Return whether pretraining that starts from such a model continues with this task."""
        return False

    def is_answered_by(self, heads: tuple[Head, ...]) -> bool:
        """Return whether a model with these heads may have learnt this task."""
        return True

    def for_preset(self, preset: "Recipe") -> Self:
        """Return this task with what it takes over from the recipe of a preset."""
        return self


class Domain(NamedTuple):
    """What one modality brings: its tasks and the recipes of its presets."""

    name: str
    tasks: tuple[type[Task], ...]
    presets: Mapping[str, "Recipe"]


@dataclass(frozen=True)
class Recipe(Spec):
    """A whole run."""

    model: ModelConfig | None  # None: that of `init`
    objective: Task
    data: Data
    train: TrainConfig = TrainConfig()
    monitor: MonitorConfig = MonitorConfig()
    init: str | None = None  # a run, a saved model, or a published checkpoint to start from
    fresh: bool = False  # take only shape and vocabulary from `init`, and new weights
    format: int = field(default=FORMAT, kw_only=True)  # of the run directory

    def __post_init__(self):
        super().__post_init__()
        if self.fresh and self.init is None:
            raise InputError("fresh: expected an init, of which to take the shape. Received none.")
        task = self.objective
        if not hasattr(task, "name"):
            raise InputError(f"Recipe.objective: expected a task. Received: {task}.")
        if not isinstance(self.data, task.data):
            raise InputError(
                f"Recipe.data: expected {task.data.__name__} for {task.name}. "
                f"Received: {type(self.data).__name__}."
            )
        if self.train.average > 1 and task.supervised:
            raise InputError(
                "train.average: expected 1, for of labelled data the best weights are kept. "
                f"Received: {self.train.average}."
            )
        task.check(self)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a recipe.json.

        Raises:
            InputError: no recipe, or one of another format; the version that wrote it is named.
        """
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return super().load(path)  # which says what is wrong
        if isinstance(found, dict) and found.get("spec") == "Recipe":
            check_format(found.get("format", 0), path)
        return super().load(path)


def check_format(given: Any, path: str | Path) -> None:
    """Refuse a run directory that another version wrote.

    Raises:
        InputError: names that version.
    """
    if type(given) is int and given == FORMAT:  # True equals 1
        return
    writer = FORMATS.get(given) if isinstance(given, int) else None
    writer = writer or f"a version other than {FORMATS[FORMAT]}"
    raise InputError(
        f"{path}: expected a run of format {FORMAT}, which {FORMATS[FORMAT]} writes. "
        f"Received format {given!r}, written by {writer}: use that version, or train again."
    )


def check_share(name: str, value: float) -> None:
    """Refuse a share of validation that leaves one side nothing.

    Raises:
        InputError: names the field.
    """
    if not 0 < value < 1:
        raise InputError(f"{name}: expected a share between 0 and 1. Received: {value}.")


Kind = TypeVar("Kind")


def expect(value: object, kind: type[Kind]) -> Kind:
    """Return a value whose class the registry vouches for: a task's own spec, data or options."""
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}. Received: {type(value).__name__}.")
    return value

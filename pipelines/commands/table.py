"""The commands by name, and the defaults of their flags where a preset or a run gives them.

Nothing here imports Keras or TensorFlow at the top: help is answered at once.
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.commands import flags
from pipelines.commands.fewshot import FewShot
from pipelines.commands.finished import Fill, Generate, evaluate_command, export_command
from pipelines.commands.overrides import field_names, overrides_of
from pipelines.commands.plan import Plan
from pipelines.commands.scaling import Scaling, scaling_defaults
from pipelines.commands.train import (
    Demo,
    Presets,
    Pretrain,
    field_of,
    finetune_command,
    pretrain_command,
)
from pipelines.commands.translate import Translate
from pipelines.core.spec import Recipe, Task
from pipelines.core.train_config import TrainConfig
from pipelines.domains import presets, tasks
from tfattn.descriptions import describe
from tfattn.errors import InputError


def commands() -> dict[str, Any]:
    """Return the commands by name, with the flags of all registered tasks."""
    return {
        "pretrain": pretrain_command(),
        "finetune": finetune_command(),
        "evaluate": evaluate_command(),
        "export": export_command(),
        "fewshot": FewShot,
        "fill": Fill,
        "generate": Generate,
        "plan": Plan,
        "presets": Presets,
        "demo": Demo,
        "scaling": Scaling,
        "translate": Translate,
    }


class Parsing(NamedTuple):
    """How the words of a command are read: its class, its defaults, and the recipe of `--from`."""

    kind: Any
    default: Any = None
    base: Recipe | None = None


def parsing(name: str, words: list[str]) -> Parsing:
    """Return how a command is read, as its preset, its task or the recipe of `--from` decides.

    Raises:
        InputError: no such recipe, or one of another command.
    """
    kind = commands()[name]
    seen = flags.parse_leniently(kind, words)
    if name == "scaling":
        return _without_steps(Parsing(kind, scaling_defaults(seen, words)), words)
    if name == "pretrain":
        return _without_steps(_pretraining(kind, seen, words), words)
    if name == "finetune":
        return _without_steps(_finetuning(seen, words), words)
    return Parsing(kind)


def _without_steps(parsing: Parsing, words: list[str]) -> Parsing:
    """Return the defaults by epochs where these are given, unless the steps are given too."""
    default = parsing.default
    if default is None or not flags.is_given(words, "--train.epochs"):
        return parsing
    default = replace(default, train=replace(default.train, steps=None))
    return parsing._replace(default=default)


def _pretraining(kind: type[Pretrain], seen: Any, words: list[str]) -> Parsing:
    repeated, preset = None, presets().get(getattr(seen, "preset", None) or "")
    if getattr(seen, "from_", None) is not None:
        found, repeated = _repeated(kind, seen.from_)
        _refuse_other_fields(repeated, words)
    elif preset is not None:
        overrides = {} if preset.model is None else {"model": overrides_of(preset.model)}
        own: dict[str, Any] = {"data": preset.data, "train": preset.train, **overrides}
        found = kind(**own, objective=preset.objective)
        _refuse_other_fields(preset, words)
    elif getattr(seen, "init", None):
        found = _continuing(kind, Path(seen.init).expanduser())
    else:
        return Parsing(kind)
    task = tasks("pretrain").get(getattr(seen, "task", None) or "")
    return Parsing(kind, found if task is None else _of_task(found, task, preset), repeated)


def _of_task(found: Any, task: type[Task], preset: Recipe | None) -> Any:
    """Return the defaults with another task, and with data of its kind."""
    if isinstance(found.objective, task):
        return found
    objective: Task = task() if preset is None else task().for_preset(preset)
    if isinstance(found.data, task.data):
        return replace(found, objective=objective)
    # Rows that are all of one length, unless a flag asks for others.
    train = replace(found.train, batch_tokens=None)
    return replace(found, objective=objective, data=task.data.like(found.data), train=train)


def _continuing(kind: type[Pretrain], folder: Path) -> Any:
    """Return the defaults of pretraining that continues from a folder: its task and its rows."""
    described = describe(_model_folder(folder))
    family = None if described is None else described[0].family
    if (folder / "recipe.json").exists():
        recipe = Recipe.load(folder / "recipe.json")
        if "pretrain" in recipe.objective.stages:
            task, data = recipe.objective, recipe.data.without_sources()
            return kind(objective=task, data=data, train=_pretraining_of(type(task), family))
    if described is None:
        return kind()  # what is wrong with it is said when it is read
    fitting = (task for task in tasks("pretrain").values() if task.continues(*described))
    task = next(fitting, None)
    if task is None:
        return kind()
    return kind(objective=task(), data=task.data(), train=_pretraining_of(task, family))


def _pretraining_of(task: type[Task], family: str | None) -> TrainConfig:
    return task.family_defaults.get(family or "", TrainConfig())


def _finetuning(seen: Any, words: list[str]) -> Parsing:
    recipe = None if getattr(seen, "from_", None) is None else Recipe.load(seen.from_)
    if recipe is not None:
        task = type(recipe.objective)
        if "finetune" not in task.stages:
            raise _other_command(seen.from_, "finetune", recipe)
        default = finetune_command(task.name)(
            **_shared(recipe, seen.from_),
            **{"task": task.name, field_of(task.name): recipe.objective},
        )
        return Parsing(type(default), default)
    task = tasks("finetune").get(getattr(seen, "task", ""))
    kind = finetune_command(None if task is None else task.name)
    if task is None:
        return Parsing(kind)
    _refuse_other_tasks(task, words)
    init = getattr(seen, "init", None)
    described = describe(_model_folder(Path(init).expanduser())) if init else None
    family = None if described is None else described[0].family
    train = task.family_defaults.get(family or "", task.defaults)
    named: dict[str, Any] = {"task": task.name}
    return Parsing(kind, kind(**named, data=task.data(), train=train))


def _model_folder(folder: Path) -> Path:
    return folder / "model" if (folder / "recipe.json").exists() else folder


def _refuse_other_tasks(task: type[Task], words: list[str]) -> None:
    """Refuse flags of another task by name; others that are unknown are said when all are read."""
    for word in words:
        group = word.removeprefix("--").partition(".")[0] if word.startswith("--") else ""
        if group != task.name and group in tasks("finetune"):
            raise InputError(f"{group}: expected no such flags, for the task is {task.name}.")


def _refuse_other_fields(recipe: Recipe, words: list[str]) -> None:
    """Refuse flags of fields that other models have and this one has not."""
    if recipe.model is None:
        return
    models = [preset.model for preset in presets().values() if preset.model is not None]
    others = {name for model in models for name in field_names(model)}
    others -= field_names(recipe.model)
    for word, following in zip(words, [*words[1:], ""], strict=True):
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--model.").replace("-", "_")
        if flag.startswith("--model.") and name.removeprefix("no_") in others:
            raise InputError(
                f"model.{name}: expected none, for a {type(recipe.model).__name__} has no such "
                f"field. Received: {value if equals else following}."
            )


def _repeated(kind: type[Pretrain], given: str) -> tuple[Any, Recipe]:
    recipe = Recipe.load(given)
    if "pretrain" not in recipe.objective.stages:
        raise _other_command(given, "pretrain", recipe)
    overrides: dict[str, Any] = {}
    if recipe.model is not None:
        overrides["model"] = overrides_of(recipe.model)
    return kind(**_shared(recipe, given), **overrides, objective=recipe.objective), recipe


def _shared(recipe: Recipe, given: str) -> dict[str, Any]:
    own: dict[str, Any] = {"data": recipe.data, "train": recipe.train}
    own |= {"monitor": recipe.monitor, "init": recipe.init, "fresh": recipe.fresh}
    return {**own, "from_": given}


def _other_command(given: str, command: str, recipe: Recipe) -> InputError:
    kind = type(recipe.objective).__name__
    return InputError(f"{given}: expected a recipe of {command}. Received one of {kind}.")


def as_json(result: dict[str, Any]) -> str:
    """Return the result as one line of strict JSON: what is not a finite number is null."""
    return json.dumps(_strict(result), allow_nan=False)


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _strict(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

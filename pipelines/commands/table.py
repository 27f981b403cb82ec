"""The commands by name, and the defaults of their flags where a preset or a run gives them.

Nothing here imports Keras or TensorFlow at the top: help is answered at once.
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines import recipes
from pipelines.commands import flags
from pipelines.commands.fewshot import FewShot
from pipelines.commands.finished import Evaluate, Export, Fill, Generate
from pipelines.commands.plan import Plan
from pipelines.commands.scaling import Scaling, scaling_defaults
from pipelines.commands.train import Demo, Finetune, Presets, Pretrain
from pipelines.commands.translate import Translate
from pipelines.defaults import (
    FINETUNE_IMAGES,
    FINETUNE_T5,
    GO_ON_T5,
    OBJECTIVES,
    RECIPES,
    TASKS,
)
from pipelines.recipes import DATA, ImageData, PairData, Recipe, TableData, TextData
from tfattn.errors import InputError
from tfattn.families import FORMATS
from tfattn.models.config import EncoderDecoderConfig
from tfattn.models.vision_config import VisionConfig

COMMANDS = {
    "pretrain": Pretrain,
    "finetune": Finetune,
    "evaluate": Evaluate,
    "export": Export,
    "fewshot": FewShot,
    "fill": Fill,
    "generate": Generate,
    "plan": Plan,
    "presets": Presets,
    "demo": Demo,
    "scaling": Scaling,
    "translate": Translate,
}


def defaults(name: str, words: list[str]) -> tuple[Any, Recipe | None]:
    """Return the command's defaults, and the recipe of `--from`, as it or the preset has them.

    Raises:
        InputError: no such recipe, or one of another command.
    """
    seen = flags.glance(COMMANDS[name], words)
    given, repeated = getattr(seen, "from_", None), None
    preset = RECIPES.get(getattr(seen, "preset", None) or "")
    if given is not None:
        found, repeated = _repeat(name, given)
    elif name == "scaling":
        found = scaling_defaults(seen, words)
    elif name == "pretrain" and preset is not None:
        own: dict[str, Any] = {"data": preset.data, "train": preset.train}
        found = Pretrain(**own, objective=preset.objective)
    elif name == "pretrain" and getattr(seen, "init", None):
        folder = Path(seen.init).expanduser()
        found = _going_on(folder)
        found = replace(found, train=GO_ON_T5) if _is_t5(folder) else found
    elif name == "finetune" and getattr(seen, "task", None) == "image":
        found = Finetune(task="image", data=ImageData(), train=FINETUNE_IMAGES)
    elif name == "finetune" and getattr(seen, "init", None) and _is_t5(Path(seen.init)):
        found = Finetune(train=FINETUNE_T5)
    else:
        return None, None
    if flags.is_given(words, "--train.epochs"):  # instead of the steps, unless both are given
        found = replace(found, train=replace(found.train, steps=None))
    task = getattr(seen, "task", None) if name == "pretrain" else None
    return (found if task is None else _of_task(found, task)), repeated


def _of_task(found, task):
    """Return the defaults with the objective of this name, and with data of its kind."""
    objective = OBJECTIVES.get(task)
    if objective is None:  # an unknown one is told later
        return found
    if isinstance(found.objective, type(objective)):
        return found
    kind = DATA[type(objective)]
    if isinstance(found.data, kind):
        return replace(found, objective=objective)
    if kind is not TextData:
        return replace(found, objective=objective, data=kind())
    # From pairs to texts: in the same vocabulary, and in rows that are all of one length.
    algorithm: Any = getattr(found.data, "algorithm", TextData().algorithm)
    data, train = TextData(algorithm=algorithm), replace(found.train, batch_tokens=None)
    return replace(found, objective=objective, data=data, train=train)


def _going_on(folder):
    """Return the defaults of pretraining that goes on from a folder: its objective and its rows."""
    if (folder / "recipe.json").exists():
        recipe = Recipe.load(folder / "recipe.json")
        if isinstance(recipe.data, TextData):
            new = TextData()
            data = replace(recipe.data, files=new.files, validation=(), tokenizer=None)
            return Pretrain(objective=recipe.objective, data=data)
        if isinstance(recipe.data, ImageData):
            images = replace(recipe.data, images=ImageData().images, validation=())
            return Pretrain(objective=recipe.objective, data=images)
        if isinstance(recipe.data, PairData):
            pairs = replace(recipe.data, train=PairData().train, validation=(), tokenizer=None)
            return Pretrain(objective=recipe.objective, data=pairs)
    try:
        described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        heads = described.get("heads", ())
        causal = any(h.get("spec") == "Tokens" and not h.get("transform", True) for h in heads)
        kind = FORMATS.get(described.get("model_type"))
    except (OSError, ValueError, AttributeError):
        return Pretrain()  # what is wrong with it is told when it is read
    config = described.get("config", {})
    spec = config.get("spec") if isinstance(config, dict) else None
    if spec == "VisionConfig" or kind is not None and isinstance(kind.base, VisionConfig):
        return Pretrain(objective=recipes.MaskedImages(), data=ImageData())
    pair = spec == "EncoderDecoderConfig"
    if pair or kind is not None and isinstance(kind.base, EncoderDecoderConfig):
        return Pretrain(objective=recipes.SpanCorruption())
    causal = causal or kind is not None and not any(head.transform for head in kind.tokens)
    return Pretrain(objective=recipes.CausalLM()) if causal else Pretrain()


def _is_t5(folder):
    """Return whether a run or another folder holds a T5, which moves by shares of its weights."""
    folder = folder.expanduser()
    model = folder / "model" if (folder / "recipe.json").exists() else folder
    try:
        described = json.loads((model / "config.json").read_text(encoding="utf-8"))
        encoder = described.get("config", {}).get("encoder", {})
        return described.get("model_type") == "t5" or encoder.get("score_scale") == 1.0
    except (OSError, ValueError, AttributeError):
        return False  # what is wrong with it is told when it is read


def _repeat(name, given):
    recipe = Recipe.load(given)
    own: dict[str, Any] = {"data": recipe.data, "train": recipe.train}
    own |= {"monitor": recipe.monitor, "init": recipe.init, "fresh": recipe.fresh, "from_": given}
    kind = type(recipe.objective)
    if name == "pretrain" and not isinstance(recipe.data, TableData):
        return Pretrain(**own, objective=recipe.objective), recipe
    task = {type(objective): task for task, objective in TASKS.items()}.get(kind)
    if name == "finetune" and task is not None:
        return Finetune(**own, **{"task": task, task: recipe.objective}), None
    raise InputError(f"{given}: expected a recipe of {name}. Received one of {kind.__name__}.")


def as_json(result: dict[str, Any]) -> str:
    """Return the result as one line of strict JSON: what is not a finite number is null."""
    return json.dumps(_strict(result), allow_nan=False)


def _strict(value):
    if isinstance(value, dict):
        return {name: _strict(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

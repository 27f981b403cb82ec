"""What the `config.json` of a folder says: of a model that we saved, or of a published one.

Neither Keras nor a backend is imported here.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tfattn.errors import InputError
from tfattn.families import FORMATS
from tfattn.models.model_config import Head, ModelConfig
from tfattn.spec import Spec

CONFIG = "config.json"
OURS = "tfattn"  # the "format" of what we saved


@dataclass(frozen=True)
class Saved(Spec):
    """What `config.json` of a folder of ours says."""

    config: ModelConfig
    heads: tuple[Head, ...] = ()
    format: Literal["tfattn"] = OURS


def describe(folder: Path) -> tuple[ModelConfig, tuple[Head, ...]] | None:
    """Return the config and the heads of a folder, or None where it holds no model that we know.

    Of a published folder they are those of its format: the sizes are not read from the file, and
    the head is that of a language model, where the format has one.
    """
    try:
        data = read_json(folder / CONFIG)
        if data.get("format") == OURS:
            saved = Saved.from_json(data)
            return saved.config, saved.heads
    except InputError:
        return None
    kind = FORMATS.get(str(data.get("model_type")))
    return None if kind is None else (kind.base, kind.tokens[:1])


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a file holds.

    Raises:
        InputError: no such file, or no JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: expected the description of a model. No such file.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON. {error}.") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object. Received: {type(data).__name__}.")
    return data

"""Models on disk: `config.json` (config, heads) and `model.safetensors` (arrays by weight path)."""

from pathlib import Path
from typing import Any

from tfattn.descriptions import CONFIG, OURS, Saved, read_json
from tfattn.errors import InputError
from tfattn.huggingface import read_published
from tfattn.models.build import build
from tfattn.models.model_config import Head, ModelConfig
from tfattn.weights import (
    WEIGHTS,
    Model,
    Weights,
    arrays,
    assign,
    check_size,
    read_tensors,
    write,
)


def save(model: Model, folder: str | Path) -> None:
    """Write the model to `folder`: `config.json` and `model.safetensors`."""
    write(folder, Saved(model.config, model.heads).to_json(), arrays(model))


def load(folder: str | Path, dtype: Any = None) -> Model:
    """Read what `save` wrote.

    Raises:
        InputError: a missing or damaged file, or weights that are not those of the config.
    """
    config, heads, weights = _read_ours(Path(folder))
    model = build(config, *heads, dtype=dtype)
    assign(model, weights, where=Path(folder) / WEIGHTS)
    return model


def read(folder: str | Path) -> tuple[ModelConfig, tuple[Head, ...], Weights]:
    """Read a folder of ours or a published one: config, heads, and arrays by our weight path.

    Raises:
        InputError: the folder holds neither, or a file is damaged.
    """
    folder = Path(folder)
    ours = read_json(folder / CONFIG).get("format") == OURS
    return _read_ours(folder) if ours else read_published(folder)


def _read_ours(folder):
    described = read_json(folder / CONFIG)
    if described.get("format") != OURS:
        raise InputError(f"{folder / CONFIG}: expected a model saved by tfattn. Received another.")
    saved = Saved.from_json(described, f"{folder / CONFIG}: model")
    weights = read_tensors(folder / WEIGHTS)
    check_size(saved.config, weights, folder)
    return saved.config, saved.heads, weights

"""Weights by path: arrays of a model, put into a model, and read and written as safetensors.

Nothing is ever unpickled.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - teaches numpy the bfloat16 of many published files
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tfattn.descriptions import CONFIG, read_json
from tfattn.errors import InputError
from tfattn.models.build import Model
from tfattn.models.model_config import ModelConfig

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
Weights = dict[str, np.ndarray]


def assign(
    model: Model,
    weights: Mapping[str, np.ndarray],
    where: str | Path = "weights",
    fresh: tuple[str, ...] = (),
    unused: tuple[str, ...] = (),
) -> None:
    """Put arrays by weight path into the model, all of them or none.

    Args:
        model: receives the arrays.
        weights: by path.
        where: named in errors.
        fresh: parts of the model, such as "classify", that may be missing and keep their start.
        unused: parts of the file, such as "pooler", that the model may lack.

    Raises:
        InputError: names every missing, unused and misshapen weight at once.
    """
    wanted = model.weights_by_path()
    absent = [p for p in wanted if p not in weights and p.split("/")[0] not in fresh]
    extra = [p for p in weights if p not in wanted and p.split("/")[0] not in unused]
    shapes = [
        f"{p} is {tuple(weights[p].shape)} for {tuple(wanted[p].shape)}"
        for p in wanted
        if p in weights and tuple(weights[p].shape) != tuple(wanted[p].shape)
    ]
    if absent or extra or shapes:
        parts = (("missing", absent), ("unused", extra), ("of another shape", shapes))
        listed = "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)
        raise InputError(f"{where}: expected the weights of this model. Received {listed}.")
    for path, variable in wanted.items():
        if path in weights:
            variable.assign(weights[path])


def check_size(config: ModelConfig, weights: Weights, where: str | Path) -> None:
    """Complain of a config of a far larger model than the weights are of, before it is allocated.

    Raises:
        InputError: it has more than ten times their numbers.
    """
    wanted, held = config.parameter_count(), sum(weight.size for weight in weights.values())
    if wanted > 10 * held:
        raise InputError(
            f"{where}: expected weights of the {wanted:,} parameters that its config describes. "
            f"Received {held:,}."
        )


def arrays(model: Model) -> Weights:
    """Return the arrays of a model by weight path."""
    return {path: np.asarray(v) for path, v in model.weights_by_path().items()}


def read_all_tensors(folder: Path) -> Weights:
    """Return the arrays of a folder by name, from one file or from shards and their index."""
    if not (folder / INDEX).exists():
        return read_tensors(folder / WEIGHTS)
    places = read_json(folder / INDEX).get("weight_map")
    shards = sorted({str(shard) for shard in places.values()}) if isinstance(places, dict) else []
    if not shards or any(Path(shard).name != shard for shard in shards):
        raise InputError(
            f"{folder / INDEX}: expected names of files beside it. Received: {shards}."
        )
    return {name: w for shard in shards for name, w in read_tensors(folder / shard).items()}


def read_tensors(path: Path) -> Weights:
    """Return the arrays of a file by name, floats as float32."""
    if not path.exists():
        raise InputError(f"{path}: expected weights as safetensors. No such file.")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: _float32(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected weights as safetensors. {error}.") from None


def _float32(array):
    return array if array.dtype.kind in "iu" else array.astype("float32", copy=False)


def write(folder: str | Path, described: dict[str, Any], weights: Weights) -> None:
    """Write config and weights; a reader finds the old ones, the new ones, or no config."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / f".{WEIGHTS}", metadata={"format": "pt"})
    # The old config goes first and the new one comes last: a folder that has one is whole.
    for stale in (CONFIG, INDEX):
        (folder / stale).unlink(missing_ok=True)
    os.replace(folder / f".{WEIGHTS}", folder / WEIGHTS)
    (folder / f".{CONFIG}").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    os.replace(folder / f".{CONFIG}", folder / CONFIG)

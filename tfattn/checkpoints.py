"""Weights on disk: our own folders, and those of published checkpoints, by tables of names.

A folder of ours holds `config.json` (config and heads) and `model.safetensors` (arrays by path of
the weight). A folder of theirs holds `config.json` with a `model_type` and one or more safetensors
files; the family's RENAMES table is read forwards to load it and backwards to write it. Nothing is
ever unpickled.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import ml_dtypes  # noqa: F401 - teaches numpy the bfloat16 of many published files
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tfattn.errors import InputError
from tfattn.families import FAMILIES
from tfattn.models.build import build
from tfattn.models.config import Classify, Head, Pool, TransformerConfig
from tfattn.models.transformer import Transformer
from tfattn.spec import Spec, unknown

WEIGHTS, CONFIG, INDEX = "model.safetensors", "config.json", "model.safetensors.index.json"
Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Saved(Spec):
    """What `config.json` of a folder of ours says."""

    config: TransformerConfig
    heads: tuple[Head, ...] = ()
    format: Literal["tfattn"] = "tfattn"


def save(model: Transformer, folder: str | Path) -> None:
    """Write the model to `folder`: `config.json` and `model.safetensors`."""
    _write(folder, Saved(model.config, model.heads).to_json(), _arrays(model))


def load(folder: str | Path, dtype: Any = None) -> Transformer:
    """Read what `save` wrote.

    Raises:
        InputError: a missing or damaged file, or weights that are not those of the config.
    """
    config, heads, weights = _read_ours(Path(folder))
    model = build(config, *heads, dtype=dtype)
    assign(model, weights, where=Path(folder) / WEIGHTS)
    return model


def from_huggingface(
    folder: str | Path, heads: Iterable[Head] | None = None, dtype: Any = None
) -> Transformer:
    """Build a model from a published checkpoint, without its library.

    Args:
        folder: holds `config.json` and `model.safetensors` (or its shards and their index).
        heads: what sits on the model; default what the file was saved with.
        dtype: a Keras dtype policy; weights are read as float32.

    Raises:
        InputError: a file that is missing or damaged, a model type or option that this package
            does not have, or weights that are missing, unused or of another shape (all are named).
    """
    config, found, weights = _read_theirs(Path(folder))
    model = build(config, *(found if heads is None else heads), dtype=dtype)
    wanted = model.weights_by_path()
    # A published file often holds heads that its next user has no need of.
    parts = {"pooler", *(head.name for head in found)} - {path.split("/")[0] for path in wanted}
    assign(model, weights, where=Path(folder), unused=tuple(parts))
    return model


def to_huggingface(model: Transformer, folder: str | Path) -> None:
    """Write the model as a published BERT checkpoint is written; `from_huggingface` reads it.

    Raises:
        InputError: an option or a head for which that format has no name.
    """
    model_type = "bert"
    family, config = FAMILIES[model_type], model.config
    architecture = _architecture(model, family)
    described = {theirs: getattr(config, ours) for theirs, ours in family.FIELDS}
    described["initializer_range"] = config.kernel_std or config.dim**-0.5
    described |= {"model_type": model_type, "architectures": [architecture]}
    described["num_labels"] = next((h.classes for h in model.heads if isinstance(h, Classify)), 2)
    ours = _arrays(model)
    parts = {path.split("/")[0] for path in ours}
    rows = [r for r in _rows(family, config.depth) if r.ours and r.ours.split("/")[0] in parts]
    different = sorted(set(ours) ^ {row.ours for row in rows})
    if different:
        raise InputError(
            f"model: expected the weights that their format names. Received others: {different}."
        )
    theirs = {row.theirs: row.to_theirs(ours[row.ours], config.heads) for row in rows}
    if architecture == family.ARCHITECTURES[()]:  # saved without its prefix
        theirs = {name.removeprefix(f"{model_type}."): w for name, w in theirs.items()}
    _write(folder, described, theirs)


def read(folder: str | Path) -> tuple[TransformerConfig, tuple[Head, ...], Weights]:
    """Read a folder of ours or of theirs: config, heads, and arrays by our weight path.

    Raises:
        InputError: the folder holds neither, or a file is damaged.
    """
    folder = Path(folder)
    ours = _json(folder / CONFIG).get("format") == "tfattn"
    return _read_ours(folder) if ours else _read_theirs(folder)


def assign(
    model: Transformer,
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


def _read_ours(folder):
    described = _json(folder / CONFIG)
    if described.get("format") != "tfattn":
        raise InputError(f"{folder / CONFIG}: expected a model saved by tfattn. Received another.")
    saved = Saved.from_json(described, f"{folder / CONFIG}: model")
    return saved.config, saved.heads, _tensors(folder / WEIGHTS)


def _architecture(model, family):
    """Return their class for this model, or say what their format has no name for."""
    named = {"embedding_std", *(ours for _, ours in family.FIELDS)}
    for field in (f.name for f in fields(model.config) if f.name not in named):
        only, received = getattr(family.BASE, field), getattr(model.config, field)
        if received != only:
            raise InputError(
                f"TransformerConfig.{field}: expected {only!r}, which is all that their format "
                f"knows. Received: {received!r}."
            )
    names = tuple(sorted(head.name for head in model.heads if not isinstance(head, Pool)))
    mean = any(isinstance(head, Classify) and head.pool == "mean" for head in model.heads)
    if names not in family.ARCHITECTURES or mean:
        raise InputError(
            f"heads: expected one of {sorted(family.ARCHITECTURES)}, pooled by 'pooler', for which "
            f"their format has a name. Received: {names}{' with mean pooling' if mean else ''}."
        )
    return family.ARCHITECTURES[names]


def _read_theirs(folder):
    described = _json(folder / CONFIG)
    model_type = str(described.get("model_type"))
    if model_type not in FAMILIES:
        raise InputError(f"{folder / CONFIG}: model_type: {unknown('type', model_type, FAMILIES)}")
    family = FAMILIES[model_type]
    for option, value in family.REQUIRED:
        if described.get(option, value) != value:
            raise InputError(
                f"{folder / CONFIG}: {option}: expected {value!r}. Received: {described[option]!r}."
            )
    given = {o: described[t] for t, o in family.FIELDS if described.get(t) is not None}
    try:
        config = replace(family.BASE, **given)
    except InputError as error:
        raise InputError(f"{folder / CONFIG}: {error}") from None
    prefix = f"{model_type}."
    theirs = {}
    for name, weight in _all_tensors(folder).items():
        for old, new in family.LEGACY:
            if name.endswith(old):
                name = name.removesuffix(old) + new
        theirs[name] = weight
    if not any(name.startswith(prefix) for name in theirs):  # saved without a head
        bare = ("embeddings.", "encoder.", "pooler.")
        theirs = {prefix + n if n.startswith(bare) else n: w for n, w in theirs.items()}
    shapes = {name: weight.shape for name, weight in theirs.items()}
    heads = tuple(make(shapes[key]) for key, make in family.DETECT if shapes.get(key))
    rows = {row.theirs: row for row in _rows(family, config.depth)}
    weights = {}
    for name, weight in theirs.items():
        row = rows.get(name)
        if row is None:
            weights[name] = weight  # `assign` will name it as unused
        elif row.ours is not None:
            try:
                weights[row.ours] = row.to_ours(weight, config.heads)
            except (ValueError, IndexError):
                weights[row.ours] = weight  # `assign` will name its shape
    return config, heads, weights


def _arrays(model) -> Weights:
    return {path: np.asarray(v) for path, v in model.weights_by_path().items()}


def _rows(family, depth):
    return [written for row in family.RENAMES for written in row.for_layers(depth)]


def _all_tensors(folder):
    if not (folder / INDEX).exists():
        return _tensors(folder / WEIGHTS)
    places = _json(folder / INDEX).get("weight_map")
    shards = sorted({str(shard) for shard in places.values()}) if isinstance(places, dict) else []
    if not shards or any(Path(shard).name != shard for shard in shards):
        raise InputError(
            f"{folder / INDEX}: expected names of files beside it. Received: {shards}."
        )
    return {name: w for shard in shards for name, w in _tensors(folder / shard).items()}


def _tensors(path) -> Weights:
    if not path.exists():
        raise InputError(f"{path}: expected weights as safetensors. No such file.")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: _float32(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected weights as safetensors. {error}.") from None


def _float32(array):
    return array if array.dtype.kind in "iu" else array.astype("float32", copy=False)


def _json(path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: expected the description of a model. No such file.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected JSON. {error}.") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object. Received: {type(data).__name__}.")
    return data


def _write(folder, described, weights):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / f".{WEIGHTS}", metadata={"format": "pt"})
    # The old config goes first and the new one comes last: a folder that has one is whole.
    for stale in (CONFIG, INDEX):
        (folder / stale).unlink(missing_ok=True)
    os.replace(folder / f".{WEIGHTS}", folder / WEIGHTS)
    (folder / f".{CONFIG}").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    os.replace(folder / f".{CONFIG}", folder / CONFIG)

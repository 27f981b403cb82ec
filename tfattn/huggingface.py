"""Published checkpoints, read and written without their library.

A folder of theirs holds `config.json` with a `model_type` and one or more safetensors files. The
family's Format (tfattn/families/format.py) is read forwards to load it and backwards to write it.
"""

from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfattn.descriptions import CONFIG, read_json
from tfattn.errors import InputError
from tfattn.families import FORMATS
from tfattn.families.format import Format
from tfattn.models.build import build
from tfattn.models.model_config import Head, ModelConfig
from tfattn.models.stack_config import StackConfig
from tfattn.spec import unknown
from tfattn.weights import (
    Model,
    Weights,
    arrays,
    assign,
    check_size,
    read_all_tensors,
    write,
)

# Starts of new weights, which no file needs: they may differ from what a format can say.
STARTS = ("embedding_std", "kernel_std", "scaled_residual")


def from_huggingface(
    folder: str | Path, heads: Iterable[Head] | None = None, dtype: Any = None
) -> Model:
    """Build a model from a published checkpoint, without its library.

    Args:
        folder: holds `config.json` and `model.safetensors` (or its shards and their index).
        heads: what sits on the model; default what the file was saved with.
        dtype: a Keras dtype policy; weights are read as float32.

    Raises:
        InputError: a file that is missing or damaged, a model type or option that this package
            does not have, or weights that are missing, unused or of another shape (all are named).
    """
    config, found, weights = read_published(Path(folder))
    model = build(config, *(found if heads is None else heads), dtype=dtype)
    wanted = model.weights_by_path()
    # A published file often holds heads that its next user has no need of.
    parts = {"pooler", *(head.name for head in found)} - {path.split("/")[0] for path in wanted}
    assign(model, weights, where=Path(folder), unused=tuple(parts))
    return model


def to_huggingface(model: Model, folder: str | Path, model_type: str | None = None) -> None:
    """Write the model as published checkpoints are written; `from_huggingface` reads it.

    Args:
        model: any that a format has names for.
        folder: receives `config.json` and `model.safetensors`.
        model_type: "bert", "gpt2", "llama", ...; default the one that fits.

    Raises:
        InputError: an option or a head for which that format has no name.
    """
    if model_type is not None and model_type not in FORMATS:
        raise InputError(f"model_type: {unknown('type', model_type, FORMATS)}")
    config, kinds = model.config, [FORMATS[name] for name in (model_type,) if name is not None]
    kinds = kinds or [kind for kind in FORMATS.values() if type(kind.base) is type(config)]
    kind = min(kinds, key=lambda kind: len(_misfits(model, kind)), default=FORMATS["bert"])
    misfits = _misfits(model, kind)
    if misfits:
        raise InputError(misfits[0])
    architecture = kind.architectures[_names(model)]
    described = {theirs: _their_value(kind, config, ours) for theirs, ours in kind.fields}
    stack = config.stacks().get("")
    if stack is not None:
        described["initializer_range"] = stack.kernel_std or stack.dim**-0.5
    described |= {"model_type": kind.model_type, "architectures": [architecture]}
    described["num_labels"] = next((h.labels for h in model.heads if h.labels), 2)
    described["tie_word_embeddings"] = all(h.is_tied for h in model.heads if h.predicts_tokens)
    described |= kind.describe(config, model.heads)
    ours = arrays(model)
    parts = {path.split("/")[0] for path in ours}
    rows = [r for r in _rows(kind, config, model.heads) if r.ours and r.ours.split("/")[0] in parts]
    different = sorted(set(ours) ^ {str(row.ours) for row in rows})
    if different:
        raise InputError(
            f"model: expected the weights that their format names. Received others: {different}."
        )
    theirs: Weights = {}
    for row in sorted(rows, key=lambda row: row.part or (0, 1)):  # parts in their order
        array = row.to_theirs(ours[str(row.ours)])
        begun = row.part is not None and row.part[0] > 0
        theirs[row.theirs] = np.concatenate([theirs[row.theirs], array], -1) if begun else array
    if architecture == kind.architectures.get(()):  # saved without its prefix
        theirs = {name.removeprefix(kind.prefix): w for name, w in theirs.items()}
    write(folder, described, theirs)


def read_published(folder: Path) -> tuple[ModelConfig, tuple[Head, ...], Weights]:
    """Read a published folder: config, heads, and arrays by our weight path.

    Raises:
        InputError: an unknown model type or option, or a file that is damaged.
    """
    described = read_json(folder / CONFIG)
    model_type = str(described.get("model_type"))
    if model_type not in FORMATS:
        raise InputError(f"{folder / CONFIG}: model_type: {unknown('type', model_type, FORMATS)}")
    kind = FORMATS[model_type]
    config = _config(kind, described, folder / CONFIG)
    theirs = {}
    for name, weight in read_all_tensors(folder).items():
        for old, new in kind.legacy:
            if name.endswith(old):
                name = name.removesuffix(old) + new
        theirs[name] = weight
    if not any(name.startswith(kind.prefix) for name in theirs):  # saved without a head
        theirs = {kind.prefix + n if n.startswith(kind.bare) else n: w for n, w in theirs.items()}
    heads = kind.heads(described, {name: weight.shape for name, weight in theirs.items()})
    rows: dict[str, list] = {}
    for row in _rows(kind, config, heads):
        rows.setdefault(row.theirs, []).append(row)
    # A file may write out the tied matrix once more.
    tied = any(head.is_tied for head in heads)
    weights = {}
    for name, weight in theirs.items():
        for row in rows.get(name, ()):
            if row.ours is None or tied and row.ours == "tokens/embeddings":
                continue
            try:
                weights[row.ours] = row.to_ours(weight)
            except (ValueError, IndexError):
                weights[row.ours] = weight  # `assign` will name its shape
        if name not in rows:
            weights[name] = weight  # `assign` will name it as unused
    check_size(config, weights, folder)
    return config, heads, weights


def _config(kind, described, where):
    for option, value in kind.required:
        if described.get(option, value) != value:
            raise InputError(
                f"{where}: {option}: expected {value!r}. Received: {described[option]!r}."
            )
    try:
        given = {o: described[t] for t, o in kind.fields if described.get(t) is not None}
        for name, values in kind.values.items():
            if isinstance(given.get(name), str):
                given[name] = values.get(given[name], given[name])
        if "" in kind.base.stacks() and described.get("initializer_range"):
            given["kernel_std"] = described["initializer_range"]
        return _with(kind.base, given | kind.derive(described))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _with(base: ModelConfig, given: dict[str, Any]) -> ModelConfig:
    """Return the config with fields of both sides, and those of one that `encoder.depth` names."""
    config = base.with_fields(**{name: value for name, value in given.items() if "." not in name})
    for name, value in given.items():
        side, dot, field = name.partition(".")
        if dot:
            stack = replace(config.stacks()[side], **{field: value})
            config = replace(config, **{side: stack})
    return config


def _sides(config: ModelConfig) -> dict[str, StackConfig]:
    """Return the stacks of a config by what the names of their fields begin with."""
    if not config.stacks():
        raise InputError(
            "model: expected a Transformer or an EncoderDecoder, of which checkpoints are "
            f"published. Received: a model of {type(config).__name__}."
        )
    return {f"{side}." if side else "": stack for side, stack in config.stacks().items()}


def _their_value(kind: Format, config: ModelConfig, ours: str) -> Any:
    side, _, field = ours.rpartition(".")
    value = getattr(getattr(config, side or "encoder", config), field)
    known = {own: theirs for theirs, own in kind.values.get(field, {}).items()}
    return known.get(value, value) if isinstance(value, str) else value


def _names(model: Model) -> tuple[str, ...]:
    return tuple(sorted(head.name for head in _with_layers(model)))


def _with_layers(model: Model) -> list[Head]:
    """Return the heads that have a layer of their own: BERT's pooler is one of the model."""
    return [head for head in model.heads if head.builder is not None]


def _misfits(model: Model, kind: Format) -> list[str]:
    """Return what this format has no name for, a sentence each."""
    bases, sides = _sides(kind.base), _sides(model.config)
    if type(kind.base) is not type(model.config):
        theirs, ours = (config.summary for config in (kind.base, model.config))
        return [f"config: expected {theirs} for {kind.model_type}. Received: {ours}."]
    said = []
    named = {*STARTS, *kind.derived, *(ours for _, ours in kind.fields)}
    for side, field in ((s, f.name) for s in sides for f in fields(sides[s]) if f.compare):
        only, received = getattr(bases[side], field), getattr(sides[side], field)
        if field in named and f"{side}{field}" not in named:  # one of theirs for both sides
            only = getattr(next(iter(sides.values())), field)
        elif f"{side}{field}" in named:
            continue
        if received != only:
            said.append(
                f"{type(sides[side]).__name__}.{side}{field}: expected {only!r}, which is all that "
                f"the format of {kind.model_type} knows. Received: {received!r}."
            )
    names = _names(model)
    heads = _with_layers(model)
    mean = [h.pooling for h in heads if h.pooling not in (None, kind.pool)]
    unlike = [h for h in heads if h.predicts_tokens and h not in kind.tokens]
    if names not in kind.architectures or mean or unlike:
        told = f"{names}{f' with {mean[0]} pooling' if mean else ''}{unlike or ''}"
        said.append(
            f"heads: expected one of {sorted(kind.architectures)}, pooled by {kind.pool!r}, for "
            f"which their format has a name. Received: {told}."
        )
    return said


def _rows(kind: Format, config: ModelConfig, heads: tuple[Head, ...]):
    depths = {side.removesuffix("."): own.depth for side, own in _sides(config).items()}
    deepest = max(depths.values())
    return [
        written
        for row in (*kind.renames, *kind.more(config, heads))
        for written in row.for_layers(depths.get((row.ours or "").split("/")[0], deepest))
    ]

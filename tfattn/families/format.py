"""How a published checkpoint writes its config and its weights, as data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tfattn.models.heads import Tokens
from tfattn.models.model_config import Head, ModelConfig
from tfattn.renames import Rename

Described = Mapping[str, Any]  # their config.json


@dataclass(frozen=True)
class Format:
    """One `model_type` of Hugging Face, read forwards to load a file and backwards to write it."""

    model_type: str
    base: ModelConfig  # what all models of this type have in common
    # Theirs in config.json, ours in the config: of both sides where it has two, of one of them as
    # `encoder.depth`.
    fields: tuple[tuple[str, str], ...]
    renames: tuple[Rename, ...]  # of every model
    prefix: str  # of the names of the model without its heads
    bare: tuple[str, ...]  # how those names begin where a file was saved without heads
    # From their config and the shapes of their weights, the heads that a file was saved with.
    heads: Callable[[Described, Mapping[str, tuple[int, ...]]], tuple[Head, ...]]
    architectures: Mapping[tuple[str, ...], str]  # sorted names of heads, the class that reads them
    tokens: tuple[Tokens, ...] = ()  # the heads over the vocabulary that it knows
    pool: str = "pooler"  # what its classifiers read
    required: tuple[tuple[str, Any], ...] = ()  # options of theirs that have one value here
    legacy: tuple[tuple[str, str], ...] = ()  # suffixes of old files, as they are called now
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # our field: theirs, ours
    derive: Callable[[Described], dict[str, Any]] = lambda described: {}  # our fields, by their all
    # And the reverse.
    describe: Callable[[Any, tuple[Head, ...]], dict[str, Any]] = lambda config, heads: {}
    derived: tuple[str, ...] = ()  # names of the fields that `derive` gives
    # Renames of a model of ours, by its config and heads.
    more: Callable[[Any, tuple[Head, ...]], tuple[Rename, ...]] = lambda config, heads: ()


def layer_norm(theirs: str, ours: str) -> tuple[Rename, Rename]:
    """Return the rows of a norm with weight and bias."""
    return Rename(f"{theirs}.weight", f"{ours}/gamma"), Rename(f"{theirs}.bias", f"{ours}/beta")


def linear(theirs: str, ours: str, transposed: bool = True) -> tuple[Rename, Rename]:
    """Return the rows of a linear map with weight and bias."""
    return (
        Rename(f"{theirs}.weight", f"{ours}/kernel", transposed),
        Rename(f"{theirs}.bias", f"{ours}/bias"),
    )

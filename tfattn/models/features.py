"""What models are given: the names of their features, and what stands for those left out."""

from collections.abc import Mapping

from keras import ops

from tfattn.errors import InputError
from tfattn.models.config import TransformerConfig
from tfattn.spec import unknown
from tfattn.types import Tensor

ASKED = ("predict_positions", "targets", "target_weights")  # of a Tokens head


def check(features: Mapping[str, Tensor], known: tuple[str, ...]) -> None:
    """Complain of features that are unknown, or that go with another."""
    for name in features:
        if name not in (*known, *ASKED):
            raise InputError(f"features: {unknown('feature', name, (*known, *ASKED))}")
    if ("targets" in features) != ("target_weights" in features):
        raise InputError("features: expected both targets and target_weights. Received one.")


def read(
    features: Mapping[str, Tensor], pad_id: int | None, side: str = ""
) -> tuple[Tensor, Tensor]:
    """Return tokens and segments, both (b, t); default segments are 1 where there is no `pad_id`.

    Raises:
        InputError: no tokens.
    """
    tokens, segments = (features.get(f"{side}{name}") for name in ("tokens", "segments"))
    if tokens is None:
        raise InputError(f"features: expected {side}tokens. Received: {', '.join(features)}.")
    if segments is None:
        there = ops.ones_like(tokens) if pad_id is None else tokens != pad_id
        segments = ops.cast(there, "int32")
    return tokens, segments


def placed(
    features: Mapping[str, Tensor], config: TransformerConfig, side: str = ""
) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens, segments and positions, all (b, t), with their defaults.

    Args:
        features: as the models describe them.
        config: of the stack that reads them.
        side: what their names begin with, such as "target_".

    Raises:
        InputError: no tokens, or more columns than learned positions.
    """
    tokens, segments = read(features, config.pad_id, side)
    positions = features.get(f"{side}positions")
    if positions is None:
        length, limit = tokens.shape[1], config.max_length
        if config.position == "learned" and length is not None and length > limit:
            raise InputError(f"{side}tokens: expected at most {limit} columns. Received: {length}.")
        positions = ops.broadcast_to(ops.arange(ops.shape(tokens)[1]), ops.shape(tokens))
    return tokens, segments, positions

"""Over how many shards a model may be split: those that divide its heads and hidden units.

    query, key, value    columns, and with them heads        output      rows
    expand, gate         columns, and with them hidden units contract    rows
    tokens               rows, the vocabulary; where that does not divide, columns

Neither Keras nor a backend is imported here: plans are made of it (pipelines/experiments/plan.py),
and what is planned is built by it (tfattn/sharding.py).
"""

import math
from typing import Any

from tfattn.errors import InputError
from tfattn.models.config import EncoderDecoderConfig, Head, TransformerConfig
from tfattn.models.model_config import ModelConfig
from tfattn.models.recurrent_config import RecurrentConfig
from tfattn.models.vision_config import Pixels


def most_shards(config: ModelConfig, *heads: Head) -> int:
    """Return the most shards of which each has as many heads and hidden units.

    Fewer are possible where they divide it.

    Args:
        config: of the model.
        *heads: that sit on it.
    """
    if isinstance(config, RecurrentConfig):
        return 1  # step after step each would wait for the others
    return math.gcd(*(size for _, size in _shared_out(config, heads)))


def check_shards(config: ModelConfig, *heads: Head, shards: int) -> None:
    """Complain of a number of shards by which a model does not divide.

    Args:
        config: of the model.
        *heads: that sit on it.
        shards: over which it is to be split.

    Raises:
        InputError: names the field.
    """
    if shards < 1:
        raise InputError(f"shards: expected at least 1. Received: {shards}.")
    if most_shards(config, *heads) % shards == 0:
        return
    if isinstance(config, RecurrentConfig):
        raise InputError(
            "shards: expected 1 for a recurrent model, in which each would wait for the others at "
            f"every step; split the batch instead, by DataParallel. Received: {shards}."
        )
    field, size = next((f, n) for f, n in _shared_out(config, heads) if n % shards)
    raise InputError(f"{field}: expected a multiple of the {shards} shards. Received: {size}.")


def divides_vocabulary(config: ModelConfig, shards: int) -> bool:
    """Return whether so many shards divide the vocabulary, or those of both sides."""
    both = isinstance(config, EncoderDecoderConfig)
    sides = (config.encoder, config.decoder) if both else (config,)
    return all(getattr(side, "vocab_size", 0) % shards == 0 for side in sides)


def _shared_out(config, heads):
    """Return the sizes that shards divide, each after its field."""
    kind = type(config).__name__
    stacks: dict[str, Any] = {kind: config}
    if isinstance(config, EncoderDecoderConfig):
        stacks = {f"{kind}.{side}": getattr(config, side) for side in ("encoder", "decoder")}
    stacks |= {type(h).__name__: h.stack() for h in heads if isinstance(h, Pixels)}
    sizes = []
    for where, stack in stacks.items():
        sizes += [(f"{where}.heads", stack.heads), (f"{where}.hidden_dim", stack.hidden_dim)]
        if stack.kv_heads is not None:  # they may be fewer: each is repeated for its queries anyway
            sizes.append((f"{where}.kv_heads times head_dim", stack.kv_heads * stack.head_width()))
        if isinstance(stack, TransformerConfig):
            sizes.append((f"{where}.dim", stack.dim))
    return sizes

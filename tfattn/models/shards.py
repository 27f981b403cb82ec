"""Over how many shards a model may be split: those that divide its heads and hidden units.

    query, key, value    columns, and with them heads        output      rows
    expand, gate         columns, and with them hidden units contract    rows
    tokens               rows, the vocabulary; where that does not divide, columns

Neither Keras nor a backend is imported here: plans are made of it (pipelines/experiments/plan.py),
and what is planned is built by it (tfattn/sharding.py).
"""

import math

from tfattn.errors import InputError
from tfattn.models.model_config import Head, ModelConfig


def most_shards(config: ModelConfig, *heads: Head) -> int:
    """Return the most shards of which each has as many heads and hidden units.

    Fewer are possible where they divide it.

    Args:
        config: of the model.
        *heads: that sit on it.
    """
    if not config.stacks():
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
    if not config.stacks():
        raise InputError(
            "shards: expected 1 for a recurrent model, in which each would wait for the others at "
            f"every step; split the batch instead, by DataParallel. Received: {shards}."
        )
    field, size = next((f, n) for f, n in _shared_out(config, heads) if n % shards)
    raise InputError(f"{field}: expected a multiple of the {shards} shards. Received: {size}.")


def divides_vocabulary(config: ModelConfig, shards: int) -> bool:
    """Return whether so many shards divide the vocabulary, or those of both sides."""
    return all(size % shards == 0 for size in config.vocabularies())


def _shared_out(config, heads):
    """Return the sizes that shards divide, each after its field."""
    kind = type(config).__name__
    sizes = []
    for side, stack in config.stacks().items():
        where = f"{kind}.{side}" if side else kind
        sizes += _stack_sizes(where, stack)
        if config.vocabularies():  # embeddings are split by columns where rows do not divide
            sizes.append((f"{where}.dim", stack.dim))
    for head in heads:
        for stack in head.stacks().values():
            sizes += _stack_sizes(type(head).__name__, stack)
    return sizes


def _stack_sizes(where, stack):
    sizes = [(f"{where}.heads", stack.heads), (f"{where}.hidden_dim", stack.hidden_dim)]
    if stack.kv_heads is not None:  # they may be fewer: each is repeated for its queries anyway
        sizes.append((f"{where}.kv_heads times head_dim", stack.kv_heads * stack.head_width()))
    return sizes

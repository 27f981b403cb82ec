"""How much each attention head matters, and models without those that matter least.

    importance of a head = loss without it - loss with all        (arXiv:1905.10650, section 3)

A head is left out by zeros in its rows of the output kernel, which says the same as a gate of 0 on
what it pools. (An exercise of D2L section 11.5.)
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from tfattn.errors import InputError
from tfattn.mechanisms.multihead import MultiHeadAttention
from tfattn.models.build import Model, build
from tfattn.weights import arrays, assign

STACKS = ("encoder", "decoder")


def attentions(model: Model) -> dict[str, MultiHeadAttention]:
    """Return the attentions of a model by path, such as `encoder/block_3/self`."""
    found = {}
    for stack in STACKS:
        blocks: Any = getattr(getattr(model, stack, None), "blocks", ())
        for number, block in enumerate(blocks):
            for name, layer in block.sublayers.items():
                if isinstance(layer, MultiHeadAttention):
                    found[f"{stack}/block_{number}/{name}"] = layer
    return found


def head_importance(model: Model, loss: Callable[[], float]) -> dict[str, np.ndarray]:
    """Return by path of each attention how much a loss grows without each of its heads, (h,).

    Args:
        model: whose weights are those of before when this returns.
        loss: measures the model, without dropout and on the same data each time.
    """
    whole, found = float(loss()), {}
    for path, layer in attentions(model).items():
        kernel = layer.output_projection.kernel
        kept = ops.convert_to_numpy(kernel)
        found[path] = np.zeros(layer.heads)
        try:
            for head in range(layer.heads):
                by_head = kept.reshape((layer.heads, layer.head_dim, -1)).copy()
                by_head[head] = 0
                kernel.assign(by_head.reshape(kept.shape))
                found[path][head] = float(loss()) - whole
        finally:
            kernel.assign(kept)
    return found


def prune(model: Model, keep: Mapping[str, Sequence[int]]) -> Model:
    """Return a smaller model of some of the heads, the same number in each attention.

    Args:
        model: of which the weights are taken.
        keep: by path of each attention the heads that stay, as `most_important` chooses them.

    Raises:
        InputError: a recurrent model, heads that share keys or have biases of their own (grouped
            heads, T5's buckets, ALiBi), an attention that is missing, or unequal numbers.
    """
    config, layers = model.config, attentions(model)
    if not config.stacks():
        raise InputError(f"model: expected attention heads. Received: a {type(config).__name__}.")
    for side in config.stacks().values():
        if side.position in ("buckets", "alibi") or side.kv_heads not in (None, side.heads):
            raise InputError(
                "model: expected heads with keys of their own and no bias of their own. "
                f"Received: {side.kv_heads or side.heads} heads of keys, positions {side.position}."
            )
    counts = {len(set(heads)) for heads in keep.values()}
    if set(keep) != set(layers) or len(counts) != 1 or 0 in counts:
        raise InputError(
            f"keep: expected one number of heads of each of {', '.join(layers)}. "
            f"Received: { {path: list(heads) for path, heads in keep.items()} }."
        )
    weights = arrays(model)
    for path, layer in layers.items():
        heads = sorted(set(keep[path]))
        if not 0 <= heads[0] <= heads[-1] < layer.heads:
            raise InputError(
                f"keep: expected heads of the {layer.heads} of {path}. Received: {heads}."
            )
        for part in ("query", "key", "value", "output"):
            for kind in ("kernel", "bias"):
                name = f"{path}/{part}/{kind}"
                if name in weights and (part, kind) != ("output", "bias"):
                    weights[name] = _of_heads(weights[name], layer, heads, part == "output")
    smaller = config.with_fields(heads=counts.pop(), kv_heads=None, head_dim=_head_dim(layers))
    pruned = build(smaller, *model.heads, dtype=model.dtype_policy)
    assign(pruned, weights)
    return pruned


def most_important(importance: Mapping[str, np.ndarray], heads: int) -> dict[str, list[int]]:
    """Return for each attention so many of its heads, those that matter most."""
    best = {path: np.argsort(-values, kind="stable")[:heads] for path, values in importance.items()}
    return {path: sorted(found.tolist()) for path, found in best.items()}


def _of_heads(weight, layer, heads, rows):
    """Return the rows or columns of some heads."""
    axis = 0 if rows else weight.ndim - 1
    shape = [*weight.shape[:axis], layer.heads, layer.head_dim, *weight.shape[axis + 1 :]]
    some = np.take(weight.reshape(shape), heads, axis=axis)
    return some.reshape([*weight.shape[:axis], -1, *weight.shape[axis + 1 :]])


def _head_dim(layers: Mapping[str, MultiHeadAttention]) -> int:
    return next(iter(layers.values())).head_dim

"""What all models of a source and a target share: the features they read, and their one head."""

from collections.abc import Iterable
from typing import Any

from keras import ops

from tfattn.errors import InputError
from tfattn.models.config import Head, Tokens
from tfattn.models.features import wanted

Tensor = Any
INPUTS = ("tokens", "segments", "positions")
INPUTS += tuple(f"target_{name}" for name in INPUTS)


def check_heads(heads: tuple[Head, ...]) -> None:
    """Complain of more than one head, or of another than that over the vocabulary."""
    if len(heads) > 1 or not all(isinstance(head, Tokens) for head in heads):
        raise InputError(
            "heads: expected none, or one over the vocabulary. "
            f"Received: {', '.join(head.name for head in heads)}."
        )


def build_each(layers: Iterable[Any]) -> None:
    """Create the weights of layers that need no shapes; of one that comes twice, once."""
    for layer in layers:
        if layer is not None and not layer.built:
            layer.build()


def logits(model: Any, hidden: Tensor) -> Tensor:
    """Return the logits (b, t, v) of the head of `model` from what its decoder says (b, t, r)."""
    (head,) = model.heads
    return model.head_layers[head.name](hidden, _matrix(model, head))


def answer(
    model: Any, hidden: Tensor, features: dict[str, Tensor], training: bool | None
) -> Tensor:
    """Return the output of the head at the places that features ask for; `hidden` without one."""
    if not model.heads:
        return hidden
    (head,) = model.heads
    return model.head_layers[head.name](
        hidden,
        _matrix(model, head),
        features.get("predict_positions"),
        wanted(features),
        training=training,
    )


def _matrix(model, head):
    embeddings = model.target_stem.tokens.embeddings
    return ops.convert_to_tensor(embeddings) if head.tied else None

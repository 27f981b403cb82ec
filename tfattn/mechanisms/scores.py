"""Scores: how well a query fits a key, before the softmax (D2L section 11.3)."""

from typing import Any

import keras
from keras import ops

Tensor = Any


def fold(x: Tensor) -> Tensor:
    """Return (b, t, h, e) as (b h, t, e): a batch of plain matrices, as products read them."""
    x = ops.transpose(x, (0, 2, 1, 3))
    return ops.reshape(x, (-1, ops.shape(x)[2], x.shape[3]))


@keras.saving.register_keras_serializable(package="tfattn")
class ScaledDotProduct(keras.layers.Layer):
    """`score(q, k) = q . k / sqrt(e)` (Vaswani et al., arXiv:1706.03762, section 3.2.1).

    The scale keeps the variance of the score at one when the components of q and k are independent
    with variance one. `scale` replaces `1 / sqrt(e)`; T5 uses 1.
    """

    def __init__(self, scale: float | None = None, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, q: Tensor, k: Tensor) -> Tensor:
        """Score every query (b, t, h, e) with every key (b, s, h, e); returns (b, h, t, s)."""
        scale = q.shape[-1] ** -0.5 if self.scale is None else self.scale
        # Scaling q costs t*e products where scaling the scores would cost t*s.
        q = q * ops.cast(scale, q.dtype)
        scores = ops.matmul(fold(q), ops.transpose(fold(k), (0, 2, 1)))  # (b h, t, s)
        return ops.reshape(scores, (-1, q.shape[2], *ops.shape(scores)[1:]))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "scale": self.scale}

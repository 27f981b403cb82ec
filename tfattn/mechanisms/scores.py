"""Scores: how well a query fits a key, before the softmax (D2L section 11.3)."""

from typing import Any

import keras
from keras import ops

Tensor = Any


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
        return ops.einsum("bthe,bshe->bhts", q * ops.cast(scale, q.dtype), k)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "scale": self.scale}

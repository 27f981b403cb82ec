"""Linear attention: a kernel that is a product of features makes the cost linear in length.

    attention(q, k, v) = sum_s phi(q) . phi(k_s) v_s / sum_s phi(q) . phi(k_s)
                       = phi(q) (sum_s phi(k_s) v_s^T) / phi(q) . (sum_s phi(k_s))

The sums do not depend on q, so that t queries and s keys cost t + s and not t s (Katharopoulos et
al., arXiv:2006.16236, section 3.2). It is no softmax: a model is trained with one or the other. It
answers an exercise of D2L section 11.7.
"""

from typing import Any

import keras
from keras import ops

from tfattn.mechanisms.masks import Causal, Everything, Mask
from tfattn.types import Tensor


def features(x: Tensor) -> Tensor:
    """Return phi(x) = elu(x) + 1, which is positive (the same, equation 7)."""
    return ops.elu(x) + 1.0


@keras.saving.register_keras_serializable(package="tfattn")
class LinearAttention(keras.layers.Layer):
    """Attention pooling with the kernel phi(q) . phi(k), in time linear in the number of keys.

    Args:
        mask: `Everything()` or `Causal()`; others need all pairs.
        chunk: of a causal one, the queries whose pairs are made at once: memory grows by
            t * chunk, and the number of states that are kept by t / chunk.

    Raises:
        ValueError: another mask.
    """

    def __init__(self, mask: Mask = Everything(), chunk: int = 64, **kwargs):  # noqa: B008
        super().__init__(**kwargs)
        if mask not in (Everything(), Causal()):
            raise ValueError(f"mask must be Everything() or Causal(). Received: {mask}.")
        self.mask, self.chunk = mask, chunk

    def build(self, *shapes):
        """Create nothing: there are no weights."""
        self.built = True

    def call(
        self, query: Tensor, key: Tensor, value: Tensor, *, key_segments: Tensor | None = None
    ) -> Tensor:
        """Pool `value` (b, s, h, f) for each query (b, t, h, e); returns (b, t, h, f).

        Args:
            query: (b, t, h, e).
            key: (b, s, h, e).
            value: (b, s, h, f).
            key_segments: (b, s), 0 = padding, else one text a row; default no padding.
        """
        dtype = value.dtype
        q, k, v = (ops.cast(x, "float32") for x in (features(query), features(key), value))
        if key_segments is not None:
            k = k * ops.cast(key_segments != 0, "float32")[..., None, None]
        v = ops.concatenate([v, ops.ones_like(v[..., :1])], axis=-1)  # its last column sums phi
        sums = self._causal(q, k, v) if self.mask == Causal() else _all(q, k, v)
        total = sums[..., -1:]
        pooled = sums[..., :-1] / ops.where(total > 0, total, 1.0)
        return ops.cast(pooled, dtype)

    def _causal(self, q, k, v):
        """Return sums over keys that are not later: whole chunks by their states, own by pairs."""
        length = ops.shape(q)[1]
        rest = -length % self.chunk
        q, k, v = (
            _chunks(ops.pad(x, [(0, 0), (0, rest), (0, 0), (0, 0)]), self.chunk) for x in (q, k, v)
        )
        states = ops.einsum("bnche,bnchf->bnhef", k, v)
        before = ops.cumsum(states, axis=1) - states
        place = ops.arange(self.chunk)
        causal = ops.cast(place[:, None] >= place, "float32")
        pairs = ops.einsum("bnche,bndhe->bnhcd", q, k) * causal
        sums = ops.einsum("bnhcd,bndhf->bnchf", pairs, v)
        sums = sums + ops.einsum("bnche,bnhef->bnchf", q, before)
        whole = ops.reshape(sums, (-1, ops.shape(sums)[1] * self.chunk, *sums.shape[3:]))
        return whole[:, :length]

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "mask": self.mask.to_json(), "chunk": self.chunk}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LinearAttention":
        """Rebuild the layer."""
        return cls(**{**config, "mask": Mask.from_json(config["mask"])})


def _all(q, k, v):
    return ops.einsum("bthe,bhef->bthf", q, ops.einsum("bshe,bshf->bhef", k, v))


def _chunks(x, size):
    """Return (b, n size, h, e) as (b, n, size, h, e)."""
    return ops.reshape(x, (-1, ops.shape(x)[1] // size, size, *x.shape[2:]))

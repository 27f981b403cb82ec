"""Attention pooling: a weighted mean of values, weighted by how well keys fit a query.

    attention(q, k, v) = sum_s softmax_s(score(q, k_s) + bias) v_s        over the admissible s

D2L sections 11.1 to 11.3. What is admissible is a mask (a predicate of positions) together with
`segments`: each token belongs to a segment, attends to its own segment only, and segment 0 is
padding. One rule thus serves padded batches and rows packed with many documents.

`attend` is the mechanism as one reads it, `Attention` the layer with any score and any mask.
"""

import math
from typing import Any

import keras
from keras import ops

from tfattn import backend
from tfattn.mechanisms import nested
from tfattn.mechanisms.dropout import Dropout
from tfattn.mechanisms.kernels import OUTSIDE
from tfattn.mechanisms.masks import Everything, Mask, admissible
from tfattn.mechanisms.pooling import masked_softmax, pool, softmax_pool
from tfattn.mechanisms.scores import ScaledDotProduct
from tfattn.types import Tensor


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Mask | Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Return the means of the values, weighted by how well their keys fit each query.

        attend(Q, K, V) = softmax(Q K^T / sqrt(e) + bias) V
                                          (arXiv:1706.03762, equation 1; D2L section 11.3)

    It is the reference that the engines (tfattn/mechanisms/engines.py) are tested with. Layers do
    not call it: they scale the queries instead of the scores, and multiply folded matrices.

    Args:
        queries: (b, t, h, e).
        keys: (b, s, g, e). Groups of h / g query heads share a head of keys and values.
        values: (b, s, g, e).
        mask: a Mask, which compares the columns of queries and keys; or booleans that broadcast to
            (b, h, t, s), True where a query may attend. A query that may attend to no key gets 0.
        bias: added to the scores, broadcasts to (b, h, t, s).

    Returns:
        (b, t, h, e).
    """
    t, s, group = queries.shape[1], keys.shape[1], queries.shape[2] // keys.shape[2]
    keys, values = (ops.repeat(x, group, axis=2) for x in (keys, values))  # (b, s, h, e)
    scores = ops.einsum("bthe,bshe->bhts", queries, keys) / math.sqrt(queries.shape[-1])
    if bias is not None:
        scores = scores + bias  # (b, h, t, s)
    if isinstance(mask, Mask):
        mask = mask(ops.arange(t)[:, None], ops.arange(s)[None])  # (t, s)
    if mask is not None:
        scores = ops.where(mask, scores, OUTSIDE)
    weights = ops.softmax(scores, axis=-1)  # (b, h, t, s)
    if mask is not None:
        weights = ops.where(mask, weights, 0.0)  # of a row with no key they would be 1 / s
    return ops.einsum("bhts,bshe->bthe", weights, values)


def straight_through(scores: Tensor, allowed: Tensor | None) -> Tensor:
    """Return 1 for the key of the largest score, of several the first, and 0 for the others.

    An argmax has no gradient; that of the softmax is taken in its place, straight through
    (Bengio et al., arXiv:1308.3432). Hard attention is of arXiv:1502.03044, section 4.1,
    which draws the key instead.
    """
    soft = masked_softmax(ops.cast(scores, "float32"), allowed)
    best = ops.argmax(soft, axis=-1)
    one = ops.one_hot(best, ops.shape(scores)[-1], dtype="float32") * ops.cast(soft > 0, "float32")
    return ops.cast(soft + ops.stop_gradient(one - soft), scores.dtype)


NORMALIZERS = {"softmax": masked_softmax, "hard": straight_through}


def key_length_mask(lengths: Tensor, size: int | Tensor) -> Tensor:
    """Return which of `size` keys are among the first ones that a query may attend to.

    Args:
        lengths: how many, (b,) for all queries of a text, or (b, t) for each (D2L 11.3.2).
        size: number s of keys.

    Returns:
        (b, 1, 1, s) or (b, 1, t, s).
    """
    shape = (-1, 1, 1, 1) if len(lengths.shape) == 1 else (-1, 1, ops.shape(lengths)[1], 1)
    return ops.arange(size, dtype="int32") < ops.reshape(ops.cast(lengths, "int32"), shape)


@keras.saving.register_keras_serializable(package="tfattn")
class Attention(keras.layers.Layer):
    """Attention pooling with any score and any mask (D2L 11.3.3; arXiv:1706.03762, section 3.2).

    Args:
        score: a layer `score(q, k) -> (b, h, t, s)` (tfattn/mechanisms/scores.py); default
            `ScaledDotProduct()`.
        mask: which positions may be attended to; default `Everything()`.
        dropout: share of the attention weights dropped in training.
        normalizer: what makes weights of scores: "softmax", or "hard" for the best key alone.

    Raises:
        ValueError: another `normalizer`.
    """

    def __init__(
        self,
        score: keras.layers.Layer | None = None,
        mask: Mask = Everything(),  # noqa: B008 - masks are frozen
        dropout: float = 0.0,
        normalizer: str = "softmax",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if normalizer not in NORMALIZERS:
            raise ValueError(
                f"normalizer must be one of {', '.join(NORMALIZERS)}. Received: {normalizer!r}."
            )
        self.score = score or ScaledDotProduct(dtype=self.dtype_policy, name="score")
        self.mask = mask
        self.dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.normalizer, self.normalize = normalizer, NORMALIZERS[normalizer]

    def build(self, *shapes):
        """Create the weights of the score, where it has some."""
        if not self.score.built:
            self.score.build((None, None, None, None))  # it knows its sizes, these tell none
        self.built = True

    def call(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        key_positions: Tensor | None = None,
        key_segments: Tensor | None = None,
        lengths: Tensor | None = None,
        bias: Tensor | None = None,
        prepared: bool = False,
        training: bool | None = None,
        return_weights: bool = False,
    ) -> Any:
        """Pool `value` (b, s, h, e) for each query (b, t, h, e); returns (b, t, h, e).

        Args:
            query: (b, t, h, e).
            key: (b, s, h, e).
            value: (b, s, h, e).
            positions: (b, t) of the queries; default 0, 1, 2, ...
            segments: (b, t) of the queries, 0 = padding; default all 1.
            key_positions: (b, s) of the keys; default 0, 1, 2, ...
            key_segments: (b, s) of the keys, 0 = padding; default all 1.
            lengths: (b,) or (b, t), how many of the first keys may be attended to; default all.
            bias: added to the scores, broadcasts to (b, h, t, s).
            prepared: whether `key` is what `score.keys` returned for the keys.
            training: whether weights are dropped.
            return_weights: also return the weights (b, h, t, s), before dropout.
        """
        ready = {"prepared": True} if prepared else {}  # a score of the user's may not know it
        scores = self.score(query, key, **ready)  # (b, h, t, s)
        if bias is not None:
            scores = scores + ops.cast(bias, scores.dtype)
        places = self._places(query, key, positions, segments, key_positions, key_segments)
        few = None if lengths is None else key_length_mask(lengths, ops.shape(key)[1])
        if getattr(self.score, "is_bounded", False):  # a kernel that is 0 from a distance on
            near = scores > OUTSIDE / 2
            few = near if few is None else few & near
        at_once = self.normalize is masked_softmax and backend.is_fused() and not return_weights
        if at_once and few is None and scores.shape[1] == 1:  # no other head needs the comparisons
            return self._pool_at_once(scores, places, value, training, self.mask)
        allowed = few
        if places is not None:
            allowed = admissible(self.mask, *places)
            allowed = allowed if few is None else allowed & few
        if at_once:
            return self._pool_at_once(scores, allowed, value, training)
        if return_weights:
            weights = backend.island(self.normalize)(scores, allowed)
            dropped = self.dropout(weights, training=training)
            return pool(ops.cast(dropped, value.dtype), value), ops.cast(weights, value.dtype)
        weights = self.dropout.after(self.normalize, scores, allowed, training=training)
        return pool(ops.cast(weights, value.dtype), value)

    def _pool_at_once(self, scores, allowed, value, training, mask=None):
        seed = self.dropout.next_seed(training)
        return softmax_pool(scores, allowed, value, seed, self.dropout.rate, mask)

    def _places(self, query, key, positions, segments, key_positions, key_segments):
        """Return what `admissible` takes beside the mask, or None where all is allowed."""
        if segments is None and key_segments is None and self.mask == Everything():
            return None
        batch, t, s = ops.shape(query)[0], ops.shape(query)[1], ops.shape(key)[1]

        def integers(given, default, length):  # (b, length), of one dtype to be compared
            if given is None:
                return ops.broadcast_to(default, (batch, length))
            return ops.cast(given, "int32")

        one = ops.ones((), "int32")
        return (
            integers(positions, ops.arange(t, dtype="int32"), t),
            integers(key_positions, ops.arange(s, dtype="int32"), s),
            integers(segments, one, t),
            integers(key_segments, one, s),
        )

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {
            **super().get_config(),
            "score": nested.to_config(self.score),
            "mask": self.mask.to_json(),
            "dropout": self.dropout.rate,
            "normalizer": self.normalizer,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Attention":
        """Rebuild the layer."""
        score = keras.saving.deserialize_keras_object(config["score"])
        return cls(**{**config, "score": score, "mask": Mask.from_json(config["mask"])})

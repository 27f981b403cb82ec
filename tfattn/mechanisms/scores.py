"""Scores: how well a query fits a key, before the softmax (D2L section 11.3).

What a score makes of the keys alone is its method `keys`, so that who asks the same keys many times
makes it once: `score(q, k)` is `score(q, score.keys(k), prepared=True)`. Sizes of weights are
arguments of the constructor; `build` is told no shapes.
"""

from typing import Any

import keras
from keras import ops

from tfattn.mechanisms.projection import Projection
from tfattn.types import Tensor


def fold(x: Tensor) -> Tensor:
    """Return (b, t, h, e) as (b h, t, e): a batch of plain matrices, as products read them."""
    x = ops.transpose(x, (0, 2, 1, 3))
    return ops.reshape(x, (-1, ops.shape(x)[2], x.shape[3]))


def unfold(x: Tensor, heads: int) -> Tensor:
    """Return (b h, t, e) as (b, t, h, e)."""
    apart = ops.reshape(x, (-1, heads, ops.shape(x)[1], x.shape[2]))
    return ops.transpose(apart, (0, 2, 1, 3))


def is_split() -> bool:
    """Return whether texts and heads may be split over devices.

    Folded into one axis they cannot be: each device would gather all heads of its texts.
    """
    return keras.distribution.distribution() is not None


def products(q: Tensor, k: Tensor) -> Tensor:
    """Return the products (b, h, t, s) of queries (b, t, h, e) and keys (b, s, h, e)."""
    if is_split():
        return ops.einsum("bthe,bshe->bhts", q, k)
    scores = ops.matmul(fold(q), ops.transpose(fold(k), (0, 2, 1)))  # (b h, t, s)
    return ops.reshape(scores, (-1, q.shape[2], *ops.shape(scores)[1:]))


@keras.saving.register_keras_serializable(package="tfattn")
class ScaledDotProduct(keras.layers.Layer):
    """`score(q, k) = q . k / sqrt(e)` (Vaswani et al., arXiv:1706.03762, section 3.2.1).

    The scale keeps the variance of the score at one when the components of q and k are independent
    with variance one. `scale` replaces `1 / sqrt(e)`; with 1, as in T5, it is the plain dot product
    (Luong et al., arXiv:1508.04025, section 3.1).
    """

    def __init__(self, scale: float | None = None, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def build(self, *shapes):
        """Create nothing: there are no weights."""
        self.built = True

    def factor(self, width: int) -> float:
        """Return what products of so many components are multiplied by."""
        return width**-0.5 if self.scale is None else self.scale

    def keys(self, k: Tensor) -> Tensor:
        """Return the keys as they are."""
        return k

    def call(self, q: Tensor, k: Tensor, prepared: bool = False) -> Tensor:
        """Score every query (b, t, h, e) with every key (b, s, h, e); returns (b, h, t, s)."""
        scale = self.factor(q.shape[-1])
        # Scaling q costs t*e products where scaling the scores would cost t*s.
        return products(q * ops.cast(scale, q.dtype), k)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="tfattn")
class Bilinear(keras.layers.Layer):
    """`score(q, k) = q^T W k`, called general by Luong et al. (arXiv:1508.04025, section 3.1).

    Queries and keys may be of different widths. All heads share W. (An exercise of D2L 11.3.)

    Args:
        query_dim: width e of the queries.
        key_dim: width e' of the keys.
        initializer: of W.
    """

    def __init__(self, query_dim: int, key_dim: int, initializer: Any = "glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.query_dim, self.key_dim = query_dim, key_dim
        self.initializer = keras.initializers.get(initializer)
        self.key = Projection(
            (key_dim,),
            (query_dim,),
            self.initializer.clone(),
            use_bias=False,
            dtype=self.dtype_policy,
            name="key",
        )

    def build(self, *shapes):
        """Create W, as a map of the keys: (e', e)."""
        self.key.build()
        self.built = True

    def keys(self, k: Tensor) -> Tensor:
        """Return W k, (b, s, h, e), of keys (b, s, h, e')."""
        return self.key(k)

    def call(self, q: Tensor, k: Tensor, prepared: bool = False) -> Tensor:
        """Score every query (b, t, h, e) with every key (b, s, h, e'); returns (b, h, t, s)."""
        return products(q, k if prepared else self.keys(k))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {
            **super().get_config(),
            "query_dim": self.query_dim,
            "key_dim": self.key_dim,
            "initializer": keras.initializers.serialize(self.initializer),
        }


@keras.saving.register_keras_serializable(package="tfattn")
class Additive(keras.layers.Layer):
    """`score(q, k) = v . tanh(Wq q + Wk k)` (Bahdanau et al., arXiv:1409.0473, A.1.2; D2L 11.3.2).

    Queries and keys may be of different widths. All heads share the weights.

    Args:
        query_dim: width e of the queries.
        key_dim: width e' of the keys.
        dim: width a in which they are compared.
        initializer: of Wq, Wk and v.
    """

    def __init__(
        self,
        query_dim: int,
        key_dim: int,
        dim: int,
        initializer: Any = "glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.query_dim, self.key_dim, self.dim = query_dim, key_dim, dim
        self.initializer = keras.initializers.get(initializer)
        self.query, self.key = (
            Projection(
                (width,),
                (dim,),
                self.initializer.clone(),
                use_bias=False,
                dtype=self.dtype_policy,
                name=name,
            )
            for width, name in ((query_dim, "query"), (key_dim, "key"))
        )

    def build(self, *shapes):
        """Create Wq, Wk and v."""
        self.query.build()
        self.key.build()
        # A column: of a vector Glorot's rule would take its length for both sides.
        start = self.initializer.clone()
        self.vector = self.add_weight(name="vector", shape=(self.dim, 1), initializer=start)
        self.built = True

    def keys(self, k: Tensor) -> Tensor:
        """Return Wk k, (b, s, h, a), of keys (b, s, h, e')."""
        return self.key(k)

    def call(self, q: Tensor, k: Tensor, prepared: bool = False) -> Tensor:
        """Score every query (b, t, h, e) with every key (b, s, h, e'); returns (b, h, t, s).

        Args:
            q: (b, t, h, e).
            k: (b, s, h, e'), or where they are `prepared` what `keys` returned, (b, s, h, a).
            prepared: whether they are.
        """
        q, k = self.query(q), k if prepared else self.keys(k)
        both = ops.tanh(q[:, :, None] + k[:, None])  # (b, t, s, h, a)
        # One product of all rows: its gradient takes fewer passes over them than that of a sum.
        scores = ops.matmul(ops.reshape(both, (-1, self.dim)), self.vector)
        scores = ops.reshape(scores, ops.shape(both)[:-1])  # (b, t, s, h)
        return ops.transpose(scores, (0, 3, 1, 2))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {
            **super().get_config(),
            "query_dim": self.query_dim,
            "key_dim": self.key_dim,
            "dim": self.dim,
            "initializer": keras.initializers.serialize(self.initializer),
        }

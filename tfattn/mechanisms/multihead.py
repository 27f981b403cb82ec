"""Multi-head attention: several attentions in parallel, each in its own subspace (D2L 11.5)."""

from typing import Any

import keras
from keras import ops

from tfattn.mechanisms import nested
from tfattn.mechanisms.attention import Attention
from tfattn.mechanisms.engines import blocked, engine, local, seen, side
from tfattn.mechanisms.masks import Everything, Mask
from tfattn.mechanisms.positions import Position
from tfattn.mechanisms.projection import Projection
from tfattn.mechanisms.scores import ScaledDotProduct, fold, unfold

Tensor = Any


@keras.saving.register_keras_serializable(package="tfattn")
class MultiHeadAttention(keras.layers.Layer):
    """`concat_h(attention(x Wq_h, m Wk_h, m Wv_h)) Wo` (arXiv:1706.03762, section 3.2.2).

    With fewer heads of keys and values, groups of query heads share one (arXiv:2305.13245).

    Args:
        dim: width d of input and output.
        heads: number h of heads.
        mask: which positions may be attended to.
        dropout: share of the attention weights dropped in training.
        initializer: of the four kernels.
        position: rotates queries and keys and biases the scores; default neither.
        kv_heads: heads of keys and values, a divisor of `heads`; default `heads`.
        bias: whether queries, keys and values, and the output, have biases.
        scale: of the dot products; default 1 / sqrt(e).
        output_initializer: of the last kernel; default `initializer`.
        head_dim: width e of a head; default d / h.
        query_initializer: of the first kernel; default `initializer`.

    Raises:
        ValueError: `dim` does not divide by `heads` and there is no `head_dim`, or `heads` does not
            divide by `kv_heads`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        mask: Mask = Everything(),  # noqa: B008 - masks are frozen
        dropout: float = 0.0,
        initializer: Any = "glorot_uniform",
        position: Position | None = None,
        kv_heads: int | None = None,
        bias: tuple[bool, bool] = (True, True),
        scale: float | None = None,
        output_initializer: Any = None,
        head_dim: int | None = None,
        query_initializer: Any = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        kv_heads = heads if kv_heads is None else kv_heads
        if head_dim is None and dim % heads:
            raise ValueError(f"dim must divide by heads. Received: dim={dim}, heads={heads}.")
        if heads % kv_heads:
            raise ValueError(
                f"heads must divide by kv_heads. Received: heads={heads}, kv_heads={kv_heads}."
            )
        self.dim, self.heads, self.kv_heads, self.bias = dim, heads, kv_heads, tuple(bias)
        self.initializer = keras.initializers.get(initializer)
        self.output_initializer = keras.initializers.get(output_initializer or initializer)
        self.query_initializer = keras.initializers.get(query_initializer or initializer)
        self.position = position
        own = {"dtype": self.dtype_policy}
        score = ScaledDotProduct(scale, name="score", **own)
        self.attention = Attention(score, mask, dropout, name="attention", **own)
        self.head_dim = head_dim or dim // heads
        split, shared = (heads, self.head_dim), (kv_heads, self.head_dim)
        # Each kernel draws its own numbers: one initializer object would repeat them.
        for name, target in (("query", split), ("key", shared), ("value", shared)):
            own_start = self.query_initializer if name == "query" else self.initializer
            start = own_start.clone()
            setattr(self, name, Projection((dim,), target, start, self.bias[0], name=name, **own))
        start = self.output_initializer.clone()
        self.output_projection = Projection(
            split, (dim,), start, self.bias[1], name="output", **own
        )

    def build(self, *shapes):
        """Create the four projections, and the position's weights where it has some."""
        for layer in (self.query, self.key, self.value, self.output_projection):
            layer.build()
        self.attention.build()
        if self.position is not None and not self.position.built:  # it may be shared by all blocks
            self.position.build()
        self.built = True

    def call(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        positions: Tensor | None = None,
        order: Tensor | None = None,
        segments: Tensor | None = None,
        memory_segments: Tensor | None = None,
        remembered: tuple[Tensor, Tensor] | None = None,
        bias: Tensor | Position | None = None,
        cache: tuple[Tensor, ...] | None = None,
        training: bool | None = None,
        return_weights: bool = False,
    ) -> Any:
        """Attend from `x` (b, t, d) to itself, or to `memory` (b, s, d); returns (b, t, d).

        Args:
            x: (b, t, d), what asks.
            memory: (b, s, d), what is asked; default `x` (self-attention).
            positions: (b, t) places in a text; default 0, 1, 2, ...
            order: (b, t), what the mask compares; default `positions`. Tokens of a prefix that all
                have the order 0 see each other through a causal mask (arXiv:1910.10683, 3.2.1).
            segments: (b, t), 0 = padding.
            memory_segments: (b, s), 0 = padding.
            remembered: in place of a memory, what `remember` returned for it.
            bias: added to the scores, broadcasts to (b, h, t, s); or the position of a stack that
                gives it of columns, for scores that are not made at once.
            cache: of self-attention, what came before (tfattn/models/cache.py): the column at which
                `x` begins, positions, order and segments (b, s) with those of `x` in place, and
                keys and values (b g, s, e). Returned second, with those of `x` in place: keys and
                values.
            training: whether weights are dropped.
            return_weights: also return the attention weights (b, h, t, s).
        """
        own, q = memory is None and remembered is None, self.query(x)  # (b, t, h, e)
        if remembered is not None:
            k, v = (unfold(held, self.kv_heads) for held in remembered)
        else:
            source = x if own else memory
            k, v = self.key(source), self.value(source)  # (b, s, g, e)
        kept, position = None, self.position if own else None
        if position is not None:
            if positions is None:
                positions = ops.broadcast_to(ops.arange(ops.shape(x)[1]), ops.shape(x)[:2])
            q, k = position.rotate(q, positions), position.rotate(k, positions)
        in_order = order is None  # masks compare places in the text
        order = positions if order is None else order
        key_positions, key_order, key_segments = positions, order, segments
        if not own:
            key_positions, key_order, key_segments = None, None, memory_segments
        begin = 0
        if cache is not None:
            begin, key_positions, key_order, key_segments, keys, values = cache
            (k, keys), (v, values) = _put(k, keys, begin), _put(v, values, begin)
            kept = (keys, values)
        if self.kv_heads < self.heads:
            k, v = (ops.repeat(a, self.heads // self.kv_heads, axis=2) for a in (k, v))
        asks = side((q,), positions, order, segments, begin)
        asked = side((k, v), key_positions, key_order, key_segments)
        is_own = own and cache is None and in_order
        if return_weights:
            pooled, kept = self._pool(asks, asked, bias, position, training, True)
        else:
            pooled = self._pooled(asks, asked, bias, position, training, is_own)
        y = self.output_projection(pooled)
        return y if kept is None else (y, kept)

    def _pooled(self, asks, asked, bias, position, training, is_own):
        """Return what is pooled, (b, t, h, e), by the engine that suits."""
        shared = bias if isinstance(bias, Position) else None

        def pool(asks, asked, given):
            return self._pool(asks, asked, shared if given is None else given, position, training)

        way = engine(self.attention.mask, asks, asked, is_own, bias)
        if way == "local":
            return local(pool, self.attention.mask, asks, asked)
        if way == "dense":
            return self._pool(asks, asked, bias, position, training)
        kinds = [kind for kind in (position, shared) if kind is not None]
        variables = [v for kind in kinds for v in kind.trainable_variables]
        seeds = self.attention.dropout.seeds if training else None
        alone = "heads" if position is None or not position.relates else "rows"
        if bias is not None:  # of a stack: it is made once for all texts
            alone = "nothing"
        rest = (variables, seeds, not _sees_weights(position), alone)
        if bias is not None and shared is None:
            return blocked(pool, asks, asked, bias, *rest)
        parts = seen(self.attention.mask, asks, asked) if is_own else [(asks, asked)]
        made = []
        for some, keys in parts:
            some = some.after(made[-1]) if made else some
            made.append(blocked(pool, some, keys, None, *rest))
        return made[0] if len(made) == 1 else ops.concatenate(made, axis=1)

    def _pool(self, asks, asked, bias, position, training, return_weights=False):
        """Return what is pooled, and the weights (b, h, t, s) if asked for."""
        (q,), (k, v) = asks.vectors, asked.vectors
        if isinstance(bias, Position):
            bias = bias.bias(asks.columns, asked.columns)
        if position is not None:
            bias = self._bias(position, bias, q, asks.positions, asked.positions)
        carries = _sees_weights(position)
        pooled = self.attention(
            q,
            k,
            v,
            positions=asks.order,
            segments=asks.segments,
            key_positions=asked.order,
            key_segments=asked.segments,
            bias=bias,
            training=training,
            return_weights=return_weights or carries,
        )
        if not return_weights and not carries:
            return pooled
        pooled, weights = pooled
        if position is not None and carries:
            pooled = pooled + position.carry(weights, asks.positions, asked.positions)
        return (pooled, weights) if return_weights else pooled

    def _bias(self, position, given, q, positions, key_positions):
        """Return the sum of what is added to the scores, or None."""
        scaled = q * ops.cast(self.attention.score.factor(self.head_dim), q.dtype)
        own = (
            position.bias(positions, key_positions),
            position.compare(scaled, positions, key_positions),
        )
        there = [ops.cast(x, q.dtype) for x in (*own, given) if x is not None]
        return sum(there[1:], there[0]) if there else None

    def remember(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values (b g, s, e) of a memory (b, s, d) that is asked repeatedly."""
        return fold(self.key(memory)), fold(self.value(memory))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {
            **super().get_config(),
            "dim": self.dim,
            "heads": self.heads,
            "mask": self.attention.mask.to_json(),
            "dropout": self.attention.dropout.rate,
            "initializer": keras.initializers.serialize(self.initializer),
            "position": nested.to_config(self.position),
            "kv_heads": self.kv_heads,
            "bias": self.bias,
            "scale": self.attention.score.scale,
            "head_dim": self.head_dim,
            "output_initializer": keras.initializers.serialize(self.output_initializer),
            "query_initializer": keras.initializers.serialize(self.query_initializer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MultiHeadAttention":
        """Rebuild the layer."""
        position = keras.saving.deserialize_keras_object(config["position"])
        return cls(**{**config, "mask": Mask.from_json(config["mask"]), "position": position})


def _sees_weights(position: Position | None) -> bool:
    return position is not None and position.carries


def _put(new: Tensor, held: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Return all keys or values (b, s, g, e), and the cache (b g, s, e), with the new in place."""
    held = ops.slice_update(held, (0, column, 0), ops.cast(fold(new), held.dtype))
    return unfold(held, new.shape[2]), held

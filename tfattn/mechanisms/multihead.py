"""Multi-head attention: several attentions in parallel, each in its own subspace (D2L 11.5)."""

from typing import Any, NamedTuple

import keras
from keras import ops

from tfattn.mechanisms import nested
from tfattn.mechanisms.attention import Attention
from tfattn.mechanisms.engines import (
    DenseAttention,
    Operand,
    blocked,
    choose_engine,
    local,
    operand,
    split_by_reach,
)
from tfattn.mechanisms.masks import Everything, Mask
from tfattn.mechanisms.positions import Position
from tfattn.mechanisms.projection import Projection
from tfattn.mechanisms.scores import ScaledDotProduct, fold, unfold
from tfattn.types import Tensor


class KeyCache(NamedTuple):
    """What one self-attention reads of a cache (tfattn/models/cache.py)."""

    column: Tensor  # () int32, at which the new tokens begin
    positions: Tensor  # (b, s), with those of the new tokens, like the next two
    order: Tensor  # (b, s)
    segments: Tensor  # (b, s)
    keys: Tensor  # (b g, s, e)
    values: Tensor  # (b g, s, e)

    def append(self, k: Tensor, v: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return all keys and values (b, s, g, e) with the new, and those that the cache holds."""
        (k, keys), (v, values) = self._put(k, self.keys), self._put(v, self.values)
        return (k, v), (keys, values)

    def _put(self, new: Tensor, cached: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is cached with the new in place: (b, s, g, e) and (b g, s, e)."""
        new_rows = ops.cast(fold(new), cached.dtype)
        cached = ops.slice_update(cached, (0, self.column, 0), new_rows)
        return unfold(cached, new.shape[2]), cached


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
        # One initializer object would give all kernels the same random numbers.
        for name, target in (("query", split), ("key", shared), ("value", shared)):
            kind = self.query_initializer if name == "query" else self.initializer
            options = {"initializer": kind.clone(), "use_bias": self.bias[0], "name": name, **own}
            setattr(self, name, Projection((dim,), target, **options))
        self.output_projection = Projection(
            split,
            (dim,),
            initializer=self.output_initializer.clone(),
            use_bias=self.bias[1],
            name="output",
            **own,
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
            x: (b, t, d), of which the queries are made.
            memory: (b, s, d), of which keys and values are made; default `x` (self-attention).
            positions: (b, t) of the tokens in a text; default 0, 1, 2, ...
            order: (b, t), what the mask compares; default `positions`. Tokens of a prefix that all
                have the order 0 see each other through a causal mask (arXiv:1910.10683, 3.2.1).
            segments: (b, t), 0 = padding.
            memory_segments: (b, s), 0 = padding.
            remembered: in place of a memory, what `remember` returned for it.
            bias: added to the scores, broadcasts to (b, h, t, s); or the position of a stack, which
                computes it from columns, for scores that are computed in chunks.
            cache: of self-attention, the tokens before (tfattn/models/cache.py), as `KeyCache`.
                Returned second, with those of `x` in place: keys and values.
            training: whether weights are dropped.
            return_weights: also return the attention weights (b, h, t, s).
        """
        is_self = memory is None and remembered is None
        same_tokens = is_self and cache is None and order is None
        q = self.query(x)  # (b, t, h, e)
        k, v = self._keys_and_values(x if is_self else memory, remembered)  # (b, s, g, e)
        position = self.position if is_self else None
        if position is not None:
            positions = self._positions(x) if positions is None else positions
            q, k = position.rotate(q, positions), position.rotate(k, positions)
        order = positions if order is None else order
        keys_known = (positions, order, segments) if is_self else (None, None, memory_segments)
        begin, extra = 0, None
        if cache is not None:
            cached = KeyCache(*cache)
            begin, keys_known = cached.column, cached[1:4]
            (k, v), extra = cached.append(k, v)
        if self.kv_heads < self.heads:
            k, v = (ops.repeat(a, self.heads // self.kv_heads, axis=2) for a in (k, v))
        queries = operand((q,), positions, order, segments, begin)
        keys = operand((k, v), *keys_known)
        if return_weights:
            result, extra = self._dense(queries, keys, bias, position, training, True)
        else:
            result = self._by_engine(queries, keys, bias, position, training, same_tokens)
        y = self.output_projection(result)
        return y if extra is None else (y, extra)

    def _positions(self, x: Tensor) -> Tensor:
        """Return 0, 1, 2, ... for each row of x (b, t, d)."""
        return ops.broadcast_to(ops.arange(ops.shape(x)[1]), ops.shape(x)[:2])

    def _keys_and_values(
        self, source: Tensor | None, remembered: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Return keys and values (b, s, g, e) of a source (b, s, d), or those remembered of it."""
        if remembered is None:
            return self.key(source), self.value(source)
        keys, values = remembered
        return unfold(keys, self.kv_heads), unfold(values, self.kv_heads)

    def _by_engine(
        self,
        queries: Operand,
        keys: Operand,
        bias: Tensor | Position | None,
        position: Position | None,
        training: bool | None,
        same_tokens: bool,
    ) -> Tensor:
        """Return the result (b, t, h, e) by the engine that suits; arguments as of `_dense`."""
        mask, shared = self.attention.mask, bias if isinstance(bias, Position) else None

        def attend(queries, keys, bias):
            return self._dense(queries, keys, shared if bias is None else bias, position, training)

        engine = choose_engine(mask, queries, keys, same_tokens, bias)
        if engine == "local":
            return local(attend, mask, queries, keys)
        if engine == "dense":
            return self._dense(queries, keys, bias, position, training)
        independent = "heads" if position is None or not position.relates else "rows"
        dense = DenseAttention(
            attend,
            variables=[v for p in (position, shared) if p for v in p.trainable_variables],
            seeds=self.attention.dropout.seeds if training else None,
            saves_softmax=not _reads_weights(position),
            independent=independent if bias is None else "nothing",  # a stack's is of all rows
        )
        if bias is not None and shared is None:
            return blocked(dense, queries, keys, bias)
        results = []
        for some, near in split_by_reach(mask, queries, keys) if same_tokens else [(queries, keys)]:
            some = some.after(results[-1]) if results else some
            results.append(blocked(dense, some, near))
        return results[0] if len(results) == 1 else ops.concatenate(results, axis=1)

    def _dense(
        self,
        queries: Operand,
        keys: Operand,
        bias: Tensor | Position | None,
        position: Position | None,
        training: bool | None,
        return_weights: bool = False,
    ) -> Any:
        """Return the result (b, t, h, e) of all scores at once.

        Args:
            queries: the queries.
            keys: the keys and values.
            bias: as of `call`.
            position: of the layer, in self-attention.
            training: whether weights are dropped.
            return_weights: also return the attention weights (b, h, t, s).
        """
        (q,), (k, v) = queries.vectors, keys.vectors
        if isinstance(bias, Position):
            bias = bias.bias(queries.columns, keys.columns)
        if position is not None:
            bias = self._add_position(position, bias, q, queries.positions, keys.positions)
        reads_weights = _reads_weights(position)
        result = self.attention(
            q,
            k,
            v,
            positions=queries.order,
            segments=queries.segments,
            key_positions=keys.order,
            key_segments=keys.segments,
            bias=bias,
            training=training,
            return_weights=return_weights or reads_weights,
        )
        if not return_weights and not reads_weights:
            return result
        result, weights = result
        if position is not None and reads_weights:
            result = result + position.carry(weights, queries.positions, keys.positions)
        return (result, weights) if return_weights else result

    def _add_position(
        self,
        position: Position,
        bias: Tensor | None,
        q: Tensor,
        positions: Tensor | None,
        key_positions: Tensor | None,
    ) -> Tensor | None:
        """Return the sum of a bias and what a position adds to the scores, or None."""
        scaled = q * ops.cast(self.attention.score.factor(self.head_dim), q.dtype)
        terms = (
            position.bias(positions, key_positions),
            position.compare(scaled, positions, key_positions),
            bias,
        )
        present = [ops.cast(x, q.dtype) for x in terms if x is not None]
        return sum(present[1:], present[0]) if present else None

    def remember(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values (b g, s, e) of a memory (b, s, d), which is read repeatedly."""
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


def _reads_weights(position: Position | None) -> bool:
    return position is not None and position.carries

"""`Stack`: transformer blocks one after the other (D2L sections 11.7.4 and 11.7.5)."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tfattn import ways
from tfattn.blocks.norm import NORMS
from tfattn.mechanisms import nested
from tfattn.mechanisms.dropout import Dropout
from tfattn.mechanisms.engines import is_many
from tfattn.mechanisms.positions import Position
from tfattn.models.cache import enter, leave
from tfattn.models.depth import through

Tensor = Any


@keras.saving.register_keras_serializable(package="tfattn")
class Stack(keras.layers.Layer):
    """Blocks one after the other, with a last norm where the norm comes before the sublayers.

    Args:
        blocks: the transformer blocks, in order.
        dim: width d of the stream.
        final_norm: whether the last hidden states are normed (pre-norm stacks).
        epsilon: of that norm.
        norm_kind: of that norm: "layer", "layer-no-bias" or "rms".
        position: biases the scores of all blocks alike (T5, arXiv:1910.10683, section 2.1).
        dropout: of the last hidden states (the same).
    """

    def __init__(
        self,
        blocks: list[keras.layers.Layer],
        dim: int,
        final_norm: bool = False,
        epsilon: float = 1e-12,
        norm_kind: str = "layer",
        position: Position | None = None,
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.position = position
        self.dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.blocks, self.dim, self.epsilon, self.norm_kind = blocks, dim, epsilon, norm_kind
        self.norm = None
        if final_norm:
            self.norm = NORMS[norm_kind](epsilon, dtype=self.dtype_policy, name="norm")

    def build(self, *shapes):
        """Create every block."""
        for block in self.blocks:
            block.build((None, None, self.dim))
        for layer in (self.norm, self.position):
            if layer is not None:
                layer.build((None, None, self.dim))
        self.built = True

    def call(
        self,
        x: Tensor,
        *,
        positions: Tensor | None = None,
        order: Tensor | None = None,
        segments: Tensor | None = None,
        cache: tuple[Tensor, ...] | None = None,
        memory: Tensor | None = None,
        memory_segments: Tensor | None = None,
        remembered: Sequence[tuple[Tensor, Tensor]] | None = None,
        training: bool | None = None,
        return_weights: bool = False,
    ) -> Any:
        """Map (b, t, d) to (b, t, d); a decoder's with a memory (b, s, d), or what is kept of it.

        Returned with it: what a given cache (tfattn/models/cache.py) holds now, and each block's
        attention weights if asked for.
        """
        more, shared, kept = [], (), iter(())
        is_tuple = cache is not None or return_weights
        if cache is not None:
            shared, kept = enter(cache, positions, positions if order is None else order, segments)
        bias = self._bias(x, cache)
        way = ways.current()
        if (way.remat or way.scanned) and not is_tuple and remembered is None:
            shared = [] if self.position is None else [self.position]
            x = through(
                self.blocks,
                shared,
                x,
                positions=positions,
                order=order,
                segments=segments,
                bias=bias,
                memory=memory,
                memory_segments=memory_segments,
                training=training,
            )
            return self._ended(x, training)
        for index, block in enumerate(self.blocks):
            made = block(
                x,
                positions=positions,
                order=order,
                segments=segments,
                bias=bias,
                cache=(*shared, next(kept), next(kept)) if cache is not None else None,
                memory=memory,
                memory_segments=memory_segments,
                remembered=None if remembered is None else remembered[index],
                training=training,
                return_weights=return_weights,
            )
            x, *own = made if is_tuple else (made,)
            more.append(own)
        x = self._ended(x, training)
        answer = [x]
        if cache is not None:
            answer.append(leave(shared, [own[0] for own in more], ops.shape(x)[1]))
        if return_weights:
            answer.append([own[-1] for own in more])
        return tuple(answer) if is_tuple else x

    def _ended(self, x, training):
        x = x if self.norm is None else self.norm(x)
        return self.dropout(x, training=training)

    def remember(self, memory: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return what each block of a decoder keeps of a memory (b, s, d): keys and values."""
        return [block.sublayers["cross"].remember(memory) for block in self.blocks]

    def _bias(self, x, cache):
        """Return the bias (1, h, t, s) of all blocks, or who gives it where it would be large.

        Of columns: within a segment they are as far apart as positions, and one row does for all.
        """
        if self.position is None:
            return None
        batch, length = ops.shape(x)[:2]
        size = length if cache is None else ops.shape(cache[1])[1]
        if is_many((batch, length, self.position.heads), size):
            return self.position
        columns = keys = ops.arange(ops.shape(x)[1])[None]
        if cache is not None:
            columns, keys = columns + cache[0], ops.arange(ops.shape(cache[1])[1])[None]
        return self.position.bias(columns, keys)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        blocks = [nested.to_config(block) for block in self.blocks]
        own = {"blocks": blocks, "dim": self.dim, "final_norm": self.norm is not None}
        rest = {"epsilon": self.epsilon, "norm_kind": self.norm_kind}
        rest |= {"position": nested.to_config(self.position), "dropout": self.dropout.rate}
        return {**super().get_config(), **own, **rest}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Stack":
        """Rebuild the layer."""
        blocks = [keras.saving.deserialize_keras_object(block) for block in config["blocks"]]
        position = keras.saving.deserialize_keras_object(config["position"])
        return cls(**{**config, "blocks": blocks, "position": position})

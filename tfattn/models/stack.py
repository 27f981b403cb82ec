"""`Stack`: transformer blocks one after the other (D2L sections 11.7.4 and 11.7.5)."""

from dataclasses import replace
from typing import Any

import keras
from keras import ops

from tfattn import ways
from tfattn.blocks.inputs import BlockInputs
from tfattn.blocks.norm import NORMS
from tfattn.mechanisms import nested
from tfattn.mechanisms.dropout import Dropout
from tfattn.mechanisms.engines import is_many
from tfattn.mechanisms.multihead import KeyCache
from tfattn.mechanisms.positions import Position
from tfattn.models.cache import enter, leave
from tfattn.models.depth import apply_blocks
from tfattn.types import Tensor


@keras.saving.register_keras_serializable(package="tfattn")
class Stack(keras.layers.Layer):
    """Blocks one after the other, with a last norm where the norm comes before the sublayers.

    Args:
        blocks: the transformer blocks, in order.
        dim: width d of the residual stream.
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
        inputs: BlockInputs | None = None,
        training: bool | None = None,
        return_weights: bool = False,
        **fields: Any,
    ) -> Any:
        """Map (b, t, d) to (b, t, d); a decoder's with a memory (b, s, d), or what is cached of it.

        Returned with it: what a given cache (tfattn/models/cache.py) holds now, and each block's
        attention weights if requested.

        Args:
            x: (b, t, d), the residual stream.
            inputs: what the blocks read beside it, but for the bias, which is the stack's own.
            training: whether anything is dropped.
            return_weights: whether to return the attention weights.
            fields: those of `BlockInputs`, which replace the ones of `inputs`.
        """
        inputs = replace(inputs or BlockInputs(), **fields)
        has_cache, options = inputs.cache is not None, ways.current()
        is_plain = not has_cache and not return_weights and inputs.remembered is None
        if (options.remat or options.scanned) and is_plain:
            inputs = replace(inputs, bias=self._bias(x, None))
            shared = [] if self.position is None else [self.position]
            x = apply_blocks(self.blocks, shared, x, inputs, training)
            return self._finish(x, training)
        shared, of_blocks = self._inputs_by_block(x, inputs)
        extras = []
        for block, block_inputs in zip(self.blocks, of_blocks, strict=True):
            result = block(x, inputs=block_inputs, training=training, return_weights=return_weights)
            x, *extra = result if has_cache or return_weights else (result,)
            extras.append(extra)
        results = [self._finish(x, training)]
        if has_cache:
            results.append(leave(shared, [extra[0] for extra in extras], ops.shape(x)[1]))
        if return_weights:
            results.append([extra[-1] for extra in extras])
        return tuple(results) if len(results) > 1 else results[0]

    def _inputs_by_block(
        self, x: Tensor, inputs: BlockInputs
    ) -> tuple[tuple[Tensor, ...], list[BlockInputs]]:
        """Return what all blocks read of a cache, with the new tokens, and each block's inputs."""
        shared, caches = (), [None] * len(self.blocks)
        if inputs.cache is not None:
            order = inputs.positions if inputs.order is None else inputs.order
            shared, own = enter(inputs.cache, inputs.positions, order, inputs.segments)
            caches = [KeyCache._make([*shared, keys, next(own)]) for keys in own]
        bias = self._bias(x, inputs.cache)
        memories = inputs.remembered or [None] * len(self.blocks)
        return shared, [
            replace(inputs, bias=bias, cache=cache, remembered=memory)
            for cache, memory in zip(caches, memories, strict=True)
        ]

    def _finish(self, x: Tensor, training: bool | None) -> Tensor:
        """Return the last hidden states, with the norm and dropout of the stack."""
        x = x if self.norm is None else self.norm(x)
        return self.dropout(x, training=training)

    def remember(self, memory: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return what each block of a decoder caches of a memory (b, s, d): keys and values."""
        return [block.sublayers["cross"].remember(memory) for block in self.blocks]

    def _bias(self, x: Tensor, cache: tuple[Tensor, ...] | None) -> Tensor | Position | None:
        """Return the bias (1, h, t, s) of all blocks, or the position if it would be large.

        It is computed from columns: within a segment their distances are those of positions, and
        one row serves the batch.
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

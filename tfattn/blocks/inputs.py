"""What the blocks of a stack read beside the residual stream."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from keras import ops

from tfattn.mechanisms.positions import Position
from tfattn.types import Tensor


@dataclass(frozen=True)
class BlockInputs:
    """What the attention of blocks reads beside the residual stream (b, t, d).

    The keywords of a stack or a block, which it packs once and passes on.
    """

    positions: Tensor | None = None  # (b, t) in a text; default 0, 1, 2, ...
    order: Tensor | None = None  # (b, t), what masks compare; default `positions`
    segments: Tensor | None = None  # (b, t), 0 = padding
    bias: Tensor | Position | None = None  # added to the scores, or the position that computes it
    cache: tuple[Tensor, ...] | None = None  # tokens before: of a stack, or a block's KeyCache
    memory: Tensor | None = None  # (b, s, d) that "cross" attends to
    memory_segments: Tensor | None = None  # (b, s), 0 = padding
    # In place of a memory, the keys and values of it: a pair, or for a stack one of each block.
    remembered: Sequence[Any] | None = None

    def of_self(self) -> dict[str, Any]:
        """Return the keywords of a self-attention."""
        return {
            "positions": self.positions,
            "order": self.order,
            "segments": self.segments,
            "bias": self.bias,
            "cache": self.cache,
        }

    def of_cross(self) -> dict[str, Any]:
        """Return the keywords of an attention to the memory."""
        return {
            "memory": self.memory,
            "segments": self.segments,
            "memory_segments": self.memory_segments,
            "remembered": self.remembered,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return the fields that are a tensor, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if ops.is_tensor(value)}

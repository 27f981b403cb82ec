"""Positions: how an order-blind attention learns where a token stands (D2L section 11.6.3).

A `Position` has hooks, each a no-op by default, so that every published kind is one class: `embed`
adds to the embeddings, `rotate` turns queries and keys, `bias` adds to the scores, and so does
`compare`, which knows the queries; `carry` adds to what is pooled. Kinds of the last three, which
know of two places, are in `relative.py`.
"""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from tfattn.types import Tensor


class Position(keras.layers.Layer):
    """Base of all kinds of position; each overrides the hooks that it needs."""

    carries = False  # whether `carry` adds anything

    @property
    def relates(self) -> bool:
        """Return whether it knows of two places, and so of heads, which it may tell apart.

        It then has a `bias`, `compare` or `carry` of its own.
        """
        hooks = ("bias", "compare", "carry")
        return any(getattr(type(self), hook) is not getattr(Position, hook) for hook in hooks)

    def build(self, *shapes):
        """Create nothing: most kinds have no weights."""
        self.built = True

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Add what is known of `positions` (b, t) to the embeddings `x` (b, t, d)."""
        return x

    def rotate(self, x: Tensor, positions: Tensor) -> Tensor:
        """Turn queries or keys `x` (b, t, h, e) by their `positions` (b, t)."""
        return x

    def bias(self, positions: Tensor, key_positions: Tensor) -> Tensor | None:
        """Return what to add to the scores, broadcasting to (b, h, t, s), or None."""
        return None

    def compare(self, q: Tensor, positions: Tensor, key_positions: Tensor) -> Tensor | None:
        """Return what queries `q` (b, t, h, e), already scaled, add to the scores, or None."""
        return None

    def carry(self, weights: Tensor, positions: Tensor, key_positions: Tensor) -> Tensor | None:
        """Return what weights (b, h, t, s) add to the pooled values (b, t, h, e), or None."""
        return None


@keras.saving.register_keras_serializable(package="tfattn")
class Learned(Position):
    """`x + P[positions]` with a trained table P (length, dim) (BERT, arXiv:1810.04805, section 3).

    Args:
        length: positions 0 to length - 1 have a row.
        dim: width of the embeddings.
        initializer: of the table.
    """

    def __init__(self, length: int, dim: int, initializer: Any = "normal", **kwargs):
        super().__init__(**kwargs)
        self.length = length
        self.dim = dim
        self.initializer = keras.initializers.get(initializer)

    def build(self, *shapes):
        """Create the table."""
        self.embeddings = self.add_weight(
            name="embeddings", shape=(self.length, self.dim), initializer=self.initializer
        )
        self.built = True

    def embed(self, x, positions):
        """Add the row of each position."""
        table = ops.cast(self.embeddings, x.dtype)
        return x + ops.take(table, positions, axis=0)  # (b, t, d)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        initializer = keras.initializers.serialize(self.initializer)
        own = {"length": self.length, "dim": self.dim, "initializer": initializer}
        return {**super().get_config(), **own}


def _frequencies(dim, base):
    """Return the angle of each pair at position 1, (d/2,)."""
    return np.exp(np.arange(0, dim, 2) * (-math.log(base) / dim)).astype("float32")


def _waves(positions, dim, base, interleaved):
    """Return sines and cosines of positions (..., ) as (..., d)."""
    angle = ops.cast(positions, "float32")[..., None] * _frequencies(dim, base)  # (..., d/2)
    waves = [ops.sin(angle), ops.cos(angle)]
    if not interleaved:
        return ops.concatenate(waves, axis=-1)[..., :dim]
    waves = ops.stack(waves, axis=-1)  # (..., d/2, 2)
    return ops.reshape(waves, (*ops.shape(positions), -1))[..., :dim]  # of d or d + 1


@keras.saving.register_keras_serializable(package="tfattn")
class Sinusoidal(Position):
    """`x + P` with fixed waves (Vaswani et al., arXiv:1706.03762, section 3.5; D2L 11.6.3.1).

        P[p, 2j] = sin(p / 10000^(2j/d))        P[p, 2j + 1] = cos(p / 10000^(2j/d))

    Any position has a value, so nothing limits the length; P[p + k] is a rotation of P[p], which
    `rotation` gives.

    Args:
        base: the longest wave is 2 pi `base` positions long.
        interleaved: whether sines and cosines take turns; otherwise all sines come first.
    """

    def __init__(self, base: float = 10_000.0, interleaved: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.base, self.interleaved = base, interleaved

    def embed(self, x, positions):
        """Add the waves at each position."""
        waves = _waves(positions, x.shape[-1], self.base, self.interleaved)
        return x + ops.cast(waves, x.dtype)

    def rotation(self, distance: int, dim: int) -> np.ndarray:
        """Return the matrix R (d, d) of P[p + distance] = R P[p], the same for every p.

        Each pair of a sine and a cosine turns by its own angle (D2L 11.6.3.2). For an even `dim`.
        """
        angles = distance * _frequencies(dim, self.base)
        sine = np.arange(0, dim, 2) if self.interleaved else np.arange(dim // 2)
        cosine = sine + (1 if self.interleaved else dim // 2)
        turn = np.zeros((dim, dim), "float32")
        turn[sine, sine] = turn[cosine, cosine] = np.cos(angles)
        turn[sine, cosine], turn[cosine, sine] = np.sin(angles), -np.sin(angles)
        return turn

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "base": self.base, "interleaved": self.interleaved}


@keras.saving.register_keras_serializable(package="tfattn")
class Sinusoidal2D(Position):
    """`x + P` where places are those of a grid, read row by row (as in arXiv:2111.06377).

        P[p] = (waves of its column, waves of its row), each of half the width, sines first

    Args:
        columns: of the grid: place p is in row p // columns.
        leading: places before the grid, such as that of a class token; nothing is added to them.
        base: the longest wave is 2 pi `base` rows long.
    """

    def __init__(self, columns: int, leading: int = 0, base: float = 10_000.0, **kwargs):
        super().__init__(**kwargs)
        self.columns, self.leading, self.base = columns, leading, base

    def embed(self, x, positions):
        """Add the waves of row and column of each place."""
        place = ops.cast(positions, "int32") - self.leading
        across, down = (
            _waves(at, x.shape[-1] // 2, self.base, interleaved=False)
            for at in (place % self.columns, place // self.columns)
        )
        waves = ops.concatenate([across, down], axis=-1)  # (b, t, d)
        waves = ops.where(place[..., None] >= 0, waves, 0.0)
        return x + ops.cast(waves, x.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        own = {"columns": self.columns, "leading": self.leading, "base": self.base}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="tfattn")
class Rotary(Position):
    """Turn the pair (x_j, x_(j + e/2)) of queries and keys by `p base^(-2j/e)` (arXiv:2104.09864).

    A product of a query and a key then depends on the distance of their positions p alone. Pairs
    are half the width apart, as in the released LLaMA weights; the paper pairs neighbours, which is
    the same up to the order of the columns.

    Args:
        base: the longest wave is 2 pi `base` positions long.
    """

    def __init__(self, base: float = 10_000.0, **kwargs):
        super().__init__(**kwargs)
        self.base = base

    def rotate(self, x, positions):
        """Turn every pair by its angle at each position, in float32."""
        half = x.shape[-1] // 2
        frequency = ops.exp(ops.arange(half, dtype="float32") * (-math.log(self.base) / half))
        angle = ops.cast(positions, "float32")[..., None, None] * frequency  # (b, t, 1, e/2)
        sin, cos = ops.sin(angle), ops.cos(angle)
        wide = ops.cast(x, "float32")
        first, second = wide[..., :half], wide[..., half:]
        turned = [first * cos - second * sin, second * cos + first * sin]
        return ops.cast(ops.concatenate(turned, axis=-1), x.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "base": self.base}

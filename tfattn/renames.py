"""Conversion tables as data: a row says how a foreign checkpoint names and shapes one weight."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray
# Each reshape is a pair (theirs -> ours, ours -> theirs); h = heads, the width per head follows.
RESHAPES: dict[str, tuple[Callable[[Array, int], Array], Callable[[Array, int], Array]]] = {
    "transpose": (lambda w, h: w.T, lambda w, h: w.T),  # (out, in) <-> (in, out)
    "heads_in": (  # (h e, d) <-> (d, h, e)
        lambda w, h: w.T.reshape(w.shape[1], h, -1),
        lambda w, h: w.reshape(w.shape[0], -1).T,
    ),
    "kv_heads_in": (  # (g e, d) <-> (d, g, e) of fewer heads, each d / h wide all the same
        lambda w, h: w.T.reshape(w.shape[1], -1, w.shape[1] // h),
        lambda w, h: w.reshape(w.shape[0], -1).T,
    ),
    "heads_out": (  # (d, h e) <-> (h, e, d)
        lambda w, h: w.T.reshape(h, -1, w.shape[0]),
        lambda w, h: w.reshape(-1, w.shape[-1]).T,
    ),
    "split_heads": (  # (d, h e) <-> (d, h, e)
        lambda w, h: w.reshape(w.shape[0], h, -1),
        lambda w, h: w.reshape(w.shape[0], -1),
    ),
    "join_heads": (  # (h e, d) <-> (h, e, d)
        lambda w, h: w.reshape(h, -1, w.shape[-1]),
        lambda w, h: w.reshape(-1, w.shape[-1]),
    ),
    "heads_bias": (lambda w, h: w.reshape(h, -1), lambda w, h: w.reshape(-1)),  # (h e) <-> (h, e)
}


@dataclass(frozen=True)
class Rename:
    """One row: their name, our weight path (None = dropped), and how the array is reshaped.

    Where `part` is (i, n), ours is the i-th of n equal parts of theirs along its last axis.
    """

    theirs: str
    ours: str | None
    how: str | None = None
    part: tuple[int, int] | None = None

    def for_layers(self, depth: int) -> Iterator["Rename"]:
        """Write the row out for each layer, where its names hold "{}"."""
        if "{}" not in self.theirs:
            yield self
            return
        for layer in range(depth):
            ours = self.ours.format(layer) if self.ours else None
            yield Rename(self.theirs.format(layer), ours, self.how, self.part)

    def to_ours(self, weight: Array, heads: int) -> Array:
        """Reshape their array into ours."""
        if self.part is not None:
            index, count = self.part
            weight = np.split(weight, count, axis=-1)[index]
        return weight if self.how is None else RESHAPES[self.how][0](weight, heads)

    def to_theirs(self, weight: Array, heads: int) -> Array:
        """Reshape our array into theirs, in one piece of memory as safetensors asks."""
        array: Any = weight if self.how is None else RESHAPES[self.how][1](weight, heads)
        return np.ascontiguousarray(array)

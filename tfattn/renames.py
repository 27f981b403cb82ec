"""Conversion tables as data: a row says how a foreign checkpoint names and shapes one weight."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Rename:
    """One row: their name, our weight path (None = dropped), and whether theirs is the transpose.

    Where `part` is (i, n), ours is the i-th of n equal parts of theirs along its last axis. `ones`
    counts axes of length 1 that theirs begins with and ours lacks. Where `window` is (c, p), theirs
    is the kernel (d, c, p, p) of a convolution, and ours the matrix (p p c, d) that it is.
    """

    theirs: str
    ours: str | None
    transposed: bool = False  # theirs (out, in), ours (in, out)
    part: tuple[int, int] | None = None
    ones: int = 0
    window: tuple[int, int] | None = None

    def for_layers(self, depth: int) -> Iterator["Rename"]:
        """Write the row out for each layer, where its names hold "{}"."""
        if "{}" not in self.theirs:
            yield self
            return
        for layer in range(depth):
            ours = self.ours.format(layer) if self.ours else None
            yield replace(self, theirs=self.theirs.format(layer), ours=ours)

    def to_ours(self, weight: Array) -> Array:
        """Return our array from theirs."""
        if self.part is not None:
            index, count = self.part
            weight = np.split(weight, count, axis=-1)[index]
        weight = np.squeeze(weight, tuple(range(self.ones)))
        if self.window is not None:
            return np.transpose(weight, (2, 3, 1, 0)).reshape((-1, len(weight)))
        return weight.T if self.transposed else weight

    def to_theirs(self, weight: Array) -> Array:
        """Return their array from ours, in one piece of memory as safetensors asks."""
        weight = weight.reshape((*(1 for _ in range(self.ones)), *weight.shape))
        if self.window is not None:
            channels, size = self.window
            weight = weight.reshape((size, size, channels, -1)).transpose((3, 2, 0, 1))
        return np.ascontiguousarray(weight.T if self.transposed else weight)

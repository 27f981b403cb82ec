"""Kernels: attention pooling by similarity (Nadaraya and Watson, both 1964; D2L section 11.2).

    f(q) = sum_s K(u_s) v_s / sum_s K(u_s)        u_s = |(q - k_s) / width|

The score is log K, whose softmax is K over its sum, so that `Attention(Kernel("gaussian"))` is this
regression, with any mask: `~Window(0, 0)` leaves each key out where it is the query itself.
"""

import math
from typing import Any

import keras
from keras import ops

from tfattn.types import Tensor

OUTSIDE = -1e30  # log K where K is 0: finite, for a gradient through -inf is NaN


def _inside(share):
    """Return the log of a share that is positive inside the support of a kernel."""
    inside = share > 0
    return ops.where(inside, ops.log(ops.where(inside, share, 1.0)), OUTSIDE)


def _root(squares):
    """Return the root, whose gradient at 0 is taken as 0."""
    there = squares > 0
    return ops.where(there, ops.sqrt(ops.where(there, squares, 1.0)), 0.0)


# log K by u^2; constant factors of K do not matter. What D2L calls Epanechikov, max(0, 1 - u), is
# the triangular kernel; Epanechnikov's own is a parabola (1969).
KERNELS = {
    "gaussian": lambda squares: -squares / 2,
    "boxcar": lambda squares: ops.where(squares <= 1, 0.0, OUTSIDE),
    "triangular": lambda squares: _inside(1 - _root(squares)),
    "epanechnikov": lambda squares: _inside(1 - squares),
    "constant": ops.zeros_like,
}
BOUNDED = ("boxcar", "triangular", "epanechnikov")  # 0 from a distance on


@keras.saving.register_keras_serializable(package="tfattn")
class Kernel(keras.layers.Layer):
    """`score(q, k) = log K(|(q - k) / width|)`, the log of a kernel of the distance.

    The Gaussian one of width 1 is the distance-based score -|q - k|^2 / 2, of which dot products
    are what remains where all keys are of one norm (D2L 11.3.1). A query with no key in the support
    of a kernel is given 0.

    Args:
        kernel: "gaussian", "boxcar", "triangular", "epanechnikov" or "constant".
        width: of the kernel at first.
        learned: None, "global" for one width that is trained, or "dimension" for one of each
            component. Of a boxcar there is no gradient.
        dim: width e of queries and keys, where each component has a width of its own.

    Raises:
        ValueError: another kernel, a width that is not positive, another kind of learning, or no
            `dim` for widths of components.
    """

    def __init__(
        self,
        kernel: str = "gaussian",
        width: float = 1.0,
        learned: str | None = None,
        dim: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}. Received: {kernel!r}.")
        if not 0 < width < math.inf:
            raise ValueError(f"width must be positive. Received: {width}.")
        if learned not in (None, "global", "dimension"):
            raise ValueError(f"learned must be None, global or dimension. Received: {learned!r}.")
        if (learned == "dimension") != (dim is not None):
            raise ValueError(
                f"dim goes with learned='dimension'. Received: learned={learned!r}, dim={dim}."
            )
        self.kernel, self.width, self.learned, self.dim = kernel, width, learned, dim
        self.is_bounded = kernel in BOUNDED

    def build(self, *shapes):
        """Create the log of the widths, where they are trained: () or (e,)."""
        if self.learned is not None:
            self.log_width = self.add_weight(
                name="log_width",
                shape=(self.dim,) if self.learned == "dimension" else (),
                initializer=keras.initializers.Constant(math.log(self.width)),
            )
        self.built = True

    def widths(self) -> Tensor:
        """Return the width, () or (e,)."""
        return self.width if self.learned is None else ops.exp(self.log_width)

    def keys(self, k: Tensor) -> Tensor:
        """Return the keys over the width, (b, s, h, e)."""
        return k / ops.cast(self.widths(), k.dtype)

    def call(self, q: Tensor, k: Tensor, prepared: bool = False) -> Tensor:
        """Score every query (b, t, h, e) with every key (b, s, h, e); returns (b, h, t, s)."""
        q, k = self.keys(q), k if prepared else self.keys(k)
        # Not |q|^2 + |k|^2 - 2 q k, which is negative for near ones: an edge is to be an edge.
        apart = ops.cast(q[:, :, None] - k[:, None], "float32")  # (b, t, s, h, e)
        scores = KERNELS[self.kernel](ops.sum(ops.square(apart), axis=-1))
        return ops.transpose(scores, (0, 3, 1, 2))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        own = {"kernel": self.kernel, "width": self.width}
        return {**super().get_config(), **own, "learned": self.learned, "dim": self.dim}

"""Masks: who may attend to whom, as a predicate of positions.

A mask is `mask(q, k) -> bool` over integer positions that broadcast: True means *may attend*. Only
plain operators are used, so the same line runs on numpy, TensorFlow and JAX. A mask is static and
hashable: it lives in a configuration and never travels as a tensor. Padding and packing are not
masks but `segments`, which `admissible` puts beside one. D2L section 11.3.2 masks by lengths
instead.
"""

from dataclasses import dataclass

from tfattn.errors import InputError
from tfattn.spec import Spec
from tfattn.types import Tensor


@dataclass(frozen=True)
class Mask(Spec):
    """Base of all masks; combine them with `&`, `|` and `~`.

    Equal masks are one: what is compiled with a mask is kept by it (pooling.py). All that a mask
    hangs on is a field of its dataclass.
    """

    def __call__(self, q: Tensor, k: Tensor) -> Tensor:
        """Return whether query position `q` may attend to key position `k`."""
        raise TypeError(f"{type(self).__name__} does not say who may attend to whom.")

    def __and__(self, other: "Mask") -> "Mask":
        return And(self, other)

    def __or__(self, other: "Mask") -> "Mask":
        return Or(self, other)

    def __invert__(self) -> "Mask":
        return Not(self)


@dataclass(frozen=True)
class Everything(Mask):
    """Every position sees every position: BERT, the T5 encoder (arXiv:1706.03762, section 3.2).

        k 0 1 2 3
    q 0   x x x x
      1   x x x x
      2   x x x x
      3   x x x x
    """

    def __call__(self, q, k):
        """Return True everywhere."""
        return (q == q) & (k == k)


@dataclass(frozen=True)
class Causal(Mask):
    """A position sees itself and what came before it: every decoder.

        k 0 1 2 3
    q 0   x . . .
      1   x x . .
      2   x x x .
      3   x x x x
    """

    def __call__(self, q, k):
        """Return `k <= q`."""
        return k <= q


@dataclass(frozen=True)
class Window(Mask):
    """A position sees `left` before it and `right` after it (Longformer, arXiv:2004.05150).

    Window(left=1, right=1):

        k 0 1 2 3
    q 0   x x . .
      1   x x x .
      2   . x x x
      3   . . x x
    """

    left: int
    right: int

    def __call__(self, q, k):
        """Return `q - left <= k <= q + right`."""
        return (q - k <= self.left) & (k - q <= self.right)


@dataclass(frozen=True)
class Strided(Mask):
    """A position sees every `step`-th one, counted from itself (arXiv:1904.10509, section 4.2).

    Strided(step=2):

        k 0 1 2 3
    q 0   x . x .
      1   . x . x
      2   x . x .
      3   . x . x
    """

    step: int

    def __post_init__(self):
        super().__post_init__()
        if self.step < 1:
            raise InputError(f"Strided.step: expected at least 1. Received: {self.step}.")

    def __call__(self, q, k):
        """Return whether the distance divides by `step`."""
        return (q - k) % self.step == 0


@dataclass(frozen=True)
class Global(Mask):
    """The first `size` positions see all and are seen by all (arXiv:2004.05150, section 3.1).

    Global(size=1):

        k 0 1 2 3
    q 0   x x x x
      1   x . . .
      2   x . . .
      3   x . . .
    """

    size: int

    def __call__(self, q, k):
        """Return whether either position is among the first `size`."""
        return (q < self.size) | (k < self.size)


@dataclass(frozen=True)
class And(Mask):
    """Both masks allow it: `Causal() & Window(2, 0)`."""

    first: Mask
    second: Mask

    def __call__(self, q, k):
        """Return `first & second`."""
        return self.first(q, k) & self.second(q, k)


@dataclass(frozen=True)
class Or(Mask):
    """Either mask allows it: `Window(2, 2) | Global(1)`."""

    first: Mask
    second: Mask

    def __call__(self, q, k):
        """Return `first | second`."""
        return self.first(q, k) | self.second(q, k)


@dataclass(frozen=True)
class Not(Mask):
    """The mask does not allow it."""

    mask: Mask

    def __call__(self, q, k):
        """Return the opposite of the mask."""
        return ~self.mask(q, k)


def admissible(
    mask: Mask,
    q_positions: Tensor,
    k_positions: Tensor,
    q_segments: Tensor,
    k_segments: Tensor,
) -> Tensor:
    """Return which query may attend to which key, (b, 1, t, s), from (b, t) and (b, s) integers."""
    q_segments, k_segments = q_segments[:, None, :, None], k_segments[:, None, None, :]
    allowed = (q_segments == k_segments) & (k_segments != 0)
    if mask != Everything():
        allowed = allowed & mask(q_positions[:, None, :, None], k_positions[:, None, None, :])
    return allowed


def reach(mask: Mask) -> tuple[int | None, int | None]:
    """Return how far before and after itself a position sees at most; None = any distance.

    As far as the kind of mask tells: what it does not forbid a mask may still.
    """
    if isinstance(mask, Causal):
        return None, 0
    if isinstance(mask, Window):
        return mask.left, mask.right
    if not isinstance(mask, And | Or):
        return None, None
    left, right = zip(reach(mask.first), reach(mask.second), strict=True)
    joined = _farther if isinstance(mask, Or) else _nearer
    return joined(*left), joined(*right)


def _farther(a, b):
    return None if a is None or b is None else max(a, b)


def _nearer(a, b):
    return min((n for n in (a, b) if n is not None), default=None)


def is_causal(mask: Mask) -> bool:
    """Return whether no position sees a later one, as far as the kind of mask tells."""
    right = reach(mask)[1]
    return right is not None and right <= 0

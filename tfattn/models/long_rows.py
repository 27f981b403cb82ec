"""Rows as long as a vocabulary: their largest numbers, the likeliest share of them, and a draw.

Nothing as long is sorted: a sort of 50,257 numbers takes XLA on a CPU three times as long as all
else of a token of gpt2-mini. Rows are cut into blocks, of which sums and maxima are quick.
"""

from keras import ops

from tfattn.types import Tensor

BLOCK = 256  # numbers
HALVINGS = 32  # of the logarithms from 0 to LEAST: their distances are then below a float's
LEAST = -87.0  # e to it is the smallest share, about the smallest normal float


def top_k(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of each row (b, n) in falling order, and their columns, (b, k) each.

    They are in the k blocks whose largest numbers are the largest.
    """
    if x.shape[1] <= max(k, 2) * BLOCK:  # as many blocks as there are, or as would be looked at
        return ops.top_k(x, k)
    blocks = _blocks(x, float("-inf"))
    _, place = ops.top_k(ops.max(blocks, axis=-1), k)  # (b, k)
    near = ops.take_along_axis(blocks, place[..., None], axis=1)  # (b, k, BLOCK)
    values, index = ops.top_k(ops.reshape(near, (-1, k * BLOCK)), k)
    return values, ops.take_along_axis(place, index // BLOCK, axis=1) * BLOCK + index % BLOCK


def likeliest(shares: Tensor, count: int | None = None, part: float | None = None) -> Tensor:
    """Return the shares (b, n) with zeros in place of all but the likeliest.

    As few stay as are so many, or so great a part of the sum, and those as likely as the last of
    them. What is less than e^-87 is taken for nothing.

    Args:
        shares: (b, n), at most 1.
        count: how many, or
        part: of the sum of the row, over 0 and up to 1.
    """
    blocks = _blocks(shares, 0.0)
    weights = blocks if count is None else 1.0
    enough = count if part is None else part * _sum(blocks)

    def halve(_, carried):
        low, high, least = carried  # logarithms between which the least share is, and itself so far
        middle = (low + high) / 2
        share = ops.exp(middle)
        reached = _sum(ops.where(blocks >= share[..., None], weights, 0.0)) >= enough
        low, high = ops.where(reached, middle, low), ops.where(reached, high, middle)
        return low, high, ops.where(reached, share, least)

    zero = ops.zeros_like(shares[:, :1])
    start = (zero + LEAST, zero + 2.0**-20, zero + 2.0**-125)  # e to 2^-20 is over 1
    least = ops.fori_loop(0, HALVINGS, halve, start)[2]
    return ops.where(shares >= least, shares, 0.0)


def draw(shares: Tensor, uniform: Tensor) -> Tensor:
    """Return the columns (b, 1) in which the cumulated shares (b, n) pass `uniform` of their sum.

    Args:
        shares: not negative, and one of each row positive.
        uniform: (b, 1) in [0, 1).
    """
    blocks = _blocks(shares, 0.0)
    sums = ops.sum(blocks, axis=-1)
    ends = ops.cumsum(sums, axis=-1)
    passed = uniform * ends[:, -1:]
    place = _first(ends, passed, sums)  # (b, 1)
    block = ops.take_along_axis(blocks, place[..., None], axis=1)[:, 0]
    begin = ops.take_along_axis(ends - sums, place, axis=1)
    return place * BLOCK + _first(begin + ops.cumsum(block, axis=-1), passed, block)


def _sum(blocks):
    """Return the sum of each row, (b, 1)."""
    return ops.sum(ops.sum(blocks, axis=1), axis=-1, keepdims=True)


def _first(ends, passed, shares):
    """Return the first column where `ends` is over `passed`, or the last one that has a share."""
    columns = ops.arange(ops.shape(shares)[1], dtype="int32")
    last = ops.max(ops.where(shares > 0, columns, 0), axis=-1, keepdims=True)
    first = ops.sum(ops.cast(ends <= passed, "int32"), axis=-1, keepdims=True)
    return ops.minimum(first, last)  # where rounding takes the product for the whole sum


def _blocks(x, fill):
    """Return (b, n) as (b, n / BLOCK, BLOCK)."""
    more = -x.shape[1] % BLOCK
    x = ops.pad(x, ((0, 0), (0, more)), constant_values=fill)
    return ops.reshape(x, (-1, x.shape[1] // BLOCK, BLOCK))

"""Three ways to compute one attention, which agree to rounding: dense, blocked, local.

    dense     the scores of all t queries with all s keys at once: b h t s numbers, of which
              training keeps several
    blocked   of some queries at a time, each with all its keys, and again in the gradient
              (arXiv:2112.05682, section 2): memory is linear in the length. A row of scores is
              there whole, so that its softmax is the plain one; the fewer queries are taken the
              longer the rows are, and a block stays as large.
    local     for masks that reach so far and no farther, of chunks of queries with the keys of
              their chunk and of its neighbours: time is linear in the length too
              (arXiv:2004.05150, section 3.1)

`tfattn.using(attention="dense")` chooses one; by itself the choice is by mask and length.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import keras
from keras import ops

from tfattn import backend, ways
from tfattn.mechanisms.dropout import apart
from tfattn.mechanisms.masks import Mask, reach
from tfattn.mechanisms.pooling import remembered_types, remembering
from tfattn.mechanisms.positions import Position
from tfattn.mechanisms.scores import fold, unfold

Tensor = Any
MANY = 2**26  # scores from which on they are computed in blocks: 256 MiB in float32
BLOCK = 2**23  # of a block, about; both are of all that is computed at once
LONG = 2**18  # of a row of the batch, or of a head of one, from which on each has its own blocks
ROW_BLOCK = 2**22  # of such blocks, which are as fast when they are smaller
TOGETHER = 2  # of them at once, each mostly on a core of its own, where no lanes are
ANY = 2**12  # places that are counted where nothing is known


class Side(NamedTuple):
    """Queries, or keys with their values, (b, t, h, e), and what is known of their places."""

    vectors: tuple[Tensor, ...]
    positions: Tensor | None  # (b, t) in a text
    order: Tensor  # (b or 1, t), what masks compare
    segments: Tensor | None  # (b, t), 0 = padding
    columns: Tensor  # (1, t) in a row

    @property
    def size(self) -> tuple[Any, ...]:
        """Return (b, t, h), numbers where they are known."""
        return ops.shape(self.vectors[0])[:3]

    def cut(self, begin: int, end: int) -> "Side":
        """Return the places from `begin` to before `end`."""
        cut = [x if x is None else x[:, begin:end] for x in self[1:]]
        return Side(tuple(x[:, begin:end] for x in self.vectors), *cut)

    def spread(self) -> "Side":
        """Return the same, with what is known of places for each row of the batch."""
        shape = self.size[:2]
        return Side(
            self.vectors, *(None if x is None else ops.broadcast_to(x, shape) for x in self[1:])
        )

    def by_heads(self) -> "Side":
        """Return a side with a row (t, 1, e) for each head of each row."""
        heads = self.size[2]
        places = (x if x is None else ops.repeat(x, heads, axis=0) for x in self.spread()[1:])
        return Side(tuple(fold(x)[:, :, None] for x in self.vectors), *places)

    def after(self, made: Tensor) -> "Side":
        """Return the same, there no sooner than `made`."""
        return self._replace(vectors=tuple(backend.after(x, made) for x in self.vectors))


def side(
    vectors: tuple[Tensor, ...],
    positions: Tensor | None,
    order: Tensor | None,
    segments: Tensor | None,
    begin: Any = 0,
) -> Side:
    """Return a side whose first column is `begin`; its order is by default that of columns."""
    columns = ops.arange(ops.shape(vectors[0])[1], dtype="int32")[None] + begin
    return Side(vectors, positions, columns if order is None else order, segments, columns)


# From both sides and a bias to what is pooled, (b, t, h, e).
Pool = Callable[[Side, Side, Tensor | None], Tensor]


def engine(mask: Mask, asks: Side, asked: Side, is_own: bool, bias: Any) -> str:
    """Return which way an attention is computed: "dense", "blocked" or "local".

    Args:
        mask: between both sides.
        asks: the queries.
        asked: the keys.
        is_own: whether both are the same tokens, in the order of their positions.
        bias: what is added to the scores, if anything.
    """
    wanted = ways.current().attention
    left, right = reach(mask)
    length = _known(asks.columns.shape[1])
    is_told = bias is None or isinstance(bias, Position)  # of any places
    near = None not in (left, right) and is_own and is_told and length is not None
    if wanted == "local" and not near:
        wanted = "auto"
    if wanted != "auto":
        return wanted
    if near and (length or 0) >= 4 * _chunk(left, right):
        return "local"
    return "blocked" if is_many(asks.size, asked.size[1]) else "dense"


def is_many(size: Sequence[Any], keys: Any) -> bool:
    """Return whether there are so many scores (b, t, h, s) that they are computed in blocks.

    Args:
        size: (b, t, h); of a batch of unknown size one row is counted.
        keys: s.
    """
    wanted = ways.current().attention
    batch, *known = (*size, keys)
    if wanted in ("dense", "blocked") or not all(isinstance(n, int) for n in known):
        return wanted == "blocked"
    rows = batch if isinstance(batch, int) else 1
    return _product([rows, *known]) * ways.current().lanes > MANY


def seen(mask: Mask, asks: Side, asked: Side, parts: int = 4) -> list[tuple[Side, Side]]:
    """Return the queries in a few parts, each with no more of the keys than a mask lets it see.

    Of a causal mask four parts have 5/8 of all pairs. Positions of a segment rise from column to
    column, by one or more.

    Args:
        mask: between both sides.
        asks: the queries.
        asked: the keys and values, of the same tokens.
        parts: of queries.
    """
    (left, right), length = reach(mask), _known(asks.columns.shape[1])
    if length is None or left is None and right is None:
        return [(asks, asked)]
    ends = [length * i // parts for i in range(parts + 1)]
    found = []
    for begin, end in zip(ends, ends[1:], strict=False):
        if begin == end:  # fewer queries than parts
            continue
        first = 0 if left is None else max(begin - left, 0)
        last = length if right is None else min(end + right, length)
        found.append((asks.cut(begin, end), asked.cut(first, last)))
    return found


def blocked(
    pool: Pool,
    asks: Side,
    asked: Side,
    bias: Tensor | None,
    variables: Sequence[keras.Variable],
    seeds: keras.random.SeedGenerator | None,
    remembers: bool,
    alone: Literal["nothing", "rows", "heads"],
) -> Tensor:
    """Return what is pooled, computed for some queries at a time.

    Those of a long row, or head, are computed by themselves where they can be: then keys are read,
    and their gradients summed, for many queries at once.

    Args:
        pool: the dense attention.
        asks: the queries.
        asked: the keys and values.
        bias: (b or 1, h, t, s), added to the scores, or None.
        variables: trained, that `pool` reads.
        seeds: of the dropout of weights, where it drops some.
        remembers: whether `pool` keeps something of its making where it can: no weights are seen.
        alone: of what `pool` gives the same when there is nothing else: of rows of the batch, or of
            heads of one too. With a `bias` of nothing.
    """
    (_, length, heads), keys, lanes = asks.size, asked.size[1], ways.current().lanes
    by_head, known = alone == "heads", [n for n in (length, keys) if isinstance(n, int)]
    scores = _product([*known, 1 if by_head else heads])
    by_row = alone != "nothing" and scores >= LONG and backend.takes_rows()
    by_head = by_head and by_row
    if by_row:
        asks, asked = (x.by_heads() if by_head else x.spread() for x in (asks, asked))
    state, seed = ([], []) if seeds is None else ([seeds.state], [seeds.next()])
    more = None if bias is None else ops.transpose(bias, (0, 2, 1, 3))  # queries second
    count = len(asked.vectors)

    def block(index, parts, own, whole, known):
        q, positions, order, segments, columns, more = parts
        keys = Side(tuple(map(_turned, own[:count])), *own[count:])
        values = whole
        if state:
            values = [*values[:-1], apart(values[-1], index)]
        some = None if more is None else ops.transpose(more, (0, 2, 1, 3))
        scope = keras.StatelessScope(list(zip([*variables, *state], values, strict=True)))
        with scope, remembering(known) as made:
            return pool(Side((q,), positions, order, segments, columns), keys, some), made

    def size(rows):  # however it is compiled, for what is dropped of weights hangs on the blocks
        each = rows * lanes * asks.size[2] * (keys if isinstance(keys, int) else ANY)
        places = max(16, (ROW_BLOCK if by_row else BLOCK) // each // 16 * 16)
        return min(places, length) if isinstance(length, int) else places

    # By heads, as products read them: in a graph, turned and turned again they are as they were.
    own = [*map(_turned, asked.vectors), *asked[1:]]
    pooled = backend.by_blocks(
        block,
        [*asks.vectors, *asks[1:], more],
        own,
        [*(v.value for v in variables), *seed],
        size,
        kept=remembered_types(asked.vectors[-1].dtype) if remembers else (),
        by_row=by_row,
        together=TOGETHER if by_row and lanes == 1 else 1,
    )
    return unfold(pooled[:, :, 0], heads) if by_head else pooled


def local(pool: Pool, mask: Mask, asks: Side, asked: Side) -> Tensor:
    """Return what is pooled by a mask that does not reach far.

    Positions of a segment rise from column to column, by one or more.

    Args:
        pool: the dense attention.
        mask: of a limited `reach`.
        asks: the queries.
        asked: the keys and values, of the same tokens.
    """
    left, right = (far or 0 for far in reach(mask))
    size, (batch, length, _) = _chunk(left, right), asks.size
    count = -(-length // size)
    segments = ops.ones((batch, length), "int32") if asks.segments is None else asks.segments
    places = (asks.positions, asks.order, segments, asks.columns)
    each = [None if x is None else ops.broadcast_to(x, (batch, length)) for x in places]

    def chunks(x, before=0, after=0):  # (b n, (before + 1 + after) size, ...)
        rest = [(0, 0)] * (len(x.shape) - 2)
        whole = ops.pad(x, [(0, 0), (0, count * size - length), *rest])  # segments of 0
        whole = ops.reshape(whole, (-1, count, size, *x.shape[2:]))
        if before or after:
            around = ops.pad(whole, [(0, 0), (before, after), (0, 0), *rest])
            moved = [around[:, i : i + count] for i in range(before + 1 + after)]
            whole = ops.concatenate(moved, axis=2)
        return ops.reshape(whole, (-1, (before + 1 + after) * size, *x.shape[2:]))

    def cut(vectors, *around):
        more = (None if x is None else chunks(x, *around) for x in each)
        return Side(tuple(chunks(x, *around) for x in vectors), *more)

    keys = cut(asked.vectors, int(left > 0), int(right > 0))
    pooled = pool(cut(asks.vectors), keys, None)  # (b n, size, h, e)
    return ops.reshape(pooled, (-1, count * size, *pooled.shape[2:]))[:, :length]


def _turned(x):
    """Return (b, s, h, e) as (b, h, s, e), and the other way round."""
    return ops.transpose(x, (0, 2, 1, 3))


def _chunk(left, right):
    """Return the places of a chunk: its neighbours hold all that the mask reaches."""
    return max(left, right, 16)


def _known(size):
    """Return a size, or None where it is not known: JAX has symbols for such sizes."""
    return size if isinstance(size, int) else None


def _product(numbers):
    product = 1
    for number in numbers:
        product *= number
    return product

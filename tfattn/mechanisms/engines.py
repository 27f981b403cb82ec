"""Three engines of attention, which agree to rounding: dense, blocked, local.

    dense     the scores of all t queries with all s keys at once: b h t s numbers, of which
              training keeps several
    blocked   of a chunk of queries at a time, each with all its keys, recomputed in the gradient
              (arXiv:2112.05682, section 2): memory is linear in the length. A row of scores is
              complete, so that its softmax is the plain one; the longer the rows are the fewer
              queries a chunk has, and its scores stay as many.
    local     for masks of limited reach, of chunks of queries with the keys of their chunk and of
              its neighbours: time is linear in the length too (arXiv:2004.05150, section 3.1)

`tfattn.using(attention="dense")` chooses one; by default mask and length do. All compute what
`tfattn.attend` computes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import keras
from keras import ops

from tfattn import backend, ways
from tfattn.mechanisms.dropout import fold_in
from tfattn.mechanisms.masks import Mask, reach
from tfattn.mechanisms.pooling import remembered_types, remembering
from tfattn.mechanisms.positions import Position
from tfattn.mechanisms.scores import fold, unfold
from tfattn.types import Tensor

MANY = 2**26  # scores from which on they are computed in chunks: 256 MiB in float32
BLOCK = 2**23  # scores of a chunk, about; both count all that is computed at once
LONG = 2**18  # scores of a row of the batch, or of one of its heads, that has its own chunks
ROW_BLOCK = 2**22  # scores of such chunks, which are as fast when they are smaller
TOGETHER = 2  # such chunks at once, each mostly on a core of its own, without batch shards
ANY = 2**12  # assumed for a length that is not known


class Operand(NamedTuple):
    """Queries, or keys with their values, (b, t, h, e), and what is known of each."""

    vectors: tuple[Tensor, ...]
    positions: Tensor | None  # (b, t) in a text
    order: Tensor  # (b or 1, t), what masks compare
    segments: Tensor | None  # (b, t), 0 = padding
    columns: Tensor  # (1, t) in a row

    @property
    def size(self) -> tuple[Any, ...]:
        """Return (b, t, h), numbers where they are known."""
        return ops.shape(self.vectors[0])[:3]

    def slice(self, begin: int, end: int) -> "Operand":
        """Return what stands from column `begin` to before `end`."""
        known = [x if x is None else x[:, begin:end] for x in self[1:]]
        return Operand(tuple(x[:, begin:end] for x in self.vectors), *known)

    def broadcast(self) -> "Operand":
        """Return the same, with all that is known for each row of the batch."""
        shape = self.size[:2]
        return Operand(
            self.vectors, *(None if x is None else ops.broadcast_to(x, shape) for x in self[1:])
        )

    def by_heads(self) -> "Operand":
        """Return an operand with a row (t, 1, e) for each head of each row."""
        heads = self.size[2]
        known = (x if x is None else ops.repeat(x, heads, axis=0) for x in self.broadcast()[1:])
        return Operand(tuple(fold(x)[:, :, None] for x in self.vectors), *known)

    def after(self, result: Tensor) -> "Operand":
        """Return the same, computed no sooner than `result`."""
        vectors = tuple(backend.control_dependency(x, result) for x in self.vectors)
        return self._replace(vectors=vectors)

    def heads_first(self) -> "Operand":
        """Return the same with vectors (b, h, t, e), or back from those to (b, t, h, e)."""
        return self._replace(vectors=tuple(map(_swap_heads, self.vectors)))


def operand(
    vectors: tuple[Tensor, ...],
    positions: Tensor | None,
    order: Tensor | None,
    segments: Tensor | None,
    begin: Any = 0,
) -> Operand:
    """Return an operand whose first column is `begin`; its order is by default that of columns."""
    columns = ops.arange(ops.shape(vectors[0])[1], dtype="int32")[None] + begin
    return Operand(vectors, positions, columns if order is None else order, segments, columns)


# From queries, keys with their values, and a bias to the result (b, t, h, e).
AttendFn = Callable[[Operand, Operand, Tensor | None], Tensor]


@dataclass(frozen=True)
class DenseAttention:
    """The dense attention that an engine computes for a part of the queries at a time."""

    attend: AttendFn
    variables: Sequence[keras.Variable] = ()  # trained, that it reads
    seeds: keras.random.SeedGenerator | None = None  # of dropout of the attention weights
    saves_softmax: bool = False  # whether it can save row statistics: its weights are not read
    # What its result does not depend on: other rows of the batch, or other heads of a row either.
    # With a bias on neither is ruled out.
    independent: Literal["nothing", "rows", "heads"] = "nothing"

    def values(self) -> tuple[list[Tensor], Tensor | None]:
        """Return the values of its variables, and a seed, which the chunks of queries share."""
        seed = None if self.seeds is None else self.seeds.next()
        return [v.value for v in self.variables], seed

    def of_chunk(
        self,
        index: Tensor,
        chunk: tuple[Operand, Tensor | None],
        keys: Operand,
        shared: tuple[list[Tensor], Tensor | None],
        saved: Sequence[Tensor] | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the result for a chunk of queries, as `map_chunks` wants it.

        Args:
            index: number of the chunk.
            chunk: queries, and the bias (b, t, h, s) or None.
            keys: keys and values, `heads_first`.
            shared: what `values` returned.
            saved: result and row statistics, where the chunk is recomputed.
        """
        (queries, bias), (values, seed) = chunk, shared
        keys = keys.heads_first()
        variables = [*zip(self.variables, values, strict=True)]
        if self.seeds is not None:
            variables.append((self.seeds.state, fold_in(seed, index)))
        bias = None if bias is None else _swap_heads(bias)
        with keras.StatelessScope(variables), remembering(saved) as statistics:
            return self.attend(queries, keys, bias), statistics


def choose_engine(
    mask: Mask, queries: Operand, keys: Operand, same_tokens: bool, bias: Any
) -> Literal["dense", "blocked", "local"]:
    """Return the engine that computes an attention.

    Args:
        mask: between queries and keys.
        queries: the queries.
        keys: the keys.
        same_tokens: whether both are the same tokens, in the order of their positions.
        bias: added to the scores: a tensor, the Position that computes it, or None.
    """
    wanted = ways.current().attention
    left, right = reach(mask)
    length = _known(queries.columns.shape[1])
    is_sliceable = bias is None or isinstance(bias, Position)  # computed for any positions
    is_near = None not in (left, right) and same_tokens and is_sliceable and length is not None
    if wanted == "local" and not is_near:
        wanted = "auto"
    if wanted != "auto":
        return wanted
    if is_near and (length or 0) >= 4 * _local_chunk(left, right):
        return "local"
    return "blocked" if is_many(queries.size, keys.size[1]) else "dense"


def is_many(size: Sequence[Any], keys: Any) -> bool:
    """Return whether the scores (b, t, h, s) are so many that they are computed in chunks.

    Args:
        size: (b, t, h); a batch of unknown size counts as one row.
        keys: s.
    """
    wanted = ways.current().attention
    batch, *known = (*size, keys)
    if wanted in ("dense", "blocked") or not all(isinstance(n, int) for n in known):
        return wanted == "blocked"
    rows = batch if isinstance(batch, int) else 1
    return _product([rows, *known]) * ways.current().lanes > MANY


def split_by_reach(
    mask: Mask, queries: Operand, keys: Operand, count: int = 4
) -> list[tuple[Operand, Operand]]:
    """Return the queries in a few slices, each with no more of the keys than the mask reaches.

    With a causal mask four slices have 5/8 of all pairs. Positions of a segment rise from column to
    column, by one or more.

    Args:
        mask: between queries and keys.
        queries: the queries.
        keys: the keys and values, of the same tokens.
        count: slices of queries.
    """
    (left, right), length = reach(mask), _known(queries.columns.shape[1])
    if length is None or left is None and right is None:
        return [(queries, keys)]
    ends = [length * i // count for i in range(count + 1)]
    slices = []
    for begin, end in zip(ends, ends[1:], strict=False):
        if begin == end:  # fewer queries than slices
            continue
        first = 0 if left is None else max(begin - left, 0)
        last = length if right is None else min(end + right, length)
        slices.append((queries.slice(begin, end), keys.slice(first, last)))
    return slices


def blocked(
    dense: DenseAttention, queries: Operand, keys: Operand, bias: Tensor | None = None
) -> Tensor:
    """Return the result (b, t, h, e) of an attention, computed for a chunk of queries at a time.

    A long row of the batch, or each head of it, has chunks of its own where it is independent: then
    keys are read, and their gradients summed, for many queries at once.

    Args:
        dense: the dense attention.
        queries: the queries.
        keys: the keys and values.
        bias: (b or 1, h, t, s), added to the scores, or None.
    """
    heads, lanes = queries.size[2], ways.current().lanes
    by_row, by_head = _own_chunks(dense, queries, keys)
    if by_row:
        queries, keys = (x.by_heads() if by_head else x.broadcast() for x in (queries, keys))
    values, seed = dense.values()
    result = backend.map_chunks(
        dense.of_chunk,
        (queries, None if bias is None else _swap_heads(bias)),
        keys.heads_first(),  # as products read them: a graph cancels both transpositions
        (values, seed),
        lambda rows: _chunk_length(rows * lanes, queries, keys, ROW_BLOCK if by_row else BLOCK),
        saved_types=remembered_types(keys.vectors[-1].dtype) if dense.saves_softmax else (),
        row_independent=by_row,
        parallel=TOGETHER if by_row and lanes == 1 else 1,
    )
    return unfold(result[:, :, 0], heads) if by_head else result


def _own_chunks(dense: DenseAttention, queries: Operand, keys: Operand) -> tuple[bool, bool]:
    """Return whether each row of the batch has its own chunks, and each head of it."""
    (_, length, heads), by_head = queries.size, dense.independent == "heads"
    lengths = [n for n in (length, keys.size[1]) if isinstance(n, int)]
    is_long = _product([*lengths, 1 if by_head else heads]) >= LONG
    by_row = dense.independent != "nothing" and is_long and backend.can_split_rows()
    return by_row, by_head and by_row


def _chunk_length(rows: int, queries: Operand, keys: Operand, scores: int) -> Any:
    """Return how many queries a chunk has, of so many rows and about so many scores.

    It does not depend on how the chunk is compiled, for the dropout of weights depends on it.
    """
    (_, length, heads), s = queries.size, keys.size[1]
    per_query = rows * heads * (s if isinstance(s, int) else ANY)
    chunk = max(16, scores // per_query // 16 * 16)
    return min(chunk, length) if isinstance(length, int) else chunk


def local(attend: AttendFn, mask: Mask, queries: Operand, keys: Operand) -> Tensor:
    """Return the result (b, t, h, e) of an attention with a mask of limited reach.

    Positions of a segment rise from column to column, by one or more.

    Args:
        attend: the dense attention.
        mask: of a limited `reach`.
        queries: the queries.
        keys: the keys and values, of the same tokens.
    """
    left, right = (far or 0 for far in reach(mask))
    size, (batch, length, _) = _local_chunk(left, right), queries.size
    count = -(-length // size)
    segments = ops.ones((batch, length), "int32") if queries.segments is None else queries.segments
    known = queries._replace(segments=segments)[1:]
    known = [None if x is None else ops.broadcast_to(x, (batch, length)) for x in known]

    def chunks(x, before=0, after=0):  # (b n, (before + 1 + after) size, ...)
        rest = [(0, 0)] * (len(x.shape) - 2)
        padded = ops.pad(x, [(0, 0), (0, count * size - length), *rest])  # segments of 0
        padded = ops.reshape(padded, (-1, count, size, *x.shape[2:]))
        if before or after:
            around = ops.pad(padded, [(0, 0), (before, after), (0, 0), *rest])
            shifted = [around[:, i : i + count] for i in range(before + 1 + after)]
            padded = ops.concatenate(shifted, axis=2)
        return ops.reshape(padded, (-1, (before + 1 + after) * size, *x.shape[2:]))

    def chunked(vectors, *around):
        known_of_chunks = (None if x is None else chunks(x, *around) for x in known)
        return Operand(tuple(chunks(x, *around) for x in vectors), *known_of_chunks)

    near_keys = chunked(keys.vectors, int(left > 0), int(right > 0))
    result = attend(chunked(queries.vectors), near_keys, None)  # (b n, size, h, e)
    return ops.reshape(result, (-1, count * size, *result.shape[2:]))[:, :length]


def _swap_heads(x: Tensor) -> Tensor:
    """Return (b, s, h, e) as (b, h, s, e), and the other way round."""
    return ops.transpose(x, (0, 2, 1, 3))


def _local_chunk(left: int | None, right: int | None) -> int:
    """Return the length of a chunk: with its neighbours it has all that the mask reaches."""
    return max(left or 0, right or 0, 16)


def _known(size: Any) -> int | None:
    """Return a size, or None where it is not known: JAX has symbols for such sizes."""
    return size if isinstance(size, int) else None


def _product(numbers: Sequence[int]) -> int:
    product = 1
    for number in numbers:
        product *= number
    return product

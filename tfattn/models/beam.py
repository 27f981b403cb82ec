"""Beam search: the likeliest text that is found by following several beginnings at once.

    score(y) = log P(y) / ((5 + |y|) / 6)^a + b sum_i log(min(sum_j p_ji, 1))
                                                             (arXiv:1609.08144, equation 14)

Of the best ways of going on from the k beginnings, so many that k of them do not end, those k are
followed, and the k best that end are kept. When nothing followed can overtake them, or there is no
room left, the best of both is the answer. |y| counts the end of a text, a is
`Sampling.length_penalty`. The last term, of models that ask a source alone, keeps texts from
leaving out a part of it: p_ji is the share of its attention that token j of the text gave to token
i of the source, b is `Sampling.coverage_penalty`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from tfattn.models.generate import Model, State, decode
from tfattn.models.long_rows import top_k
from tfattn.models.sampling import Sampling

Tensor = Any
NEVER = -1e30  # a score that loses; finite, or differences of it are NaN
UNREAD = 1e-6  # least attention to a source token that is told from less


class Beams(NamedTuple):
    """What the loop carries: followed texts, ended texts, and what the model remembers."""

    column: Tensor  # () int32, the next one to fill
    tokens: Tensor  # (b, k, s) int32
    log_p: Tensor  # (b, k), of the followed texts
    done: Tensor  # (b, k, s) int32: texts that have ended
    lengths: Tensor  # (b, k) int32: tokens that were added, with the end
    scores: Tensor  # (b, k), NEVER where there is none yet
    hidden: Tensor  # (b k, d)
    asked: Tensor  # (b, k, r): sums of the attention to each source token; r = 0 if not wanted
    cache: tuple[Tensor, ...]


class Ranked(NamedTuple):
    """The best texts that were found, in falling order."""

    tokens: Tensor  # (b, k, s) int32, each after its prompt, 0 where there is no token
    segments: Tensor  # (b, k, s) int32: 1 where there is a token
    scores: Tensor  # (b, k); NEVER where fewer texts are possible
    ended: Tensor  # (b, k) bool: whether it ended before there was no room left
    column: Tensor  # () int32, the first that no text reached


def loop_of(sampling: Sampling) -> Callable[..., State]:
    """Return `search` or `decode`, which take and return the same."""
    return search if sampling.beams > 1 else decode


def search(
    model: Model,
    state: State,
    limit: Tensor,
    uniform: Tensor,
    stops: Tensor,
    sampling: Sampling,
) -> State:
    """Add the best text that is found until the column `limit`; arguments are those of `decode`.

    There is no chance in it, so that `uniform` is not read. The texts are whole: what is returned
    cannot be gone on from.
    """
    found = ranked(model, state, limit, stops, sampling)
    ended = ops.logical_or(state.ended, found.ended[:, 0])
    new = {"column": found.column, "tokens": found.tokens[:, 0], "segments": found.segments[:, 0]}
    return state._replace(**new, ended=ended)


def ranked(model: Model, state: State, limit: Tensor, stops: Tensor, sampling: Sampling) -> Ranked:
    """Return the `sampling.beams` best texts that are found; arguments are those of `decode`."""
    wanted = {"return_weights": True} if sampling.coverage_penalty else {}
    k, vocabulary, begin = sampling.beams, model.config.vocab_size, state.column
    batch, length = ops.shape(state.tokens)[0], ops.shape(state.tokens)[1]
    wide = min(k * (1 + stops.shape[0]), k * vocabulary)  # k of them do not end, whatever they are
    known = ops.sum(state.segments, axis=1)  # (b,) tokens of the prompts
    row = ops.arange(batch, dtype="int32")[:, None] * k
    same = ops.repeat(ops.arange(batch, dtype="int32"), k)
    memory = tuple(_rows(x, same, batch) for x in state.memory)

    def worth(log_p, count):  # scores of texts of so many tokens
        return log_p / ((5.0 + ops.cast(count, "float32")) / 6.0) ** sampling.length_penalty

    def unread(asked):  # what texts lose for what they left out, (b, k)
        enough = ops.log(ops.clip(asked, UNREAD, 1.0))
        return sampling.coverage_penalty * ops.sum(enough, axis=-1)

    def more(column, tokens, log_p, done, lengths, scores, *_):
        # log P only falls, and the source is read at best.
        bound = worth(ops.max(log_p, axis=1), limit - begin)
        open_ = ops.any(bound > ops.min(scores, axis=1))
        return ops.logical_and(column < limit, open_)

    def add(*values):
        beams = Beams(*values)
        count = beams.column - begin + 1
        logits = model.logits(beams.hidden[:, None])[:, 0]  # (b k, v)
        ways = ops.reshape(ops.log_softmax(logits), (-1, k, vocabulary)) + beams.log_p[..., None]
        log_p, index = top_k(ops.reshape(ways, (-1, k * vocabulary)), wide)  # (b, w)
        source = ops.cast(index // vocabulary, "int32")
        token = ops.cast(index % vocabulary, "int32")
        ends = ops.any(token[..., None] == stops, axis=-1)
        texts = ops.take_along_axis(beams.tokens, source[..., None], axis=1)  # (b, w, s)

        found = worth(log_p, count) + _of(source, unread(beams.asked))
        found = ops.where(ends, found, NEVER)
        scores, best = ops.top_k(ops.concatenate([beams.scores, found], axis=1), k)
        done, lengths = (
            _of(best, ops.concatenate(pair, axis=1))
            for pair in (
                (beams.done, texts),
                (beams.lengths, ops.broadcast_to(count, ops.shape(found))),
            )
        )

        log_p, best = ops.top_k(ops.where(ends, NEVER, log_p), k)
        source, token = _of(best, source), _of(best, token)  # (b, k)
        tokens = ops.slice_update(_of(best, texts), (0, 0, beams.column), token[..., None])
        rows = ops.reshape(row + source, (-1,))
        kept = tuple(_rows(x, rows, batch * k) for x in beams.cache)
        place = ops.repeat(known + count - 1, k)[:, None]
        features = {"tokens": ops.reshape(token, (-1, 1)), "positions": place}
        features["segments"] = ops.ones_like(place)
        hidden, held, *weights = model.advance(features, kept, memory, **wanted)
        hidden, asked = hidden[:, 0], _of(source, beams.asked)
        if weights:
            asked = asked + ops.reshape(ops.cast(weights[0], "float32"), ops.shape(asked))
        return beams.column + 1, tokens, log_p, done, lengths, scores, hidden, asked, held

    first = ops.where(ops.arange(k) == 0, 0.0, NEVER)[None]  # all begin alike: one is followed
    tokens = ops.repeat(state.tokens[:, None], k, axis=1)
    asked = state.asked if wanted else ops.zeros((batch, 0), "float32")
    start = Beams(
        begin,
        tokens,
        ops.broadcast_to(ops.cast(first, "float32"), (batch, k)),
        tokens,
        ops.zeros((batch, k), "int32"),
        ops.full((batch, k), NEVER, "float32"),
        ops.repeat(state.hidden, k, axis=0),
        ops.repeat(asked[:, None], k, axis=1),
        tuple(_rows(x, same, batch) for x in state.cache),
    )
    beams = Beams(*ops.while_loop(more, add, tuple(start)))

    # What is still followed at the end competes as it is.
    count = beams.column - begin
    running = ops.broadcast_to(count, ops.shape(beams.lengths))
    open_ = worth(beams.log_p, count) + unread(beams.asked)
    scores = ops.concatenate([beams.scores, open_], axis=1)
    scores, best = ops.top_k(scores, k)
    texts = _of(best, ops.concatenate([beams.done, beams.tokens], axis=1))
    added = _of(best, ops.concatenate([beams.lengths - 1, running], axis=1))  # without the end
    places = ops.arange(length, dtype="int32")[None, None]
    there = ops.logical_and(places >= begin, places < begin + added[..., None])
    segments = ops.maximum(state.segments[:, None], ops.cast(there, "int32"))
    return Ranked(texts * segments, segments, scores, best < k, beams.column)


def _of(index, x):
    """Return the rows `index` (b, n) of each x (b, m, ...)."""
    for _ in x.shape[2:]:
        index = index[..., None]
    return ops.take_along_axis(x, index, axis=1)


def _rows(x, rows, count):
    """Return the rows (n,) of `x`, which has those of `count` texts, or as many heads of each.

    What is one number for all stays it.
    """
    if len(x.shape) == 0:
        return x
    heads = ops.shape(x)[0] // count
    index = rows[:, None] * heads + ops.arange(heads, dtype="int32")
    return ops.take(x, ops.reshape(index, (-1,)), axis=0)

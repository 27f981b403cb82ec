"""Beam search: the likeliest continuation that is found by following several texts at once.

    score(y) = log P(y) / ((5 + |y|) / 6)^a + b sum_i log(min(sum_j p_ji, 1))
                                                             (arXiv:1609.08144, equation 14)

Each of the k followed texts is extended by every token; the best extensions are taken, so many that
k of them do not end. Those k are followed, and of the texts that end the best k are kept. When
nothing followed can overtake them, or no column is left, the best of both is the result. |y| counts
the end of a text, a is `Sampling.length_penalty`. The last term, for models with a source alone,
keeps texts from leaving out a part of it: p_ji is the attention weight of token i of the source for
token j of the text, b is `Sampling.coverage_penalty`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from keras import ops

from tfattn.models.generate import Model, State, decode
from tfattn.models.long_rows import top_k
from tfattn.models.sampling import Sampling
from tfattn.types import Tensor

NEVER = -1e30  # a score that loses; finite, or differences of it are NaN
UNREAD = 1e-6  # least attention to a source token that is distinguished from less


class Beams(NamedTuple):
    """What the loop carries: followed texts, ended texts, and the cache of the model."""

    column: Tensor  # () int32, the next one to fill
    tokens: Tensor  # (b, k, s) int32
    log_p: Tensor  # (b, k), of the followed texts
    done: Tensor  # (b, k, s) int32: texts that have ended
    lengths: Tensor  # (b, k) int32: tokens that were added, with the end
    scores: Tensor  # (b, k), NEVER where there is none yet
    hidden: Tensor  # (b k, d)
    coverage: Tensor  # (b, k, r): sums of the attention to each source token; r = 0 if not wanted
    cache: tuple[Tensor, ...]


class Ranked(NamedTuple):
    """The best texts that were found, in falling order."""

    tokens: Tensor  # (b, k, s) int32, each after its prompt, 0 where there is no token
    segments: Tensor  # (b, k, s) int32: 1 where there is a token
    scores: Tensor  # (b, k); NEVER where fewer texts are possible
    ended: Tensor  # (b, k) bool: whether it ended before the last column
    column: Tensor  # () int32, the first that no text reached


class _Extensions(NamedTuple):
    """The likeliest texts of one more token, in falling order, w for each row."""

    log_p: Tensor  # (b, w)
    source: Tensor  # (b, w) int32, which of the k texts is extended
    token: Tensor  # (b, w) int32
    ends: Tensor  # (b, w) bool: whether the token ends the text


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

    It is deterministic: `uniform` is not read. The returned state cannot be continued.
    """
    best = ranked(model, state, limit, stops, sampling)
    return state._replace(
        column=best.column,
        tokens=best.tokens[:, 0],
        segments=best.segments[:, 0],
        ended=ops.logical_or(state.ended, best.ended[:, 0]),
    )


def ranked(model: Model, state: State, limit: Tensor, stops: Tensor, sampling: Sampling) -> Ranked:
    """Return the `sampling.beams` best texts that are found; arguments are those of `decode`."""
    batch = ops.shape(state.tokens)[0]
    lengths = ops.sum(state.segments, axis=1)
    rows = ops.repeat(ops.arange(batch, dtype="int32"), sampling.beams)  # of a prompt, k times
    memory = tuple(_rows(x, rows, batch) for x in state.memory)
    beam_search = _Search(
        model=model,
        state=state,
        limit=limit,
        stops=stops,
        sampling=sampling,
        batch=batch,
        lengths=lengths,
        memory=memory,
    )
    carried = ops.while_loop(
        lambda *carried: beam_search.goes_on(Beams(*carried)),
        lambda *carried: tuple(beam_search.step(Beams(*carried))),
        tuple(beam_search.start(rows)),
    )
    return beam_search.ranked(Beams(*carried))


@dataclass(frozen=True)
class _Search:
    """One beam search: its parts, which read what no step changes."""

    model: Model
    state: State  # of the prompts
    limit: Tensor
    stops: Tensor
    sampling: Sampling
    batch: Any
    lengths: Tensor  # (b,) of the prompts
    memory: tuple[Tensor, ...]  # of the source, for each followed text

    def start(self, rows: Tensor) -> Beams:
        """Return the beams before the first step: k times the prompt, of which one is followed.

        Args:
            rows: (b k,), the row of the prompt of each followed text.
        """
        k, batch = self.sampling.beams, self.batch
        log_p = ops.where(ops.arange(k) == 0, 0.0, NEVER)[None]
        tokens = ops.repeat(self.state.tokens[:, None], k, axis=1)
        none = ops.zeros((batch, 0), "float32")
        coverage = self.state.asked if self.sampling.coverage_penalty else none
        return Beams(
            column=self.state.column,
            tokens=tokens,
            log_p=ops.broadcast_to(ops.cast(log_p, "float32"), (batch, k)),
            done=tokens,
            lengths=ops.zeros((batch, k), "int32"),
            scores=ops.full((batch, k), NEVER, "float32"),
            hidden=ops.repeat(self.state.hidden, k, axis=0),
            coverage=ops.repeat(coverage[:, None], k, axis=1),
            cache=tuple(_rows(x, rows, batch) for x in self.state.cache),
        )

    def goes_on(self, beams: Beams) -> Tensor:
        """Return whether a column is left and a followed text can overtake one that has ended."""
        # log P only falls, and at best the source is covered.
        bound = self._normalize(ops.max(beams.log_p, axis=1), self.limit - self.state.column)
        can_overtake = ops.any(bound > ops.min(beams.scores, axis=1))
        return ops.logical_and(beams.column < self.limit, can_overtake)

    def step(self, beams: Beams) -> Beams:
        """Return the beams after one more token."""
        count = beams.column - self.state.column + 1
        extensions = self._extend(beams)
        texts = ops.take_along_axis(beams.tokens, extensions.source[..., None], axis=1)  # (b, w, s)
        ended = self._add_ended(beams, extensions, texts, count)
        log_p, best = ops.top_k(
            ops.where(extensions.ends, NEVER, extensions.log_p), self.sampling.beams
        )
        source, token = _take(best, extensions.source), _take(best, extensions.token)  # (b, k)
        tokens = ops.slice_update(_take(best, texts), (0, 0, beams.column), token[..., None])
        return self._advance(ended._replace(tokens=tokens, log_p=log_p), source, token, count)

    def ranked(self, beams: Beams) -> Ranked:
        """Return the best texts; those that are still followed compete as they are."""
        begin, k = self.state.column, self.sampling.beams
        count = beams.column - begin
        running = ops.broadcast_to(count, ops.shape(beams.lengths))
        scores = self._normalize(beams.log_p, count) + self._coverage_term(beams.coverage)
        scores = ops.concatenate([beams.scores, scores], axis=1)
        scores, best = ops.top_k(scores, k)
        texts = _take(best, ops.concatenate([beams.done, beams.tokens], axis=1))
        lengths = ops.concatenate([beams.lengths - 1, running], axis=1)  # without the end
        added = _take(best, lengths)
        columns = ops.arange(ops.shape(self.state.tokens)[1], dtype="int32")[None, None]
        is_added = ops.logical_and(columns >= begin, columns < begin + added[..., None])
        segments = ops.maximum(self.state.segments[:, None], ops.cast(is_added, "int32"))
        return Ranked(
            tokens=texts * segments,
            segments=segments,
            scores=scores,
            ended=best < k,
            column=beams.column,
        )

    def _extend(self, beams: Beams) -> _Extensions:
        """Return the likeliest extensions, so many that k of them do not end."""
        k, vocabulary = self.sampling.beams, self.model.config.vocab_size
        width = min(k * (1 + self.stops.shape[0]), k * vocabulary)
        logits = self.model.logits(beams.hidden[:, None])[:, 0]  # (b k, v)
        log_p = ops.reshape(ops.log_softmax(logits), (-1, k, vocabulary)) + beams.log_p[..., None]
        log_p, index = top_k(ops.reshape(log_p, (-1, k * vocabulary)), width)  # (b, w)
        source = ops.cast(index // vocabulary, "int32")
        token = ops.cast(index % vocabulary, "int32")
        ends = ops.any(token[..., None] == self.stops, axis=-1)
        return _Extensions(log_p=log_p, source=source, token=token, ends=ends)

    def _add_ended(
        self, beams: Beams, extensions: _Extensions, texts: Tensor, count: Tensor
    ) -> Beams:
        """Return the beams with the best ended texts of those so far and the new ones."""
        coverage = _take(extensions.source, self._coverage_term(beams.coverage))
        scores = self._normalize(extensions.log_p, count) + coverage
        scores = ops.where(extensions.ends, scores, NEVER)
        lengths = ops.broadcast_to(count, ops.shape(scores))
        scores, best = ops.top_k(
            ops.concatenate([beams.scores, scores], axis=1), self.sampling.beams
        )
        done = _take(best, ops.concatenate([beams.done, texts], axis=1))
        lengths = _take(best, ops.concatenate([beams.lengths, lengths], axis=1))
        return beams._replace(scores=scores, done=done, lengths=lengths)

    def _advance(self, beams: Beams, source: Tensor, token: Tensor, count: Tensor) -> Beams:
        """Return the beams after the model has read a token (b, k) for each followed text.

        Args:
            beams: with the tokens in place, and cache and coverage of the texts before.
            source: (b, k) int32, the text before of each followed text.
            token: (b, k) int32, the new tokens.
            count: () int32, how many tokens have been added with them.
        """
        k = self.sampling.beams
        first = ops.arange(self.batch, dtype="int32")[:, None] * k
        rows = ops.reshape(first + source, (-1,))
        cache = tuple(_rows(x, rows, self.batch * k) for x in beams.cache)
        positions = ops.repeat(self.lengths + count - 1, k)[:, None]
        features = {
            "tokens": ops.reshape(token, (-1, 1)),
            "positions": positions,
            "segments": ops.ones_like(positions),
        }
        wanted = {"return_weights": True} if self.sampling.coverage_penalty else {}
        hidden, cache, *weights = self.model.advance(features, cache, self.memory, **wanted)
        coverage = _take(source, beams.coverage)
        if weights:
            coverage += ops.reshape(ops.cast(weights[0], "float32"), ops.shape(coverage))
        column = beams.column + 1
        return beams._replace(column=column, hidden=hidden[:, 0], coverage=coverage, cache=cache)

    def _normalize(self, log_p: Tensor, count: Tensor) -> Tensor:
        """Return log P of texts of so many tokens, by the length penalty."""
        return log_p / ((5.0 + ops.cast(count, "float32")) / 6.0) ** self.sampling.length_penalty

    def _coverage_term(self, coverage: Tensor) -> Tensor:
        """Return what texts lose for what they left out, (b, k)."""
        covered = ops.log(ops.clip(coverage, UNREAD, 1.0))
        return self.sampling.coverage_penalty * ops.sum(covered, axis=-1)


def _take(index: Tensor, x: Tensor) -> Tensor:
    """Return the rows `index` (b, n) of each x (b, m, ...)."""
    for _ in x.shape[2:]:
        index = index[..., None]
    return ops.take_along_axis(x, index, axis=1)


def _rows(x: Tensor, rows: Tensor, count: Any) -> Tensor:
    """Return the rows (n,) of `x`, which has those of `count` texts, or as many heads of each.

    A scalar, which is of all rows, stays.
    """
    if len(x.shape) == 0:
        return x
    heads = ops.shape(x)[0] // count
    index = rows[:, None] * heads + ops.arange(heads, dtype="int32")
    return ops.take(x, ops.reshape(index, (-1,)), axis=0)

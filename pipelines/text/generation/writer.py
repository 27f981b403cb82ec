"""Targets written from sources, by an encoder and a decoder, in batches of like length.

The loop itself is tfattn/models/generate.py and beam.py; here are texts, batches and widths.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from pipelines.core.randomness import Stream, uniform
from pipelines.text.tokenization.tokenizer import Tokenizer
from tfattn.errors import InputError
from tfattn.models.beam import NEVER, ranked
from tfattn.models.build import Model
from tfattn.models.generate import check, decode, start
from tfattn.models.sampling import Sampling

BATCH = 32  # sources at a time
STEP = 16  # widths are multiples of it: few distinct programs


@dataclass(frozen=True)
class Written:
    """A target, and its score, that of tfattn/models/beam.py; nan where nothing is searched."""

    ids: list[int]
    text: str
    score: float
    ended: bool  # whether the model ended it; otherwise there was no room left


class Writer:
    """Writes targets; compiled once for each width of a source and of a target, and size of batch.

    Args:
        model: an encoder and a decoder.
        tokenizer: its own.
        sampling: how the next token is chosen; with beams the best texts are searched for.
        batch: sources at a time, at most.
        jit: whether XLA compiles it, which takes as long as writing some hundred texts.

    Raises:
        InputError: a model or tokenizer that cannot do it.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        sampling: Sampling,
        batch: int = BATCH,
        jit: bool = True,
    ):
        check(model, sampling)
        self.model, self.tokenizer, self.sampling, self.batch = model, tokenizer, sampling, batch
        self.end, self.begin = end_of(tokenizer), target_begin(tokenizer)
        self._jit, self._write = jit, functools.cache(self._program)

    def write(
        self,
        sources: Sequence[str],
        tokens: int,
        best: int = 1,
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
        cut: int | None = None,
    ) -> list[list[Written]]:
        """Return the `best` targets of each source, the best first.

        Args:
            sources: texts.
            tokens: that a target has at most.
            best: targets of each source, at most the beams.
            seed: of the draws; each source by its number has its own.
            progress: called with the number of sources that are done.
            cut: tokens of a source at most, of which more are left out; None = no limit.

        Raises:
            InputError: a source that is too long.
        """
        flat, lengths = self.tokenizer.encode_batch(list(sources))
        ids = [part.tolist() for part in np.split(flat, np.cumsum(lengths))[:-1]]
        most = None if cut is None else cut - 1
        return self.write_ids([[*i[:most], self.end] for i in ids], tokens, best, seed, progress)

    def write_ids(
        self,
        sources: Sequence[Sequence[int]],
        tokens: int,
        best: int = 1,
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> list[list[Written]]:
        """Return the same for sources that are token ids already, the end token among them."""
        limit = self.model.config.max_positions()
        for number, source in enumerate(sources, 1):
            if limit is not None and len(source) > limit:
                raise InputError(
                    f"source {number}: expected at most {limit} tokens. Received: {len(source)}."
                )
        tokens = room(self.model, tokens)
        found: list[list[Written]] = [[] for _ in sources]
        order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
        size = min(self.batch, len(order))
        for first in range(0, len(order), self.batch):
            rows = order[first : first + self.batch]
            for row, texts in zip(
                rows, self._batch(sources, rows, size, tokens, seed), strict=True
            ):
                found[row] = texts[:best]
            if progress is not None:
                progress(min(first + self.batch, len(order)))
        return found

    def _batch(self, sources, rows, size, tokens, seed):
        widest = max(1, *(len(sources[row]) for row in rows))
        width = -(-widest // STEP) * STEP
        width = min(width, self.model.config.max_positions() or width)
        # The last source fills the batch: what fills it then ends no later than what is wanted.
        filled = [*rows, *rows[-1:] * (size - len(rows))]
        given = np.zeros((2, size, width), np.int32)
        for place, row in enumerate(filled):
            given[0, place, : len(sources[row])] = sources[row]
            given[1, place, : len(sources[row])] = 1
        length = -(-(tokens + 1) // STEP) * STEP
        number = tf.constant(filled, tf.int64)
        draws = uniform(seed, Stream.SAMPLE_TARGET, number * 0, number, length)
        limit = tf.constant(tokens + 1)
        found = self._write(size, width, length)(*map(tf.constant, given), limit, draws)
        tokens_, segments, scores, ended = (x.numpy() for x in found)
        for place in range(len(rows)):
            texts = []
            for k in range(tokens_.shape[1]):
                if scores[place, k] > NEVER / 2 or k == 0:
                    ids = tokens_[place, k, 1:][segments[place, k, 1:] > 0]
                    # A model may have more rows than its vocabulary has tokens, as T5's have.
                    ids = ids[ids < self.tokenizer.size].tolist()
                    text, score = self.tokenizer.decode(ids), float(scores[place, k])
                    texts.append(Written(ids, text, score, bool(ended[place, k])))
            yield texts

    def _program(self, size, width, length):
        """Return what writes targets of at most `length` columns from `size` sources.

        Traced by hand: TensorFlow would warn of a function that it has to trace so often.
        """
        source = tf.TensorSpec((size, width), tf.int32)
        draws = tf.TensorSpec((size, length), tf.float32)
        program = tf.function(
            lambda tokens, segments, *rest: self._written(tokens, segments, length, *rest),
            jit_compile=self._jit,
            autograph=False,
        )
        return program.get_concrete_function(source, source, tf.TensorSpec((), tf.int32), draws)

    def _written(self, tokens, segments, length, limit, draws):
        """Return tokens, segments (b, k, s), scores and whether they ended (b, k)."""
        features = {"tokens": tokens, "segments": segments}
        stops = tf.constant([self.end], tf.int32)
        state = start(self.model, features, self.begin, length, self.sampling)
        if self.sampling.beams > 1:
            found = ranked(self.model, state, limit, stops, self.sampling)
            return found.tokens, found.segments, found.scores, found.ended
        state = decode(self.model, state, limit, draws, stops, self.sampling)
        scores = tf.fill([tf.shape(tokens)[0], 1], float("nan"))
        return state.tokens[:, None], state.segments[:, None], scores, state.ended[:, None]


def room(model: Model, tokens: int) -> int:
    """Return how many tokens a target has at most where so many are asked for.

    Of learned positions the first is that of the token that it begins with.
    """
    limit = model.config.max_positions()
    return tokens if limit is None else min(tokens, limit - 1)


def end_of(tokenizer: Tokenizer) -> int:
    """Return the id of the token that ends a text.

    Raises:
        InputError: there is none.
    """
    if tokenizer.separator_id is None:
        raise InputError(
            "tokenizer: expected a token that ends a text, as in unigram, bpe or WordPiece "
            f"vocabularies. Received: {type(tokenizer).__name__}."
        )
    return tokenizer.separator_id


def target_begin(tokenizer: Tokenizer) -> int:
    """Return the id that the decoder reads before the first token of a target.

    It is that of the start of a text, or of padding (as in T5), or of the end of a text.

    Raises:
        InputError: a tokenizer without a token that ends a text.
    """
    end = end_of(tokenizer)
    known = (token for token in (tokenizer.start_id, tokenizer.pad_id) if token is not None)
    return next(known, end)

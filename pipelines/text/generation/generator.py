"""Prompts in, tokens out as they come, from a causal language model.

The loop itself is tfattn/models/generate.py; here are prompts and the room in the model's context.
Where a text outgrows the context, the later half of it is read again as the prompt.
"""

import functools
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from pipelines.core.randomness import Stream, uniform
from pipelines.text.tokenization.tokenizer import Tokenizer
from tfattn.errors import InputError
from tfattn.models.beam import loop_of
from tfattn.models.build import Model
from tfattn.models.generate import CHUNK, State, check, prefill
from tfattn.models.sampling import Sampling

STREAM = 8  # tokens of the first call; the next ones take about as long as PACE
PACE = 0.2  # seconds between two looks at what there is
SMALLEST = 64  # columns of a buffer; the others are 1.5, 2, 3, 4, 6, 8 ... times as wide


class Generator:
    """Continues texts; compiled once for each number of prompts and width of buffer.

    Args:
        model: a causal language model.
        tokenizer: its own.
        sampling: how the next token is chosen.
        prefix: whether a prompt is read in both directions, as a prefix language model learns to.

    Raises:
        InputError: a model of another kind.
    """

    def __init__(
        self, model: Model, tokenizer: Tokenizer, sampling: Sampling, prefix: bool = False
    ):
        check(model, sampling)
        self.model, self.tokenizer, self.sampling = model, tokenizer, sampling
        self.context = model.config.max_length
        end = tokenizer.separator_id
        self.stops = tf.constant([] if end is None else [end], tf.int32)
        loop = loop_of(sampling)
        # Of a beam search nothing is known before its end.
        self.step = STREAM if sampling.beams == 1 else self.context
        compiled = functools.partial(tf.function, jit_compile=True, autograph=False)
        self.prefill = compiled(
            lambda tokens, segments, end: prefill(model, tokens, segments, end, sampling, prefix)
        )
        self.decode = compiled(
            lambda state, limit, draws: loop(model, state, limit, draws, self.stops, sampling)
        )

    def encode(self, prompt: str) -> list[int]:
        """Return the tokens of a prompt, after the start token where there is one.

        Raises:
            InputError: no token to begin from.
        """
        start = self.tokenizer.start_id
        ids = [] if start is None else [start]
        try:
            ids += self.tokenizer.encode_batch([prompt])[0].tolist()
        except InputError as error:
            raise InputError(f"prompt: {str(error).removeprefix('text: ')}") from None
        if not ids:
            raise InputError(
                "prompt: expected text, for this tokenizer has no token to begin a text with. "
                f"Received: {prompt!r}."
            )
        return ids

    def room(self, tokens: int) -> int:
        """Return how many tokens of a prompt are read where so many are to follow."""
        return self.context - min(tokens, self.context // 2)

    def stream(self, prompts: list[list[int]], tokens: int, seed: int) -> Iterator[list[list[int]]]:
        """Yield what was added to each prompt so far, again and again until all are done.

        Args:
            prompts: ids, as `encode` gives them.
            tokens: at most so many are added.
            seed: of the draws; each prompt by its number has its own.
        """
        count = len(prompts)
        number = tf.range(count, dtype=tf.int64)
        draws = uniform(seed, Stream.SAMPLE_CONTINUATION, number * 0, number, tokens).numpy()
        done: list[list[int]] = [[] for _ in prompts]
        ended, written = np.zeros(count, bool), 0
        while written < tokens and not ended.all():
            room = self.room(tokens - written)
            whole = [(prompt + more)[-room:] for prompt, more in zip(prompts, done, strict=True)]
            before, over = done, ended  # what this round adds to, and what it leaves alone
            for added, now in self._round(whole, tokens - written, draws[:, written:]):
                rows = zip(before, added, over, strict=True)
                done = [old if is_over else old + new for old, new, is_over in rows]
                ended = over | now
                yield done
            written = max(map(len, done))

    def _round(self, prompts, tokens, draws) -> Iterator[tuple[list[list[int]], np.ndarray]]:
        """Yield what is added, and which texts ended, until the context of one is full."""
        longest = max(map(len, prompts))
        begin = -(-longest // CHUNK) * CHUNK
        count = min(tokens, self.context - longest)
        width = _width(begin + count)
        buffers = np.zeros((2, len(prompts), width), np.int32)
        for row, ids in enumerate(prompts):
            buffers[0, row, begin - len(ids) : begin] = ids
            buffers[1, row, begin - len(ids) : begin] = 1
        state = self.prefill(*map(tf.constant, (*buffers, np.int32(begin))))
        placed = np.zeros((len(prompts), width), np.float32)
        placed[:, begin : begin + count] = draws[:, :count]
        limit, step, now = begin, self.step, time.monotonic()
        while limit < begin + count and not bool(tf.reduce_all(state.ended)):
            limit = min(limit + step, begin + count)
            state = State(*self.decode(state, np.int32(limit), placed))
            yield _added(state, begin, limit), state.ended.numpy()
            before, now = now, time.monotonic()
            step = 2 * step if now - before < PACE / 2 else step


def text_added(tokenizer: Tokenizer, prompt: list[int], added: list[int]) -> str:
    """Return the text that tokens add to a prompt, but for those that are not in the vocabulary.

    Some tokenizers begin every text without a blank, so that it shows only behind the prompt.
    """
    added = [token for token in added if token < tokenizer.size]  # a model may have more rows
    begin, whole = tokenizer.decode(prompt), tokenizer.decode([*prompt, *added])
    return whole[len(begin) :] if whole.startswith(begin) else tokenizer.decode(added)


def _width(columns: int) -> int:
    """Return the width of the buffer that has room for so many columns."""
    width = max(SMALLEST, 2 ** (columns - 1).bit_length())
    return width * 3 // 4 if width > SMALLEST and columns <= width * 3 // 4 else width


def _added(state: State, begin: int, end: int) -> list[list[int]]:
    tokens, real = state.tokens.numpy(), state.segments.numpy() > 0
    pairs = zip(tokens[:, begin:end], real[:, begin:end], strict=True)
    return [row[there].tolist() for row, there in pairs]

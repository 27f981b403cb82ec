"""Generation: a bounded loop over a cache, compiled once for a number of prompts and a width.

`prefill` reads the prompts of a language model, or `start` the sources of an encoder-decoder, and
`decode` adds tokens; all are pure functions of tensors, to be compiled as they are. Prompts stand
right-aligned in a buffer (b, s), and all rows grow in a column:

    tokens      . . a b c | x y .           segments    0 0 1 1 1 | 1 1 0
    (b, s)      d e f g h | z . .           (b, s)      1 1 1 1 1 | 1 0 0    (z ended its text)

Where s and the batch are the same, nothing is compiled again. Chance comes from outside, as uniform
numbers (b, s): the same ones give the same tokens, whatever the other rows of the batch are.
"""

from typing import NamedTuple

from keras import ops

from tfattn.errors import InputError
from tfattn.models import cache
from tfattn.models.build import Model
from tfattn.models.encoder_decoder import EncoderDecoder
from tfattn.models.long_rows import draw, likeliest
from tfattn.models.recurrent import RecurrentEncoderDecoder
from tfattn.models.sampling import Sampling
from tfattn.models.transformer import Transformer
from tfattn.types import Tensor

CHUNK = 16  # columns of the prompts that are read at once


class State(NamedTuple):
    """What the loop carries."""

    column: Tensor  # () int32, the next one to fill
    tokens: Tensor  # (b, s) int32
    segments: Tensor  # (b, s) int32: 1 where there is a token
    hidden: Tensor  # (b, d) of the last token
    seen: Tensor  # (b, v) bool: tokens so far, for the repetition penalty; (b, 0) without one
    ended: Tensor  # (b,) bool
    cache: tuple[Tensor, ...]
    memory: tuple[Tensor, ...] = ()  # of a source, which no token changes
    # (b, r): for the coverage penalty, what the target asked of each source token so far; of those
    # that are padding, enough
    asked: Tensor = ()


def check(model: Model, sampling: Sampling) -> None:
    """Complain of a model that cannot generate: of another head, or one that sees the future.

    Or of one that asks no source, where a penalty wants to know what of it was read.
    """
    heads, causal = model.heads, model.config.is_causal()
    if len(heads) != 1 or not heads[0].predicts_tokens or not causal:
        raise InputError(
            "model: expected a language model with causal masks and a head over the vocabulary. "
            f"Received: {', '.join(head.name for head in heads) or 'no head'}; "
            f"{'causal' if causal else 'other'} masks."
        )
    attends_to_source = model.config.writes == "target" and model.config.attends
    if sampling.coverage_penalty and not attends_to_source:
        raise InputError(
            "Sampling.coverage_penalty: expected none of a model that attends to no source. "
            f"Received: {sampling.coverage_penalty}."
        )


def start(
    model: EncoderDecoder | RecurrentEncoderDecoder,
    features: dict[str, Tensor],
    begin: int,
    length: int,
    sampling: Sampling,
) -> State:
    """Read the sources, and the token that each target begins with.

    Args:
        model: with one head over the vocabulary.
        features: tokens, segments (and positions) of the sources, (b, s).
        begin: id of that token; it fills the first column and is no part of the text.
        length: columns of the buffer.
        sampling: how tokens will be chosen.
    """
    held, memory = model.begin(features, length)
    batch = ops.shape(features["tokens"])[0]
    first = ops.full((batch, 1), begin, "int32")
    one = ops.ones((batch, 1), "int32")
    given = {"tokens": first, "segments": one, "positions": one - 1}
    hidden, held, *weights = model.advance(given, held, memory, sampling.coverage_penalty != 0)
    asked = ops.zeros((batch, 0), "float32")
    if weights:
        shares = ops.cast(weights[0][:, 0], "float32")
        asked = ops.where(features["segments"] != 0, shares, 1.0)
    rest = ops.zeros((batch, length - 1), "int32")
    tokens, segments = (ops.concatenate([x, rest], axis=1) for x in (first, one))
    seen = ops.zeros((batch, model.config.vocab_size * (sampling.repetition_penalty != 1)), "bool")
    ended = ops.zeros((batch,), "bool")
    column = ops.ones((), "int32")
    return State(column, tokens, segments, hidden[:, 0], seen, ended, held, memory, asked)


def prefill(
    model: Transformer,
    tokens: Tensor,
    segments: Tensor,
    end: Tensor,
    sampling: Sampling,
    prefix: bool = False,
) -> State:
    """Read the prompts, which end before the column `end`.

    Args:
        model: with one head over the vocabulary.
        tokens: (b, s) int32, the prompts aligned at `end`; s at least `end`.
        segments: (b, s) int32, 1 where a prompt has a token, else 0.
        end: () int32, a multiple of CHUNK.
        sampling: how tokens will be chosen.
        prefix: whether the tokens of a prompt see each other (arXiv:1910.10683, section 3.2.1).
    """
    batch, length = ops.shape(tokens)[0], ops.shape(tokens)[1]
    positions = ops.maximum(ops.cumsum(segments, axis=1) - 1, 0)

    def read(column, hidden, held):
        features = {
            name: ops.slice(whole, (0, column), (batch, CHUNK))
            for name, whole in (
                ("tokens", tokens),
                ("segments", segments),
                ("positions", positions),
            )
        }
        hidden, held = model.advance(features, held)
        return column + CHUNK, hidden[:, -1], held

    held = cache.empty(model.config, batch, length, model.compute_dtype)
    if prefix:  # no token of it may come later, and all have the same order
        features = {"tokens": tokens, "segments": segments, "positions": positions}
        hidden, held = model.advance({**features, "order": ops.zeros_like(tokens)}, held)
        hidden = ops.slice(hidden, (0, end - 1, 0), (batch, 1, model.config.dim))[:, 0]
        column, held = end, (end, *held[1:])
    else:
        hidden = ops.zeros((batch, model.config.dim), model.compute_dtype)
        column, hidden, held = ops.while_loop(
            lambda column, *_: column < end, read, (ops.zeros((), "int32"), hidden, held)
        )
    vocabulary = model.config.vocab_size
    seen = ops.zeros((batch, 0), "bool")
    if sampling.repetition_penalty != 1:
        there = ops.where(segments != 0, tokens, vocabulary)  # a class beyond the last for no token
        seen = ops.any(ops.one_hot(there, vocabulary, dtype="bool"), axis=1)
    ended = ops.zeros((batch,), "bool")
    return State(column, tokens, segments, hidden, seen, ended, held)


def decode(
    model: Model,
    state: State,
    limit: Tensor,
    uniform: Tensor,
    stops: Tensor,
    sampling: Sampling,
) -> State:
    """Add tokens until the column `limit`, or until every text has ended.

    Args:
        model: that of `prefill` or `start`.
        state: what one of them or an earlier call returned.
        limit: () int32, at most s.
        uniform: (b, s) numbers in [0, 1), one for each column.
        stops: (n,) int32, tokens that end a text; they are not part of it.
        sampling: how tokens are chosen.
    """
    vocabulary = model.config.vocab_size
    *carried, memory, asked = state

    def more(column, tokens, segments, hidden, seen, ended, *held):
        return ops.logical_and(column < limit, ops.logical_not(ops.all(ended)))

    def add(*values):
        state = State(*values, memory=memory)
        chance = ops.slice(uniform, (0, state.column), (ops.shape(uniform)[0], 1))
        logits = model.logits(state.hidden[:, None])[:, 0]  # (b, v)
        token = choose(logits, state.seen, chance, sampling)  # (b, 1)
        ended = ops.logical_or(state.ended, ops.any(token == stops[None], axis=1))
        real = ops.cast(ops.logical_not(ended), "int32")[:, None]
        token = token * real
        seen = state.seen
        if sampling.repetition_penalty != 1:
            seen = ops.logical_or(seen, ops.one_hot(token[:, 0], vocabulary, dtype="bool"))
        place = (0, state.column)
        tokens = ops.slice_update(state.tokens, place, token)
        segments = ops.slice_update(state.segments, place, real)
        position = ops.maximum(ops.sum(segments, axis=1, keepdims=True) - 1, 0)
        features = {"tokens": token, "segments": real, "positions": position}
        hidden, held = model.advance(features, state.cache, memory)
        return state.column + 1, tokens, segments, hidden[:, 0], seen, ended, held

    return State(*ops.while_loop(more, add, carried), memory=memory, asked=asked)


def choose(logits: Tensor, seen: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """Return a token a row, (b, 1) int32.

    Args:
        logits: (b, v) float32.
        seen: (b, v) bool, tokens so far; read where there is a repetition penalty.
        uniform: (b, 1) numbers in [0, 1): the place in the cumulated probabilities.
        sampling: how.
    """
    penalty = sampling.repetition_penalty
    if penalty != 1:
        logits = ops.where(seen, ops.where(logits > 0, logits / penalty, logits * penalty), logits)
    if sampling.greedy:
        return ops.cast(ops.argmax(logits, axis=-1), "int32")[:, None]
    shares = ops.softmax(logits / sampling.temperature)
    if sampling.top_k is not None:
        shares = likeliest(shares, count=sampling.top_k)
    if sampling.top_p is not None and sampling.top_p < 1:
        shares = likeliest(shares, part=sampling.top_p)
    return draw(shares, uniform)

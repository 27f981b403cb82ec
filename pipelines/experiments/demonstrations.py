"""Demonstrations of in-context learning: which are shown before a text, and what of them fits.

Brown et al. (arXiv:2005.14165), section 2.4, draw them anew for each text under test.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipelines.experiments.prompts import Prompt
from pipelines.text.tokenization.tokenizer import Tokenizer
from tfattn.errors import InputError

Examples = Sequence[tuple[str, str]]  # texts and their labels


class Contexts(NamedTuple):
    """Prompts as tokens, and what did not fit."""

    ids: list[np.ndarray]
    shots: np.ndarray  # (n,) demonstrations that are left
    cut: np.ndarray  # (n,) bool: the text itself lost its beginning


def draw(seed: int, row: int, count: int, pool: Sequence[str], text: str) -> list[int]:
    """Return the rows of the demonstrations for one text, in the order in which they are shown.

    Fewer of the same seed and row are the first of more. A row with the very text under test is
    never drawn: it would give the answer away.

    Args:
        seed: of the draw.
        row: number of the text in its table.
        count: demonstrations, at most as many as the rows with another text.
        pool: texts to draw from.
        text: under test.
    """
    chance, found = np.random.default_rng((seed, row)), []
    while len(found) < count:
        drawn = int(chance.integers(len(pool)))
        if drawn not in found and pool[drawn] != text:
            found.append(drawn)
    return found


def contexts(
    tokenizer: Tokenizer,
    prompt: Prompt,
    examples: Sequence[Examples],
    texts: Sequence[str],
    room: int,
) -> Contexts:
    """Return the prompts up to the label, each in at most `room` tokens.

    The whole context is encoded as one text, as a prompt of `generate` is, after the start token
    where there is one. Where it is too long the first demonstrations go, as few as need be; where
    the text is too long alone, its beginning goes.

    Args:
        tokenizer: of the model.
        prompt: how they are written.
        examples: demonstrations of each text.
        texts: under test.
        room: tokens of a context at most, with the start token.

    Raises:
        InputError: what the vocabulary does not have, wherever it stands.
    """
    start = [] if tokenizer.start_id is None else [tokenizer.start_id]
    left = np.array([len(shown) for shown in examples])
    few, many = np.zeros_like(left), left + 1  # so many demonstrations may fit, and so many do not
    ids: dict[int, np.ndarray] = {}
    cut, rows = np.zeros(len(texts), bool), list(range(len(texts)))
    while rows:  # halving the span of all rows at once, for tokenizers like many texts
        written = [
            prompt.context(examples[row][len(examples[row]) - left[row] :], texts[row])
            for row in rows
        ]
        for row, found in zip(rows, encoded(tokenizer, written, "text"), strict=True):
            over = len(start) + len(found) - room
            if over > 0 and left[row]:
                many[row] = left[row]
                continue
            few[row], cut[row] = left[row], over > 0
            ids[row] = np.array([*start, *found[max(over, 0) :]], np.int32)
        left = (few + many) // 2
        rows = [row for row in rows if many[row] - few[row] > 1 or row not in ids]
    return Contexts([ids[row] for row in range(len(texts))], few, cut)


def encoded(tokenizer: Tokenizer, texts: list[str], flag: str) -> list[np.ndarray]:
    """Return the ids of each text.

    Raises:
        InputError: a character that the vocabulary lacks; it is named with the flag.
    """
    try:
        flat, lengths = tokenizer.encode_batch(texts)
    except InputError as error:
        raise InputError(f"{flag}: {str(error).removeprefix('text: ')}") from None
    return np.split(flat, np.cumsum(lengths)[:-1])

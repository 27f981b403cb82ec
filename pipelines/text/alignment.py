"""How well attention aligns: weights of target tokens over source tokens against known spans.

The links of an example are known from spans of characters that mean the same: target token t and
source token s are linked, R[t, s] = 1, if some span covers a character of both. A target token is
known if it has a link at all; of the others (joining words, punctuation, special tokens) nothing is
known, and nothing that the attention does there is counted. All measures are of a batch: numerators
and denominators are summed over its examples. With a[t] = argmax_s W[t, s]:

    error = 1 - sum_t R[t, a[t]] / T           T known target tokens
    mass  = sum_t sum_s R[t, s] W[t, s] / T    the attention that lies where it should
    AER   = 1 - (|A & S| + |A & P|) / (|A| + |S|)

AER is the alignment error rate of Och and Ney, "A Systematic Comparison of Various Statistical
Alignment Models", Computational Linguistics 29 (2003), with A = {(t, a[t])} of the known tokens and
all known links both sure and possible, S = P = R. As A has one link for a target token, AER reaches
0 only where each has one source token; `best_aer` is the least that such an A can have.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tfattn.errors import InputError


@dataclass(frozen=True)
class Attended:
    """Attention over one pair of texts.

    Args:
        weights: (t, s) of target tokens over source tokens, without padding; a row sums to 1.
        target_tokens: (t, 2) the first character of each token and the one after its last; of a
            special token, two equal numbers.
        source_tokens: (s, 2) likewise.
        spans: (n, 4) source start, source end, target start, target end, in characters.
    """

    weights: np.ndarray
    target_tokens: np.ndarray
    source_tokens: np.ndarray
    spans: np.ndarray | Sequence[tuple[int, int, int, int]]


@dataclass(frozen=True)
class Alignment:
    """The measures of a batch, each 0 to 1, and the number of known target tokens."""

    error: float
    mass: float
    aer: float
    best_aer: float
    known: int


def known_links(
    target_tokens: np.ndarray, source_tokens: np.ndarray, spans: np.ndarray
) -> np.ndarray:
    """Return R (t, s), bool: whether one span covers a character of both tokens.

    Args:
        target_tokens: (t, 2) characters.
        source_tokens: (s, 2) characters.
        spans: (n, 4) source start, source end, target start, target end.
    """
    spans = np.asarray(spans, np.int64).reshape(-1, 4)
    source = _overlap(source_tokens, spans[:, :2])  # (s, n)
    target = _overlap(target_tokens, spans[:, 2:])  # (t, n)
    return target @ source.T  # (t, s): of booleans, whether any n is in both


def _overlap(tokens: np.ndarray, spans: np.ndarray) -> np.ndarray:
    tokens = np.asarray(tokens, np.int64).reshape(-1, 2)
    starts = np.maximum(tokens[:, None, 0], spans[None, :, 0])
    ends = np.minimum(tokens[:, None, 1], spans[None, :, 1])
    return starts < ends  # (tokens, n)


def alignment(batch: Iterable[Attended]) -> Alignment:
    """Return the measures of the module's equations.

    Raises:
        InputError: weights of another shape than the tokens, weights that are not finite, or a
            batch in which nothing is known.
    """
    known = right = links = 0
    mass = 0.0
    for number, row in enumerate(batch):
        weights = np.asarray(row.weights, np.float64)
        linked = known_links(row.target_tokens, row.source_tokens, np.asarray(row.spans))
        if weights.shape != linked.shape:
            raise InputError(
                f"batch[{number}].weights: expected {linked.shape}, target by source tokens. "
                f"Received: {weights.shape}."
            )
        if not np.isfinite(weights).all():
            raise InputError(f"batch[{number}].weights: expected finite numbers. Received: others.")
        tokens = np.flatnonzero(linked.any(axis=1))  # known target tokens
        if len(tokens):
            known += len(tokens)
            right += int(linked[tokens, weights[tokens].argmax(axis=1)].sum())
            links += int(linked.sum())
            mass += float((weights * linked).sum())
    if not known:
        raise InputError("batch: expected target tokens within known spans. Received: none.")
    return Alignment(
        error=1 - right / known,
        mass=mass / known,
        aer=1 - 2 * right / (known + links),
        best_aer=1 - 2 * known / (known + links),
        known=known,
    )

"""How well a translator's attention aligns, on embedded pairs whose alignment is known."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines.core.api import Finished
from pipelines.core.records import is_embedded
from pipelines.core.spec import expect
from pipelines.text.alignment import Attended, alignment
from pipelines.text.data.embedded.aligned import Aligned, aligned
from pipelines.text.documents import tokenizer_of
from pipelines.text.embedded import languages
from pipelines.text.figures import alignment_weights
from pipelines.text.generation.writer import target_begin
from pipelines.text.sources import PairData
from pipelines.text.tokenization.tokenizer import Tokenizer

PAIRS, BATCH = 200, 50


def measure_alignment(done: Finished) -> dict[str, float]:
    """Return the measures of pipelines/text/alignment.py for a run on embedded languages.

    The known target is read token by token; what a place looks at while it predicts a token is that
    token's attention: the mean of all heads, of each block alone and of all. Of the blocks the one
    with the least error is told, as `best_block`. {} where the languages are not embedded ones or
    there is no attention.
    """
    sources = expect(done.recipe.data, PairData).train
    codes = languages(sources[0]) if is_embedded(sources) else None
    if codes is None or not done.model.config.attends:
        return {}
    examples = aligned(*codes, train=1, validation=PAIRS).validation
    blocks: list[list[Attended]] = []
    for first in range(0, len(examples), BATCH):
        for seen in _attended(done, examples[first : first + BATCH]):
            blocks = blocks or [[] for _ in seen]
            for block, attended in zip(blocks, seen, strict=True):
                block.append(attended)
    if not blocks:
        return {}
    *each, mean = (alignment(batch) for batch in blocks)
    found = {"alignment_error": mean.error, "alignment_mass": mean.mass, "aer": mean.aer}
    found |= {"aer_least_possible": mean.best_aer}
    if len(each) > 1:
        best = min(range(len(each)), key=lambda block: each[block].error)
        found |= {"best_block": float(best), "best_block_alignment_error": each[best].error}
    return found


def _attended(done: Finished, examples: Sequence[Aligned]) -> list[list[Attended]]:
    """Return what each block attended to, and the mean of all; none of a text not come back."""
    tokenizer, kept = tokenizer_of(done), []
    for example in examples:
        texts = [example.source, example.target]
        flat, lengths = tokenizer.encode_batch(texts)
        source, target = (part.tolist() for part in np.split(flat, lengths[:-1]))
        if [tokenizer.decode(ids) for ids in (source, target)] == texts:
            kept.append((example, source, target))
    if not kept:
        return []
    end = [] if tokenizer.separator_id is None else [tokenizer.separator_id]
    begin = target_begin(tokenizer)
    features = {
        **_padded("", [[*source, *end] for _, source, _ in kept]),
        **_padded("target_", [[begin, *target[:-1]] for _, _, target in kept]),
    }
    found = []
    for weights, (example, source, target) in zip(
        alignment_weights(done.model, features), kept, strict=True
    ):
        # (depth, t, s), of the padding none
        each = weights.mean(axis=1)[:, : len(target), : len(source) + len(end)]
        last = len(example.source)
        places = [*token_spans(tokenizer, source), *((last, last) for _ in end)]
        known = (np.array(token_spans(tokenizer, target)), np.array(places), example.spans)
        found.append([Attended(w, *known) for w in (*each, each.mean(axis=0))])
    return found


def _padded(side: str, rows: list[list[int]]) -> dict[str, tf.Tensor]:
    """Return tokens and segments of one side."""
    tokens = tf.ragged.constant(rows, tf.int32)
    segments = tf.ragged.map_flat_values(tf.ones_like, tokens)
    return {f"{side}tokens": tokens.to_tensor(), f"{side}segments": segments.to_tensor()}


def token_spans(tokenizer: Tokenizer, ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first character of each token in the text of all, and the one after its last."""
    ends = [len(tokenizer.decode(ids[: count + 1])) for count in range(len(ids))]
    return list(zip([0, *ends[:-1]], ends, strict=True))

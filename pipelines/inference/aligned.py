"""How well a translator's attention aligns, on embedded pairs whose alignment is known."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines import recipes
from pipelines.data.embedded.aligned import Aligned, aligned
from pipelines.generation.writer import target_begin
from pipelines.inference.alignment import Attended, alignment
from pipelines.inference.finished import Finished
from pipelines.tokenization.tokenizer import Tokenizer
from pipelines.training.attention_maps import attention_maps
from pipelines.training.embedded import languages
from tfattn.models.model_config import attends

PAIRS = 200


def measure_alignment(done: Finished) -> dict[str, float]:
    """Return the measures of pipelines/inference/alignment.py for a run on embedded languages.

    The known target is read token by token; what a place looks at while it predicts a token is that
    token's attention: the mean of all heads, of each block alone and of all. Of the blocks the one
    with the least error is told, as `best_block`. {} where the languages are not embedded ones or
    there is no attention.
    """
    data = done.recipe.data
    embedded = isinstance(data, recipes.PairData) and recipes.is_embedded(data.train)
    codes = languages(data.train[0]) if embedded else None
    if codes is None or not attends(done.model.config):
        return {}
    examples = aligned(*codes, train=1, validation=PAIRS).validation
    blocks: list[list[Attended]] = []
    for example in examples:
        seen = _attended(done, example)
        for block, attended in enumerate(seen):
            if block == len(blocks):
                blocks.append([])
            blocks[block].append(attended)
    if not blocks:
        return {}
    *each, mean = (alignment(batch) for batch in blocks)
    found = {"alignment_error": mean.error, "alignment_mass": mean.mass, "aer": mean.aer}
    found |= {"aer_least_possible": mean.best_aer}
    if len(each) > 1:
        best = min(range(len(each)), key=lambda block: each[block].error)
        found |= {"best_block": float(best), "best_block_alignment_error": each[best].error}
    return found


def _attended(done: Finished, example: Aligned) -> list[Attended]:
    """Return what each block attended to, and the mean of all; [] where text does not come back."""
    tokenizer = done.tokenizer
    texts = [example.source, example.target]
    flat, lengths = tokenizer.encode_batch(texts)
    source, target = (part.tolist() for part in np.split(flat, lengths[:-1]))
    if [tokenizer.decode(ids) for ids in (source, target)] != texts:
        return []
    places = [token_spans(tokenizer, ids) for ids in (source, target)]
    end = [] if tokenizer.separator_id is None else [tokenizer.separator_id]
    features = {"tokens": [*source, *end], "target_tokens": [target_begin(tokenizer), *target[:-1]]}
    features = {name: tf.constant([ids]) for name, ids in features.items()}
    features["segments"] = tf.ones_like(features["tokens"])
    features["target_segments"] = tf.ones_like(features["target_tokens"])
    weights = attention_maps(done.model, features, tokenizer)["attention/alignment"].weights
    each = weights.mean(axis=1)  # (depth, t, s)
    last = len(texts[0])
    source_tokens = np.array([*places[0], *((last, last) for _ in end)])
    known = (np.array(places[1]), source_tokens, example.spans)
    return [Attended(w, *known) for w in (*each, each.mean(axis=0))]


def token_spans(tokenizer: Tokenizer, ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first character of each token in the text of all, and the one after its last."""
    ends = [len(tokenizer.decode(ids[: count + 1])) for count in range(len(ids))]
    return list(zip([0, *ends[:-1]], ends, strict=True))

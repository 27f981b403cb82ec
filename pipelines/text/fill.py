"""Fill in masked words: the quickest look at what a pretrained model has learnt."""

import numpy as np
import tensorflow as tf

from pipelines.core.api import Finished
from pipelines.text.documents import tokenizer_of
from pipelines.text.tokenization.tokenizer import as_wordpiece
from pipelines.text.tokenization.wordpiece import WordPiece
from tfattn.errors import InputError

MASK = "[MASK]"


def fill(done: Finished, text: str, top: int = 3) -> list[list[tuple[str, float]]]:
    """Return, for each [MASK] of `text`, the likeliest tokens and their probabilities.

    Raises:
        InputError: no [MASK], more tokens than the model has positions, or a model of another task.
    """
    heads = [head.name for head in done.model.heads]
    if "tokens" not in heads:
        raise InputError(
            f"{done.run.folder}: expected a masked language model, with the head 'tokens'. "
            f"Received one with {', '.join(map(repr, heads)) or 'none'}."
        )
    tokenizer = as_wordpiece(tokenizer_of(done), str(done.run.folder))
    ids = masked_ids(tokenizer, text)
    places = np.flatnonzero(ids == tokenizer.mask_id)
    if not len(places):
        raise InputError(f"text: expected at least one {MASK}. Received {text!r}.")
    if len(ids) > done.model.config.max_length:
        raise InputError(
            f"text: expected at most {done.model.config.max_length} tokens. Received {len(ids)}."
        )
    features = {"tokens": ids[None], "segments": np.ones_like(ids)[None]}
    outputs = done.model({n: tf.constant(f) for n, f in features.items()}, training=False)
    logits = outputs["tokens"] if isinstance(outputs, dict) else outputs
    shares = tf.nn.softmax(logits[0]).numpy()[places]
    found = []
    for row in shares:
        best = np.argsort(-row)[:top]
        found.append([(tokenizer.vocabulary[i], round(float(row[i]), 4)) for i in best])
    return found


def masked_ids(tokenizer: WordPiece, text: str) -> np.ndarray:
    """Return the ids of a text that holds [MASK], which is no word of the tokenizer."""
    ids = [tokenizer.start_id]
    for number, part in enumerate(text.split(MASK)):
        ids += [tokenizer.mask_id] * (number > 0)
        ids += tokenizer.encode_batch([part])[0].tolist()
    return np.asarray([*ids, tokenizer.separator_id], np.int32)

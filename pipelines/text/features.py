"""What the objectives of text share: how rows become features, and how tokens are counted."""

from collections.abc import Iterator

import tensorflow as tf

from pipelines.core.api import Batch, Finished, Tensor
from pipelines.text.tokenization.tokenizer import Tokenizer

STEP = 16  # batches are as wide as their longest text, rounded up to this: few distinct shapes


def count_tokens(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return how many tokens there are in a batch, and how many with padding, float32.

    Those of a source and of its target, where there are both.
    """
    sides = [x for name, x in batch["features"].items() if name.endswith("segments")]
    real = tf.add_n([tf.math.count_nonzero(x, dtype=tf.float32) for x in sides])
    return real, tf.add_n([tf.cast(tf.size(x), tf.float32) for x in sides])


def labelled_batch(rows: dict[str, Tensor]) -> Batch:
    """Return features truncated to the longest text of the batch, and weight 1 for every row."""
    longest = tf.reduce_max(tf.reduce_sum(tf.cast(rows["segments"] != 0, tf.int32), axis=1))
    width = tf.minimum((longest + STEP - 1) // STEP * STEP, rows["tokens"].shape[1])
    features = {name: rows[name][:, :width] for name in ("tokens", "segments", "types")}
    weights = {"rows": tf.ones_like(rows["label"], tf.float32)}
    return {"features": features, "targets": rows["label"], "weights": weights}


def texts_of(batch: Batch, tokenizer: Tokenizer) -> Iterator[str]:
    """Yield the text of each row."""
    for row in range(len(batch["features"]["tokens"])):
        real = batch["features"]["segments"][row].numpy() != 0
        yield tokenizer.decode(batch["features"]["tokens"][row].numpy()[real])


def row_length(done: Finished) -> int:
    """Return how many tokens a row of training, or a side of it, had at most."""
    return getattr(done.recipe.data, "length", None) or done.model.config.max_length

"""KerasHub's WordPiece, packer and mask generator in tf.data, on texts laid end to end."""

from collections.abc import Callable
from typing import Any

import keras_hub
import tensorflow as tf

from benchmarks.work import MASKED, Reading

hub: Any = keras_hub


def contestant(work: dict[str, Any]) -> Callable[[], Any]:
    """Return a function that reads all texts once."""
    given = Reading(**work)
    tokenizer = hub.models.BertTokenizer(f"{given.vocabulary}/vocab.txt", lowercase=True)
    start, end, pad = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]", "[PAD]"))
    packer = hub.layers.StartEndPacker(given.length, start, end, pad)
    masks = hub.layers.MaskedLMMaskGenerator(
        tokenizer.vocabulary_size(),
        mask_selection_rate=MASKED,
        mask_token_id=tokenizer.token_to_id("[MASK]"),
        mask_selection_length=given.predictions,
        unselectable_token_ids=[start, end, pad],
    )
    texts, threads = tf.constant(given.texts()), tf.data.AUTOTUNE

    def read() -> int:
        # Rebatched, which is many times as quick as a token at a time.
        data = tf.data.Dataset.from_tensor_slices(texts).batch(given.chunk)
        data = data.map(lambda chunk: tokenizer(chunk).flat_values, threads)
        data = data.rebatch(given.length - 2).batch(given.batch, drop_remainder=True)
        data = data.map(lambda rows: masks(packer(rows)), threads)
        return sum(1 for _ in data.prefetch(threads))

    return read

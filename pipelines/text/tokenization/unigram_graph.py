"""A unigram vocabulary as TensorFlow operations: tensorflow_text's, and the sentinels beside it."""

import functools
import hashlib

import tensorflow as tf
from tensorflow_text.python.ops.sentencepiece_tokenizer import gen_sentencepiece_tokenizer as ops

_NO_SAMPLING = (0, 1.0)  # of which piece: the likeliest, at a temperature that is not used
_AS_IT_IS = (False, False, False)  # no start, no end, not reversed


@functools.lru_cache(maxsize=4)
def in_graph(
    model: bytes, pad_id: int, names: tuple[str, ...], spaced: tuple[bool, ...]
) -> "InGraph":
    """Return what has `tokenize` and `detokenize`."""
    with tf.init_scope():  # the first call may come from inside a tf.data map, whose graph goes
        return InGraph(model, pad_id, names, spaced)


class InGraph(tf.Module):
    """Strings to ragged ids and back.

    Args:
        model: SentencePiece's, serialized.
        pad_id: left out of texts.
        names: of each id what it is written as, where SentencePiece does not write it; else "".
        spaced: of each id whether it loses a space where a text begins with it.
    """

    def __init__(self, model: bytes, pad_id: int, names: tuple[str, ...], spaced: tuple[bool, ...]):
        super().__init__()
        self.model = _Model(model)
        self.names, self.spaced = tf.constant(names), tf.constant(spaced)
        self.pad_id, self.size = pad_id, len(names)

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Map strings (b,) in UTF-8 to ragged int32 ids."""
        ids, splits = ops.sentencepiece_tokenize_op(
            self.model.resource_handle, texts, *_NO_SAMPLING, *_AS_IT_IS, tf.int32
        )
        return tf.RaggedTensor.from_row_splits(ids, splits, validate=False)

    def detokenize(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Map ragged ids to strings (b,); padding and ids that are no tokens are left out.

        A model may have more rows than its vocabulary has tokens, such as T5's 32,128 of 32,100.
        """
        flat = ids.flat_values
        known = (flat >= 0) & (flat < self.size) & (flat != self.pad_id)
        ids = tf.ragged.boolean_mask(tf.cast(ids, tf.int32), ids.with_flat_values(known))
        flat, row = ids.flat_values, ids.value_rowids()
        names = tf.gather(self.names, flat)
        named = names != ""
        # A row's parts: a name, where one begins the part, and what SentencePiece writes.
        begins = named | (row != tf.concat([[tf.constant(-1, row.dtype)], row[:-1]], 0))
        parts = tf.RaggedTensor.from_value_rowids(flat, tf.cumsum(tf.cast(begins, tf.int64)) - 1)
        plain = tf.ragged.boolean_mask(parts, parts.with_flat_values(~named))
        written = ops.sentencepiece_detokenize_op(
            self.model.resource_handle, plain.flat_values, plain.row_splits, *_AS_IT_IS
        )
        spaced = tf.concat([tf.gather(self.spaced, flat) & ~begins, [False]], 0)[1:]
        names += tf.where(named & spaced, " ", "")
        texts = tf.boolean_mask(names, begins) + written
        rows = tf.boolean_mask(row, begins)
        whole = tf.RaggedTensor.from_value_rowids(texts, rows, nrows=ids.nrows())
        return tf.strings.reduce_join(whole, axis=-1)


class _Model(tf.saved_model.experimental.TrackableResource):
    """SentencePiece's model by a name, for without one it is gone when Keras sets a seed.

    So it is in tensorflow_text.SentencepieceTokenizer: what is computed eagerly is cached, the
    cache holds the model, and `tf.random.set_seed` clears it.
    """

    def __init__(self, model: bytes):
        super().__init__()
        self.model, self.name = model, f"spiece-{hashlib.sha256(model).hexdigest()}"
        _ = self.resource_handle  # makes it

    def _create_resource(self):
        return ops.sentencepiece_op(model=self.model, shared_name=self.name)

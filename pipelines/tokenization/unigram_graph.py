"""A unigram vocabulary as TensorFlow operations: tensorflow_text's, and the sentinels beside it."""

import functools

import tensorflow as tf
import tensorflow_text as text


@functools.lru_cache(maxsize=4)
def in_graph(
    model: bytes, pad_id: int, names: tuple[str, ...], spaced: tuple[bool, ...]
) -> "InGraph":
    """Return what has `tokenize` and `detokenize`."""
    with (
        tf.init_scope()
    ):  # the first call may come from inside a tf.data map, whose graph goes away
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
        # SavedModels keep the tables of what is attached.
        self.inner = text.SentencepieceTokenizer(model, out_type=tf.int32)
        self.names, self.spaced = tf.constant(names), tf.constant(spaced)
        self.pad_id, self.size = pad_id, len(names)

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Map strings (b,) in UTF-8 to ragged int32 ids."""
        return self.inner.tokenize(texts)

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
        # Texts of a row's parts: a name, if one begins the part, and what SentencePiece writes.
        new_row = row != tf.concat([[tf.constant(-1, row.dtype)], row[:-1]], 0)
        begins = named | new_row
        part = tf.cumsum(tf.cast(begins, tf.int64)) - 1
        parts = tf.RaggedTensor.from_value_rowids(flat, part)
        plain = tf.ragged.boolean_mask(parts, parts.with_flat_values(~named))
        written = self.inner.detokenize(plain)
        after = tf.concat([tf.gather(self.spaced, flat) & ~begins, [False]], 0)[1:]
        lead = names + tf.where(named & after, " ", "")
        texts = tf.boolean_mask(lead, begins) + written
        rows = tf.boolean_mask(row, begins)
        whole = tf.RaggedTensor.from_value_rowids(texts, rows, nrows=ids.nrows())
        return tf.strings.reduce_join(whole, axis=-1)

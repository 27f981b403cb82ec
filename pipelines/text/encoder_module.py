"""What is saved for serving of an encoder of texts: raw strings in, its answers out."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from pipelines.core.api import Finished, Model, Tensor
from pipelines.text.documents import tokenizer_of
from pipelines.text.tokenization.tokenizer import Tokenizer

Answer = Callable[[Tensor, dict[str, Tensor]], dict[str, Tensor]]  # of outputs and features


class EncoderModule(tf.Module):
    """The signature `serving_default` of `text` (b,), and of `text_pair` (b,) if it reads pairs.

    Args:
        model: maps features to outputs.
        done: the run that it is of.
        length: tokens of a row at most.
        answer: maps outputs and features to tensors by name.
    """

    def __init__(self, model: Model, done: Finished, length: int, answer: Answer):
        super().__init__()
        reads_pairs = getattr(done.recipe.data, "text_pair", None) is not None
        self.model, self._answer = model, answer
        self.features = TextFeatures(tokenizer_of(done), length)
        names = ["text", "text_pair"] if reads_pairs else ["text"]
        strings = [tf.TensorSpec((None,), tf.string, name=name) for name in names]
        self.serve = tf.function(self._serve, input_signature=strings, autograph=False)

    def signatures(self) -> Mapping[str, Callable[..., Any]]:
        """Return the one signature."""
        return {"serving_default": self.serve}

    def _serve(self, text: Tensor, text_pair: Tensor | None = None) -> dict[str, Tensor]:
        features = self.features(text, text_pair)
        return self._answer(self.model(features, training=False), features)


class TextFeatures(tf.Module):
    """Strings to features, in the graph: what text/data/table_rows.py does, for any batch."""

    def __init__(self, tokenizer: Tokenizer, length: int):
        super().__init__()
        self.inner = tokenizer.in_graph()  # attached, or its tables are not saved
        self.start, self.separator = tokenizer.start_id, tokenizer.separator_id
        self.pad, self.length = tokenizer.pad_id, length

    def __call__(self, texts: Tensor, seconds: Tensor | None = None) -> dict[str, Tensor]:
        """Return tokens, segments and types (b, t), t the longest of the batch."""
        first = self._ids(texts)
        start, separator = (self._edge(token, texts) for token in (self.start, self.separator))
        if seconds is None:
            first = first[:, : self.length - start.shape[1] - separator.shape[1]]
            tokens = tf.concat([start, first, separator], axis=1)
            types = tf.zeros_like(tokens)
        else:
            room = self.length - start.shape[1] - 2 * separator.shape[1]
            second = self._ids(seconds)
            a, b = first.row_lengths(), second.row_lengths()
            keep = tf.minimum(b, tf.maximum(tf.cast(room // 2, b.dtype), room - a))
            second = _truncated(second, keep)
            first = _truncated(first, tf.minimum(a, room - keep))
            one = tf.concat([start, first, separator], axis=1)
            two = tf.concat([second, separator], axis=1)
            tokens = tf.concat([one, two], axis=1)
            types = tf.concat([tf.zeros_like(one), tf.ones_like(two)], axis=1)
        segments = tf.ones_like(tokens).to_tensor(0)
        return {
            "tokens": tokens.to_tensor(self.pad or 0),
            "segments": segments,
            "types": types.to_tensor(0),
        }

    @staticmethod
    def _edge(token: int | None, texts: Tensor) -> Tensor:
        """Return a column of the token that begins or ends a text, or of nothing."""
        ones = tf.expand_dims(tf.ones_like(texts, tf.int32), 1)
        return ones[:, :0] if token is None else token * ones

    def _ids(self, texts: Tensor) -> Tensor:
        return tf.cast(self.inner.tokenize(texts), tf.int32)


def _truncated(ragged: Tensor, keep: Tensor) -> Tensor:
    """Keep the first `keep` (b,) values of each row."""
    places = tf.ragged.range(ragged.row_lengths())
    rows = tf.cast(places.value_rowids(), keep.dtype)
    inside = tf.cast(places.flat_values, keep.dtype) < tf.gather(keep, rows)
    return tf.ragged.boolean_mask(ragged, ragged.with_flat_values(inside))

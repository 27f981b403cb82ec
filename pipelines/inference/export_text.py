"""What is saved of a language model: a prompt string in, the text that follows it out."""

import tensorflow as tf

from pipelines.data.randomness import uniform
from pipelines.generation.generator import DRAW
from pipelines.inference.finished import Finished
from tfattn.errors import InputError
from tfattn.models.beam import loop_of
from tfattn.models.generate import CHUNK, check, prefill
from tfattn.models.sampling import Sampling


class Continues(tf.Module):
    """Signatures: `serving_default` of `text` (b,), and `sample` of `text` and a `seed`.

    Both give `text` (b,), what follows each prompt. Of a prompt without room for so many tokens the
    end is read. Where there is room, the tokens are those of `python -m pipelines generate` with
    this seed (0 in `serving_default`).

    Args:
        done: a finished run of causal language modelling.
        tokens: at most so many follow.
        sampling: how they are chosen.

    Raises:
        InputError: a model of another kind, or more tokens than its context has.
    """

    def __init__(self, done: Finished, tokens: int, sampling: Sampling):
        super().__init__()
        check(done.model, sampling)
        context = done.model.config.max_length
        if not 1 <= tokens < context:
            raise InputError(
                f"tokens: expected 1 to {context - 1}, with room for a prompt in the context of "
                f"{context}. Received: {tokens}."
            )
        self.model, self.tokens, self.sampling = done.model, tokens, sampling
        self.prefix, self.delimiter = done.prefix, done.delimiter
        self.inner = done.tokenizer.in_graph()  # attached, or its tables are not saved
        if not hasattr(self.inner, "detokenize"):
            raise InputError(
                f"{done.run.folder}: expected a vocabulary that text comes back from, bpe, "
                f"unigram or characters. Received: {type(done.tokenizer).__name__}."
            )
        self.start, self.end = done.tokenizer.start_id, done.tokenizer.separator_id
        self.room = context - tokens
        text = tf.TensorSpec((None,), tf.string, name="text")
        seed = tf.TensorSpec((), tf.int64, name="seed")
        self.sample = tf.function(self._sample, input_signature=[text, seed], autograph=False)
        self.serve = tf.function(self._serve, input_signature=[text], autograph=False)

    def _serve(self, text):
        return self._sample(text, tf.constant(0, tf.int64))

    def _sample(self, text, seed):
        ids = tf.cast(self.inner.tokenize(tf.strings.join([text, self.delimiter])), tf.int32)
        batch = tf.shape(text)[0]
        if self.start is not None:
            ids = tf.concat([tf.fill([batch, 1], self.start), ids], axis=1)
        ids = ids[:, -self.room :]
        known = tf.debugging.Assert(
            tf.reduce_all(ids.row_lengths() > 0), ["text: expected a token to begin from."]
        )
        with tf.control_dependencies([known] if known is not None else []):
            lengths = tf.cast(ids.row_lengths(), tf.int32)
        longest = tf.maximum(tf.reduce_max(lengths), 1)  # of no row too
        begin = -(-longest // CHUNK) * CHUNK
        width = begin + self.tokens
        # Aligned at their ends: of each row turned round, and then the whole, the padding is first.
        tokens = tf.reverse(tf.reverse_sequence(ids.to_tensor(0), lengths, seq_axis=1), [1])
        before = begin - tf.shape(tokens)[1]
        tokens = tf.pad(tokens, tf.stack([[0, 0], [before, self.tokens]]))
        columns = tf.range(width)[None]
        real = (columns < begin) & (columns >= begin - lengths[:, None])
        segments = tf.cast(real, tf.int32)
        state = prefill(self.model, tokens, segments, begin, self.sampling, self.prefix)
        number = tf.cast(tf.range(batch), tf.int64)
        draws = uniform(seed, DRAW, number * 0, number, self.tokens)
        draws = tf.pad(draws, tf.stack([[0, 0], [begin, 0]]))
        stops = tf.constant([] if self.end is None else [self.end], tf.int32)
        state = loop_of(self.sampling)(self.model, state, width, draws, stops, self.sampling)
        added = tf.ragged.boolean_mask(state.tokens[:, begin:], state.segments[:, begin:] > 0)
        # Some tokenizers begin every text without a blank, so that it shows only behind the prompt.
        begin = self.inner.detokenize(ids)
        whole = self.inner.detokenize(tf.concat([ids, added], axis=1))
        size = tf.strings.length(begin)
        same = tf.strings.substr(whole, tf.zeros_like(size), size) == begin
        behind = tf.strings.substr(whole, size, tf.strings.length(whole))
        return {"text": tf.where(same, behind, self.inner.detokenize(added))}

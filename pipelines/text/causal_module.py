"""What is saved of a language model: a prompt string in, the text that follows it out."""

from collections.abc import Callable, Mapping
from typing import Any, Self

import tensorflow as tf

from pipelines.core.api import Finished, Tensor
from pipelines.core.randomness import Stream, uniform
from pipelines.core.spec import Options, expect
from pipelines.text.documents import tokenizer_of
from pipelines.text.options import WritingOptions
from pipelines.text.spec import TextTask
from tfattn.errors import InputError
from tfattn.models.beam import loop_of
from tfattn.models.generate import CHUNK, check, prefill
from tfattn.models.sampling import Sampling


class CausalLMModule(tf.Module):
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
        self.prompt_format = expect(done.task, TextTask).prompt_format()
        tokenizer = tokenizer_of(done)
        self.inner = tokenizer.in_graph()  # attached, or its tables are not saved
        if not hasattr(self.inner, "detokenize"):
            raise InputError(
                f"{done.run.folder}: expected a vocabulary that text comes back from, bpe, "
                f"unigram or characters. Received: {type(tokenizer).__name__}."
            )
        self.start, self.end = tokenizer.start_id, tokenizer.separator_id
        self.room = context - tokens
        text = tf.TensorSpec((None,), tf.string, name="text")
        seed = tf.TensorSpec((), tf.int64, name="seed")
        self.sample = tf.function(self._sample, input_signature=[text, seed], autograph=False)
        self.serve = tf.function(self._serve, input_signature=[text], autograph=False)

    @classmethod
    def of_run(cls, done: Finished, options: Options) -> Self:
        """Return the module of a run, as the options of the command ask for."""
        chosen = expect(options, WritingOptions)
        half = max(1, done.model.config.max_length // 2)
        return cls(done, half if chosen.tokens is None else chosen.tokens, chosen.sampling)

    def signatures(self) -> Mapping[str, Callable[..., Any]]:
        """Return both signatures."""
        return {"serving_default": self.serve, "sample": self.sample}

    def _serve(self, text: Tensor) -> dict[str, Tensor]:
        return self._sample(text, tf.constant(0, tf.int64))

    def _sample(self, text: Tensor, seed: Tensor) -> dict[str, Tensor]:
        prompts = tf.strings.join([self.prompt_format.prefix, text, self.prompt_format.delimiter])
        ids = tf.cast(self.inner.tokenize(prompts), tf.int32)
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
        both_ways = self.prompt_format.is_bidirectional
        state = prefill(self.model, tokens, segments, begin, self.sampling, both_ways)
        number = tf.cast(tf.range(batch), tf.int64)
        draws = uniform(seed, Stream.SAMPLE_CONTINUATION, number * 0, number, self.tokens)
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

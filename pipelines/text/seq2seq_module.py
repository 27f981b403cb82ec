"""What is saved of an encoder with a decoder: a source string in, the target string out."""

from collections.abc import Callable, Mapping
from typing import Any, Self

import tensorflow as tf

from pipelines.core.api import Finished, Tensor
from pipelines.core.randomness import Stream, uniform
from pipelines.core.spec import Options, expect
from pipelines.text.documents import tokenizer_of
from pipelines.text.features import row_length
from pipelines.text.generation.writer import end_of, room, target_begin
from pipelines.text.options import WritingOptions
from pipelines.text.spec import TextTask
from tfattn.errors import InputError
from tfattn.models.beam import ranked
from tfattn.models.generate import check, decode, start
from tfattn.models.sampling import Sampling

TARGETS = Sampling(beams=4)  # how a target is found unless something else is asked for


class Seq2SeqModule(tf.Module):
    """Signatures: `serving_default` of `text` (b,), and `sample` of `text` and a `seed`.

    Both give `text` (b,), the target of each source. With beams `serving_default` also gives the
    `scores` (b, k) and `texts` (b, k) of the best targets in falling order, and there is no
    `sample`. Of a source that is too long the beginning is read.

    Args:
        done: a finished run of a model of a source and a target.
        tokens: that a target has at most.
        sampling: how they are chosen.

    Raises:
        InputError: a model of another kind, or a vocabulary that no text comes back from.
    """

    def __init__(self, done: Finished, tokens: int, sampling: Sampling):
        super().__init__()
        check(done.model, sampling)
        self.model, self.sampling = done.model, sampling
        self.tokens = room(done.model, tokens)
        self.prefix = expect(done.task, TextTask).prompt_format().prefix
        self.length = max(row_length(done), done.model.config.max_length)
        tokenizer = tokenizer_of(done)
        self.end, self.begin = end_of(tokenizer), target_begin(tokenizer)
        self.inner = tokenizer.in_graph()  # attached, or its tables are not saved
        if not hasattr(self.inner, "detokenize"):
            raise InputError(
                f"{done.run.folder}: expected a vocabulary that text comes back from, unigram or "
                f"bpe. Received: {type(tokenizer).__name__}."
            )
        text = tf.TensorSpec((None,), tf.string, name="text")
        seed = tf.TensorSpec((), tf.int64, name="seed")
        kind = self._best if sampling.beams > 1 else self._serve
        self.serve = tf.function(kind, input_signature=[text], autograph=False)
        self.sample = None
        if sampling.beams == 1:
            self.sample = tf.function(self._sample, input_signature=[text, seed], autograph=False)

    @classmethod
    def of_run(cls, done: Finished, options: Options) -> Self:
        """Return the module of a run, as the options of the command ask for."""
        chosen = expect(options, WritingOptions)
        tokens = row_length(done) if chosen.tokens is None else chosen.tokens
        if not 1 <= tokens <= 2**14:
            raise InputError(f"tokens: expected 1 to 2**14. Received: {tokens}.")
        return cls(done, tokens, TARGETS if chosen.sampling == Sampling() else chosen.sampling)

    def signatures(self) -> Mapping[str, Callable[..., Any]]:
        """Return the signatures; `sample` is one of them where nothing is searched."""
        more = {} if self.sample is None else {"sample": self.sample}
        return {"serving_default": self.serve, **more}

    def _serve(self, text: Tensor) -> dict[str, Tensor]:
        return self._sample(text, tf.constant(0, tf.int64))

    def _sample(self, text: Tensor, seed: Tensor) -> dict[str, Tensor]:
        number = tf.range(tf.shape(text)[0], dtype=tf.int64)
        draws = uniform(seed, Stream.SAMPLE_TARGET, number * 0, number, self.tokens + 1)
        stops = tf.constant([self.end], tf.int32)
        state = decode(self.model, self._start(text), self.tokens + 1, draws, stops, self.sampling)
        return {"text": self._text(state.tokens[:, 1:], state.segments[:, 1:])}

    def _best(self, text: Tensor) -> dict[str, Tensor]:
        stops = tf.constant([self.end], tf.int32)
        state = self._start(text)
        found = ranked(self.model, state, tf.constant(self.tokens + 1), stops, self.sampling)
        shape = tf.shape(found.scores)
        tokens, segments = (
            tf.reshape(x[:, :, 1:], [-1, self.tokens]) for x in (found.tokens, found.segments)
        )
        texts = tf.reshape(self._text(tokens, segments), shape)
        return {"text": texts[:, 0], "texts": texts, "scores": found.scores}

    def _start(self, text: Tensor) -> Any:
        ids = tf.cast(self.inner.tokenize(tf.strings.join([self.prefix, text])), tf.int32)
        ids = ids[:, : self.length - 1]
        ids = tf.concat([ids, tf.fill([tf.shape(text)[0], 1], self.end)], axis=1)
        tokens = ids.to_tensor(0)
        missing = tf.cast(tf.shape(tokens)[1] == 0, tf.int32)  # of no row too
        tokens = tf.pad(tokens, tf.stack([[0, 0], [0, missing]]))
        segments = tf.sequence_mask(ids.row_lengths(), tf.shape(tokens)[1], tf.int32)
        features = {"tokens": tokens, "segments": segments}
        return start(self.model, features, self.begin, self.tokens + 1, self.sampling)

    def _text(self, tokens: Tensor, segments: Tensor) -> Tensor:
        return self.inner.detokenize(tf.ragged.boolean_mask(tokens, segments > 0))

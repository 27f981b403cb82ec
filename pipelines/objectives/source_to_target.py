"""Writing a target from a source: one objective for translation, answers and spoiled texts.

What a source and its target are is a transform of rows that is given (corruption.py, pair_rows.py):
the loss is the cross entropy of every token of the target from those before it and the source
(arXiv:1910.10683, section 2.4).
"""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pipelines.data.corruption import Example
from pipelines.generation.writer import Writer, target_begin
from pipelines.objectives import Objective, cell
from pipelines.tokenization.tokenizer import Tokenizer
from tfattn.models.config import Head, Tokens
from tfattn.models.sampling import Sampling

# What makes sources and targets of rows: (arrays, epoch (b,), row (b,)) -> Example.
Examples = Callable[[dict[str, tf.Tensor], tf.Tensor, tf.Tensor], Example]


class SourceToTarget(Objective):
    """Predict every token of a target.

    Args:
        head: over the vocabulary.
        tokenizer: says what a target begins with, and shows texts.
        examples: sources and targets of rows.
    """

    def __init__(self, head: Tokens, tokenizer: Tokenizer, examples: Examples):
        self.heads: tuple[Head, ...] = (head,)
        self.examples = examples
        self.terms = {"loss": "tokens", "accuracy": "tokens"}
        self.losses: tuple[str, ...] = ("loss",)
        self.selects: tuple[str, bool] = ("loss", False)
        self._begin = target_begin(tokenizer)
        self._writer: Writer | None = None

    def batch(self, rows, epoch, row):
        """Give every token of a target weight 1; the decoder reads each one place later."""
        source, source_count, target, target_count = self.examples(rows, epoch, row)
        shifted = tf.pad(target[:, :-1], [[0, 0], [1, 0]], constant_values=self._begin)
        segments, target_segments = (
            tf.sequence_mask(count, tf.shape(ids)[1], tf.int32)
            for ids, count in ((source, source_count), (target, target_count))
        )
        features = {"tokens": source, "segments": segments}
        features |= {"target_tokens": shifted, "target_segments": target_segments}
        weights = {"tokens": tf.cast(target_segments, tf.float32)}
        return {"features": features, "targets": {"tokens": target}, "weights": weights}

    def measure(self, model, batch, training):
        """Sum cross entropy and hits over the targets."""
        asked = {"targets": batch["targets"]["tokens"]}
        asked["target_weights"] = batch["weights"]["tokens"]
        loss, hit = model({**batch["features"], **asked}, training=training)
        return {"loss": loss, "accuracy": hit}, None

    def derived(self, numbers):
        """Return the perplexity of a token."""
        return {"perplexity": math.exp(min(numbers["loss"], 700.0))}

    def show(self, model, batch, tokenizer, count):
        """Show each source with its target and what the model writes, greedily."""
        if self._writer is None or self._writer.model is not model:
            self._writer = Writer(model, tokenizer, Sampling(greedy=True), jit=False)
        sources = _texts(batch["features"]["tokens"], batch["features"]["segments"], count)
        there = batch["features"]["target_segments"]
        targets = _texts(batch["targets"]["tokens"], there, count)
        longest = there.shape[1]
        written = self._writer.write_ids(sources, longest)
        rows = ["| source | target | the model writes |", "|---|---|---|"]
        for source, target, texts in zip(sources, targets, written, strict=True):
            ids = (source[:-1], target[:-1], texts[0].ids)  # without the end, as it is written
            shown = (cell(tokenizer.decode(part)) for part in ids)
            rows.append(f"| {' | '.join(shown)} |")
        return rows


def _texts(tokens: Any, segments: Any, count: int) -> list[list[int]]:
    rows = zip(tokens[:count].numpy(), segments[:count].numpy() != 0, strict=True)
    return [ids[there].tolist() for ids, there in rows]

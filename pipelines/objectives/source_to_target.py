"""Writing a target from a source: one objective for translation, answers and spoiled texts.

What a source and its target are is a transform of rows that is given (pipelines/data/corruption.py
or source_target_rows.py); the loss is the cross entropy of every token of the target from those
before it and the source (arXiv:1910.10683, section 2.4).
"""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pipelines.data.corruption import Example
from pipelines.generation.measures import bleu_and_chrf
from pipelines.generation.writer import Writer, target_begin
from pipelines.objectives import Objective, cell
from pipelines.tokenization.tokenizer import Tokenizer
from tfattn.models.config import Head, Tokens
from tfattn.models.sampling import Sampling

# What makes sources and targets of rows: (arrays, epoch (b,), row (b,)) -> Example.
Examples = Callable[[dict[str, tf.Tensor], tf.Tensor, tf.Tensor], Example]

WATCHED = 32  # texts that are written now and then in training


class SourceToTarget(Objective):
    """Predict every token of a target.

    Args:
        head: over the vocabulary.
        tokenizer: says what a target begins with, and shows texts.
        examples: sources and targets of rows.
    """

    def __init__(self, head: Tokens, tokenizer: Tokenizer, examples: Examples):
        self.heads: tuple[Head, ...] = (head,)
        self.examples, self.tokenizer = examples, tokenizer
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
        return self.watch(model, batch, tokenizer, count)[0]

    def watch(self, model, batch, tokenizer, count):
        """Show the first of some texts, and give BLEU and chrF of all of them."""
        sources, wanted, written = self._written(model, batch, max(count, WATCHED))
        rows = ["| source | target | the model writes |", "|---|---|---|"]
        for texts in list(zip(sources, wanted, written, strict=True))[:count]:
            rows.append(f"| {' | '.join(map(cell, texts))} |")
        found = bleu_and_chrf(written, wanted)
        return rows, {f"{name}_of_{len(wanted)}": value for name, value in found.items()}

    def _written(self, model, batch, count):
        """Return at most `count` sources, their targets, and what the model writes, as texts."""
        if self._writer is None or self._writer.model is not model:
            self._writer = Writer(model, self.tokenizer, Sampling(greedy=True), jit=False)
        features, there = batch["features"], batch["features"]["target_segments"]
        sources = _texts(features["tokens"], features["segments"], count)
        targets = _texts(batch["targets"]["tokens"], there, count)
        written = self._writer.write_ids(sources, there.shape[1])
        plain = ([self.tokenizer.decode(ids[:-1]) for ids in side] for side in (sources, targets))
        return *plain, [texts[0].text for texts in written]


def _texts(tokens: Any, segments: Any, count: int) -> list[list[int]]:
    rows = zip(tokens[:count].numpy(), segments[:count].numpy() != 0, strict=True)
    return [ids[there].tolist() for ids, there in rows]

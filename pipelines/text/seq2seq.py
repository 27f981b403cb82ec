"""Writing a target from a source: one objective for translation, answers and corrupted texts.

What a source and its target are is a transform of rows that is given (text/data/corruption.py or
source_target_rows.py); the loss is the cross entropy of every token of the target from those before
it and the source (arXiv:1910.10683, section 2.4).
"""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pipelines.core.api import Batch, Model, Objective, Report, Rows, Selection, Sums, Tensor
from pipelines.core.report import cell
from pipelines.text.data.corruption import Example
from pipelines.text.features import count_tokens
from pipelines.text.figures import attention_figures
from pipelines.text.generation.measures import bleu_and_chrf
from pipelines.text.generation.writer import Writer, target_begin
from pipelines.text.tokenization.tokenizer import Tokenizer
from tfattn.models.config import Head, Tokens
from tfattn.models.sampling import Sampling

# What makes sources and targets of rows: (arrays, epoch (b,), row (b,)) -> Example.
Examples = Callable[[dict[str, Tensor], Tensor, Tensor], Example]

WATCHED = 32  # texts that are written now and then in training


class Seq2SeqObjective(Objective):
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
        self.selects = Selection("loss", higher_is_better=False)
        self._begin = target_begin(tokenizer)
        self._writer: Writer | None = None

    def batch(self, rows: dict[str, Tensor], epoch: Tensor, row: Tensor) -> Batch:
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

    def measure(self, model: Model, batch: Batch, training: bool) -> tuple[Sums, Any]:
        """Sum cross entropy and hits over the targets."""
        asked = {"targets": batch["targets"]["tokens"]}
        asked["target_weights"] = batch["weights"]["tokens"]
        loss, hit = model({**batch["features"], **asked}, training=training)
        return {"loss": loss, "accuracy": hit}, None

    def count(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return how many tokens of sources and targets there are, and how many with padding."""
        return count_tokens(batch)

    def derived(self, metrics: dict[str, float], rows: Rows) -> dict[str, float]:
        """Return the perplexity of a token."""
        return {"perplexity": math.exp(min(metrics["loss"], 700.0))}

    def report(self, model: Model, batch: Batch, samples: int, figures: bool) -> Report:
        """Show each source, its target and what the model writes; BLEU and chrF of some texts."""
        report = self._report(model, batch, samples) if samples else Report()
        if figures:
            report.figures |= attention_figures(model, batch, self.tokenizer)
        return report

    def _report(self, model: Model, batch: Batch, count: int) -> Report:
        sources, targets, written = self._written(model, batch, max(count, WATCHED))
        rows = ["| source | target | the model writes |", "|---|---|---|"]
        for texts in list(zip(sources, targets, written, strict=True))[:count]:
            rows.append(f"| {' | '.join(map(cell, texts))} |")
        found = bleu_and_chrf(written, targets)
        return Report(rows, {f"{name}_of_{len(targets)}": value for name, value in found.items()})

    def _written(
        self, model: Model, batch: Batch, count: int
    ) -> tuple[list[str], list[str], list[str]]:
        """Return at most `count` sources, their targets, and what the model writes, as texts."""
        if self._writer is None or self._writer.model is not model:
            self._writer = Writer(model, self.tokenizer, Sampling(greedy=True), jit=False)
        features, there = batch["features"], batch["features"]["target_segments"]
        sources = _texts(features["tokens"], features["segments"], count)
        targets = _texts(batch["targets"]["tokens"], there, count)
        written = self._writer.write_ids(sources, there.shape[1])
        plain, wanted = (
            [self.tokenizer.decode(ids[:-1]) for ids in side] for side in (sources, targets)
        )
        return plain, wanted, [texts[0].text for texts in written]


def _texts(tokens: Any, segments: Any, count: int) -> list[list[int]]:
    rows = zip(tokens[:count].numpy(), segments[:count].numpy() != 0, strict=True)
    return [ids[there].tolist() for ids, there in rows]

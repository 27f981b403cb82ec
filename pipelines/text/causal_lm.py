"""Causal language modelling: the next token from those before (Radford et al. 2018, equation 1)."""

import math
from typing import Any

import tensorflow as tf

from pipelines.core.api import (
    Batch,
    Finished,
    Model,
    Objective,
    Report,
    Rows,
    Selection,
    Split,
    Sums,
    Tensor,
)
from pipelines.core.progress import say
from pipelines.core.randomness import Stream, uniform
from pipelines.core.report import cell
from pipelines.core.spec import Options, Recipe, expect
from pipelines.text.causal_module import CausalLMModule
from pipelines.text.data.causal_rows import CausalRows
from pipelines.text.data.store import Store
from pipelines.text.documents import DocumentRuntime, language_head, text_data
from pipelines.text.features import count_tokens
from pipelines.text.figures import attention_figures
from pipelines.text.generation.generator import Generator, text_added
from pipelines.text.options import RowOptions
from pipelines.text.spec import CausalLM
from pipelines.text.tokenization.tokenizer import Tokenizer
from tfattn.errors import InputError
from tfattn.models.config import Head, Tokens
from tfattn.models.sampling import Sampling

GIVEN, ADDED = 24, 40  # tokens of a text that is shown, and of how the model goes on


class CausalLMRuntime(DocumentRuntime):
    """Trains, evaluates and exports a causal language model."""

    def objective(self, recipe: Recipe, tokenizer: Tokenizer) -> Objective:
        """Return language modelling, of a prefix language model with drawn prefixes."""
        task, head = expect(recipe.objective, CausalLM), language_head(recipe)
        return CausalLMObjective(head, tokenizer, task.prefix, recipe.train.seed)

    def rows(
        self, recipe: Recipe, tokenizer: Tokenizer, store: Store, options: Options | None = None
    ) -> Rows:
        """Return packed documents and the token that follows each token."""
        data, task = text_data(recipe), expect(recipe.objective, CausalLM)
        start, end, pad = tokenizer.start_id, tokenizer.separator_id, tokenizer.pad_id
        stride = None if options is None else expect(options, RowOptions).stride
        rows = CausalRows(store, data.length, start, end, pad, pack=data.pack, stride=stride)
        # Bits per byte are not defined for a prefix LM: the bytes of a prefix are not predicted.
        rows.bytes_per_target = 0.0 if task.prefix else store.meta.bytes / rows.targets
        return rows

    def split(self, done: Finished, files: tuple[str, ...], options: Options) -> Split:
        """Return documents, in rows that overlap where there is a stride."""
        length, stride = text_data(done.recipe).length, expect(options, RowOptions).stride
        if stride is None:
            return super().split(done, files, options)
        if stride > length:
            raise InputError(
                f"stride: expected 1 to {length}, the tokens of a row. Received: {stride}."
            )
        split = super().split(done, files, options)
        if not expect(split.rows, CausalRows).overlap:
            say(
                f"stride: expected fewer tokens than the {length} of a row, and documents of more. "
                f"No row overlaps another, so that {stride} changes nothing."
            )
        split.about["stride"] = stride
        return split

    def exported(self, done: Finished, options: Options) -> CausalLMModule:
        """Return what gives the `text` that follows prompts."""
        return CausalLMModule.of_run(done, options)


class CausalLMObjective(Objective):
    """Predict every token from those before it in its row.

    As a prefix language model: of each text of n tokens the first p, drawn from 1 to n, see each
    other, and what follows them is predicted (arXiv:1910.10683, section 3.2.1). Draws are keyed by
    (seed, epoch, row).

    Args:
        head: over the vocabulary.
        tokenizer: shows texts.
        prefix: whether it is a prefix language model.
        seed: of the draws.
    """

    row_independent = True

    def __init__(self, head: Tokens, tokenizer: Tokenizer, prefix: bool = False, seed: int = 0):
        self.tokenizer, self.prefix, self.seed = tokenizer, prefix, seed
        self.heads: tuple[Head, ...] = (head,)
        self.terms = {"loss": "tokens", "accuracy": "tokens"}
        self.losses: tuple[str, ...] = ("loss",)
        self.selects = Selection("loss", higher_is_better=False)
        self._generator: Generator | None = None

    def batch(self, rows: dict[str, Tensor], epoch: Tensor, row: Tensor) -> Batch:
        """Give every token that is predicted weight 1."""
        features = {name: rows[name] for name in ("tokens", "segments", "positions")}
        counted = rows.get("counted", rows["segments"]) != 0
        if self.prefix:
            features["order"], predicted = self._prefixes(rows, epoch, row)
            counted &= predicted
        weights = {"tokens": tf.cast(counted, tf.float32)}
        return {"features": features, "targets": {"tokens": rows["targets"]}, "weights": weights}

    def _prefixes(
        self, rows: dict[str, Tensor], epoch: Tensor, row: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what the mask compares, 0 in a prefix, and which tokens predict the next."""
        segments, positions = rows["segments"], rows["positions"]
        tokens = segments.shape[1]
        same = segments[:, :, None] == segments[:, None]
        sizes = tf.reduce_sum(tf.cast(same, tf.float32), axis=2)  # (b, t), of each token's text
        draws = uniform(self.seed, Stream.PREFIX_LENGTH, epoch, row, tokens)
        first = tf.maximum(tf.range(tokens)[None] - positions, 0)  # column where its text begins
        draws = tf.gather(draws, first, batch_dims=1)
        prefix = 1 + tf.cast(draws * sizes, tf.int32)
        return tf.where(positions < prefix, 0, positions), positions >= prefix - 1

    def measure(self, model: Model, batch: Batch, training: bool) -> tuple[Sums, Any]:
        """Sum cross entropy and hits over the tokens."""
        targets, weights = batch["targets"]["tokens"], batch["weights"]["tokens"]
        asked = {"targets": targets, "target_weights": weights}
        loss, hit = model({**batch["features"], **asked}, training=training)
        return {"loss": loss, "accuracy": hit}, None

    def count(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return how many tokens there are, and how many with padding."""
        return count_tokens(batch)

    def derived(self, metrics: dict[str, float], rows: Rows) -> dict[str, float]:
        """Return the perplexity of a token, and the bits of a byte of UTF-8 where rows know it."""
        found = {"perplexity": math.exp(min(metrics["loss"], 700.0))}
        bytes_per_target = getattr(rows, "bytes_per_target", 0.0)
        if bytes_per_target:
            found["bits_per_byte"] = metrics["loss"] / math.log(2) / bytes_per_target
        return found

    def report(self, model: Model, batch: Batch, samples: int, figures: bool) -> Report:
        """Show how the first text of each row goes on, and how the model continues it, seed 0."""
        table = self._table(model, batch, samples) if samples else []
        drawn = attention_figures(model, batch, self.tokenizer) if figures else {}
        return Report(table, figures=drawn)

    def _table(self, model: Model, batch: Batch, count: int) -> list[str]:
        if self._generator is None or self._generator.model is not model:
            self._generator = Generator(model, self.tokenizer, Sampling(), self.prefix)
        parts = [_parts(batch, row) for row in range(min(count, len(batch["targets"]["tokens"])))]
        *_, added = self._generator.stream([begin for begin, _ in parts], ADDED, 0)
        rows = ["| text | goes on | the model goes on |", "|---|---|---|"]
        for (begin, rest), continuation in zip(parts, added, strict=True):
            shown = [self.tokenizer.decode(part) for part in (begin, rest)]
            shown.append(text_added(self.tokenizer, begin, continuation))
            rows.append(f"| {' | '.join(map(cell, shown))} |")
        return rows


def _parts(batch: Batch, row: int) -> tuple[list[int], list[int]]:
    """Return what of a row's first text the model is given, and how the text goes on."""
    text = batch["features"]["segments"][row].numpy() == 1
    tokens, targets = (batch[of]["tokens"][row].numpy()[text] for of in ("features", "targets"))
    weights = batch["weights"]["tokens"][row].numpy()[text]
    known = 1 + int(weights.argmax())  # a prefix or a question, where there is one
    given = known if known > 1 else min(GIVEN, 1 + len(tokens) // 2)
    return tokens[:given].tolist(), targets[given - 1 :][:ADDED].tolist()

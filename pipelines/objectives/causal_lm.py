"""Causal language modelling: the next token from those before (Radford et al. 2018, equation 1)."""

import math

import tensorflow as tf

from pipelines import recipes
from pipelines.data.randomness import uniform
from pipelines.generation.generator import Generator, text_added
from pipelines.objectives import Objective, cell
from tfattn.models.config import Head, Tokens
from tfattn.models.sampling import Sampling

PREFIX = 1  # purpose of random numbers
GIVEN, ADDED = 24, 40  # tokens of a text that is shown, and of how the model goes on


class CausalLM(Objective):
    """Predict every token from those before it in its row.

    As a prefix language model: of each text of n tokens the first p, drawn from 1 to n, see each
    other, and what follows them is predicted (arXiv:1910.10683, section 3.2.1). Draws are keyed by
    (seed, epoch, row).

    Args:
        spec: of the recipe.
        head: over the vocabulary.
        bytes_per_target: of the split that is evaluated; 0 = not known, and not reported by bytes.
        seed: of the draws.
    """

    by_row = True

    def __init__(
        self, spec: recipes.CausalLM, head: Tokens, bytes_per_target: float = 0.0, seed: int = 0
    ):
        self.spec, self.bytes_per_target, self.seed = spec, bytes_per_target, seed
        self.heads: tuple[Head, ...] = (head,)
        self.terms = {"loss": "tokens", "accuracy": "tokens"}
        self.losses: tuple[str, ...] = ("loss",)
        self.selects: tuple[str, bool] = ("loss", False)
        self._generator: Generator | None = None

    def batch(self, rows, epoch, row):
        """Give every token that is predicted weight 1."""
        features = {name: rows[name] for name in ("tokens", "segments", "positions")}
        counted = rows.get("counted", rows["segments"]) != 0
        if self.spec.prefix:
            features["order"], predicted = self._prefixes(rows, epoch, row)
            counted &= predicted
        weights = {"tokens": tf.cast(counted, tf.float32)}
        return {"features": features, "targets": {"tokens": rows["targets"]}, "weights": weights}

    def _prefixes(self, rows, epoch, row):
        """Return what the mask compares, 0 in a prefix, and which tokens predict the next."""
        segments, positions = rows["segments"], rows["positions"]
        tokens = segments.shape[1]
        same = segments[:, :, None] == segments[:, None]
        sizes = tf.reduce_sum(tf.cast(same, tf.float32), axis=2)  # (b, t), of each token's text
        draws = uniform(self.seed, PREFIX, epoch, row, tokens)
        first = tf.maximum(tf.range(tokens)[None] - positions, 0)  # column where its text begins
        draws = tf.gather(draws, first, batch_dims=1)
        prefix = 1 + tf.cast(draws * sizes, tf.int32)
        return tf.where(positions < prefix, 0, positions), positions >= prefix - 1

    def measure(self, model, batch, training):
        """Sum cross entropy and hits over the tokens."""
        targets, weights = batch["targets"]["tokens"], batch["weights"]["tokens"]
        asked = {"targets": targets, "target_weights": weights}
        loss, hit = model({**batch["features"], **asked}, training=training)
        return {"loss": loss, "accuracy": hit}, None

    def derived(self, numbers):
        """Return the perplexity of a token, and the bits of a byte of UTF-8."""
        found = {"perplexity": math.exp(min(numbers["loss"], 700.0))}
        if self.bytes_per_target:
            found["bits_per_byte"] = numbers["loss"] / math.log(2) / self.bytes_per_target
        return found

    def show(self, model, batch, tokenizer, count):
        """Show how the first text of each row goes on, and how the model goes on, seed 0."""
        if self._generator is None or self._generator.model is not model:
            self._generator = Generator(model, tokenizer, Sampling(), self.spec.prefix)
        parts = [_parts(batch, row) for row in range(min(count, len(batch["targets"]["tokens"])))]
        *_, added = self._generator.stream([begin for begin, _ in parts], ADDED, 0)
        rows = ["| text | goes on | the model goes on |", "|---|---|---|"]
        for (begin, rest), said in zip(parts, added, strict=True):
            shown = [tokenizer.decode(part) for part in (begin, rest)]
            shown.append(text_added(tokenizer, begin, said))
            rows.append(f"| {' | '.join(map(cell, shown))} |")
        return rows


def _parts(batch, row):
    """Return what of a row's first text the model is given, and how the text goes on."""
    text = batch["features"]["segments"][row].numpy() == 1
    tokens, targets = (batch[of]["tokens"][row].numpy()[text] for of in ("features", "targets"))
    weights = batch["weights"]["tokens"][row].numpy()[text]
    known = 1 + int(weights.argmax())  # a prefix or a question, where there is one
    given = known if known > 1 else min(GIVEN, 1 + len(tokens) // 2)
    return tokens[:given].tolist(), targets[given - 1 :][:ADDED].tolist()

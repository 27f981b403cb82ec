"""Causal language modelling: the next token from those before (Radford et al. 2018, equation 1)."""

import math

import numpy as np
import tensorflow as tf

from pipelines import recipes
from pipelines.data.tokenization import Tokenizer
from pipelines.objectives import cell, cross_entropy, hits
from tfattn import backend
from tfattn.models.config import Head, Tokens

SHOWN = 60  # tokens before the one that is shown


class CausalLM:
    """Predict every token from those before it in its row.

    Args:
        spec: of the recipe.
        head: over the vocabulary.
        bytes_per_target: of the split that is evaluated; 0 = not known, and not reported by bytes.
    """

    def __init__(self, spec: recipes.CausalLM, head: Tokens, bytes_per_target: float = 0.0):
        self.spec, self.bytes_per_target = spec, bytes_per_target
        self.heads: tuple[Head, ...] = (head,)
        self.terms = {"loss": "tokens", "accuracy": "tokens"}
        self.losses: tuple[str, ...] = ("loss",)
        self.selects: tuple[str, bool] = ("loss", False)
        self._cross_entropy = backend.island(cross_entropy)

    def batch(self, rows, epoch, row):
        """Give every token weight 1."""
        features = {name: rows[name] for name in ("tokens", "segments", "positions")}
        weights = {"tokens": tf.cast(rows["segments"] != 0, tf.float32)}
        return {"features": features, "targets": {"tokens": rows["targets"]}, "weights": weights}

    def sums(self, outputs, batch):
        """Sum cross entropy and hits over the tokens."""
        targets, weights = batch["targets"]["tokens"], batch["weights"]["tokens"]
        loss, hit = self._cross_entropy(outputs, targets), hits(outputs, targets)
        return {"loss": tf.reduce_sum(loss * weights), "accuracy": tf.reduce_sum(hit * weights)}

    def score(self, outputs, targets):
        """Return nothing: the sums say all."""
        return {}

    def derived(self, numbers):
        """Return the perplexity of a token, and the bits of a byte of UTF-8."""
        found = {"perplexity": math.exp(min(numbers["loss"], 700.0))}
        if self.bytes_per_target:
            found["bits_per_byte"] = numbers["loss"] / math.log(2) / self.bytes_per_target
        return found

    def show(self, outputs, batch, tokenizer, count):
        """Show the end of each text, its next token, and the likeliest with their probabilities."""
        rows = ["| text | next | predicted |", "|---|---|---|"]
        for row in range(min(count, len(outputs))):
            segments = batch["features"]["segments"][row].numpy()
            last = int(np.flatnonzero(segments == 1)[-1])  # of the first text
            ids = batch["features"]["tokens"][row].numpy()[max(0, last + 1 - SHOWN) : last + 1]
            shares = tf.nn.softmax(outputs[row, last]).numpy()
            best = np.argsort(-shares)[:3]
            said = ", ".join(f"{_quoted(tokenizer, i)} {shares[i]:.2f}" for i in best)
            target = _quoted(tokenizer, int(batch["targets"]["tokens"][row, last]))
            rows.append(f"| {cell(tokenizer.decode(ids))} | {target} | {said} |")
        return rows


def _quoted(tokenizer: Tokenizer, token: int) -> str:
    return cell(repr(tokenizer.decode([int(token)])))

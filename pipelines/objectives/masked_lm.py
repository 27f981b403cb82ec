"""Masked language modelling, with next-sentence prediction as an option (arXiv:1810.04805, 3.1)."""

import numpy as np
import tensorflow as tf

from pipelines import recipes
from pipelines.data.randomness import uniform
from pipelines.objectives import Objective, cell, cross_entropy, first, hits
from pipelines.tokenization.wordpiece import WordPiece
from tfattn.models.config import Classify, Head, Tokens

CHOICE, FATE, REPLACEMENT, OTHER, FOLLOWS = range(5)  # purposes of random numbers


class MaskedLM(Objective):
    """Predict the tokens that were masked.

    Of the tokens of a row that are not special, `rate` are chosen (all pieces of a word, if whole
    words are asked for); of those 80% become [MASK], 10% a random token and 10% stay. Every row
    has room for the same number of predictions; places without one have weight 0. Draws are keyed
    by (seed, epoch, row): dynamic, and exactly repeatable.
    """

    by_row = True

    def __init__(self, spec: recipes.MaskedLM, tokenizer: WordPiece, length: int, seed: int):
        self.spec, self.tokenizer, self.seed, self.length = spec, tokenizer, seed, length
        self.predictions = max(1, round(spec.rate * length))
        self.heads: tuple[Head, ...] = (Tokens(),)
        self.terms = {"mlm_loss": "mlm", "mlm_accuracy": "mlm"}
        self.losses: tuple[str, ...] = ("mlm_loss",)
        self.selects: tuple[str, bool] = ("loss", False)
        if spec.next_sentence:
            self.heads += (Classify("next", classes=2, pool="pooler", dropout=0.0),)
            self.terms |= {"next_loss": "next", "next_accuracy": "next"}
            self.losses += ("next_loss",)
        special = (tokenizer.pad_id, tokenizer.unknown_id, tokenizer.start_id)
        special += (tokenizer.separator_id, tokenizer.mask_id)
        self._ordinary = tf.constant(np.setdiff1d(np.arange(tokenizer.size), special), tf.int32)
        self._continues = tf.constant(tokenizer.continuation)

    def draws(self, epoch: tf.Tensor, row: tf.Tensor, rows: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the row whose second sentence may replace a row's own, and whether it stays."""
        other = uniform(self.seed, OTHER, epoch, row, 1)[:, 0]
        follows = uniform(self.seed, FOLLOWS, epoch, row, 1)[:, 0] < 0.5
        return tf.minimum(tf.cast(other * float(rows), tf.int64), rows - 1), follows

    def batch(self, rows, epoch, row):
        """Mask `tokens` and keep what was there as targets."""
        tokens, segments = rows["tokens"], rows["segments"]
        edges = (tokens == self.tokenizer.start_id) | (tokens == self.tokenizer.separator_id)
        eligible = (segments != 0) & tf.logical_not(edges)
        places, weights = self._choose(tokens, eligible, edges, epoch, row)
        stood = tf.gather(tokens, places, batch_dims=1)
        fate = uniform(self.seed, FATE, epoch, row, places)
        index = uniform(self.seed, REPLACEMENT, epoch, row, places) * len(self._ordinary)
        random = tf.gather(self._ordinary, tf.cast(index, tf.int32))
        masked = tf.where(fate < 0.8, self.tokenizer.mask_id, tf.where(fate < 0.9, random, stood))
        masked = tf.where(weights > 0, masked, stood)
        features = {
            "tokens": _replaced(tokens, places, masked),
            "segments": segments,
            "positions": rows["positions"],
            "predict_positions": places,
        }
        targets = {"mlm": stood}
        divisors = {"mlm": weights}
        if self.spec.next_sentence:
            features["types"] = rows["types"]
            targets["next"] = rows["next"]
            divisors["next"] = tf.ones_like(rows["next"], tf.float32)
        return {"features": features, "targets": targets, "weights": divisors}

    def _choose(self, tokens, eligible, edges, epoch, row):
        """Return the places (b, p) to predict and their weights, 1 or 0."""
        score = uniform(self.seed, CHOICE, epoch, row, tokens.shape[1])
        if self.spec.whole_words:  # all pieces of a word share the number of that word
            starts = edges | ~tf.gather(self._continues, tokens)
            word = tf.cumsum(tf.cast(starts, tf.int32), axis=1) - 1
            score = tf.gather(score, tf.maximum(word, 0), batch_dims=1)
        score = tf.where(eligible, -score, -2.0)  # what is not eligible comes last
        most = min(self.predictions + 1, self.length)  # and the one that follows
        ranked, order = tf.math.top_k(score, most)  # of equal ones the first comes first
        count = tf.reduce_sum(tf.cast(eligible, tf.float32), axis=1, keepdims=True)
        wanted = tf.cast(tf.round(count * self.spec.rate), tf.int32)
        wanted = tf.minimum(tf.maximum(wanted, 1), tf.cast(count, tf.int32))  # (b, 1)
        places = order[:, : self.predictions]
        inside = tf.range(self.predictions)[None] < wanted
        if self.spec.whole_words:  # a word that would be cut is left out, unless it is the only one
            ranked = tf.pad(ranked, [[0, 0], [0, 1]], constant_values=-3.0)
            following = tf.gather(ranked, wanted, batch_dims=1)  # (b, 1)
            cut = ranked[:, : self.predictions] == following
            others = tf.reduce_any(inside & ~cut, axis=1, keepdims=True)
            inside &= ~(cut & others)
        return places, tf.cast(inside, tf.float32)

    def measure(self, model, batch, training):
        """Sum cross entropy and hits over the predicted places, and of the next sentence."""
        asked = {"targets": batch["targets"]["mlm"], "target_weights": batch["weights"]["mlm"]}
        outputs = model({**batch["features"], **asked}, training=training)
        loss, hit = outputs["tokens"] if self.spec.next_sentence else outputs
        found = {"mlm_loss": loss, "mlm_accuracy": hit}
        if self.spec.next_sentence:
            targets, logits = batch["targets"]["next"], outputs["next"]
            found["next_loss"] = tf.reduce_sum(
                cross_entropy(logits, targets) * batch["weights"]["next"]
            )
            found["next_accuracy"] = tf.reduce_sum(hits(logits, targets) * batch["weights"]["next"])
        return found, None

    def show(self, model, batch, tokenizer, count):
        """Show each masked text with what stood there and what the model says."""
        batch = first(batch, count)
        outputs = model(batch["features"], training=False)
        logits = outputs["tokens"] if self.spec.next_sentence else outputs
        said = tf.argmax(logits, axis=-1).numpy()
        rows = ["| text | was | predicted |", "|---|---|---|"]
        for row in range(len(said)):
            real = batch["features"]["segments"][row].numpy() != 0
            text = tokenizer.decode(batch["features"]["tokens"][row].numpy()[real])
            there = batch["weights"]["mlm"][row].numpy() > 0
            was = [tokenizer.vocabulary[i] for i in batch["targets"]["mlm"][row].numpy()[there]]
            now = [tokenizer.vocabulary[i] for i in said[row][there]]
            rows.append(f"| {cell(text)} | {cell(' '.join(was))} | {cell(' '.join(now))} |")
        return rows


def _replaced(tokens, places, values):
    """Return the tokens (b, t) with these values (b, p) at these places, all different in a row."""
    length = tokens.shape[1]
    index = tf.range(tf.shape(tokens)[0])[:, None] * length + places
    index, values = tf.reshape(index, [-1, 1]), tf.reshape(values, [-1])
    found = tf.tensor_scatter_nd_update(tf.reshape(tokens, [-1]), index, values)
    return tf.reshape(found, [-1, length])

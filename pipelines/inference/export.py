"""Export: a SavedModel that takes raw strings, with its tokenizer inside."""

import os
from typing import Any

import tensorflow as tf

import tfattn
from pipelines import recipes
from pipelines.inference.export_images import Sees
from pipelines.inference.export_pairs import Writes
from pipelines.inference.export_text import Continues
from pipelines.inference.finished import Finished, open_finished
from pipelines.runs import claim, release, user_path
from pipelines.tokenization.tokenizer import Tokenizer
from tfattn.blocks.heads import mean_pool
from tfattn.errors import InputError
from tfattn.models.build import Model
from tfattn.models.config import TransformerConfig
from tfattn.models.sampling import Sampling

PARTIAL = ".export.tmp"  # while it is written
TARGETS = Sampling(beams=4)  # how a target is found unless something else is asked for


class Features(tf.Module):
    """Strings to features, in the graph: what pipelines/data/table_rows.py does, for any batch."""

    def __init__(self, tokenizer: Tokenizer, length: int, pairs: bool):
        super().__init__()
        self.inner = tokenizer.in_graph()  # attached, or its tables are not saved
        self.start, self.separator = tokenizer.start_id, tokenizer.separator_id
        self.pad, self.length, self.pairs = tokenizer.pad_id, length, pairs

    def __call__(self, texts: tf.Tensor, seconds: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Return tokens, segments and types (b, t), t the longest of the batch."""
        first = self._ids(texts)
        start, separator = (self._edge(token, texts) for token in (self.start, self.separator))
        if seconds is None:
            first = first[:, : self.length - start.shape[1] - separator.shape[1]]
            tokens = tf.concat([start, first, separator], axis=1)
            types = tf.zeros_like(tokens)
        else:
            room = self.length - start.shape[1] - 2 * separator.shape[1]
            second = self._ids(seconds)
            a, b = first.row_lengths(), second.row_lengths()
            keep = tf.minimum(b, tf.maximum(tf.cast(room // 2, b.dtype), room - a))
            second = _cut(second, keep)
            first = _cut(first, tf.minimum(a, room - keep))
            one = tf.concat([start, first, separator], axis=1)
            two = tf.concat([second, separator], axis=1)
            tokens = tf.concat([one, two], axis=1)
            types = tf.concat([tf.zeros_like(one), tf.ones_like(two)], axis=1)
        segments = tf.ones_like(tokens).to_tensor(0)
        return {
            "tokens": tokens.to_tensor(self.pad or 0),
            "segments": segments,
            "types": types.to_tensor(0),
        }

    @staticmethod
    def _edge(token, texts):
        """Return a column of the token that begins or ends a text, or of nothing."""
        ones = tf.expand_dims(tf.ones_like(texts, tf.int32), 1)
        return ones[:, :0] if token is None else token * ones

    def _ids(self, texts):
        return tf.cast(self.inner.tokenize(texts), tf.int32)


def _cut(ragged, keep):
    """Keep the first `keep` (b,) values of each row."""
    places = tf.ragged.range(ragged.row_lengths())
    rows = tf.cast(places.value_rowids(), keep.dtype)
    inside = tf.cast(places.flat_values, keep.dtype) < tf.gather(keep, rows)
    return tf.ragged.boolean_mask(ragged, ragged.with_flat_values(inside))


class Served(tf.Module):
    """What is saved: features, model, and the signature `serving_default`."""

    def __init__(self, model: Model, features: Features, objective: recipes.Objective):
        super().__init__()
        self.model, self.features = model, features
        names = ["text", "text_pair"] if features.pairs else ["text"]
        strings = [tf.TensorSpec((None,), tf.string, name=name) for name in names]
        self.serve = tf.function(self._answer(objective), input_signature=strings, autograph=False)

    def _answer(self, objective):
        if isinstance(objective, recipes.Classification):
            classes = tf.constant(objective.classes)

            def classify(text, text_pair=None):
                logits = self.model(self.features(text, text_pair), training=False)
                probabilities = tf.nn.softmax(logits)
                labels = tf.gather(classes, tf.argmax(logits, axis=-1))
                every = tf.repeat(classes[None], tf.shape(logits)[0], axis=0)
                return {"label": labels, "probabilities": probabilities, "classes": every}

            return classify
        if isinstance(objective, recipes.Regression):

            def regress(text, text_pair=None):
                raw = self.model(self.features(text, text_pair), training=False)[:, 0]
                return {"value": raw * objective.scale + objective.offset}

            return regress

        def embed(text):
            features = self.features(text)
            hidden = self.model(features, training=False)
            return {"embedding": mean_pool(hidden, features["segments"])}

        return embed


def export(
    folder: str, out: str, tokens: int | None = None, sampling: Sampling | None = None
) -> dict[str, Any]:
    """Write the model of a run as a SavedModel in `out`/1, whole or not at all.

    Where `out` holds versions already, it is the next one: a server takes the highest.

    A classifier gives `label`, `probabilities` and `classes`; a regression `value`; a masked
    language model `embedding`, the mean of its hidden states; a causal one the `text` that follows;
    a model of a source and a target the `text` of the target. A model of images does as a
    classifier or a masked language model, and reads the bytes of pictures.

    Args:
        folder: of a finished run.
        out: receives the version.
        tokens: that follow a text at most; None = half of the model's context, or of a target as
            many as in training.
        sampling: how they are chosen; None and `Sampling()` = from all tokens by their
            probabilities, or of a model of a source and a target by beams, as `translate` does.

    Raises:
        InputError: no finished run, or an output folder that cannot be written or holds other
            things than versions.
    """
    done = open_finished(folder)
    target = user_path(out)
    made = claim(target, PARTIAL, beside=_is_version)
    try:
        module = served(done, tokens, sampling)
        signatures = {"serving_default": module.serve}
        if not isinstance(module, Served | Sees) and module.sample is not None:
            signatures["sample"] = module.sample
        tf.saved_model.save(module, str(target / PARTIAL), signatures=signatures)
        last = max((int(p.name) for p in target.iterdir() if _is_version(p.name)), default=0)
        version = target / str(last + 1)
        os.replace(target / PARTIAL, version)
    except BaseException:
        release(target, made, beside=_is_version)
        raise
    inputs = [spec.name for spec in module.serve.input_signature]
    outputs = sorted(module.serve.get_concrete_function().structured_outputs)
    size = sum(p.stat().st_size for p in version.rglob("*") if p.is_file())
    about = {"saved_model": str(version), "inputs": inputs, "outputs": outputs}
    return {**about, "bytes": size}


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit()


def served(
    done: Finished, tokens: int | None = None, sampling: Sampling | None = None
) -> Served | Continues | Writes | Sees:
    """Return the module that is saved for a finished run."""
    objective = done.recipe.objective
    images = isinstance(done.recipe.data, recipes.ImageData)
    if not images and not isinstance(done.model.config, TransformerConfig):
        if tokens is not None and not 1 <= tokens <= 2**14:
            raise InputError(f"tokens: expected 1 to 2**14. Received: {tokens}.")
        chosen = TARGETS if sampling in (None, Sampling()) else sampling
        return Writes(done, done.length if tokens is None else tokens, chosen)
    if isinstance(objective, recipes.CausalLM | recipes.TextToText):
        half = max(1, done.model.config.max_length // 2)
        return Continues(done, half if tokens is None else tokens, sampling or Sampling())
    if tokens is not None or sampling not in (None, Sampling()):
        raise InputError(
            f"tokens: expected no flags of text that follows, for {done.run.folder} writes none. "
            "Received some."
        )
    if images:
        learnt = isinstance(objective, recipes.ImageClassification)
        return Sees(done.model if learnt else _without_heads(done), done)
    pairs = getattr(done.recipe.data, "text_pair", None) is not None
    model = _without_heads(done) if isinstance(objective, recipes.MaskedLM) else done.model
    return Served(model, Features(done.tokenizer, done.length, pairs), objective)


def _without_heads(done: Finished) -> Model:
    config, _, weights = tfattn.read(done.run.model)
    model = tfattn.build(config, dtype="float32")
    parts = {path.split("/")[0] for path in weights} - {"stem", "encoder"}
    tfattn.assign(model, weights, where=done.run.model, unused=tuple(parts))
    return model

"""Attention maps of a text model: which token attends to which, per block and head."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from pipelines.core.api import Batch, Model, Tensor
from pipelines.text.tokenization.tokenizer import Tokenizer
from tfattn.models.encoder_decoder import EncoderDecoder
from tfattn.visualize import Map, heads_figure


def attention_figures(model: Model, batch: Batch, tokenizer: Tokenizer) -> dict[str, Figure]:
    """Return figures of the attention maps of the first text of a batch, by name."""
    maps = attention_maps(model, batch["features"], tokenizer)
    return {name: heads_figure(shown) for name, shown in maps.items()}


def attention_maps(
    model: Model, features: dict[str, Tensor], tokenizer: Tokenizer
) -> dict[str, Map]:
    """Return the maps of the first text of the first row, by what they are of.

    They are `attention`, or `attention/source`, `attention/target` and `attention/alignment` where
    the model reads a source and writes a target; of a recurrent model the last one alone, and none
    of one without attention.
    """
    if not model.config.attends:
        return {}
    row = {name: tensor[:1] for name, tensor in features.items()}
    _, weights = model(row, training=False, return_weights=True)
    source = _words(row["tokens"], row["segments"], tokenizer)
    if model.config.writes != "target":
        return {"attention": Map(_stacked(weights), source, source)}
    target = _words(row["target_tokens"], row["target_segments"], tokenizer)
    if not isinstance(model, EncoderDecoder):
        return {"attention/alignment": Map(_stacked(weights), target, source)}
    encoder, decoder = weights
    own, cross = zip(*decoder, strict=True)
    return {
        "attention/source": Map(_stacked(encoder), source, source),
        "attention/target": Map(_stacked(own), target, target),
        "attention/alignment": Map(_stacked(cross), target, source),
    }


def alignment_weights(model: Model, features: dict[str, Tensor]) -> np.ndarray:
    """Return what each token of the targets looks at in the sources, (b, depth, heads, t, s)."""
    _, weights = model(features, training=False, return_weights=True)
    if isinstance(model, EncoderDecoder):
        weights = [cross for _, cross in weights[1]]
    return np.stack([tf.cast(w, tf.float32).numpy() for w in weights], axis=1)


def _stacked(weights: Sequence[Any]) -> np.ndarray:
    """Return the weights of all blocks for the first row, (depth, heads, t, s)."""
    return np.stack([tf.cast(w, tf.float32).numpy()[0] for w in weights])


def _words(tokens: Tensor, segments: Tensor, tokenizer: Tokenizer) -> list[str]:
    """Return the tokens of the first text of a row."""
    count = int(tf.reduce_sum(tf.cast(segments == 1, tf.int32)))
    ids = tokens[0, :count].numpy()
    return [tokenizer.vocabulary[i].replace("\n", "\\n") for i in ids]

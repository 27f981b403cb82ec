"""Attention maps: who looks at whom, per block and head, as arrays and as a picture."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipelines.data.preprocessing import ImagePreprocessing
from pipelines.reader import Reader
from pipelines.tokenization.tokenizer import Tokenizer
from tfattn.models.build import Model
from tfattn.models.encoder_decoder import EncoderDecoder
from tfattn.models.model_config import attends
from tfattn.models.transformer import Transformer

SHOWN = 24  # tokens on an axis at most: more cannot be read


class Map(NamedTuple):
    """The attention of one text in all blocks, with the tokens that look and are looked at."""

    weights: np.ndarray  # (depth, heads, t, s); rows are queries and sum to 1
    looking: list[str]  # t tokens
    looked_at: list[str]  # s tokens


def attention_maps(model: Model, features: dict[str, tf.Tensor], reader: Reader) -> dict[str, Map]:
    """Return the maps of the first text of the first row, by what they are of.

    They are `attention`, or `attention/source`, `attention/target` and `attention/alignment` where
    the model reads a source and writes a target; of a recurrent model the last one alone, and none
    of one without attention, or of images.
    """
    row = {name: tensor[:1] for name, tensor in features.items()}
    if not attends(model.config) or isinstance(reader, ImagePreprocessing):
        return {}
    _, weights = model(row, training=False, return_weights=True)
    source = _words(row["tokens"], row["segments"], reader)
    if isinstance(model, Transformer):
        return {"attention": Map(_stacked(weights), source, source)}
    target = _words(row["target_tokens"], row["target_segments"], reader)
    if not isinstance(model, EncoderDecoder):
        return {"attention/alignment": Map(_stacked(weights), target, source)}
    seen, asked = weights
    own, cross = zip(*asked, strict=True)
    return {
        "attention/source": Map(_stacked(seen), source, source),
        "attention/target": Map(_stacked(own), target, target),
        "attention/alignment": Map(_stacked(cross), target, source),
    }


def draw(shown: Map) -> np.ndarray:
    """Draw a map, a row of panels a block and a column a head.

    Returns:
        The picture, (height, width, 4) of uint8; of many tokens the first `SHOWN` of each axis.
    """
    queries, keys = (min(len(words), SHOWN) for words in (shown.looking, shown.looked_at))
    depth, heads = shown.weights.shape[:2]
    size = (3.2 * heads + 0.8, 3.2 * depth + 0.4)
    figure = Figure(figsize=size, dpi=72, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels: Any = figure.subplots(depth, heads, squeeze=False)
    for block in range(depth):
        for head in range(heads):
            panel = panels[block][head]
            panel.imshow(shown.weights[block, head, :queries, :keys], cmap="viridis", vmin=0.0)
            panel.set_title(f"block {block}, head {head}", fontsize=8)
            panel.set_xticks(range(keys), shown.looked_at[:keys], rotation=90, fontsize=6)
            labels = shown.looking[:queries] if head == 0 else []
            panel.set_yticks(range(queries), labels, fontsize=6)
    figure.supxlabel("is looked at (key)", fontsize=8)
    figure.supylabel("looks (query)", fontsize=8)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def alignment_figure(shown: Map, reached: np.ndarray | None = None) -> Figure:
    """Return a figure of which source token each target token looks at, the mean of all heads.

    Beside it is each block's own mean, for they differ: the last blocks rarely align best.

    Args:
        shown: the alignment of a source and a target.
        reached: the rollout (s, s) of the encoder; with it there is a panel of which tokens of the
            source reach a target token through the encoder, not only at which places it looks.
    """
    depth = shown.weights.shape[0]
    each = shown.weights.mean(axis=1)  # (depth, t, s)
    panels_shown = [("all blocks and heads", each.mean(axis=0))]
    if reached is not None:
        panels_shown.append(("through the encoder", each.mean(axis=0) @ reached))
    if depth > 1:
        panels_shown += [(f"block {number}", each[number]) for number in range(depth)]
    wide = 1.5 + 0.28 * len(shown.looked_at)
    high = 1.5 + 0.28 * len(shown.looking)
    figure = Figure(figsize=(wide * len(panels_shown), high), dpi=96, layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(1, len(panels_shown), squeeze=False)[0]
    for panel, (title, weights) in zip(panels, panels_shown, strict=True):
        panel.imshow(weights, cmap="viridis", vmin=0.0)
        panel.set_title(title, fontsize=9)
        panel.set_xticks(range(len(shown.looked_at)), shown.looked_at, rotation=90, fontsize=8)
        panel.set_yticks(range(len(shown.looking)), shown.looking, fontsize=8)
    figure.supxlabel("source", fontsize=9)
    figure.supylabel("written", fontsize=9)
    return figure


def rollout(weights: np.ndarray) -> np.ndarray:
    """Return how much of each input reaches each place after all blocks (arXiv:2005.00928, 3.2).

        R = prod_l (A_l + I) / 2        A_l the mean of the heads of block l; the last one leftmost

    Args:
        weights: (depth, heads, t, t) of self-attention; rows sum to 1.

    Returns:
        (t, t), whose rows sum to 1.
    """
    reached = np.eye(weights.shape[-1])
    for block in weights.mean(axis=1):
        reached = (block + np.eye(len(block))) / 2 @ reached
    return reached


def _stacked(weights: Sequence[Any]) -> np.ndarray:
    """Return the weights of all blocks for the first row, (depth, heads, t, s)."""
    return np.stack([tf.cast(w, tf.float32).numpy()[0] for w in weights])


def _words(tokens: tf.Tensor, segments: tf.Tensor, tokenizer: Tokenizer) -> list[str]:
    """Return the tokens of the first text of a row."""
    count = int(tf.reduce_sum(tf.cast(segments == 1, tf.int32)))
    ids = tokens[0, :count].numpy()
    return [tokenizer.vocabulary[i].replace("\n", "\\n") for i in ids]

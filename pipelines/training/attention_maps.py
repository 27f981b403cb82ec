"""Attention maps: who looks at whom, per block and head, as arrays and as a picture."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfattn.models.transformer import Transformer

SHOWN = 24  # tokens on an axis at most: more cannot be read


def attention_weights(model: Transformer, features: dict[str, tf.Tensor]) -> np.ndarray:
    """Return the attention weights of a forward pass, (depth, b, heads, t, t)."""
    _, weights = model(features, training=False, return_weights=True)
    return np.stack([tf.cast(w, tf.float32).numpy() for w in weights])


def draw(weights: np.ndarray, tokens: Sequence[str]) -> np.ndarray:
    """Draw the maps of one text, a row of panels a block and a column a head.

    Args:
        weights: (depth, heads, t, t); rows are queries and sum to 1.
        tokens: the text's tokens, at most t of them; the first `SHOWN` are drawn.

    Returns:
        The picture, (height, width, 4) of uint8.
    """
    count = min(len(tokens), SHOWN)
    depth, heads = weights.shape[:2]
    figure = Figure(figsize=(3.2 * heads + 0.8, 3.2 * depth + 0.4), dpi=72, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(depth, heads, squeeze=False)
    for block in range(depth):
        for head in range(heads):
            panel = panels[block][head]
            panel.imshow(weights[block, head, :count, :count], cmap="viridis", vmin=0.0)
            panel.set_title(f"block {block}, head {head}", fontsize=8)
            panel.set_xticks(range(count), tokens[:count], rotation=90, fontsize=6)
            panel.set_yticks(range(count), tokens[:count] if head == 0 else [], fontsize=6)
    figure.supxlabel("is looked at (key)", fontsize=8)
    figure.supylabel("looks (query)", fontsize=8)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())

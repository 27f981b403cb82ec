"""Seeing attention: figures for notebooks, TensorBoard and the command line.

Figures are matplotlib's, drawn without a display; `pixels` makes an array of one.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

SHOWN = 24  # tokens on an axis at most: more cannot be read


class Map(NamedTuple):
    """The attention of one text in all blocks, with the tokens that look and are looked at."""

    weights: np.ndarray  # (depth, heads, t, s); rows are queries and sum to 1
    looking: list[str]  # t tokens
    looked_at: list[str]  # s tokens


def heads_figure(shown: Map) -> Figure:
    """Return a figure of a map, a row of panels a block and a column a head.

    Of many tokens it has the first `SHOWN` of each axis.
    """
    queries, keys = (min(len(words), SHOWN) for words in (shown.looking, shown.looked_at))
    depth, heads = shown.weights.shape[:2]
    high = 0.8 + 2.4 * min(queries / keys, 2.0)  # places are squares
    size = (3.2 * heads + 0.8, high * depth + 0.4)
    figure = Figure(figsize=size, dpi=72, layout="constrained")
    FigureCanvasAgg(figure)
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
    return figure


def matrices_figure(
    matrices: Mapping[str, np.ndarray], x: str = "key", y: str = "query", size: float = 2.6
) -> Figure:
    """Return a figure of matrices side by side, each with its own colours where signs differ.

    Args:
        matrices: (t, s) by title; one with negative numbers is drawn about 0.
        x: what columns are.
        y: what rows are.
        size: inches a matrix.
    """
    figure = Figure(figsize=(size * len(matrices) + 0.4, size + 0.3), dpi=96, layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(1, len(matrices), squeeze=False)[0]
    for panel, (title, matrix) in zip(panels, matrices.items(), strict=True):
        matrix = np.asarray(matrix)
        top = float(np.abs(matrix).max()) or 1.0
        signed = bool((matrix < 0).any())
        low, colours = (-top, "RdBu") if signed else (0.0, "viridis")
        image = panel.imshow(matrix, cmap=colours, vmin=low, vmax=top, aspect="auto")
        figure.colorbar(image, ax=panel, shrink=0.8)
        panel.set_title(title, fontsize=9)
        panel.set_xlabel(x, fontsize=8)
    panels[0].set_ylabel(y, fontsize=8)
    return figure


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


def patches_figure(images: np.ndarray, weights: np.ndarray) -> Figure:
    """Return a figure of what is looked at in images: a row an image, a column a head.

    Args:
        images: (n, y, x, c) from 0 to 1, of 1 or 3 channels.
        weights: (n, heads, rows, columns) of the patches; each head is drawn to its own maximum.
    """
    count, heads = weights.shape[:2]
    figure, panels = _panels(count, heads + 2)
    for row, (image, each) in enumerate(zip(images, weights, strict=True)):
        shown = [("image", None), ("all heads", each.mean(axis=0))]
        shown += [(f"head {head}", each[head]) for head in range(heads)]
        for panel, (title, looked) in zip(panels[row], shown, strict=True):
            _draw_image(panel, image)
            if looked is not None:
                height, width = image.shape[:2]
                edges = (-0.5, width - 0.5, height - 0.5, -0.5)
                panel.imshow(looked, cmap="viridis", alpha=0.7, vmin=0.0, extent=edges)
            if row == 0:
                panel.set_title(title, fontsize=8)
    return figure


def drawn_figure(images: np.ndarray, seen: np.ndarray, drawn: np.ndarray) -> Figure:
    """Return a figure of images, what a model saw of them, and what it made of the rest.

    Args:
        images: (n, y, x, c) from 0 to 1, of 1 or 3 channels.
        seen: the same without what was hidden.
        drawn: the same with it as the model has it.
    """
    figure, panels = _panels(len(images), 3)
    titles = ("image", "seen", "drawn")
    for row, shown in enumerate(zip(images, seen, drawn, strict=True)):
        for panel, title, image in zip(panels[row], titles, shown, strict=True):
            _draw_image(panel, image)
            if row == 0:
                panel.set_title(title, fontsize=8)
    return figure


def pixels(figure: Figure) -> np.ndarray:
    """Return the picture of a figure, (height, width, 4) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def _panels(rows: int, columns: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(1.3 * columns, 1.3 * rows + 0.3), dpi=96, layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.ravel():
        panel.set_axis_off()
    return figure, panels


def _draw_image(panel: Any, image: np.ndarray) -> None:
    gray = image.shape[-1] == 1
    panel.imshow(image[..., 0] if gray else image, cmap="gray", vmin=0.0, vmax=1.0)

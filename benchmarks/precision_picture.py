"""The picture of two precisions: losses above, and below what one has more than the other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipelines.core.atomic import write_picture

# By model and precision, a run for each seed: the steps and losses of "train" and "validation".
Curves: TypeAlias = Mapping[str, Mapping[str, list[Any]]]
SHOWN = 0.9  # share of the steps, the later ones, that set the height of the lower panels


def draw(runs: Curves, window: int, path: Path) -> None:
    """Draw a column for each model, a thin line for each seed; write a PNG.

    Args:
        runs: of two precisions, those that are compared with first.
        window: steps that the training loss is a mean of, for the legend.
        path: of the PNG, written whole or not at all.
    """
    shape = (2, len(runs))
    figure = Figure(figsize=(6.2 * len(runs), 6.4), dpi=110, layout="constrained")
    panels = figure.subplots(*shape, sharex="col", height_ratios=(3, 2), squeeze=False)
    for (upper, lower), (name, of) in zip(panels.T, runs.items(), strict=True):
        for number, (precision, same) in enumerate(of.items()):
            _losses(upper, precision, same, f"C{number}")
        _differences(lower, *of.values())
        upper.set_title(name, fontsize=10)
        lower.set_xlabel("step")
        for panel in (upper, lower):
            panel.grid(alpha=0.25)
    kinds = [
        Line2D([], [], color="gray", linewidth=0.8, label=f"training, mean of {window} steps"),
        Line2D([], [], color="gray", marker="o", markersize=3, linestyle="", label="validation"),
    ]
    handles = [*panels[0, 0].get_legend_handles_labels()[0], *kinds]
    panels[0, 0].legend(handles=handles, frameon=False, fontsize=8)
    panels[0, 0].set_ylabel("loss in nats, a line for each seed")
    base, half = next(iter(runs.values()))
    panels[1, 0].set_ylabel(f"{half} minus {base}, same seed")
    write_picture(path, figure)


def _losses(panel, precision, runs, color):
    for number, run in enumerate(runs):
        label = precision if number == 0 else None
        panel.plot(*_columns(run["train"]), color=color, linewidth=0.8, label=label)
        panel.plot(*_columns(run["validation"]), "o", color=color, markersize=3, alpha=0.7)


def _differences(panel, base: Sequence[Any], half: Sequence[Any]):
    """Draw the differences of every pair of runs; the first steps may leave the panel."""
    panel.axhline(0, color="black", linewidth=0.8)
    late = []
    for split, style in (("train", "-"), ("validation", "o")):
        for one, other in zip(base, half, strict=True):
            steps, losses = _columns(one[split])
            more = _columns(other[split])[1] - losses
            panel.plot(steps, more, style, color="C1", linewidth=0.8, markersize=3, alpha=0.7)
            late.append(np.abs(more[steps >= (1 - SHOWN) * steps[-1]]).max())
    panel.set_ylim(-1.2 * max(late), 1.2 * max(late))


def _columns(points):
    return np.array(points, float).T

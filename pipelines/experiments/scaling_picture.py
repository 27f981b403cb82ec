"""The picture of scaling laws: a panel each of parameters, tokens and compute."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    LogFormatterSciNotation,
    LogLocator,
    MaxNLocator,
    NullLocator,
    StrMethodFormatter,
)

from pipelines.runs import write_picture

TITLES = {
    "parameters": "parameters N, without embeddings",
    "tokens": "tokens D, of the largest size",
    "compute": "compute C in FLOPs, without embeddings",
}


def draw(
    points: Sequence[Any], laws: Mapping[str, Any], published: Mapping[str, float], path: Path
) -> None:
    """Draw points, fitted laws and their 95% bands with logarithmic axes; write a PNG.

    Args:
        points: all, each with `parameters`, `tokens`, `compute`, `size`, `losses` and `loss`.
        laws: by "parameters", "tokens" and "compute", with the `points` that were fitted and the
            law that was `fitted`, or None.
        published: exponents to compare with, by the same names.
        path: of the PNG, written whole or not at all.
    """
    figure = Figure(figsize=(13, 4.4), dpi=110, layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    sizes = list(dict.fromkeys(point.size for point in points))
    for panel, (name, law) in zip(panels, laws.items(), strict=True):
        panel.set_xscale("log")
        panel.set_yscale("log")
        if law.fitted is not None:
            _line(panel, law.fitted, [getattr(p, name) for p in law.points], published[name])
        shown = points if name == "compute" else law.points
        for number, size in enumerate(sizes):
            of = [p for p in shown if p.size == size]
            _points(panel, name, of, law.points, _color(number))
        panel.set_xlabel(TITLES[name])
        panel.grid(alpha=0.25)
        panel.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        panel.xaxis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(2, 2)))
        panel.tick_params(which="both", labelsize=8)
        if law.fitted is not None:
            panel.legend(loc="upper right", frameon=False, fontsize=8)
    losses = [loss for point in points for loss in point.losses]
    panels[0].set_ylim(min(losses) / 1.05, max(losses) * 1.05)
    panels[0].set_ylabel("validation loss in nats")
    panels[0].yaxis.set_major_locator(MaxNLocator(6))
    panels[0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panels[0].yaxis.set_minor_locator(NullLocator())
    dots = [Line2D([], [], color=_color(n), marker="o", linestyle="") for n in range(len(sizes))]
    figure.legend(dots, sizes, loc="outside right center", frameon=False, fontsize=8)
    write_picture(path, figure)


def _line(panel, law, x, published):
    """Draw a law, the band in which it lies, and the published slope through the same center."""
    x = np.geomspace(min(x) / 1.3, max(x) * 1.3, 100)
    known = "" if law.interval is None else " ({:.3f} to {:.3f})".format(*law.interval)
    panel.plot(x, law.at(x), color="black", linewidth=1, label=f"α = {law.exponent:.3f}{known}")
    band = law.band(x)
    if band is not None:
        panel.fill_between(
            x, *band, color="black", alpha=0.12, linewidth=0, label="95%, of the line"
        )
    slope = replace(law, exponent=published).at(x)
    panel.plot(x, slope, ":", color="black", linewidth=1, label=f"{published:.3f}, Kaplan et al.")


def _points(panel, name, points, fitted, color):
    """Draw the points of a size: full where they were fitted, hollow elsewhere; a dash a seed."""
    for point in points:
        style = "full" if any(point is other for other in fitted) else "none"
        x = getattr(point, name)
        if len(point.losses) > 1:
            panel.plot([x] * len(point.losses), point.losses, "_", color=color, alpha=0.6)
        panel.plot([x], [point.loss], "o", color=color, fillstyle=style)


def _color(number):
    return f"C{number % 10}"

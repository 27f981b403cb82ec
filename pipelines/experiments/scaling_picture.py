"""The picture of scaling laws: a panel each of parameters, tokens and compute."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator, StrMethodFormatter

from pipelines.core.atomic import write_picture

TITLES = {
    "parameters": "parameters N, without embeddings",
    "tokens": "tokens D, of the largest size",
    "compute": "compute C in FLOPs, without embeddings",
}
TICKS = 5  # labels of a panel that stay apart
STEPS = ((1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))  # of a decade
MARGIN = 0.1  # of the range of the points
LEAST_RANGE = 1.05  # most over least, where points are closer together or one


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
    losses = [loss for point in points for loss in point.losses]
    scale = "log" if min(losses) > 0 else "linear"
    bounds = widened(losses, MARGIN, scale)
    for panel, (name, law) in zip(panels, laws.items(), strict=True):
        panel.set_xscale("log")
        panel.set_yscale(scale)
        shown = points if name == "compute" else law.points
        x = widened([getattr(p, name) for p in shown], 2 * MARGIN)
        if law.fitted is not None:
            fitted = [getattr(p, name) for p in law.points]
            _line(panel, law.fitted, fitted, bounds, published[name])
        for number, size in enumerate(sizes):
            of = [p for p in shown if p.size == size]
            _points(panel, name, of, law.points, _color(number))
        panel.set_xlabel(TITLES[name])
        panel.grid(alpha=0.25)
        panel.set_xlim(x)
        panel.set_xticks(ticks(*x))
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.tick_params(which="both", labelsize=8)
        if len(law.points) < len(shown):
            worse = "hollow: a run as cheap is better"
            panel.plot([], [], "o", color="gray", fillstyle="none", label=worse)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(loc="upper right", frameon=False, fontsize=8)
    panels[0].set_ylim(widened(losses, 2 * MARGIN, scale))
    panels[0].set_ylabel("validation loss in nats")
    panels[0].yaxis.set_major_locator(MaxNLocator(6))
    panels[0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panels[0].yaxis.set_minor_locator(NullLocator())
    dots = [Line2D([], [], color=_color(n), marker="o", linestyle="") for n in range(len(sizes))]
    figure.legend(dots, sizes, loc="outside right center", frameon=False, fontsize=8)
    write_picture(path, figure)


def widened(values: Sequence[float], share: float, scale: str = "log") -> tuple[float, float]:
    """Return the least and the most of values, and on both sides a share of what is between."""
    low, high = min(values), max(values)
    if scale == "linear":
        margin = share * (high - low or 1.0)
        return low - margin, high + margin
    factor = max(high / low, LEAST_RANGE) ** share
    return low / factor, high * factor


def ticks(low: float, high: float) -> list[float]:
    """Return a few round numbers from `low` to `high`, for a logarithmic axis."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in STEPS:
        found = [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high]
        if len(found) <= TICKS:
            break
    found = found[:: -(-len(found) // TICKS) or 1]
    if len(found) > 1:
        return found
    return [x for x in MaxNLocator(TICKS - 1).tick_values(low, high) if low <= x <= high]


def _line(panel, law, x, bounds, published):
    """Draw a law, the band in which it lies, and the published slope through the same center.

    The band ends at the `bounds` of the losses: that of three points can be of any height.
    """
    x = np.geomspace(*widened(x, MARGIN), 100)
    known = "" if law.interval is None else " ({:.3f} to {:.3f})".format(*law.interval)
    panel.plot(x, law.at(x), color="black", linewidth=1, label=f"α = {law.exponent:.3f}{known}")
    band = law.band(x)
    if band is not None:
        panel.fill_between(
            x,
            *np.clip(band, *bounds),
            color="black",
            alpha=0.12,
            linewidth=0,
            label="95%, of the line",
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

"""What was measured of in-context learning, as a picture and as a table for people."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table as Columns

from pipelines.core.atomic import write_picture
from pipelines.core.progress import console, say


def draw_accuracy(title: str, found: dict[str, Any], path: Path) -> None:
    """Draw accuracy over the number of demonstrations into a PNG.

    Args:
        title: says which run and which texts.
        found: what `few_shot` returned.
        path: of the file, which is written whole or not at all.
    """
    write_picture(path, accuracy_figure(title, found))


def accuracy_figure(title: str, found: dict[str, Any]) -> Figure:
    """Return the picture: two kinds of error, and which prompts were shortened."""
    figure = Figure(figsize=(7.2, 4.6), dpi=120, layout="constrained")
    panel, results = figure.subplots(), found["results"]
    places = np.log2([1 + result["shots"] for result in results])  # 0 has one, as in the paper
    accuracy = np.array([result["accuracy"] for result in results])
    errors = [result["standard_error"] for result in results]
    wide = {"elinewidth": 9, "ecolor": "C0", "alpha": 0.3}
    panel.errorbar(
        places, accuracy, errors, fmt="none", **wide, label="± standard error of the rows"
    )
    panel.plot(places, accuracy, color="C0", marker="o", label="model")
    seeds = [result["seeds"] for result in results if result["std"] is not None]
    if seeds:
        spread = [math.nan if result["std"] is None else result["std"] for result in results]
        thin = {"fmt": "none", "ecolor": "black", "elinewidth": 1, "capsize": 4, "zorder": 3}
        panel.errorbar(places, accuracy, spread, **thin, label=f"± over {max(seeds)} seeds")
    cut = np.array([result["prompts_shortened"] > 0 for result in results])
    if cut.any():
        hollow = {"linestyle": "", "marker": "o", "markerfacecolor": "white", "zorder": 4}
        panel.plot(places[cut], accuracy[cut], color="C0", **hollow, label="prompts were shortened")
    panel.axhline(found["majority"], color="gray", linestyle="--", label="majority class")
    panel.axhline(found["chance"], color="gray", linestyle=":", label="chance")
    panel.set_xticks(places, list(map(_tick, results)))
    panel.margins(x=0.1)
    panel.set_ylim(-0.02, 1.04)  # room for a point at 0 or 1
    panel.set_yticks(np.linspace(0, 1, 6))
    left = "; below, how many of them fit on average" if cut.any() else ""
    panel.set_xlabel(f"demonstrations asked for{left}")
    panel.set_ylabel(f"accuracy on {found['rows']:,} texts")
    panel.set_title(title, fontsize=10, wrap=True, parse_math=False)  # a name may have dollars
    panel.grid(alpha=0.3)
    panel.legend(loc="best", fontsize=8)
    return figure


def print_accuracy(title: str, found: dict[str, Any]) -> None:
    """Print what `few_shot` returned for people, on the error stream."""
    table = Columns(title=escape(title), title_justify="left")
    for name in ("shots", "accuracy", "± over seeds", "± of the rows", "seeds", "chosen most"):
        table.add_column(name, justify="right")
    words = dict(zip(found["classes"], found["words"], strict=True))
    for result in found["results"]:
        spread = "" if result["std"] is None else f"{result['std']:.4f}"
        error = f"{result['standard_error']:.4f}"
        label, share = max(result["chosen"].items(), key=lambda pair: pair[1])
        most = f"{escape(_class(label, words[label]))} {share:.0%}"
        accuracy, seeds = f"{result['accuracy']:.4f}", str(result["seeds"])
        table.add_row(str(result["shots"]), accuracy, spread, error, seeds, most)
    table.add_section()
    for name in ("majority", "chance"):
        table.add_row(name, f"{found[name]:.4f}")
    console.print(table)
    for result in found["results"]:
        if result["prompts_shortened"]:
            say(
                f"{result['shots']} shots: {result['prompts_shortened']:,} of "
                f"{result['prompts']:,} prompts were too long for the model: of all, "
                f"{result['shots_left']:.2f} demonstrations are left on average, and "
                f"{result['texts_cut']:,} texts lost their beginning"
            )


def _class(label, word):
    """Return a class as the table has it: with the word that the model read for it."""
    return label[:20] if word == label else f"{word[:20]} ({label[:20]})"


def _tick(result):
    left = f"\n{result['shots_left']:.1f}" if result["prompts_shortened"] else ""
    return f"{result['shots']}{left}"

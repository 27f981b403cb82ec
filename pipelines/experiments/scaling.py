"""Scaling laws: train a ladder of sizes on one corpus, and fit how the loss falls.

Kaplan et al., arXiv:2001.08361: loss by the parameters N without embeddings, by the tokens D, and
by the compute C of training. L(N) is fitted to the longest run of each size, L(D) to the runs of
the largest size, L(C) to those of all runs that no cheaper one betters.
"""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.markup import escape
from rich.table import Table

from pipelines.core.atomic import write_text
from pipelines.core.progress import console, say
from pipelines.experiments.ladder import NUMBERS, PICTURE, Rung
from pipelines.experiments.ladder_runs import shared_corpus, trained
from pipelines.experiments.power_law import PowerLaw, fit, frontier
from pipelines.experiments.scaling_picture import draw

PF_DAY = 1e15 * 24 * 3600  # FLOPs (arXiv:2001.08361, section 1.3)
# arXiv:2001.08361, equations 1.1 and 1.2, and of compute at a fixed batch, as here, table 5.
PUBLISHED = {"parameters": 0.076, "tokens": 0.095, "compute": 0.057}
DASH = "–"
UNITS = {"parameters": "parameters", "tokens": "tokens", "compute": "FLOPs"}


@dataclass(frozen=True)
class Point:
    """A size trained for a share of the steps, over its seeds."""

    size: str
    share: float
    parameters: int  # without embeddings
    tokens: float  # that were seen
    compute: float  # FLOPs of training, without those of the logits
    losses: tuple[float, ...]  # of the validation split, a seed each
    passes: float  # over the corpus

    @property
    def loss(self) -> float:
        """Return the mean over the seeds."""
        return mean(self.losses)


@dataclass(frozen=True)
class Law:
    """The points of one law, in its own x, and the law where they tell one."""

    points: tuple[Point, ...]
    fitted: PowerLaw | None
    unknown: str | None = None  # why there is no law, or no interval


def scaling(rungs: list[Rung], out: Path) -> dict[str, Any]:
    """Train a ladder in the directory `out`, or finish what an earlier call began; fit the laws.

    Returns:
        `points`, the sizes and shares with their losses; `laws`, the exponents by "parameters",
        "tokens" and "compute"; `picture`, the path of the PNG; and `seconds` of training.

    Raises:
        InputError: data that cannot be used, or a folder with runs of other recipes.
        Interrupted: the user stopped it; the same call goes on.
    """
    results: dict[str, Any] = {}
    with shared_corpus(rungs, out) as (shared, corpus):
        costs = [_time(rung, corpus.vocabulary) for rung in rungs]
        for number, rung in enumerate(rungs, 1):
            left = time_left(costs, [*results.values()])
            say(f"\n[bold]{number} of {len(rungs)}[/bold]  {rung.name}{left}")
            results[rung.name] = trained(rung, out / rung.name, shared)
    points = summary(rungs, results, corpus.tokens)
    laws = fit_laws(points)
    picture, numbers = out / PICTURE, out / NUMBERS
    draw(points, laws, PUBLISHED, picture)
    found = {
        "points": [asdict(point) | {"loss": point.loss} for point in points],
        "laws": {name: described(name, law) for name, law in laws.items()},
        "picture": str(picture),
        "seconds": round(sum(r["seconds"] for r in results.values()), 1),
    }
    write_text(numbers, json.dumps(found, indent=2, allow_nan=False) + "\n")
    _show(points, laws)
    say(f"\npicture  {escape(str(picture))}\nnumbers  {escape(str(numbers))}")
    return {"run": str(out), **found}


def summary(rungs: list[Rung], results: dict[str, Any], corpus_tokens: int) -> list[Point]:
    """Return the points of finished runs, of the smallest size and the shortest run first.

    Args:
        rungs: the runs.
        results: what each came to, by its name: `tokens` and `loss`.
        corpus_tokens: in one pass.
    """
    found: dict[tuple[str, float], list[Rung]] = {}
    for rung in rungs:
        found.setdefault((rung.size, rung.share), []).append(rung)
    points = []
    for (size, share), same in found.items():
        tokens = mean(results[rung.name]["tokens"] for rung in same)
        losses = tuple(results[rung.name]["loss"] for rung in same)
        count, flops = same[0].config.non_embedding_count(), _flops(same[0])
        passes = tokens / corpus_tokens
        points.append(Point(size, share, count, tokens, flops * tokens, losses, passes))
    return sorted(points, key=lambda p: (p.parameters, p.tokens))


def fit_laws(points: list[Point]) -> dict[str, Law]:
    """Return the laws of parameters, tokens and compute; a point is the mean over its seeds."""
    longest, largest = max(p.share for p in points), points[-1].size
    costs, losses = [p.compute for p in points], [p.loss for p in points]
    chosen = {
        "parameters": [p for p in points if p.share == longest],
        "tokens": [p for p in points if p.size == largest],
        "compute": [points[i] for i in frontier(costs, losses)],
    }
    return {name: _law(name, of) for name, of in chosen.items()}


def time_left(costs: list[float], results: list[dict[str, Any]]) -> str:
    """Say how much of a ladder is done and how long the rest may take.

    Args:
        costs: of each run, in any unit.
        results: of the first of them: `seconds` of training, and `besides`, or None for a run that
            was there before.
    """
    done, left = sum(costs[: len(results)]), sum(costs[len(results) :])
    if not done:
        return ""
    besides = [r["besides"] for r in results if r["besides"] is not None] or [0.0]
    seconds = sum(r["seconds"] for r in results) / done * left
    seconds += mean(besides) * (len(costs) - len(results))
    minutes, seconds = divmod(round(seconds), 60)
    share = done / (done + left)
    return f"  [dim]{share:.0%} of the compute done, about {minutes}:{seconds:02d} left[/dim]"


def described(name: str, law: Law) -> dict[str, Any]:
    """Return what JSON says of a law."""
    law_of = law.fitted
    found: dict[str, Any] = {"exponent": None, "published": PUBLISHED[name]}
    if law_of is not None:
        names = ("exponent", "error", "interval", "scale", "scale_interval", "r_squared")
        found |= {key: getattr(law_of, key) for key in names}
        if name == "compute" and law_of.scale is not None:
            found["scale_pf_days"] = law_of.scale / PF_DAY
    used = [[getattr(p, name), p.loss] for p in law.points]
    return found | {"unit": UNITS[name], "points": used}


def _law(name, points):
    x, losses = [getattr(p, name) for p in points], [p.loss for p in points]
    if len(points) == 1:
        return Law(tuple(points), None, "one point tells no law")
    if len(set(x)) == 1:
        return Law(tuple(points), None, f"points of the same {name} tell no law")
    if min(losses) == 0:
        return Law(tuple(points), None, "a loss of 0 has no logarithm, and tells no law")
    fitted, unknown = fit(x, losses), None
    if fitted.interval is None:
        unknown = "two points tell no uncertainty; three or more do"
    return Law(tuple(points), fitted, unknown)


def _flops(rung):
    return rung.config.flops_per_token(rung.length)


def _time(rung, vocabulary):
    """Return how long a run takes, in a unit of its own: by the FLOPs, with those of the logits."""
    config = replace(rung.config, vocab_size=vocabulary)
    return rung.share * config.flops_per_token(rung.length, 1.0)


def _show(points, laws):
    best = {id(point) for point in laws["compute"].points}
    preset = os.path.commonprefix([p.size for p in points]).rpartition("-width")[0]  # or none
    title, caption = f"\nruns {preset}".rstrip(), "* nothing as cheap is better"
    table = Table(title=title, title_justify="left", caption=caption)
    table.add_column("size")
    for name in ("N", "share", "tokens", "passes", "FLOPs", "loss"):
        table.add_column(name, justify="right", no_wrap=True)
    for p in points:
        spread = f" ± {stdev(p.losses):.3f}" if len(p.losses) > 1 else ""
        mark = " *" if id(p) in best else "  "
        cells = (f"{p.parameters:,}", f"{p.share:g}", f"{p.tokens:,.0f}", f"{p.passes:.2f}")
        table.add_row(
            p.size.removeprefix(f"{preset}-"),
            *cells,
            f"{p.compute:.1e}",
            f"{p.loss:.3f}{spread}{mark}",
        )
    console.print(table)
    table = Table(title="\nL(x) = (x_c / x)^α", title_justify="left")
    for name in ("x", "α", "95% interval", "x_c", "R²", "points", "Kaplan"):
        table.add_column(name, justify="left" if name == "x" else "right", no_wrap=True)
    for name, law in laws.items():
        table.add_row(*_row(name, law))
    console.print(table)
    for name, law in laws.items():
        if law.unknown is not None:
            say(f"{name}: {law.unknown}")


def _row(name, law):
    """Return the cells of a law: a dash for all that its points leave open."""
    of, shown = law.fitted, dict.fromkeys(("exponent", "interval", "scale", "square"), DASH)
    if of is not None:
        shown["exponent"] = f"{of.exponent:.3f}"
        if of.interval is not None:  # two points lie on their line, whatever they are
            shown["interval"] = "{:.3f} to {:.3f}".format(*of.interval)
            shown["square"] = DASH if of.r_squared is None else f"{of.r_squared:.3f}"
        if of.scale is not None and of.scale_interval is not None:
            shown["scale"] = f"{of.scale:.1e}"
    return UNITS[name], *shown.values(), str(len(law.points)), f"{PUBLISHED[name]:.3f}"

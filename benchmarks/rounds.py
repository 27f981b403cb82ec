"""Contestants in turn, so that what else the machine does meets them alike.

One first call of each, then rounds of all; medians and their ratios are told, not single times.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Times:
    """Seconds of one contestant."""

    first: float  # with the compilation
    rounds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Return the median of the rounds."""
        return statistics.median(self.rounds)


def seconds(run: Callable[[], Any]) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def in_turn(contestants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Times]:
    """Return the times of every contestant."""
    found = {name: Times(seconds(run)) for name, run in contestants.items()}
    for run in contestants.values():  # some compile at their second call too
        run()
    for _ in range(rounds):
        for name, run in contestants.items():
            found[name].rounds.append(seconds(run))
    return found

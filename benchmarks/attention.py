"""Full attention over a long text, forward and backward: time, and memory at its peak.

    python -m benchmarks.attention
    python -m benchmarks.attention --length 16384 --only tfattn torch

One layer of multi-head attention, four heads of 64, on one text without padding: ours in blocks of
queries and with all scores at once, Keras' in graph mode and by XLA, and torch's kernel that holds
no scores (scaled_dot_product_attention). MiB is what the process had at most, with the framework:
the row `at rest` has the layer at 16 tokens, and so next to nothing else. Of 8,192 tokens all take
27 GiB together, those of `--only graph torch blocked rest` 15.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.contest import Contestant, chosen, in_turn, tell
from benchmarks.work import Looking

OURS, KERAS, TORCH = (
    f"benchmarks.contestants.attention_{name}" for name in ("ours", "keras", "torch")
)


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    length: int = 8192  # tokens of the text
    rounds: int = 7  # times that each is run
    only: tuple[str, ...] = ()  # contestants whose names have one of these in them; none: all
    peers: Path = Path(".venv-parity/bin/python")  # interpreter that has torch
    out: Path = Path("runs/benchmarks")  # receives JSON and logs


def contestants(length: int, peers: Path) -> dict[str, Contestant]:
    """Return all contestants by name, the one that others are compared with first."""
    here, at = Path(sys.executable), {"length": length}
    half = {"precision": "mixed_bfloat16"}
    rows = {
        "Keras graph": Contestant(here, KERAS, at),
        "Keras graph bfloat16": Contestant(here, KERAS, {**at, **half}),
        "Keras xla": Contestant(here, KERAS, {**at, "xla": True}),
        "torch sdpa": Contestant(peers, TORCH, at),
        "torch sdpa bfloat16": Contestant(peers, TORCH, {**at, "half": True}),
        "torch at rest": Contestant(peers, TORCH, {"length": 16}),
        "tfattn dense": Contestant(here, OURS, {**at, "way": "dense"}),
        "tfattn blocked": Contestant(here, OURS, {**at, "way": "blocked"}),
        "tfattn dense bfloat16": Contestant(here, OURS, {**at, "way": "dense", **half}),
        "tfattn blocked bfloat16": Contestant(here, OURS, {**at, "way": "blocked", **half}),
        "tfattn at rest": Contestant(here, OURS, {"length": 16, "way": "blocked"}),
    }
    return {name: contestant for name, contestant in rows.items() if contestant.python.exists()}


def main(setting: Setting) -> None:
    """Measure, and print and write the table."""
    found = contestants(setting.length, setting.peers)
    times = in_turn(chosen(found, setting.only), setting.rounds, setting.out / "attention")
    work = Looking(setting.length)
    title = f"attention of {work.length:,} tokens, {work.heads} heads, on {os.cpu_count()} cores"
    out = setting.out / f"attention-{work.length}.json"
    tell(title, times, next(iter(found)), work.length, work.flops(), out)


if __name__ == "__main__":
    main(tyro.cli(Setting, description=__doc__))

"""Depth: what 4, 12 and 24 blocks take to compile, to train and to hold, in each way through them.

    python -m benchmarks.depth
    python -m benchmarks.depth --work gpt2-mini --depths 4 48

One block after the other as they are, computed again for the gradient (--train.remat block), in a
loop over stacked weights (--train.scan), and both; in bfloat16. `first s` is from the start of the
process to the end of the first step, MiB what the process had at most.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.contest import Contestant, in_turn, tell
from benchmarks.work import WORKS

OURS = "benchmarks.contestants.train_ours"
WAYS: dict[str, dict[str, Any]] = {
    "as they are": {},
    "computed again": {"remat": "block"},
    "in a loop": {"scan": True},
    "both": {"remat": "block", "scan": True},
}


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    work: str = "bert-mini"  # of benchmarks/work.py; its depth is changed
    depths: tuple[int, ...] = (4, 12, 24)  # blocks
    rounds: int = 5  # steps of each
    out: Path = Path("runs/benchmarks")  # receives JSON and logs


def main(setting: Setting) -> None:
    """Measure, and print and write a table for each depth."""
    work = WORKS[setting.work]
    for depth in setting.depths:
        found = {
            name: Contestant(
                Path(sys.executable),
                OURS,
                {"work": setting.work, "precision": "bfloat16", "depth": depth, **how},
            )
            for name, how in WAYS.items()
        }
        name = f"depth-{setting.work}-{depth}"
        times = in_turn(found, setting.rounds, setting.out / name)
        title = f"{setting.work} of {depth} blocks, {work.batch} rows, on {os.cpu_count()} cores"
        flops = work.config.with_fields(depth=depth).training_flops(work.step)
        tell(title, times, "as they are", work.units(), flops, setting.out / f"{name}.json")


if __name__ == "__main__":
    main(tyro.cli(Setting, description=__doc__))

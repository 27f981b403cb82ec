"""A training step beside those of transformers on torch and of KerasHub, of the same size.

    make bench                                                    # bert-mini
    python -m benchmarks.train --work gpt2-mini t5-mini --rounds 9

Every contestant is a process of its own; they take the same batch in turn. What is told is how many
times as fast as torch in eager mode each is, and how many GFLOP/s of matrix products that comes to.
Peers need `make .venv-parity/ready`; without it all are compared with KerasHub in graph mode.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.contest import Contestant, chosen, in_turn, tell
from benchmarks.work import WORKS

OURS, HUB, TORCH = (
    f"benchmarks.contestants.{name}" for name in ("train_ours", "train_kerashub", "train_torch")
)


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    work: tuple[str, ...] = ("bert-mini",)  # of benchmarks/work.py
    rounds: int = 15  # steps of each contestant
    only: tuple[str, ...] = ()  # contestants whose names have one of these in them; none: all
    peers: Path = Path(".venv-parity/bin/python")  # interpreter that has torch and transformers
    out: Path = Path("runs/benchmarks")  # receives JSON and logs


def contestants(work: str, peers: Path) -> dict[str, Contestant]:
    """Return all contestants by name, the one that others are compared with first."""
    here = Path(sys.executable)
    rows = {
        "torch eager float32": (peers, TORCH, {}),
        "torch compile float32": (peers, TORCH, {"compiled": True}),
        "torch eager bfloat16": (peers, TORCH, {"precision": "bfloat16"}),
        "KerasHub graph float32": (here, HUB, {}),
        "KerasHub xla float32": (here, HUB, {"xla": True}),
        "KerasHub graph bfloat16": (here, HUB, {"precision": "bfloat16"}),
        "KerasHub graph grappler bfloat16": (here, HUB, {"precision": "grappler"}),
        "tfattn graph float32": (here, OURS, {"mode": "graph"}),
        "tfattn xla float32": (here, OURS, {"mode": "xla"}),
        "tfattn fused float32": (here, OURS, {}),
        "tfattn fused bfloat16": (here, OURS, {"precision": "bfloat16"}),
    }
    return {
        name: Contestant(python, module, {"work": work, **given})
        for name, (python, module, given) in rows.items()
        if python.exists()
    }


def main(setting: Setting) -> None:
    """Measure each work, and print and write its table."""
    for name in setting.work:
        found = contestants(name, setting.peers)
        base = next(iter(found))
        times = in_turn(chosen(found, setting.only), setting.rounds, setting.out / f"train-{name}")
        work = WORKS[name]
        title = f"train {name}: {work.batch} rows a step, on {os.cpu_count()} cores"
        tell(title, times, base, work.units(), work.flops(), setting.out / f"train-{name}.json")


if __name__ == "__main__":
    main(tyro.cli(Setting, description=__doc__))

"""Where the time of our training step goes, by kind of operation.

    python -m benchmarks.profile                                   # bert-mini
    python -m benchmarks.profile --work vit-mini gpt2-mini --precision bfloat16

What `--monitor.profile` writes of a run, of batches that are there already. GFLOP/s are of the
matrix products over the whole step; TensorFlow's profile makes a step some percent longer.
"""

import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
import tyro
from rich.table import Table

from benchmarks.contest import console
from benchmarks.contestants import train_ours
from benchmarks.work import WORKS
from pipelines.core.atomic import write_text
from pipelines.core.profile import Place, places


@dataclass(frozen=True)
class Setting:
    """What is profiled."""

    work: tuple[str, ...] = ("bert-mini",)  # of benchmarks/work.py
    precision: tuple[str, ...] = ("float32", "bfloat16")
    mode: str = "fused"  # in which a step is compiled
    steps: int = 10  # of the profile
    out: Path = Path("runs/benchmarks")  # receives JSON


def profiled(work: str, mode: str, precision: str, steps: int) -> tuple[float, list[Place]]:
    """Return the median seconds of a step outside of the profile, and where they go."""
    step = train_ours.contestant(work, mode, precision)
    times = []
    for _ in range(3 + steps):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        try:
            for _ in range(steps):
                step()
        finally:
            tf.profiler.experimental.stop()
        return statistics.median(times[3:]), places(Path(folder), steps)


def main(setting: Setting) -> None:
    """Profile each work, and print and write where its time goes."""
    for work in setting.work:
        for precision in setting.precision:
            seconds, found = profiled(work, setting.mode, precision, setting.steps)
            rate = WORKS[work].flops() / seconds / 1e9
            title = f"{work}, {precision}, {setting.mode}: {seconds * 1e3:.0f} ms a step, "
            title += f"{rate:.0f} GFLOP/s, on {os.cpu_count()} cores"
            table = Table("where", "ms of threads", "share", title=title, title_justify="left")
            for place in found:
                table.add_row(place.kind, f"{place.seconds * 1e3:.1f}", f"{place.share:.1%}")
            console.print(table)
            rows = {place.kind: place.seconds for place in found}
            said = {"title": title, "seconds": seconds, "where": rows}
            out = setting.out / f"profile-{work}-{precision}.json"
            write_text(out, json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Setting, description=__doc__))

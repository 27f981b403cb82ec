"""Seconds until there is something to see: the first training step done, or the help.

    python -m benchmarks.startup --work bert-mini --rounds 5

From starting `python` to the end of the first step: imports, model, tracing, compilation and the
step itself, each time in a new process. Contestants take turns, so that what else the machine does
meets all, and medians are compared with KerasHub's in graph mode. What `python -m pipelines --help`
takes is told beside a Python that does nothing.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import tyro
from rich.table import Table

from benchmarks.contest import Contestant, Times, Worker, console, ratios
from benchmarks.train import OURS, contestants
from pipelines.core.atomic import write_text
from pipelines.core.progress import bar

START = "benchmarks.contestants.start_ours"  # ours, as commands load it
BASE, FLOOR = "KerasHub graph float32", "python -c pass"
SHOWN = (
    *("torch eager float32", BASE, "KerasHub xla float32"),
    *("tfattn fused float32", "tfattn fused bfloat16"),
)


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    work: str = "bert-mini"  # of benchmarks/work.py
    rounds: int = 5  # new processes of each
    peers: Path = Path(".venv-parity/bin/python")  # interpreter that has torch and transformers
    out: Path = Path("runs/benchmarks")  # receives JSON and logs


def first_step(contestant: Contestant, log: Path) -> None:
    """Start a contestant, wait for its first step, and end it."""
    worker = Worker(contestant, log)
    try:
        worker.answer()
    finally:
        worker.close()


def runs(setting: Setting, logs: Path) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name."""
    rows = contestants(setting.work, setting.peers)
    found: dict[str, Callable[[], object]] = {}
    for name in SHOWN:
        if name in rows:
            row = rows[name]
            row = replace(row, module=START) if row.module == OURS else row
            found[name] = partial(first_step, row, logs / f"{name.replace(' ', '-')}.log")
    for words in ("-c pass", "-m pipelines --help"):
        line = [sys.executable, *words.split()]
        found[f"python {words}"] = partial(
            subprocess.run, line, stdout=subprocess.DEVNULL, check=True
        )
    return found


def in_turn(rows: dict[str, Callable[[], object]], rounds: int) -> dict[str, Times]:
    """Return the seconds of every round of each, after one that fills the disk's cache."""
    found = {name: Times() for name in rows}
    with bar("rounds", rounds) as report:
        for number in range(rounds + 1):
            for name, run in rows.items():
                began = time.perf_counter()
                run()
                if number:
                    found[name].rounds.append(time.perf_counter() - began)
            report(number, "")
    return found


def main(setting: Setting) -> None:
    """Measure, print the table, and write it."""
    logs = setting.out / f"startup-{setting.work}"
    logs.mkdir(parents=True, exist_ok=True)
    found = in_turn(runs(setting, logs), setting.rounds)
    table = Table(title=f"start of {setting.work}, {setting.rounds} rounds", title_justify="left")
    for column in ("", "median s", f"of {BASE}", "middle half"):
        table.add_column(column, justify="right" if column else "left")
    times = {name: [1 / x for x in ratio] for name, ratio in ratios(found, BASE).items()}
    for name, (ratio, high, low) in times.items():
        table.add_row(name, f"{found[name].median:.2f}", f"{ratio:.2f}", f"{low:.2f} to {high:.2f}")
    console.print(table)
    rows = {n: {"ratio": times[n][0], "seconds": found[n].rounds} for n in found}
    text = json.dumps({"base": BASE, "rows": rows}, indent=1)
    write_text(setting.out / f"startup-{setting.work}.json", text + "\n")


if __name__ == "__main__":
    main(tyro.cli(Setting, description=__doc__))

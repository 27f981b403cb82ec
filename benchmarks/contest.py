"""Contestants in processes of their own take turns, so that what else the machine does meets all.

Each is started, and warmed up, before the next, and then waits. Medians and their ratios are told,
with the range of the ratios of rounds; single times say nothing on a shared machine.
"""

import contextlib
import json
import os
import signal
import statistics
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.core.atomic import write_text
from pipelines.core.progress import bar

console = Console(width=110)
WARM = 2  # more steps after the first, which may compile too


@dataclass(frozen=True)
class Contestant:
    """What runs where."""

    python: Path  # interpreter of its environment
    module: str  # with a `contestant`
    given: dict[str, Any]  # its arguments
    environment: Mapping[str, str] = field(default_factory=dict)  # variables beside ours


@dataclass
class Times:
    """Seconds of one contestant."""

    ready: float = 0.0  # until it was built
    first: float = 0.0  # with the compilation
    rounds: list[float] = field(default_factory=list)
    memory: float = 0.0  # MiB of its process at most
    failed: str = ""  # why it did not run

    @property
    def median(self) -> float:
        """Return the median of the rounds."""
        return statistics.median(self.rounds)


class Worker:
    """A started contestant."""

    def __init__(self, contestant: Contestant, log: Path):
        words = [str(contestant.python), "-m", "benchmarks.worker", contestant.module]
        with open(log, "w", encoding="utf-8") as errors:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(
                [*words, json.dumps(contestant.given)],
                env={**os.environ, **contestant.environment},
                stdin=pipe,
                stdout=pipe,
                stderr=errors,
                text=True,
            )
        self._log = log

    def answer(self) -> dict[str, float]:
        """Return what it says next.

        Raises:
            RuntimeError: it ended; with the last line of its log.
        """
        line = self._process.stdout.readline() if self._process.stdout else ""
        if line:
            return json.loads(line)
        if self._process.wait() == -signal.SIGKILL:
            raise RuntimeError("it was killed, perhaps for want of memory")
        said = self._log.read_text(encoding="utf-8").strip().splitlines()
        raise RuntimeError(said[-1] if said else "it ended and said nothing")

    def turn(self) -> dict[str, float]:
        """Return the `seconds` of one more time, and those of the CPU, `cpu`.

        Raises:
            RuntimeError: as `answer`.
        """
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError):  # it ended: `answer` says why
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        with contextlib.suppress(BrokenPipeError), self._process:  # closes its pipes
            pass


def chosen(contestants: Mapping[str, Contestant], parts: tuple[str, ...]) -> dict[str, Contestant]:
    """Return the first, with which the others are compared, and those of a name with such a part.

    Args:
        contestants: by name.
        parts: of names; none: all.
    """
    base = next(iter(contestants))
    wanted = [n for n in contestants if n == base or not parts or any(p in n for p in parts)]
    return {name: contestants[name] for name in wanted}


def in_turn(
    contestants: Mapping[str, Contestant], rounds: int, logs: Path, clock: str = "seconds"
) -> dict[str, Times]:
    """Return the times of every contestant; one that cannot run says why in `failed`.

    Args:
        contestants: by name.
        rounds: how often each does its work.
        logs: receives what they print.
        clock: "seconds" of the wall, or "cpu" seconds of all threads and processes together.
    """
    logs.mkdir(parents=True, exist_ok=True)
    found = {name: Times() for name in contestants}
    workers: dict[str, Worker] = {}
    try:
        with bar("contestants start", len(contestants)) as report:
            for number, (name, contestant) in enumerate(contestants.items(), 1):
                worker = workers[name] = Worker(contestant, logs / f"{name.replace(' ', '-')}.log")
                try:
                    said = worker.answer()
                    found[name].ready, found[name].first = said["ready"], said["first"]
                    for _ in range(WARM):
                        worker.turn()
                except RuntimeError as error:
                    found[name].failed = str(error)
                    workers.pop(name).close()
                report(number, name)
        with bar("rounds", rounds) as report:
            for number in range(1, rounds + 1):
                for name, worker in list(workers.items()):
                    try:
                        said = worker.turn()
                    except RuntimeError as error:
                        found[name].failed, found[name].rounds = str(error), []
                        workers.pop(name).close()
                        continue
                    found[name].rounds.append(said[clock])
                    found[name].memory = said["memory"]
                report(number, "")
    finally:
        for worker in workers.values():
            worker.close()
    return found


def ratios(found: Mapping[str, Times], base: str) -> dict[str, tuple[float, float, float]]:
    """Return how many times as fast as `base` each is: of the medians, and the middle half."""
    result = {}
    for name, times in found.items():
        if times.rounds and found[base].rounds:
            each = [b / a for a, b in zip(times.rounds, found[base].rounds, strict=True)]
            low, _, high = statistics.quantiles(each, n=4) if len(each) > 1 else (each[0],) * 3
            result[name] = (found[base].median / times.median, low, high)
    return result


def tell(
    title: str,
    found: Mapping[str, Times],
    base: str,
    units: int,
    flops: float | None,
    out: Path,
    peak: float | None = None,
) -> None:
    """Print the table, and write it to `out` as JSON.

    Args:
        title: of the table.
        found: times by contestant.
        base: the one that all are compared with.
        units: tokens or patches that a contestant takes at a time.
        flops: of the matrix products of it, without which none can do; None = there are none.
        out: receives JSON.
        peak: FLOP/s of the device, of which a share is told; None = not known.
    """
    table, faster, rows = Table(title=title, title_justify="left"), ratios(found, base), {}
    shown = {n: _cells(found[n], faster[n], units, flops, peak) for n in found if n in faster}
    columns = list(next(iter(shown.values()), {}))
    for column in ("", *columns):
        table.add_column(column, justify="right" if column else "left")
    for name, times in found.items():
        if name not in shown:
            why = times.failed or "the base did not run"
            table.add_row(name, *([why] if columns else []))
            rows[name] = {"failed": why}
            continue
        ratio, low, high = faster[name]
        table.add_row(name, *shown[name].values())
        rows[name] = {"ratio": ratio, "middle_half": [low, high], "first": times.first}
        rows[name] |= {"ready": times.ready, "seconds": times.rounds, "memory": times.memory}
        if flops is not None and peak is not None:
            rows[name]["of_peak"] = flops / times.median / peak
    console.print(table)
    write_text(out, json.dumps({"title": title, "base": base, "rows": rows}, indent=1) + "\n")


def _cells(times, faster, units, flops, peak):
    """Return what is shown of a contestant, by column."""
    (ratio, low, high), median = faster, times.median
    cells = {"times as fast": f"{ratio:.2f}", "middle half": f"{low:.2f} to {high:.2f}"}
    cells |= {"median ms": f"{median * 1e3:.1f}", "units/s": f"{units / median:,.0f}"}
    if flops is not None:
        cells["GFLOP/s"] = f"{flops / median / 1e9:.0f}"
        cells |= {} if peak is None else {"of peak": f"{flops / median / peak:.1%}"}
    return cells | {"first s": f"{times.ready + times.first:.1f}", "MiB": f"{times.memory:,.0f}"}

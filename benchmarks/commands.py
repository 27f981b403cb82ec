"""Commands of the pipelines, one after the other, and what they say last."""

import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from pipelines.core.atomic import write_text

console = Console(width=100)


def command(*words: str) -> dict[str, Any]:
    """Run a command of the pipelines; return the last line that it printed."""
    line = [sys.executable, "-m", "pipelines", *words]
    console.print(shlex.join(line[1:]), style="dim", soft_wrap=True)
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def evaluated(folder: Path, beams: int) -> dict[str, Any]:
    """Return the measures of a run, which are kept in its folder."""
    kept = folder / f"evaluated-{beams}.json"
    if not kept.exists():
        measured = command("evaluate", str(folder), "--beams", str(beams))
        write_text(kept, json.dumps(measured) + "\n")
    return json.loads(kept.read_text(encoding="utf-8"))


def spread(values: list[float], digits: int = 1) -> str:
    """Return the mean and the deviation of some numbers."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {deviation:.{digits}f}"

"""A contestant in a process of its own: `python -m benchmarks.worker MODULE JSON`.

The module has a `contestant(**given)` that returns a function which does the work once. For each
line that comes in the work is done, and a line of JSON goes out with the seconds that it took, and
those that its threads and child processes were at work, and the MiB of memory that the process had
at most; one comes out before, with the seconds of the first time, and how long it took to be ready.
"""

import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    """Answer until there is nothing more to do."""
    began = time.perf_counter()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    module, given = sys.argv[1:]
    work = importlib.import_module(module).contestant(**json.loads(given))

    def taken() -> dict[str, float]:
        start, busy = time.perf_counter(), _busy()
        work()
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "cpu": _busy() - busy, "memory": _memory()}

    ready = time.perf_counter() - began
    answers.write(json.dumps({"ready": ready, "first": taken()["seconds"]}) + "\n")
    for _ in sys.stdin:
        answers.write(json.dumps(taken()) + "\n")


def _busy() -> float:
    """Return the CPU seconds of this process so far, and of its children that have ended."""
    used = os.times()
    return time.process_time() + used.children_user + used.children_system


def _memory() -> float:
    """Return the MiB that this process had at most."""
    try:  # what getrusage says begins with what the parent had
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) / 2**10
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()

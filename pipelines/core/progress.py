"""Progress of long work: a bar with time left on a terminal, a line now and then elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

console = Console(stderr=True, highlight=False)
LINE_EVERY = 15.0  # seconds, where there is no terminal

Report = Callable[[float, str], None]


@contextlib.contextmanager
def bar(what: str, total: float | None, start: float = 0) -> Iterator[Report]:
    """Show the progress of `what`; call the report with (done so far, what to say of it).

    Args:
        what: named before the bar.
        total: when it is done; None where that is not known.
        start: done before this call, such as the step that a run resumes at.
    """
    if not console.is_terminal:
        yield _lines(what, total, start)
        return
    room = max(20, console.width // 3)
    what = what if len(what) <= room else f"…{what[1 - room :]}"
    columns = (  # where they do not fit, the bar alone gives way
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[share]} {task.fields[text]}", markup=False),
        TimeRemainingColumn(elapsed_when_finished=True, table_column=Column(no_wrap=True)),
    )
    # Speed over minutes: an evaluation, or the compilation of the first step, is no trend.
    period = {"refresh_per_second": 4, "speed_estimate_period": 300}
    with Progress(*columns, console=console, **period) as progress:
        task = progress.add_task(what, total=total, completed=start, text="", share="")

        def report(done: float, text: str) -> None:
            progress.update(task, completed=done, text=text, share=_share(done, total))

        yield report


@contextlib.contextmanager
def texts(prompts: Sequence[str]) -> Iterator[Callable[[list[str]], None]]:
    """Show texts as they grow: one as it comes, several when all are there.

    Args:
        prompts: what the texts go on from.
    """
    shown: list[str] = []  # none before the first call, when what was asked may still be refused

    def show(so_far: list[str]) -> None:
        if len(prompts) == 1:
            if not shown:
                console.print(prompts[0], style="bold", end="", markup=False, soft_wrap=True)
            old = shown[0] if shown else ""
            if so_far[0].startswith(old):
                console.print(so_far[0][len(old) :], end="", markup=False, soft_wrap=True)
        shown[:] = so_far

    try:
        yield show
    finally:
        if len(prompts) == 1 and shown:
            console.print()
    if len(prompts) == 1:
        return
    for prompt, text in zip(prompts, shown, strict=True):
        console.rule()
        console.print(prompt, style="bold", end="", markup=False, soft_wrap=True)
        console.print(text, markup=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a line beside the bars."""
    console.print(text, soft_wrap=True)


def _lines(what: str, total: float | None, start: float) -> Report:
    began = last = time.monotonic()

    def report(done: float, text: str) -> None:
        nonlocal last
        now = time.monotonic()
        finished = total is not None and done >= total
        if now - last < LINE_EVERY and not (finished and now - began > 1):
            return
        last = now
        left = ""
        if total and done > start and not finished:
            seconds = (now - began) / (done - start) * (total - done)
            left = f"  {int(seconds // 60)}:{int(seconds % 60):02d} left"
        print(f"{what}  {_share(done, total)} {text}{left}", file=sys.stderr, flush=True)

    return report


def _share(done: float, total: float | None) -> str:
    return f"{done:,.0f}/{total:,.0f}" if total else f"{done:,.0f}"

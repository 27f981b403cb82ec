"""What a person sees of long work, on a terminal and in a log."""

import io
import re

import pytest
from rich.console import Console

from pipelines.core import progress
from pipelines.core.progress import LINE_EVERY, bar


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that is moved by hand."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def log(monkeypatch):
    monkeypatch.setattr(progress, "console", Console(file=io.StringIO()))


def test_a_log_gets_a_line_now_and_then_with_the_time_left(log, clock, capsys):
    with bar("runs/a", 1000, 200) as report:
        for done in range(201, 301):
            clock[0] += 1.0
            report(done, f"loss {done}")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == int(100 / LINE_EVERY)
    assert lines[0] == "runs/a  215/1,000 loss 215  13:05 left"  # 785 steps at a second each
    assert lines[-1] == "runs/a  290/1,000 loss 290  11:50 left"


def test_the_end_is_told_unless_it_came_at_once(log, clock, capsys):
    for seconds in (0.5, 5.0):
        with bar("work", 3) as report:
            for done in (1, 2, 3):
                clock[0] += seconds / 3
                report(done, "things")
    assert capsys.readouterr().err == "work  3/3 things\n"


def test_work_of_unknown_length_is_counted(log, clock, capsys):
    with bar("vocabulary", None) as report:
        clock[0] += 2 * LINE_EVERY
        report(40_000, "documents")
    assert capsys.readouterr().err == "vocabulary  40,000 documents\n"


def test_a_terminal_gets_one_bar_with_share_text_and_time(monkeypatch):
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(progress, "console", terminal)
    with bar("runs/[bold]a", 10, 4) as report:
        report(5, "loss 1.500")
        report(10, "loss 0.250")
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).strip().splitlines()[-1]
    assert last.startswith("runs/[bold]a ") and "━" in last
    assert "10/10 loss 0.250" in last and re.search(r"\d:\d\d:\d\d", last)


def test_on_a_narrow_terminal_a_long_name_leaves_room_for_the_time(monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, width=80, force_terminal=True)
    monkeypatch.setattr(progress, "console", console)
    with bar("runs/demo/finetune/from-scratch-rate0.0003-seed2", 100) as report:
        report(100, "loss 0.632 · 11,956 tokens/s")
    last = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", screen.getvalue()).replace("\r", "\n").split("\n")
    (line,) = {line.rstrip() for line in last if "100/100" in line}
    assert line.startswith("…") and "rate0.0003-seed2" in line
    assert re.search(r"11,956 tokens/s 0:00:0\d$", line)

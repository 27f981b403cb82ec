"""Starts are measured in new processes, in turn, and the first round is not counted."""

import sys
from pathlib import Path

from benchmarks.contest import Contestant
from benchmarks.startup import BASE, START, Setting, first_step, in_turn, runs


def test_every_round_is_a_new_process_and_the_first_one_is_not_counted(tmp_path):
    log = tmp_path / "log"
    sleeper = Contestant(Path(sys.executable), "tests.benchmarks.sleeper", {"seconds": 0.05})
    calls = []

    def start():
        calls.append(first_step(sleeper, log))

    found = in_turn({"sleeper": start}, 2)["sleeper"]
    assert len(calls) == 3 and len(found.rounds) == 2
    assert min(found.rounds) > 0.05


def test_ours_is_loaded_as_the_commands_load_it(tmp_path):
    found = runs(Setting(work="bert-tiny", peers=tmp_path / "none"), tmp_path)
    assert BASE in found and not any("torch" in name for name in found)
    modules = {name: call.args[0].module for name, call in found.items() if "tfattn" in name}
    assert set(modules.values()) == {START} and len(modules) == 2

"""Contestants in processes of their own: they take turns, and one that fails says why."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.contest import WARM, Contestant, Times, in_turn, ratios, tell
from benchmarks.train import contestants
from benchmarks.work import CLASSES, WORKS

SLEEPER = "tests.benchmarks.sleeper"


def sleeper(**given):
    return Contestant(Path(sys.executable), SLEEPER, given)


@pytest.fixture
def found(tmp_path):
    given = {"slow": sleeper(seconds=0.05), "quick": sleeper(), "broken": sleeper(fails="no room")}
    return in_turn(given, 3, tmp_path / "logs")


def test_all_take_as_many_turns_and_one_that_fails_says_why(found):
    assert [len(found[name].rounds) for name in ("slow", "quick", "broken")] == [3, 3, 0]
    assert min(found["slow"].rounds) >= 0.05 and min(found["quick"].rounds) >= 0.01
    assert found["slow"].first >= 0.05 and found["slow"].ready > 0
    assert found["broken"].failed == "ValueError: no room" and not found["slow"].failed


def test_one_that_is_killed_leaves_the_others_their_turns(tmp_path):
    given = {"slow": sleeper(), "killed": sleeper(dies=WARM + 2)}  # in the second round
    found = in_turn(given, 3, tmp_path / "logs")
    assert [len(found[name].rounds) for name in given] == [3, 0]
    assert found["killed"].failed == "it was killed, perhaps for want of memory"


def test_the_table_is_written_with_every_time(found, tmp_path, capsys):
    tell("a title", found, "slow", 100, 2e9, tmp_path / "table.json")
    written = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert written["base"] == "slow" and written["rows"]["slow"]["ratio"] == 1.0
    assert written["rows"]["quick"]["seconds"] == found["quick"].rounds
    assert written["rows"]["broken"] == {"failed": "ValueError: no room"}


def test_ratios_are_of_medians_and_their_range_of_rounds():
    found = {"a": Times(rounds=[2.0, 4.0, 9.0]), "b": Times(rounds=[1.0, 4.0, 3.0])}
    ratio, low, high = ratios(found, "a")["b"]
    assert ratio == pytest.approx(4 / 3) and (low, high) == (1.0, 3.0)


@pytest.mark.parametrize("name", WORKS)
def test_every_work_has_a_batch_that_its_model_can_take(name):
    work, arrays = WORKS[name], WORKS[name].arrays()
    assert all(len(array) == work.batch for array in arrays.values())
    assert work.flops() > 0 and work.units() > 0
    highest = CLASSES if work.kind == "images" else work.vocab_size
    assert arrays["targets"].min() >= 0 and arrays["targets"].max() < highest
    for key, array in work.arrays().items():  # the same for every contestant
        np.testing.assert_array_equal(array, arrays[key])


def test_without_their_environment_peers_are_left_out(tmp_path):
    alone = contestants("bert-tiny", tmp_path / "none")
    assert next(iter(alone)) == "KerasHub graph float32"
    assert not any("torch" in name for name in alone)
    assert next(iter(contestants("bert-tiny", Path(sys.executable)))) == "torch eager float32"


def test_the_least_work_of_a_step_is_that_of_its_products():
    dim, hidden, depth, length = 256, 1024, 4, 128
    blocks = depth * (4 * dim**2 + 2 * dim * hidden + 2 * length * dim)
    told = 0.15 * dim * (8192 + dim)
    assert WORKS["bert-mini"].flops() == pytest.approx(6 * 32 * length * (blocks + told))
    assert WORKS["t5-mini"].flops() == pytest.approx(142.94e9, rel=1e-3)
    # Six blocks on 64 patches and a class token, patches of 48 numbers, and a head.
    blocks = 6 * (4 * 192**2 + 2 * 192 * 768 + 2 * 65 * 192)
    products = 65 * blocks + 64 * 48 * 192 + 192 * CLASSES
    assert WORKS["vit-mini"].flops() == pytest.approx(6 * 64 * products)

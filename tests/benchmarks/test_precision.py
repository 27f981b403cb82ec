"""Two precisions compared: differences of pairs, not of means, and where the largest lies."""

import json
import math

import pytest

from benchmarks.precision import WINDOW, Setting, compared, curves, main
from benchmarks.precision_picture import draw
from tfattn.errors import InputError


def run(losses, last):
    points = list(enumerate(losses, 1))
    return {"train": points, "validation": [(0, 5.0), (len(losses), last)], "after": {"loss": last}}


@pytest.fixture
def runs():
    """Return two seeds, a nat apart; in bfloat16 one is a little worse and one not."""
    return {
        "float32": [run([4.0, 3.0, 2.0], 2.0), run([5.0, 4.0, 3.0], 3.0)],
        "bfloat16": [run([4.0, 3.1, 2.0], 2.2), run([5.0, 4.0, 2.8], 3.0)],
    }


def test_the_difference_is_that_of_runs_from_the_same_seed(runs):
    found = compared(runs)
    assert found["last"] == {"float32": [2.0, 3.0], "bfloat16": [2.2, 3.0]}
    assert found["difference"] == pytest.approx(0.1)
    assert found["standard_error"] == pytest.approx(0.1)  # of .2 and 0
    assert found["largest"] == pytest.approx(-0.2)
    assert (found["largest_step"], found["largest_seed"]) == (3, 1)
    assert found["between_seeds"] == pytest.approx(math.sqrt(0.5))  # of 2 and 3


def test_one_seed_says_nothing_of_chance(tmp_path):
    with pytest.raises(InputError, match="seeds"):
        main(Setting(seeds=1, out=tmp_path))


def test_the_training_loss_is_a_mean_of_the_steps_before():
    lines = [{"step": step, "split": "train", "loss": float(step)} for step in range(1, 31)]
    lines.append({"step": 30, "split": "validation", "loss": 7.0})
    found = curves(lines)
    steps, losses = zip(*found["train"], strict=True)
    assert steps == tuple(range(WINDOW, 31))
    assert losses[0] == pytest.approx((WINDOW + 1) / 2)
    assert losses[-1] == pytest.approx(30 - (WINDOW - 1) / 2)
    assert found["validation"] == [(30, 7.0)]


def test_the_picture_is_drawn_and_the_numbers_are_json(runs, tmp_path):
    draw({"one": runs, "other": runs}, WINDOW, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(json.dumps(compared(runs)))["largest_step"] == 3

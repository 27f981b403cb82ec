"""Attention over long texts: every contestant does the same, and says how much memory it took."""

import sys
from pathlib import Path

import numpy as np

from benchmarks.attention import contestants
from benchmarks.contest import chosen, in_turn
from benchmarks.contestants import attention_keras, attention_ours


def test_ours_in_blocks_takes_the_gradients_of_ours_at_once():
    dense, blocked = (attention_ours.contestant(48, way)() for way in ("dense", "blocked"))
    assert len(dense) == len(blocked) == 9  # of the input, four kernels and four biases
    assert dense[0].shape == (1, 48, 256)
    for name, gradient in enumerate(dense):
        assert np.isfinite(gradient).all(), name
    theirs = attention_keras.contestant(48)()
    assert [g.size for g in theirs] == [g.size for g in dense]


def test_contestants_are_chosen_by_parts_of_their_names(tmp_path):
    found = contestants(64, tmp_path / "none")
    assert list(chosen(found, ("blocked",)))[:2] == ["Keras graph", "tfattn blocked"]
    assert chosen(found, ()) == found
    assert not any("torch" in name for name in found)
    assert any("torch" in name for name in contestants(64, Path(sys.executable)))


def test_memory_is_that_of_the_process(tmp_path):
    found = contestants(16, tmp_path / "none")
    alone = {"tfattn at rest": found["tfattn at rest"]}
    times = in_turn(alone, 1, tmp_path)["tfattn at rest"]
    assert not times.failed
    assert 200 < times.memory < 4000  # MiB, most of it TensorFlow

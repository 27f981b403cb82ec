from dataclasses import replace

import numpy as np
import pytest

import tfattn
from tfattn.models.vision_config import VisionConfig
from tfattn.resolution import POSITIONS, cubic, resized
from tfattn.weights import arrays

SMALL = VisionConfig(
    height=8, width=12, channels=2, patch=4, dim=12, depth=1, heads=3, hidden_dim=20
)


def test_the_same_size_is_the_same_values(close):
    close(cubic(7, 7), np.eye(7))


@pytest.mark.parametrize(("size", "source"), [(10, 4), (5, 9), (1, 3), (3, 1)])
def test_one_value_everywhere_stays(size, source, close):
    close(cubic(size, source) @ np.full(source, 0.3), np.full(size, 0.3))


def test_between_two_values_a_cubic_is_drawn(close):
    """Half way between: -a/8 of the outer two and 1/2 + a/8 ... of the inner ones, a = -0.75."""
    row = cubic(8, 4)[3]  # at place 1.25
    x = np.array([1.25, 0.25, 0.75, 1.75])
    a = -0.75
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    close(row, np.where(x <= 1, near, far))


@pytest.mark.parametrize("class_token", [True, False])
def test_a_model_reads_larger_images(class_token, rng, close):
    config = replace(SMALL, class_token=class_token)
    model = tfattn.build(config)
    weights = arrays(model)
    larger, moved = resized(config, weights, 16, 20)
    other = tfattn.build(larger)
    tfattn.assign(other, moved)
    assert other(np.zeros((1, 16, 20, 2), "float32")).shape == (1, 20 + class_token, 12)
    lead = int(class_token)
    close(moved[POSITIONS][:lead], weights[POSITIONS][:lead])
    grid = weights[POSITIONS][lead:].reshape((2, 3, 12))
    expected = np.stack([cubic(4, 2) @ grid[..., i] @ cubic(5, 3).T for i in range(12)], axis=-1)
    close(moved[POSITIONS][lead:], expected.reshape((20, 12)))


def test_waves_need_nothing(rng):
    config = replace(SMALL, position="sinusoidal-2d")
    weights = arrays(tfattn.build(config))
    larger, moved = resized(config, weights, 16, 20)
    assert moved is weights and larger.grid() == (4, 5)


def test_sizes_and_weights_that_do_not_fit_are_refused():
    weights = arrays(tfattn.build(SMALL))
    with pytest.raises(tfattn.InputError, match="VisionConfig.height: expected a multiple of"):
        resized(SMALL, weights, 9, 12)
    with pytest.raises(tfattn.InputError, match=r"embeddings: expected \(7, 12\). Received: None"):
        resized(SMALL, {}, 16, 12)

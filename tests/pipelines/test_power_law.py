"""The exponent of a known law is found again, and its interval holds it as often as it says."""

import math

import numpy as np
import pytest

from pipelines.experiments.power_law import fit, frontier

ALPHA, SCALE = 0.076, 8.8e13  # arXiv:2001.08361, equation 1.1
SIZES = np.array([1e5, 3e5, 1e6, 3e6, 1e7])


def losses(sizes, alpha=ALPHA, noise=0.0, rng=None):
    exact = (SCALE / sizes) ** alpha
    return exact if rng is None else exact * np.exp(noise * rng.normal(size=len(sizes)))


def test_a_law_without_noise_is_recovered():
    found = fit(SIZES, losses(SIZES))
    assert found.exponent == pytest.approx(ALPHA, rel=1e-12)
    assert found.scale == pytest.approx(SCALE, rel=1e-9)
    assert found.r_squared == pytest.approx(1.0)
    assert found.interval == pytest.approx((ALPHA, ALPHA), abs=1e-8)
    assert found.scale_interval == pytest.approx((SCALE, SCALE), rel=1e-4)
    np.testing.assert_allclose(found.at(SIZES), losses(SIZES), rtol=1e-12)


def test_a_loss_that_rises_has_a_negative_exponent():
    assert fit(SIZES, losses(SIZES, -0.1)).exponent == pytest.approx(-0.1)


@pytest.mark.parametrize("count", [3, 5])
def test_the_intervals_hold_the_truth_nineteen_times_in_twenty(count):
    rng, repetitions = np.random.default_rng(0), 2000
    sizes = SIZES[:count]
    held = np.zeros(3)
    for _ in range(repetitions):
        found = fit(sizes, losses(sizes, noise=0.002, rng=rng))
        low, high = found.band(sizes[:1])
        held += [
            found.interval[0] <= ALPHA <= found.interval[1],
            found.scale_interval is None
            or found.scale_interval[0] <= SCALE <= (found.scale_interval[1] or math.inf),
            low[0] <= losses(sizes)[0] <= high[0],
        ]
    # Five standard deviations of a binomial number; the seed is fixed besides.
    assert np.abs(held / repetitions - 0.95).max() < 5 * math.sqrt(0.95 * 0.05 / repetitions)


def test_the_interval_is_that_of_the_textbook():
    y = np.log(losses(SIZES, noise=0.1, rng=np.random.default_rng(1)))
    x = np.log(SIZES)
    design = np.stack([np.ones_like(x), x], axis=1)
    inverse = np.linalg.inv(design.T @ design)
    coefficients = inverse @ design.T @ y
    variance = ((y - design @ coefficients) ** 2).sum() / (len(x) - 2)
    error = math.sqrt(variance * inverse[1, 1])
    quantile = 3.18244631  # of Student's t with 3 degrees of freedom, at .975
    found = fit(SIZES, np.exp(y))
    assert found.exponent == pytest.approx(-coefficients[1])
    assert found.error == pytest.approx(error)
    expected = (-coefficients[1] - quantile * error, -coefficients[1] + quantile * error)
    assert found.interval == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_the_scale_is_where_the_band_holds_a_loss_of_one():
    found = fit(SIZES, losses(SIZES, noise=0.01, rng=np.random.default_rng(2)))
    low, high = found.scale_interval
    assert low < found.scale < high
    assert found.at(np.array([found.scale]))[0] == pytest.approx(1.0)
    assert found.band(np.array([low]))[0][0] == pytest.approx(1.0)
    assert found.band(np.array([high]))[1][0] == pytest.approx(1.0)


def test_two_points_tell_a_law_and_no_uncertainty():
    found = fit(SIZES[:2], losses(SIZES[:2]))
    assert found.exponent == pytest.approx(ALPHA)
    assert (found.error, found.interval, found.scale_interval) == (None, None, None)
    assert found.band(SIZES) is None


def test_what_no_float_holds_and_what_no_law_has_is_none():
    flat = fit(SIZES, np.full(5, 2.0))
    assert (flat.exponent, flat.scale, flat.r_squared) == (0.0, None, None)
    assert flat.scale_interval is None  # anywhere
    assert fit(SIZES, losses(SIZES) ** 1e-3 * 5).scale is None  # beyond e^700


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1.0], [1.0]),
        ([2.0, 2.0], [1.0, 2.0]),
        ([1.0, 2.0], [1.0]),
        ([0.0, 1.0], [1.0, 2.0]),
        ([1.0, 2.0], [1.0, 0.0]),
        ([1.0, 2.0], [1.0, math.nan]),
    ],
)
def test_what_has_no_line_is_refused(x, y):
    with pytest.raises(ValueError, match="must be"):
        fit(x, y)


def test_the_frontier_is_what_nothing_as_cheap_betters():
    costs = [4.0, 1.0, 2.0, 3.0, 3.0, 1.0]
    found = frontier(costs, [1.0, 5.0, 6.0, 2.0, 3.0, 4.0])
    assert found == [5, 3, 0]
    assert frontier([1.0, 2.0], [1.0, 1.0]) == [0]

"""Power laws L(x) = (x_c / x)^alpha, the form of Kaplan et al., arXiv:2001.08361, section 1.2.

In logarithms a line, log L = alpha log x_c - alpha log x, found by least squares. What is uncertain
is told by Student's t with n - 2 degrees of freedom: exact where the logarithms scatter about a
line alike, normally and each by itself. That the law is a line at all it cannot tell.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class PowerLaw:
    """A fitted law; what cannot be known is None."""

    exponent: float  # alpha; positive where the loss falls
    error: float | None  # standard error of alpha
    interval: tuple[float, float] | None  # of alpha
    scale: float | None  # x_c, where the law comes to a loss of 1, in the unit of x
    scale_interval: tuple[float | None, float | None] | None
    r_squared: float | None  # share of the variance of log L that the line accounts for
    points: int
    center: tuple[float, float]  # means of log x and log L, through which the line goes
    spread: float  # sum of the squares of log x from its mean
    noise: float | None  # standard deviation of log L about the line

    def at(self, x: np.ndarray) -> np.ndarray:
        """Return the loss of the law."""
        return np.exp(self.center[1] - self.exponent * (np.log(x) - self.center[0]))

    def band(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the limits between which the law lies at each `x` with 95% confidence, or None."""
        if self.noise is None:
            return None
        away = (np.log(x) - self.center[0]) ** 2 / self.spread
        half = _quantile(self.points) * self.noise * np.sqrt(1 / self.points + away)
        return self.at(x) * np.exp(-half), self.at(x) * np.exp(half)


def fit(x: Sequence[float], losses: Sequence[float]) -> PowerLaw:
    """Fit a power law.

    Args:
        x: parameters, tokens or FLOPs; two or more, not all the same.
        losses: at each of them, in nats.

    Raises:
        ValueError: fewer than two different x, or a number that has no logarithm.
    """
    xs, ys = np.asarray(x, float), np.asarray(losses, float)
    if xs.shape != ys.shape or len(set(xs)) < 2:
        raise ValueError(f"x must be two or more different numbers, as many as losses. {x=}.")
    if not (np.isfinite(xs) & np.isfinite(ys) & (xs > 0) & (ys > 0)).all():
        raise ValueError(f"x and losses must be finite and over 0. Received: {x=}, {losses=}.")
    xs, ys = np.log(xs), np.log(ys)
    count, center = len(xs), (float(xs.mean()), float(ys.mean()))
    xs, ys = xs - center[0], ys - center[1]
    spread = float((xs**2).sum())
    exponent = -float((xs * ys).sum()) / spread
    rest, total = float(((ys + exponent * xs) ** 2).sum()), float((ys**2).sum())
    error = noise = interval = None
    if count > 2:
        noise = math.sqrt(rest / (count - 2))
        error = noise / math.sqrt(spread)
        half = _quantile(count) * error
        interval = (exponent - half, exponent + half)
    return PowerLaw(
        exponent=exponent,
        error=error,
        interval=interval,
        scale=_exp(center[0] + center[1] / exponent) if exponent else None,
        scale_interval=_where_loss_is_one(exponent, center, spread, noise, count),
        r_squared=1 - rest / total if total else None,
        points=count,
        center=center,
        spread=spread,
        noise=noise,
    )


def frontier(costs: Sequence[float], losses: Sequence[float]) -> list[int]:
    """Return the points that nothing as cheap or cheaper betters, from the cheapest on."""
    found: list[int] = []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], losses[i])):
        if not found or losses[i] < losses[found[-1]]:
            found.append(i)
    return found


def _quantile(count):
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 2))


def _where_loss_is_one(exponent, center, spread, noise, count):
    """Return the interval of x_c: all x at which the band holds a loss of 1 (Fieller's theorem).

    With v = log x - mean, (y - alpha v)^2 <= t^2 noise^2 (1 / n + v^2 / spread) is a quadratic.
    """
    if noise is None:
        return None
    half = (_quantile(count) * noise) ** 2
    a = exponent**2 - half / spread
    if a <= 0:  # the exponent may be 0, and x_c anywhere
        return None
    y = center[1]
    root = math.sqrt(max((exponent * y) ** 2 - a * (y**2 - half / count), 0.0))
    low, high = (exponent * y - root) / a, (exponent * y + root) / a
    return _exp(center[0] + low), _exp(center[0] + high)


def _exp(value):
    """Return e^value, or None where no float can hold it."""
    return math.exp(value) if abs(value) < 700 else None

"""What the picture of scaling laws shows, by the parts of the figure that was drawn."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from pipelines.experiments import scaling, scaling_picture

LOSSES = (3.2, 2.5, 2.9, 2.2)  # far from any line
TOKENS = 1  # the panel in the middle


@pytest.fixture
def draw(monkeypatch):
    """Return what draws the largest size at these tokens, and a small one; and gives the panels."""
    kept = []
    monkeypatch.setattr(scaling_picture, "write_picture", lambda path, figure: kept.append(figure))

    def drawn(tokens, losses):
        points = [
            scaling.Point(size, 1.0, n, d, n * d * cost, (loss * more,), 1.0)
            for size, n, cost, more in (("small", 70_000, 6, 1.1), ("large", 80_000, 9, 1.0))
            for d, loss in zip(tokens, losses, strict=True)
        ]
        scaling.draw(points, scaling.fit_laws(points), scaling.PUBLISHED, Path("none.png"))
        kept[0].canvas.draw()
        return kept[0].axes

    return drawn


@pytest.mark.parametrize(
    "tokens",
    [(7e4,), (7e4, 7.4e4), (6.5e4, 9e4), (5e4, 4e5), (1e5, 2e6), (1e6, 1e9), (1e3, 1e15)],
)
def test_labels_of_an_axis_are_two_or_more_and_stand_apart(draw, tokens):
    for panel in draw(tokens, LOSSES[: len(tokens)]):
        both = [*panel.get_xticklabels(), *panel.get_xticklabels(minor=True)]
        boxes = [label.get_window_extent() for label in both if label.get_text()]
        low, high = panel.bbox.x0 - 1, panel.bbox.x1 + 1
        boxes = sorted((b for b in boxes if low <= (b.x0 + b.x1) / 2 <= high), key=lambda b: b.x0)
        assert len(boxes) >= 2
        assert all(right.x0 > left.x1 + 3 for left, right in itertools.pairwise(boxes))


def test_the_hollow_points_are_told_where_they_are(draw):
    panels = draw((1e5, 2e5, 4e5, 8e5), LOSSES)
    told = [[text.get_text() for text in panel.get_legend().get_texts()] for panel in panels]
    assert ["hollow: a run as cheap is better" in texts for texts in told] == [False, False, True]


def test_a_wide_band_ends_beside_the_points(draw):
    panel = draw((1e5, 2e5, 4e5), LOSSES[:3])[TOKENS]
    (band,) = panel.collections
    x, y = band.get_paths()[0].vertices.T
    (left, right), (bottom, top) = panel.get_xlim(), panel.get_ylim()
    assert left < x.min() < 1e5 and 4e5 < x.max() < right
    assert bottom < y.min() < 2.5 and 3.2 < y.max() < top
    drawn = np.log(x.max() / x.min()) * np.log(y.max() / y.min())
    assert drawn < 0.8 * np.log(right / left) * np.log(top / bottom)


def test_losses_of_zero_are_on_a_linear_axis(draw):
    panels = draw((1e5, 2e5), (0.0, 1.0))
    assert {panel.get_yscale() for panel in panels} == {"linear"}
    assert panels[TOKENS].get_ylim()[0] < 0 < 1 < panels[TOKENS].get_ylim()[1]

"""Objectives of images: what is hidden, what is wanted, and sums that can be done by hand."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

import tfattn
from pipelines.core.batches import Batches
from pipelines.core.engine import Engine
from pipelines.core.optimize import build_optimizer
from pipelines.core.train_config import TrainConfig
from pipelines.images import figures, mae
from pipelines.images.augment import Augmentation
from pipelines.images.classify import ImageClassificationObjective
from pipelines.images.mae import MaskedImagesObjective
from pipelines.images.processor import ImagePreprocessing
from pipelines.images.rows import ImageRows
from pipelines.images.sources import Images
from pipelines.images.spec import Augment, ImageClassification, MaskedImages
from tfattn.models.vision_config import VisionConfig
from tfattn.visualize import pixels

HOW = ImagePreprocessing(8, 12, 3)
CONFIG = VisionConfig(
    height=8, width=12, patch=4, dim=16, depth=1, heads=2, hidden_dim=32, kernel_std=None
)
NAMES = ("ant", "bee", "cow")


def rows_of(rng, count=7, labelled=True):
    pixels = rng.integers(0, 256, size=(count, 8, 12, 3)).astype(np.uint8)
    labels = rng.integers(0, 3, size=count).astype(np.int32) if labelled else None
    return ImageRows(Images([], pixels, [], [], "here"), HOW, labels)


def classes(augmentation=None, **spec):
    return ImageClassificationObjective(
        ImageClassification(classes=NAMES, **spec), HOW, augmentation
    )


def hidden(augmentation=None, seed=0, **spec):
    return MaskedImagesObjective(MaskedImages(**spec), CONFIG, HOW, seed, augmentation)


def batch_of(objective, rows, training=False, epoch=0, first=0, count=4):
    given = {k: tf.constant(v) for k, v in rows.read(np.arange(count)).items()}
    epochs = tf.fill([count], tf.constant(epoch, tf.int64))
    make = objective.training_batch if training else objective.batch
    return make(given, epochs, tf.range(first, first + count, dtype=tf.int64))


def test_images_are_scaled_and_labels_are_numbers(rng):
    rows = rows_of(rng)
    found = batch_of(classes(Augmentation(Augment(shift=0.4), 0)), rows)
    read = rows.read(np.arange(4))
    np.testing.assert_allclose(found["features"]["images"], read["images"] / 127.5 - 1, atol=1e-6)
    assert found["targets"].numpy().tolist() == read["label"].tolist()
    assert found["weights"]["rows"].numpy().tolist() == [1, 1, 1, 1]


def test_labels_of_training_are_smoothed_probabilities_of_changed_images(rng):
    rows = rows_of(rng)
    objective = classes(Augmentation(Augment(shift=0.0, mixup=0.5), 0), smoothing=0.3)
    found = batch_of(objective, rows, training=True)
    assert found["targets"].shape == (4, 3)
    np.testing.assert_allclose(found["targets"].numpy().sum(axis=-1), 1, rtol=1e-6)
    assert found["targets"].numpy().min() >= 0.0999
    plain = batch_of(objective, rows)["features"]["images"]
    assert not np.allclose(found["features"]["images"], plain)
    still = batch_of(classes(smoothing=0.3), rows, training=True)
    np.testing.assert_array_equal(still["features"]["images"], plain)
    label = rows.read(np.arange(4))["label"]
    np.testing.assert_allclose(still["targets"], 0.7 * np.eye(3)[label] + 0.1, rtol=1e-6)


def says(outputs):
    """Return a model that gives these outputs, whatever it reads."""
    return lambda features, training: tf.constant(outputs, tf.float32)


def test_cross_entropy_is_that_of_the_probabilities_or_of_the_label(rng):
    logits = rng.normal(size=(4, 3))
    log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets, weights = np.array([2, 0, 1, 1], np.int32), np.array([1, 1, 1, 0], np.float32)
    batch = {"features": {}, "weights": {"rows": tf.constant(weights)}}
    found, outputs = classes().measure(
        says(logits), {**batch, "targets": tf.constant(targets)}, False
    )
    assert float(found["loss"]) == pytest.approx(-log[range(3), targets[:3]].sum(), rel=1e-5)
    assert float(found["accuracy"]) == (logits.argmax(1) == targets)[:3].sum()
    shares = rng.dirichlet(np.ones(3), size=4)
    given = {**batch, "targets": tf.constant(shares, tf.float32)}
    found, _ = classes().measure(says(logits), given, True)
    assert float(found["loss"]) == pytest.approx(-(shares * log)[:3].sum(), rel=1e-5)
    np.testing.assert_allclose(outputs, logits, rtol=1e-6)


def cut(image):
    """Return the 6 patches of an image, row by row."""
    return np.stack([image[y : y + 4, x : x + 4].ravel() for y in (0, 4) for x in (0, 4, 8)])


@pytest.mark.parametrize(("rate", "kept"), [(0.75, 2), (0.5, 3), (0.01, 6), (0.99, 1)])
def test_the_share_of_the_patches_that_are_hidden(rate, kept, rng):
    found = batch_of(hidden(rate=rate), rows_of(rng, labelled=False))
    keep, weights = found["features"]["keep"].numpy(), found["weights"]["patches"].numpy()
    assert keep.shape == (4, kept) and weights.shape == (4, 6)
    for seen, weight in zip(keep, weights, strict=True):
        assert sorted(set(seen)) == list(seen)
        assert {i for i in range(6) if weight[i] == 0} == set(seen)


def test_what_is_hidden_hangs_on_seed_epoch_and_row_alone(rng):
    rows = rows_of(rng, labelled=False)
    keep = batch_of(hidden(rate=0.5), rows, count=7)["features"]["keep"].numpy()
    again = batch_of(hidden(rate=0.5), rows, count=4, training=True)["features"]["keep"].numpy()
    np.testing.assert_array_equal(keep[:4], again)
    for other in ({"epoch": 1}, {"first": 1}):
        found = batch_of(hidden(rate=0.5), rows, count=7, **other)["features"]["keep"].numpy()
        assert not np.array_equal(found, keep)
    found = batch_of(hidden(rate=0.5, seed=1), rows, count=7)["features"]["keep"].numpy()
    assert not np.array_equal(found, keep)
    assert len(np.unique(keep)) == 6


@pytest.mark.parametrize("normalized", [True, False])
def test_wanted_are_the_pixels_or_what_they_are_beside_their_own_patch(normalized, rng):
    rows = rows_of(rng, labelled=False)
    found = batch_of(hidden(normalized=normalized), rows)["targets"].numpy()
    for image, patches in zip(rows.read(np.arange(4))["images"], found, strict=True):
        wanted = cut(image / 127.5 - 1)
        if normalized:
            mean, std = wanted.mean(axis=1, keepdims=True), wanted.std(axis=1, keepdims=True)
            wanted = (wanted - mean) / std
        np.testing.assert_allclose(patches, wanted, rtol=1e-4, atol=1e-4)


def test_only_hidden_patches_count(rng):
    objective = hidden(rate=0.5)
    batch = batch_of(objective, rows_of(rng, labelled=False))
    said = batch["targets"].numpy().copy()
    said[0, :, :5] += 2.0  # of all 6 patches of one image, 3 of which are hidden
    found, outputs = objective.measure(says(said), batch, False)
    assert outputs is None
    assert float(found["loss"]) == pytest.approx(3 * 4.0 * 5 / 48, rel=1e-5)


@pytest.mark.parametrize("kind", ["classes", "hidden"])
@pytest.mark.parametrize(("accumulate", "lanes"), [(1, 1), (2, 1), (1, 2)])
def test_the_engine_learns_a_few_images_by_heart_and_counts_them(kind, accumulate, lanes, rng):
    rows = rows_of(rng, 6, labelled=kind == "classes")
    objective = classes(smoothing=0.0) if kind == "classes" else hidden(rate=0.5, dim=16)
    model = tfattn.build(CONFIG, *objective.heads)
    train = TrainConfig(
        steps=60, rate=1e-2, compile="graph", accumulate=accumulate, batch=6, lanes=lanes
    )
    engine = Engine(model, objective, build_optimizer(train, 60, model), train)
    batches = Batches(rows, objective.training_batch, 6, 0)
    numbers = [engine.step(batch) for batch in batches.stream(0, 60)]
    assert numbers[0]["images"] == 6 and numbers[0]["padding"] == 0
    measured = engine.evaluate(Batches(rows, objective.batch, 4, 0).in_order(), rows)
    alone = Engine(model, objective, None, replace(train, lanes=1))
    assert measured == pytest.approx(
        alone.evaluate(Batches(rows, objective.batch, 6, 0).in_order(), rows)
    )
    if kind == "classes":
        assert numbers[-1]["loss"] < 0.1 * numbers[0]["loss"]
        assert measured["accuracy"] == measured["macro_f1"] == 1.0
    else:  # of pictures of noise, seen anew each time, only so much
        assert numbers[-1]["loss"] < numbers[0]["loss"] and measured["loss"] > 0


def test_samples_are_a_table(rng):
    rows = rows_of(rng)
    for objective, columns in ((classes(), 3), (hidden(), 2)):
        model = tfattn.build(CONFIG, *objective.heads)
        lines = objective.report(model, batch_of(objective, rows), 2, figures=False).table
        assert len(lines) == 4 and all(line.count("|") == columns + 1 for line in lines)


def figures_of(objective, model, batch):
    """Return the figures of a report that has no table."""
    found = objective.report(model, batch, 0, figures=True)
    assert not found.table
    return found.figures


@pytest.fixture
def drawn(monkeypatch):
    """Return what figures are made of."""
    given = {}
    for module, name in ((figures, "patches_figure"), (mae, "drawn_figure")):
        monkeypatch.setattr(module, name, lambda *arrays, name=name: given.update({name: arrays}))
    return given


def test_the_figure_of_classes_shows_where_the_class_token_looks(rng, drawn):
    rows, objective = rows_of(rng), classes()
    model = tfattn.build(CONFIG, *objective.heads)
    batch = batch_of(objective, rows, count=6)
    assert set(figures_of(objective, model, batch)) == {"attention/patches"}
    images, looked = drawn["patches_figure"]
    np.testing.assert_allclose(images, rows.read(np.arange(4))["images"] / 255, atol=1e-6)
    assert looked.shape == (4, 2, 2, 3)
    _, weights = model(batch["features"], return_weights=True)
    wanted = np.asarray(weights[-1])[:4, :, 0]  # of 7 places, the class token first
    np.testing.assert_allclose(looked[:, :, 1, 2], wanted[:, :, 6], rtol=1e-6)
    np.testing.assert_allclose(looked.sum(axis=(2, 3)), 1 - wanted[:, :, 0], rtol=1e-5)


@pytest.mark.parametrize("normalized", [True, False])
def test_the_figure_of_hidden_patches_shows_what_is_seen_and_drawn(normalized, rng, drawn):
    rows, objective = rows_of(rng, labelled=False), hidden(rate=0.5, normalized=normalized)
    batch = batch_of(objective, rows)

    def model(features, training):
        return batch["targets"]  # it draws what was there

    assert set(figures_of(objective, model, batch)) == {"patches"}
    images, seen, made = drawn["drawn_figure"]
    np.testing.assert_allclose(made, images, atol=1e-3)
    weights = batch["weights"]["patches"].numpy()
    for image, shown, hid in zip(images, seen, weights, strict=True):
        for number, (before, after) in enumerate(zip(cut(image), cut(shown), strict=True)):
            # What is hidden is gray, the middle of white and black.
            np.testing.assert_allclose(after, 0.5 if hid[number] else before, atol=1e-6)


def test_figures_of_images_are_pictures(rng):
    rows = rows_of(rng)
    for objective in (classes(), hidden()):
        model = tfattn.build(CONFIG, *objective.heads)
        (figure,) = figures_of(objective, model, batch_of(objective, rows)).values()
        picture = pixels(figure)
        assert picture.dtype == np.uint8 and picture.shape[-1] == 4 and np.ptp(picture) > 0

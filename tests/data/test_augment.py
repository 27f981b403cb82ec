"""Augmentation changes images as it is asked to, and is a pure function of seed, epoch and row."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines.images.augment import Augmentation
from pipelines.images.spec import Augment
from tfattn.errors import InputError

NOTHING = {"shift": 0.0}
KINDS = {
    "shift": {"shift": 0.3},
    "flip": {"flip": True},
    "randaugment": {"randaugment": 0.5},
    "erase": {"erase": 1.0},
    "mixup": {"mixup": 0.8},
    "cutmix": {"cutmix": 1.0},
    "all": {
        "shift": 0.1, "flip": True, "randaugment": 0.3, "erase": 0.5, "mixup": 0.8, "cutmix": 1.0
    },
}  # fmt: skip
LABELS = np.eye(8, dtype=np.float32)


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, size=(8, 16, 16, 3)).astype(np.uint8)


def changed(images, given, seed=0, epoch=0, row=0):
    """Return images and labels as a traced function of a stream gives them."""
    augment = Augmentation(Augment(**{**NOTHING, **given}), seed)

    @tf.function(autograph=False)
    def call(epoch, row):
        return augment(images, tf.constant(LABELS), epoch, row)

    epochs = tf.fill([8], tf.constant(epoch, tf.int64))
    found, labels = call(epochs, tf.range(row, row + 8, dtype=tf.int64))
    return found.numpy(), labels.numpy()


def test_nothing_is_changed_that_is_not_asked_for(images):
    found, labels = changed(images, {})
    np.testing.assert_array_equal(found, images)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_row_is_changed_in_the_same_way_and_another_epoch_in_others(kind, images):
    given = KINDS[kind]
    first, labels = changed(images, given, seed=3, epoch=2, row=40)
    again, same = changed(images, given, seed=3, epoch=2, row=40)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(labels, same)
    assert first.shape == images.shape and first.dtype == np.float32
    assert not np.array_equal(first, images)
    for other in ({"seed": 4}, {"epoch": 3}, {"row": 41}):
        moved, _ = changed(images, given, **{"seed": 3, "epoch": 2, "row": 40, **other})
        assert not np.array_equal(moved, first)


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_stay_what_pixels_can_be_and_labels_sum_to_one(kind, images):
    found, labels = changed(images, KINDS[kind])
    assert found.min() >= -1e-3 and found.max() <= 255.001
    np.testing.assert_allclose(labels.sum(axis=-1), 1, rtol=1e-5)
    mixes = kind in ("mixup", "cutmix", "all")
    assert np.array_equal(labels, LABELS) == (not mixes)


def test_a_flip_turns_some_images_around(images):
    found, _ = changed(images, KINDS["flip"])
    turned = [np.array_equal(a, b[:, ::-1]) for a, b in zip(found, images, strict=True)]
    kept = [np.array_equal(a, b) for a, b in zip(found, images, strict=True)]
    assert any(turned) and any(kept) and all(np.logical_xor(turned, kept))


def test_a_shift_moves_what_is_seen_by_no_more_than_asked():
    dot = np.zeros((8, 16, 16, 1), np.uint8)
    dot[:, 8, 8] = 255
    found, _ = changed(dot, {"shift": 0.25})
    y, x = np.mgrid[:16, :16]
    mass = found[..., 0].sum(axis=(1, 2))
    middle = [(found[..., 0] * grid).sum(axis=(1, 2)) / mass - 8 for grid in (y, x)]
    assert np.abs(middle).max() <= 4.01 and np.abs(middle).max() > 0.5


def test_mixed_labels_are_those_of_the_mixed_images():
    images = np.zeros((8, 16, 16, 3), np.uint8)
    images += (np.arange(8, dtype=np.uint8) * 30)[:, None, None, None]
    # A rectangle is of whole pixels: a row of 16 or less is what its label may be off by.
    for kind, off in (("mixup", 0.01), ("cutmix", 210 / 16)):
        found, labels = changed(images, KINDS[kind])
        wanted = labels @ (np.arange(8) * 30.0)  # as the label says, so is the mean brightness
        np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), wanted, rtol=0, atol=off)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shift": 1.5}, r"Augment.shift: expected a share from 0 to 1. Received: 1.5"),
        ({"erase": -0.1}, r"Augment.erase: expected a share from 0 to 1. Received: -0.1"),
        ({"mixup": -1.0}, r"Augment.mixup: expected 0 or more. Received: -1.0"),
    ],
)
def test_what_cannot_be_done_to_an_image(given, message):
    with pytest.raises(InputError, match=message):
        Augment(**given)

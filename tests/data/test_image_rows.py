"""Pictures as the images of a model: the same numbers from files, arrays and served bytes."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines.images.processor import ImagePreprocessing, decoded, fitted, scaled
from pipelines.images.rows import ImageRows
from pipelines.images.sources import Images, read_images
from tfattn.errors import InputError

KINDS = {
    "a.png": tf.io.encode_png,
    "b.jpg": lambda x: tf.io.encode_jpeg(x, quality=100, chroma_downsampling=False),
}


def smooth(height, width, channels=3):
    """Return a picture of slopes, which JPEG keeps."""
    y, x = np.mgrid[:height, :width]
    planes = [200 * x / width, 200 * y / height, 100 + 50 * x / width]
    return np.stack(planes[:channels], axis=-1).astype(np.uint8)


def as_images(pixels):
    return Images([], pixels, [], [], "here")


def halves(pixels):
    """Return the picture at half its size by the weights of a triangle two pixels wide."""
    for axis in (0, 1):
        moved = np.moveaxis(pixels.astype(float), axis, 0)
        padded = np.pad(moved, ((1, 1), (0, 0), (0, 0)))
        there = np.pad(np.ones(len(moved)), 1)
        parts = [slice(offset, offset + len(moved) - 1, 2) for offset in range(4)]
        weights = (0.25, 0.75, 0.75, 0.25)  # at distances of 1.5 and 0.5 pixels
        total = sum(w * padded[part] for w, part in zip(weights, parts, strict=True))
        share = sum(w * there[part] for w, part in zip(weights, parts, strict=True))
        pixels = np.moveaxis(total / share[:, None, None], 0, axis)
    return pixels


@pytest.mark.parametrize("name", KINDS)
def test_an_encoded_picture_is_its_pixels(name):
    picture = smooth(64, 48)
    found = decoded(KINDS[name](picture), ImagePreprocessing(64, 48, 3)).numpy()
    assert found.dtype == np.uint8 and found.shape == (64, 48, 3)
    # JPEG keeps slopes but for a few levels.
    np.testing.assert_allclose(found, picture, atol=0 if name == "a.png" else 6)


def test_gray_and_colours_are_as_the_model_reads_them():
    gray = tf.io.encode_png(smooth(4, 4, 1))
    assert np.ptp(decoded(gray, ImagePreprocessing(4, 4, 3)).numpy(), axis=-1).max() == 0
    clear = np.concatenate([smooth(4, 4), np.zeros((4, 4, 1), np.uint8)], axis=-1)
    found = decoded(tf.io.encode_png(clear), ImagePreprocessing(4, 4, 3)).numpy()
    np.testing.assert_array_equal(found, smooth(4, 4))
    assert decoded(tf.io.encode_png(smooth(4, 4)), ImagePreprocessing(4, 4, 1)).shape == (4, 4, 1)


def test_smaller_is_a_mean_over_the_pixels(rng):
    picture = rng.integers(0, 256, size=(8, 12, 3)).astype(np.uint8)
    found = fitted(tf.constant(picture), ImagePreprocessing(4, 6, 3)).numpy()
    np.testing.assert_allclose(found, halves(picture), atol=0.5001)


@pytest.mark.parametrize(("height", "width"), [(8, 20), (20, 8), (4, 10)])
def test_a_crop_keeps_proportions_and_the_middle(height, width):
    y, x = np.mgrid[:height, :width]
    radius = np.hypot((y + 0.5 - height / 2), (x + 0.5 - width / 2)) / min(height, width)
    picture = np.repeat(np.where(radius < 0.3, 255, 0).astype(np.uint8)[..., None], 3, axis=-1)
    found = fitted(tf.constant(picture), ImagePreprocessing(16, 16, 3)).numpy()[..., 0] / 255
    for turned in (found[::-1], found[:, ::-1]):  # the disc is in the middle
        np.testing.assert_allclose(found, turned, atol=0.01)
    np.testing.assert_allclose(found, found.T, atol=0.01)  # and a disc
    stretched = ImagePreprocessing(16, 16, 3, fit="stretch")
    wide = fitted(tf.constant(picture), stretched).numpy()[..., 0]
    assert (wide > 127).any(axis=0).sum() != (wide > 127).any(axis=1).sum()


def test_numbers_are_scaled_by_channel():
    how = ImagePreprocessing(1, 1, 3, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    found = scaled(tf.constant([[[0, 255, 51]]], tf.uint8), how).numpy()
    np.testing.assert_allclose(found, [[[0.0, 1.0, -3.2]]], rtol=1e-6)
    found = scaled(tf.constant([[[255, 0, 255]]], tf.uint8), ImagePreprocessing(1, 1, 3)).numpy()
    np.testing.assert_allclose(found, [[[1.0, -1.0, 1.0]]], rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"channels": 2}, r"channels: expected 1 \(gray\) or 3 \(colours\). Received: 2"),
        ({"mean": (0.1, 0.2)}, r"mean: expected a number for each of the 3 channels.*0\.2"),
        ({"std": (0.5, 0.0, 0.5)}, r"std: expected numbers over 0"),
    ],
)
def test_preprocessing_that_cannot_be(given, message):
    with pytest.raises(InputError, match=message):
        ImagePreprocessing(**{"height": 4, "width": 4, "channels": 3, **given})


def test_preprocessing_goes_with_the_weights(tmp_path):
    how = ImagePreprocessing(4, 6, 3, "stretch", (0.1, 0.2, 0.3))
    how.save(tmp_path / "preprocessing.json")
    assert ImagePreprocessing.load(tmp_path / "preprocessing.json") == how


def test_rows_of_pictures_and_of_arrays_are_the_same(tmp_path, rng):
    pixels = rng.integers(0, 256, size=(5, 9, 7, 3)).astype(np.uint8)
    for number, picture in enumerate(pixels):
        path = tmp_path / "folder" / "abcde"[number] / "x.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(tf.io.encode_png(picture).numpy())
    how, labels = ImagePreprocessing(4, 4, 3), np.arange(5, dtype=np.int32)
    files = ImageRows(read_images([str(tmp_path / "folder")]), how, labels)
    memory = ImageRows(as_images(pixels), how, labels)
    assert len(files) == len(memory) == 5
    wanted = np.array([4, 0, 4])
    first, second = files.read(wanted), memory.read(wanted)
    np.testing.assert_array_equal(first["images"], second["images"])
    assert first["images"].shape == (3, 4, 4, 3) and first["images"].dtype == np.uint8
    assert first["label"].tolist() == second["label"].tolist() == [4, 0, 4]
    assert list(ImageRows(as_images(pixels), how).read(wanted)) == ["images"]


def test_gray_arrays_have_the_channels_of_the_model(rng):
    gray = rng.integers(0, 256, size=(3, 8, 8, 1)).astype(np.uint8)
    colours = ImagePreprocessing(4, 4, 3, mean=(0.1, 0.2, 0.3), std=(0.1, 0.2, 0.3))
    found = ImageRows(as_images(gray), colours).read(np.arange(3))["images"]
    plain = ImageRows(as_images(gray), ImagePreprocessing(4, 4, 1)).read(np.arange(3))["images"]
    np.testing.assert_array_equal(found, np.repeat(plain, 3, axis=-1))
    with pytest.raises(InputError, match=r"here: expected gray images .* Received: 3 channels"):
        ImageRows(as_images(np.repeat(gray, 3, axis=-1)), ImagePreprocessing(4, 4, 1))


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n and no more", b"\xff\xd8\xff"])
def test_a_picture_that_is_broken_is_named(content, tmp_path):
    path = tmp_path / "a" / "broken.png"
    path.parent.mkdir()
    path.write_bytes(content)
    rows = ImageRows(read_images([str(tmp_path)]), ImagePreprocessing(4, 4, 3))
    with pytest.raises(InputError, match=r"broken\.png: expected a picture\. "):
        rows.read(np.array([0]))

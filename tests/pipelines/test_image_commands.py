"""From a folder of pictures to a served model, by the commands."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf
from finished import command
from sklearn.datasets import load_digits

from pipelines.__main__ import main
from pipelines.commands.table import parsing
from pipelines.images.spec import ImageClassification, ImageData, MaskedImages

SIZE = (
    *("--model.height", "8", "--model.width", "8", "--model.channels", "1", "--model.patch", "4"),
    *("--model.dim", "16", "--model.depth", "1", "--model.hidden-dim", "32"),
)
STEPS = (
    *("--train.steps", "20", "--train.batch", "32", "--train.compile", "graph"),
    *("--train.precision", "float32"),
    *("--train.rate", "5e-3", "--monitor.no-histograms", "--monitor.samples", "2"),
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Write zeros and ones as pictures, a folder each, of train and validation."""
    folder = tmp_path_factory.mktemp("pictures")
    pixels, labels = load_digits(n_class=2, return_X_y=True)
    for number, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
        split = "validation" if number % 5 == 0 else "train"
        path = folder / split / ("zero", "one")[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        gray = np.round(picture.reshape(8, 8, 1) * (255 / 16)).astype(np.uint8)
        wide = np.kron(gray, np.ones((2, 2, 3), np.uint8))  # of another size, and in colours
        path.write_bytes(tf.io.encode_png(wide).numpy())
    return folder


@pytest.fixture(scope="module")
def masked(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "masked"
    data = ("--data.images", pictures / "train", "--objective.dim", "16")
    found = command("pretrain", "vit-tiny", *SIZE, *data, *STEPS, "--out", out)
    assert found["after"]["loss"] < found["before"]["loss"]
    return out


@pytest.fixture(scope="module")
def kinds(masked, pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "kinds"
    data = ("--data.images", pictures / "train", "--data.validation", pictures / "validation")
    found = command(
        "finetune", "image-classification", "--init", masked, *data, *STEPS, "--out", out
    )
    assert found["after"]["accuracy"] > 0.8
    return out


def test_a_run_is_measured_on_its_own_images_and_on_others(masked, kinds, pictures):
    for run in (masked, kinds):
        after = json.loads((run / "result.json").read_text())["after"]
        found = command("evaluate", run)
        assert {name: found[name] for name in after} == pytest.approx(after, rel=1e-5, abs=1e-6)
    found = command("evaluate", kinds, "--data.files", pictures / "train")
    assert found["rows"] == 288 and found["accuracy"] > 0.8
    assert found["files"] == [str(pictures / "train")]


def test_what_is_served_reads_the_bytes_of_pictures(kinds, pictures, tmp_path):
    about = command("export", kinds, "--out", tmp_path / "out")
    assert about["inputs"] == ["picture"]
    assert about["outputs"] == ["classes", "label", "probabilities"]
    serve = tf.saved_model.load(about["saved_model"]).signatures["serving_default"]
    paths = sorted((pictures / "validation").rglob("*.png"))
    found = serve(picture=tf.constant([path.read_bytes() for path in paths]))
    said = [label.decode() for label in found["label"].numpy()]
    right = np.mean([path.parent.name == name for path, name in zip(paths, said, strict=True)])
    assert right == pytest.approx(command("evaluate", kinds)["accuracy"])
    np.testing.assert_allclose(found["probabilities"].numpy().sum(axis=1), 1, rtol=1e-5)
    assert found["classes"].numpy()[0].tolist() == [b"one", b"zero"]
    jpeg = tf.io.encode_jpeg(np.zeros((30, 20, 3), np.uint8))
    assert serve(picture=tf.stack([jpeg]))["label"].shape == (1,)
    assert serve(picture=tf.constant([], tf.string))["label"].shape == (0,)


def test_a_masked_autoencoder_is_served_as_a_vector(masked, pictures, tmp_path):
    about = command("export", masked, "--out", tmp_path / "out")
    serve = tf.saved_model.load(about["saved_model"]).signatures["serving_default"]
    picture = next((pictures / "train").rglob("*.png")).read_bytes()
    found = serve(picture=tf.constant([picture, picture]))["embedding"].numpy()
    assert found.shape == (2, 16)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-5)  # of the same picture


def test_the_defaults_are_those_of_images(masked):
    assert isinstance(parsing("pretrain", ["vit-mini"]).default.objective, MaskedImages)
    words = ["vit-mini", "--task", "image-classification"]
    found = parsing("pretrain", words).default
    assert isinstance(found.objective, ImageClassification) and isinstance(found.data, ImageData)
    for folder in (masked, masked / "model"):
        found = parsing("pretrain", ["--init", str(folder)]).default
        assert isinstance(found.objective, MaskedImages) and isinstance(found.data, ImageData)
    assert isinstance(parsing("finetune", ["image-classification"]).default.data, ImageData)


BAD = {
    "a folder that is not there": (
        "pretrain vit-tiny --data.images nowhere", r"data.images: expected folders, or an .npz"
    ),
    "text for a model of images": (
        "pretrain vit-tiny --task masked-lm",
        r"model: expected a single stack, .* for masked-lm\. Received: a model of images",
    ),
    "images for a model of text": (
        "pretrain bert-tiny --task masked-images",
        r"model: expected a model of images.* for masked-images\. Received: a single",
    ),
    "a field of text": (
        "pretrain vit-tiny --model.max-length 8",
        r"^error: model.max_length: expected none, for a VisionConfig has no such field. .*: 8",
    ),
    "a share of nothing": (
        "pretrain vit-tiny --objective.rate 1.0", r"objective.rate: expected a share between 0 and"
    ),
    "a shift out of the image": (
        "pretrain vit-tiny --data.augment.shift 2", r"data.augment.shift: expected a share"
    ),
    "patches that do not fit": (
        "pretrain vit-tiny --model.patch 5", r"model.height: expected a multiple of the patches of"
    ),
    "means of two channels": (
        "pretrain vit-tiny --data.mean 0.5 0.4", r"data.mean: expected a number for each of the 3"
    ),
    "a mask to fill": ("fill {masked} --text [MASK]", r"masked: expected a masked language model"),
    "a text to go on": ("generate {masked} --prompt a", r"expected a .*model"),
    "a text to translate": ("translate {masked} --text a", r"masked: expected a model of text"),
    "tokens of an image": (
        "export {masked} --tokens 3",
        r"tokens: expected none, for .*masked, a run of masked-images, has no use .*: 3",
    ),
    "a stride over images": (
        "evaluate {masked} --stride 3",
        r"stride: expected none, for .*masked, a run of masked-images, has no use .*: 3",
    ),
    "bytes that are not UTF-8": (
        "evaluate {masked} --data.encoding-errors replace", r"encoding_errors: expected none"
    ),
    "classes of text": (
        "finetune classify --init {masked} --data.train {table} --data.validation {table}",
        r"init: .*masked: expected a single stack, .* for classify\. Received: a model of images",
    ),
    "a ladder of images": (
        "scaling --presets vit-tiny",
        r"presets: expected a single stack.* Received: vit-tiny, a model of no text",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_go_with_images(name, masked, tmp_path, capsys, monkeypatch):
    words, message = BAD[name]
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "a.tsv"
    table.write_text("text\tlabel\na\t0\nb\t1\n")
    words = words.format(masked=masked, table=table).split()
    assert main(words) == 2
    out, err = capsys.readouterr()
    (said,) = (line for line in err.splitlines() if line.startswith("error: "))
    assert out == "" and said.endswith(".")
    assert re.search(message, said), said

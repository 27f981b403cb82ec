"""Models of images learn from images alone, are resumed exactly, and start from one another."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import tfattn
from pipelines.core.engine import Engine
from pipelines.core.run import Interrupted
from pipelines.core.spec import Recipe
from pipelines.core.start import starting_point
from pipelines.core.train import train
from pipelines.core.train_config import MonitorConfig, TrainConfig
from pipelines.images.processor import ImagePreprocessing, ImageProcessor
from pipelines.images.spec import Augment, ImageClassification, ImageData, MaskedImages
from pipelines.images.splits import ImageSplits
from pipelines.text.sources import TableData, TextData
from pipelines.text.spec import CausalLM, Classification, MaskedLM
from tfattn.errors import InputError
from tfattn.families import preset

CONFIG = replace(preset("vit-tiny"), height=8, width=8, channels=1, patch=2, dim=32, depth=2)
QUIET = MonitorConfig(histograms=False, samples=2)
STEPS = TrainConfig(steps=6, rate=2e-3, batch=32, compile="graph", evaluate_every=3)
MIXED = ImageData(augment=Augment(mixup=0.5, cutmix=0.5))


def masked(**given):
    return Recipe(CONFIG, MaskedImages(dim=16), ImageData(), replace(STEPS, **given), QUIET)


def classes(init, **given):
    return Recipe(
        None, ImageClassification(), MIXED, replace(STEPS, **given), QUIET, init=str(init)
    )


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    out = tmp_path_factory.mktemp("images") / "masked"
    return out, train(masked(), out)


@pytest.fixture(scope="module")
def classifier(pretrained, tmp_path_factory):
    out = tmp_path_factory.mktemp("images") / "classes"
    return out, train(classes(pretrained[0]), out)


def test_a_model_learns_from_images_without_labels(pretrained):
    out, result = pretrained
    assert result["steps"] == 6 and result["after"]["loss"] < result["before"]["loss"]
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    (last,) = (line for line in lines if line["split"] == "train" and line["step"] == 6)
    assert last["images"] == 32 and last["images_per_second"] > 0 and last["padding"] == 0
    config, heads, _ = tfattn.read(out / "model")
    assert config == CONFIG and [head.name for head in heads] == ["pixels"]
    assert ImageProcessor.load(out / "model", config).preprocessing == ImagePreprocessing(8, 8, 1)


def test_classes_start_from_it_without_its_decoder(pretrained, classifier):
    out, result = classifier
    assert set(result["after"]) == {"loss", "accuracy", "macro_f1", "matthews"}
    _, heads, weights = tfattn.read(out / "model")
    assert [head.name for head in heads] == ["classify"] and heads[0].classes == 10
    assert not any(path.startswith("pixels") for path in weights)
    resolved = Recipe.load(out / "resolved.json")
    assert resolved.objective.classes == tuple("0123456789")
    # It began where the other ended, but for six steps.
    _, _, before = tfattn.read(pretrained[0] / "model")
    path = "stem/patches/kernel"
    moved = np.abs(weights[path] - before[path]).max()
    assert 0 < moved < np.abs(before[path]).max()


def test_a_run_that_was_stopped_ends_in_the_same_weights(pretrained, classifier, tmp_path):
    """Patience ends a run early; the checkpoint is as good as that of a run which was killed."""
    for given, (out, _) in ((masked, pretrained), (None, classifier)):
        recipe = given() if given else classes(pretrained[0])
        folder = tmp_path / ("a" if given else "b")
        train_until(recipe, folder, 3)
        train(recipe, folder)
        ours, theirs = (tfattn.read(run / "model")[2] for run in (folder, out))
        for path, weight in theirs.items():
            np.testing.assert_array_equal(ours[path], weight, err_msg=path)


def train_until(recipe, folder, step):
    """Train as a run that is interrupted after a step."""
    take, taken = Engine.step, []

    def stop(self, batch):
        if len(taken) == step:
            raise Interrupted("killed")
        taken.append(1)
        return take(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "step", stop)
        with pytest.raises(Interrupted):
            train(recipe, folder)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            Recipe(CONFIG, MaskedLM(), TextData()),
            r"model: expected a single stack, .* for masked-lm. Received: a model of images",
        ),
        (
            Recipe(CONFIG, CausalLM(), TextData()),
            r"model: expected a single stack, .* for causal-lm. Received: a model of images",
        ),
        (
            Recipe(preset("bert-tiny"), MaskedImages(), ImageData()),
            r"model: expected a model of images, .* for masked-images. Received: a single stack",
        ),
        (
            Recipe(CONFIG, MaskedImages(), ImageData(images=("embedded:letters",))),
            r"data.images: expected folders, an .npz or embedded:digits. Rec.*: embedded:letters",
        ),
        (
            Recipe(CONFIG, MaskedImages(), ImageData(images=("nowhere",))),
            r"data.images: expected folders, or an .npz. Received: none at nowhere",
        ),
        (
            Recipe(CONFIG, MaskedImages(), ImageData(validation_share=1e-6)),
            r"data.validation_share: expected to hold out some of 1797 images. Received: 1e-06",
        ),
        (
            Recipe(CONFIG, ImageClassification(classes=("0", "1")), ImageData()),
            r"embedded:digits, row \d+: unknown class '2'",
        ),
        (
            Recipe(replace(CONFIG, channels=2), MaskedImages(), ImageData()),
            r"channels: expected 1 \(gray\) or 3 \(colours\). Received: 2",
        ),
    ],
)
def test_what_does_not_go_together(recipe, message, tmp_path):
    with pytest.raises(InputError, match=message):
        train(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_goes_on_with_larger_images_by_resized_positions(pretrained, tmp_path):
    recipe = classes(pretrained[0], steps=2, evaluate_every=2)
    larger = replace(recipe, data=replace(MIXED, size=(12, 16)))
    start = starting_point(larger)
    table = start.weights["stem/positions/embeddings"]
    before = starting_point(recipe).weights["stem/positions/embeddings"]
    assert table.shape == (1 + 6 * 8, 32) and start.processor.preprocessing.shape == (12, 16, 1)
    np.testing.assert_array_equal(table[0], before[0])  # that of the class token
    train(larger, tmp_path / "out")
    config, _, _ = tfattn.read(tmp_path / "out" / "model")
    loaded = ImageProcessor.load(tmp_path / "out" / "model", config)
    assert config == replace(CONFIG, height=12, width=16)
    assert loaded.preprocessing.shape == (12, 16, 1)
    with pytest.raises(InputError, match=r"data\.size: height: expected a multiple .*: 11"):
        starting_point(replace(recipe, data=replace(MIXED, size=(11, 16))))
    with pytest.raises(InputError, match=r"data\.size: expected none without --init"):
        replace(masked(), data=replace(MIXED, size=(16, 16)))


def test_a_picture_that_breaks_off_is_named_when_it_is_wanted(tmp_path, rng):
    import tensorflow as tf

    for number in range(8):
        picture = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        encoded = tf.io.encode_png(rng.integers(0, 256, size=(8, 8, 1)).astype("uint8")).numpy()
        picture.write_bytes(encoded[:60] if number == 5 else encoded)
    data = ImageData(images=(str(tmp_path / "pictures"),), validation_share=0.2)
    recipe = Recipe(CONFIG, ImageClassification(), data, replace(STEPS, batch=4), QUIET)
    wanted = r"b/5\.png: expected a picture\. Invalid PNG data, size 60\.+$"
    with pytest.raises(InputError, match=wanted):
        train(recipe, tmp_path / "out")


def test_an_npz_of_two_splits_is_measured_on_the_second(tmp_path, rng):
    x, y = rng.integers(0, 256, size=(12, 8, 8)).astype("uint8"), np.arange(12) % 2
    np.savez(tmp_path / "both.npz", x_train=x[:8], y_train=y[:8], x_test=x[8:], y_test=y[8:])
    np.savez(tmp_path / "one.npz", x_train=x, y_train=y)
    for name, counts in (("both", (8, 4)), ("one", (9, 3))):
        data = ImageData(images=(str(tmp_path / f"{name}.npz"),), validation_share=0.25)
        found = ImageSplits(labelled=True).read(data)
        assert tuple(map(len, found)) == counts
    np.testing.assert_array_equal(
        ImageSplits(True)
        .read(replace(data, images=(str(tmp_path / "both.npz"),)))[1]
        .pixels[..., 0],
        x[8:],
    )


def test_a_model_of_images_classifies_no_texts(pretrained, tmp_path):
    table = tmp_path / "a.tsv"
    table.write_text("text\tlabel\na\t0\nb\t1\n")
    data = TableData((str(table),), (str(table),))
    recipe = Recipe(None, Classification(), data, STEPS, init=str(pretrained[0]))
    with pytest.raises(
        InputError, match=r"init: .*masked: expected a single stack, .* for classify"
    ):
        train(recipe, tmp_path / "out")


def test_a_model_goes_on_with_the_preprocessing_that_it_knows(pretrained, tmp_path):
    shutil.copytree(pretrained[0] / "model", tmp_path / "published")
    (tmp_path / "published" / "preprocessing.json").unlink()
    recipe = classes(tmp_path / "published")
    said = {"image_mean": [0.4], "image_std": [0.2], "do_center_crop": True}
    for described, data, wanted in (
        (None, MIXED, ((0.5,), (0.5,), "crop")),
        ({**said, "do_center_crop": False}, MIXED, ((0.4,), (0.2,), "stretch")),
        (said, MIXED, ((0.4,), (0.2,), "crop")),
        (said, replace(MIXED, std=(0.3,), fit="stretch"), ((0.4,), (0.3,), "stretch")),
    ):
        if described is not None:
            path = tmp_path / "published" / "preprocessor_config.json"
            path.write_text(json.dumps(described))
        changed = replace(recipe, data=data)
        made = ImageSplits(True).processor(changed, starting_point(recipe)).preprocessing
        assert (made.mean, made.std, made.fit) == wanted
    for broken in (
        "[]",
        "{",
        '{"image_mean": 3}',
        '{"image_std": [0, 0, 0]}',
        '{"image_mean": "a"}',
    ):
        path.write_text(broken)
        with pytest.raises(InputError, match=r"preprocessor_config.json: expected how pictures"):
            starting_point(recipe)


def test_preprocessing_has_to_fit_the_model(pretrained, tmp_path):
    shutil.copytree(pretrained[0], tmp_path / "run")
    ImagePreprocessing(8, 9, 1).save(tmp_path / "run" / "model" / "preprocessing.json")
    with pytest.raises(InputError, match=r"preprocessing.json: expected images of \(8, 8, 1\)"):
        train(classes(tmp_path / "run"), tmp_path / "out")

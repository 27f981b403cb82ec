"""Fine-tuning from published weights, end to end by the commands."""

import json

import numpy as np
import pytest
import tensorflow as tf
from finished import SHORT, command
from safetensors.numpy import load_file

import tfattn
from pipelines.core.spec import Recipe
from pipelines.text.spec import MaskedLM


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    """Fine-tune a published folder, with its pooler, at a rate of almost nothing."""
    out = tmp_path_factory.mktemp("published") / "run"
    words = ("--init", finished.published, *finished.labelled(), "--out", out, *SHORT)
    command("finetune", "classify", *words, "--classify.pool", "pooler", "--train.rate", "1e-12")
    return out


def test_it_starts_from_the_published_weights(run, finished):
    _, _, published = tfattn.read(finished.published)
    ours = load_file(run / "model" / "model.safetensors")
    kept = [path for path in ours if path in published]
    assert len(kept) > 20 and any(path.startswith("pooler/") for path in kept)
    for path in kept:
        np.testing.assert_allclose(ours[path], published[path], atol=1e-6, err_msg=path)
    assert {path.split("/")[0] for path in set(ours) - set(kept)} == {"classify"}


def test_it_keeps_the_published_vocabulary_and_shape(run, finished):
    vocabulary = (finished.published / "vocab.txt").read_text()
    assert (run / "model" / "vocab.txt").read_text() == vocabulary
    config = Recipe.load(run / "resolved.json").model
    assert (config.dim, config.max_length) == (16, 32)
    assert config.vocab_size == len(vocabulary.splitlines())


def test_it_is_evaluated_and_exported_like_any_run(run, tmp_path):
    found = command("evaluate", run)
    after = json.loads((run / "result.json").read_text())["after"]
    assert {name: found[name] for name in after} == pytest.approx(after, rel=1e-5, abs=1e-6)
    command("export", run, "--out", tmp_path / "out")
    model = tf.saved_model.load(str(tmp_path / "out" / "1"))
    answer = model.signatures["serving_default"](text=tf.constant(["the cat sat"]))
    assert answer["probabilities"].shape == (1, 2)


def test_fresh_takes_the_shape_and_the_vocabulary_but_no_weights(finished, tmp_path):
    words = ("--init", finished.published, *finished.labelled(), "--fresh", *SHORT)
    command("finetune", "classify", *words, "--out", tmp_path / "run", "--train.rate", "1e-12")
    _, _, published = tfattn.read(finished.published)
    ours = load_file(tmp_path / "run" / "model" / "model.safetensors")
    name = "stem/tokens/embeddings"
    assert ours[name].shape == published[name].shape
    assert np.abs(ours[name] - published[name]).max() > 1e-2


def test_a_model_may_be_pretrained_further(finished, tmp_path):
    words = ("--init", finished.published, "--data.files", finished.corpus, "--data.length", "32")
    command("pretrain", *words, "--out", tmp_path / "run", *SHORT, "--train.rate", "1e-12")
    _, _, published = tfattn.read(finished.published)
    ours = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert set(published) - set(ours) == {"pooler/kernel", "pooler/bias"}
    for path, weight in ours.items():
        np.testing.assert_allclose(weight, published[path], atol=1e-6, err_msg=path)
    recipe = Recipe.load(tmp_path / "run" / "recipe.json")
    assert recipe.model is None and isinstance(recipe.objective, MaskedLM)

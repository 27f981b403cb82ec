"""Writing a target from a source: what is read and weighed, the loss, and what is shown."""

import math
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import STILL, engine

import tfattn
from pipelines.core.batches import Batches
from pipelines.text.data.source_target_rows import SourceTargetRows, example_of
from pipelines.text.generation.writer import Writer
from pipelines.text.seq2seq import Seq2SeqObjective
from tfattn.models.config import EncoderDecoderConfig, Tokens
from tfattn.models.sampling import Sampling

HEAD = Tokens(transform=False)
SIDE = replace(STILL, types=0, position="sinusoidal", max_length=64)
PAIR = EncoderDecoderConfig(
    SIDE, replace(SIDE, masks=(tfattn.Causal(),), layout=("self", "cross", "feedforward"))
)
SOURCES = ["ba do ka", "lu", "mo na ne pi po ra"]
TARGETS = ["ka do", "pi pi pi", "ra po"]


@pytest.fixture(scope="module")
def rows(tokenizer):
    return SourceTargetRows(tokenizer, SOURCES, TARGETS, tokenizer.separator_id, 16)


@pytest.fixture
def made(rows, tokenizer):
    """Return the objective, and a batch of all pairs in their order."""
    objective = Seq2SeqObjective(HEAD, tokenizer, example_of)
    (batch,) = Batches(rows, objective.batch, 3, 0).in_order()
    return objective, batch


def shown_of(objective, model, batch, count):
    return objective.report(model, batch, count, figures=False).table


def test_the_decoder_reads_the_target_one_place_later(made, tokenizer):
    _, batch = made
    features = {name: array.numpy() for name, array in batch["features"].items()}
    targets, weights = batch["targets"]["tokens"].numpy(), batch["weights"]["tokens"].numpy()
    for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        read, written = (
            [*tokenizer.encode_batch([text])[0], tokenizer.separator_id]
            for text in (source, target)
        )
        there, count = features["segments"][row] > 0, len(written)
        assert features["tokens"][row][there].tolist() == read
        assert not there[len(read) :].any() and there[: len(read)].all()
        assert targets[row, :count].tolist() == written
        begun = [tokenizer.start_id, *written[:-1]]
        assert features["target_tokens"][row, :count].tolist() == begun
        ones = (np.arange(targets.shape[1]) < count).astype(int)
        np.testing.assert_array_equal(weights[row], ones)
        np.testing.assert_array_equal(features["target_segments"][row], ones)


def test_the_loss_is_cross_entropy_of_every_token_and_the_end(made):
    objective, batch = made
    model = engine(objective, PAIR).model
    logits = model(batch["features"], training=False).numpy().astype("float64")
    targets, weights = batch["targets"]["tokens"].numpy(), batch["weights"]["tokens"].numpy()
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    each = -np.log(np.take_along_axis(shares, targets[..., None], axis=-1)[..., 0])
    found, outputs = objective.measure(model, batch, False)
    np.testing.assert_allclose(found["loss"], (each * weights).sum(), rtol=1e-5)
    assert float(found["accuracy"]) == ((logits.argmax(-1) == targets) * weights).sum()
    assert outputs is None


def test_labels_are_smoothed_in_training_alone(made, tokenizer):
    objective, batch = made
    smoothing = 0.3
    smooth = Seq2SeqObjective(replace(HEAD, smoothing=smoothing), tokenizer, example_of)
    model, other = (engine(o, PAIR).model for o in (objective, smooth))
    logits = model(batch["features"], training=False).numpy().astype("float64")
    targets, weights = batch["targets"]["tokens"].numpy(), batch["weights"]["tokens"].numpy()
    shares = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    target = np.take_along_axis(shares, targets[..., None], axis=-1)[..., 0]
    each = -(1 - smoothing) * target - smoothing * shares.mean(-1)
    found = [float(smooth.measure(other, batch, training)[0]["loss"]) for training in (True, False)]
    assert found[0] == pytest.approx((each * weights).sum(), rel=1e-5)
    plain = float(objective.measure(model, batch, False)[0]["loss"])
    assert found[1] == pytest.approx(plain, rel=1e-6) and found[0] != pytest.approx(plain, rel=1e-3)


def test_padding_of_either_side_changes_nothing(rows, tokenizer):
    objective = Seq2SeqObjective(HEAD, tokenizer, example_of)
    model = engine(objective, PAIR).model

    def loss(widths):
        read = {name: tf.constant(x) for name, x in rows.read(np.arange(3), widths).items()}
        zeros = tf.zeros([3], tf.int64)
        whole = Seq2SeqObjective(HEAD, tokenizer, lambda rows, epoch, row: (
            rows["source"], rows["source_count"], rows["target"], rows["target_count"]
        ))  # fmt: skip
        return float(objective.measure(model, whole.batch(read, zeros, zeros), False)[0]["loss"])

    assert loss((16, 16)) == pytest.approx(loss((30, 40)), rel=1e-5)


def test_the_perplexity_is_that_of_a_token(made, rows):
    objective, _ = made
    assert objective.derived({"loss": math.log(7.5)}, rows)["perplexity"] == pytest.approx(7.5)
    assert math.isfinite(objective.derived({"loss": 1e6}, rows)["perplexity"])


def test_sources_are_shown_with_their_targets_and_what_is_written(made, tokenizer):
    objective, batch = made
    trained = engine(objective, PAIR, rate=1e-2)
    for _ in range(60):
        trained.step(batch)
    shown = shown_of(objective, trained.model, batch, 2)
    assert shown[:2] == ["| source | target | the model writes |", "|---|---|---|"]
    assert shown[2:] == ["| ba do ka | ka do | ka do |", "| lu | pi pi pi | pi pi pi |"]
    width = batch["features"]["target_segments"].shape[1]
    writer = Writer(trained.model, tokenizer, Sampling(greedy=True), jit=False)
    (written,) = writer.write(SOURCES[2:], width)
    assert shown_of(objective, trained.model, batch, 3)[4].endswith(f"| {written[0].text} |")
    for variable in trained.model.trainable_variables:  # what is shown is of the weights of now
        variable.assign(tf.zeros_like(variable))
    assert shown_of(objective, trained.model, batch, 2)[2] != shown[2]


def test_another_model_is_shown_with_its_own_words(made):
    objective, batch = made
    keras.utils.set_random_seed(5)
    first, second = (tfattn.build(PAIR, HEAD) for _ in range(2))
    shown = [shown_of(objective, model, batch, 1)[2] for model in (first, second, first)]
    assert shown[0] == shown[2] != shown[1]

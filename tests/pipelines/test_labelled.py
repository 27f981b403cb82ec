"""Classification and regression: features, sums, and metrics against the libraries themselves."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from sklearn import metrics
from tiny import STILL, engine, plain, words

import tfattn
from pipelines.core.batches import Batches
from pipelines.text.classify import ClassificationObjective
from pipelines.text.data.table_rows import TableRows
from pipelines.text.features import STEP
from pipelines.text.regress import RegressionObjective
from pipelines.text.spec import Classification, Regression

CLASSES = ("bad", "good", "so so")


def classification(tokenizer=None, **spec):
    return ClassificationObjective(Classification(classes=CLASSES, **spec), tokenizer)


def regression(tokenizer=None, **spec):
    return RegressionObjective(Regression(offset=3.0, scale=2.0, **spec), tokenizer)


def score(objective, outputs, targets):
    """Return the metrics of a whole split, taken in two batches."""
    (metric,) = objective.metrics()
    half = len(targets) // 2
    for part in (slice(0, half), slice(half, None)):
        metric.update(outputs[part], {"targets": targets[part]})
    return metric.result()


def rows_of(tokenizer, sizes, labels, length=64):
    rng = np.random.default_rng(0)
    texts = [" ".join(words(rng, size)) for size in sizes]
    return TableRows(tokenizer, texts, None, np.asarray(labels), length)


def test_a_batch_is_as_wide_as_its_longest_text_rounded_up(tokenizer):
    rows = rows_of(tokenizer, [1, 2, 30], np.zeros(3, np.int32))
    for chosen, length in (([0, 1], None), ([0, 2], None), ([0], 10)):
        read = rows.read(np.array(chosen))
        if length:
            read = {k: v[:, :length] if v.ndim == 2 else v for k, v in read.items()}
        batch = plain(classification().batch({k: tf.constant(v) for k, v in read.items()}, 0, 0))
        longest = read["segments"].sum(axis=1).max()
        width = batch["features"]["tokens"].shape[1]
        assert width == min(-(-longest // STEP) * STEP, read["tokens"].shape[1]) >= longest
        for name in ("tokens", "segments", "types"):
            assert np.array_equal(batch["features"][name], read[name][:, :width])
        assert not read["segments"][:, width:].any()
        assert (batch["weights"]["rows"] == 1).all()


def test_the_width_of_a_batch_does_not_change_the_answer(tokenizer):
    rows = rows_of(tokenizer, [3], np.zeros(1, np.int32), length=16)
    work = classification()
    model = tfattn.build(STILL, *work.heads)
    read = {k: tf.constant(v) for k, v in rows.read(np.array([0])).items()}
    full = {name: read[name] for name in ("tokens", "segments", "types")}
    used = int(tf.reduce_sum(read["segments"]))
    narrow = {name: tensor[:, :used] for name, tensor in full.items()}
    assert used < 16
    np.testing.assert_allclose(model(full), model(narrow), atol=1e-5)


def test_classification_sums_cross_entropy_and_hits(rng):
    logits = rng.normal(size=(5, 3)).astype("float32")
    targets = np.array([0, 1, 2, 1, 0], np.int32)
    weights = np.array([1, 1, 1, 1, 0], np.float32)
    batch = {"targets": tf.constant(targets), "weights": {"rows": tf.constant(weights)}}
    found, _ = classification().measure(says(logits), {**batch, "features": {}}, False)
    assert float(found["loss"]) / 4 == pytest.approx(
        metrics.log_loss(targets[:4], softmax(logits[:4]), labels=range(3)), rel=1e-5
    )
    assert float(found["accuracy"]) == (logits.argmax(1) == targets)[:4].sum()


def says(outputs):
    """Return a model that gives these outputs, whatever it reads."""
    return lambda features, training: tf.constant(outputs, tf.float32)


def softmax(x):
    e = np.exp(x.astype("float64"))
    return e / e.sum(axis=1, keepdims=True)


def test_metrics_of_classification_are_those_of_scikit_learn(rng):
    targets = rng.integers(0, 3, 200)
    logits = rng.normal(size=(200, 3)) + 1.5 * np.eye(3)[targets]
    found, said = score(classification(), logits, targets), logits.argmax(1)
    assert found == pytest.approx(
        {
            "macro_f1": metrics.f1_score(targets, said, average="macro"),
            "matthews": metrics.matthews_corrcoef(targets, said),
        }
    )
    assert 0.4 < found["matthews"] < found["macro_f1"] < 1


def test_a_class_that_is_never_said_or_never_there_counts_as_zero_in_macro_f1():
    targets, logits = np.array([0, 0, 1, 1]), np.eye(3)[[0, 0, 0, 0]]
    assert score(classification(), logits, targets)["macro_f1"] == pytest.approx((2 / 3) / 3)
    perfect = score(classification(), np.eye(3)[targets], targets)
    assert perfect["macro_f1"] == pytest.approx(2 / 3)  # of three classes one is not there
    assert perfect["matthews"] == pytest.approx(1)


def test_saying_always_the_same_has_no_correlation():
    targets = np.array([0, 1, 2, 1])
    assert score(classification(), np.eye(3)[[1, 1, 1, 1]], targets)["matthews"] == 0


def test_regression_sums_squared_errors_on_the_scale_of_the_labels():
    outputs = [[0.5], [-1.0], [7.0]]
    batch = {"targets": tf.constant([4.0, 3.0, 0.0]), "weights": {"rows": tf.constant([1.0, 1, 0])}}
    found, _ = regression().measure(says(outputs), {**batch, "features": {}}, False)
    assert float(found["loss"]) == pytest.approx((0.5 - 0.5) ** 2 + (-1.0 - 0.0) ** 2)


def test_metrics_of_regression_are_those_of_scipy_in_the_units_of_the_labels(rng):
    targets = rng.normal(size=100).astype("float32") * 2 + 3
    said = targets + rng.normal(size=100).astype("float32")
    found = score(regression(), ((said - 3) / 2)[:, None].astype("float32"), targets)
    assert found == pytest.approx(
        {
            "pearson": stats.pearsonr(said, targets).statistic,
            "spearman": stats.spearmanr(said, targets).statistic,
            "rmse": metrics.root_mean_squared_error(targets, said),
        },
        rel=1e-4,
    )
    assert 0.5 < found["pearson"] < 1


@pytest.mark.parametrize("spread", [0, 1e-7])
def test_correlations_of_a_constant_are_zero_and_of_a_near_constant_give_no_warning(spread, rng):
    outputs = np.float32(1) + np.float32(spread) * np.sign(rng.normal(size=(50, 1)))
    found = score(regression(), outputs.astype("float32"), rng.normal(size=50).astype("float32"))
    assert np.isfinite(list(found.values())).all()
    assert spread or found["pearson"] == found["spearman"] == 0


@pytest.mark.parametrize("work", [classification(), regression()])
def test_a_split_is_measured_exactly_with_a_ragged_last_batch(tokenizer, work, rng):
    count, size = 11, 4
    labels = rng.integers(0, 3, count).astype("int32" if work.terms.get("accuracy") else "float32")
    rows = rows_of(tokenizer, rng.integers(1, 9, count), labels, length=16)
    made = engine(work)
    batches = Batches(rows, work.batch, size, 0)
    found = made.evaluate(batches.in_order(), rows)
    read = rows.read(np.arange(count))
    features = {name: tf.constant(read[name]) for name in ("tokens", "segments", "types")}
    outputs = made.model(features).numpy()
    whole = {"targets": tf.constant(labels), "weights": {"rows": tf.ones(count)}}
    sums, _ = work.measure(says(outputs), {**whole, "features": {}}, False)
    wanted = {name: float(value) / count for name, value in sums.items()}
    assert found == pytest.approx({**wanted, **score(work, outputs, labels)}, rel=1e-4, abs=1e-5)
    if "accuracy" in found:
        assert found["accuracy"] == metrics.accuracy_score(labels, outputs.argmax(1))


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "matthews"])
def test_the_metric_that_chooses_is_measured(tokenizer, metric):
    work = classification(metric=metric)
    found = score(work, np.eye(3), np.arange(3)) | work.terms
    assert work.selects == (metric, True)
    assert metric in found


def test_a_class_is_shown_with_its_probabilities(tokenizer):
    rows = rows_of(tokenizer, [3, 2], np.array([2, 0], np.int32))
    work = classification(tokenizer)
    read = {k: tf.constant(v) for k, v in rows.read(np.arange(2)).items()}
    logits = [[0.0, 0.0, 20.0], [0.0, 0.0, 0.0]]
    shown = work.report(says(logits), work.batch(read, 0, 0), 5, figures=False).table
    assert len(shown) == 2 + 2
    assert shown[2].endswith("| so so | bad 0.00, good 0.00, so so 1.00 |")
    assert shown[3].endswith("| bad | bad 0.33, good 0.33, so so 0.33 |")


def test_a_number_is_shown_in_the_units_of_the_labels(tokenizer):
    rows = rows_of(tokenizer, [3], np.array([4.5], np.float32))
    work = regression(tokenizer)
    read = {k: tf.constant(v) for k, v in rows.read(np.arange(1)).items()}
    shown = work.report(says([[0.5]]), work.batch(read, 0, 0), 5, figures=False).table
    assert shown[2].endswith("| 4.5 | 4 |")

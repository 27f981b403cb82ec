"""One step is one step: accumulated, compiled in any way, on any number of devices."""

import json
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import CONFIG, STILL, engine, masked, plain, weights

from pipelines.devices import choose_compile, choose_lanes, choose_strategy, share_rows
from pipelines.recipes import TrainConfig
from pipelines.training.engine import MEASURES
from tfattn.errors import InputError

STEPS = 3
EMA = 0.8


def steps(made, source, count=STEPS):
    return [made.step(batch) for batch in source.stream(0, count)]


def assert_numbers(found, wanted, tolerance):
    assert len(found) == len(wanted) > 0
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, rel=tolerance, abs=tolerance)


def assert_weights(found, wanted, tolerance):
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def work(store, tokenizer):
    """Return an objective and batches of sixteen unpacked rows: unequal numbers of predictions."""
    return masked(store, tokenizer, 16, pack=False)


@pytest.fixture(scope="module")
def plainly(work):
    """Return the numbers and weights of steps in graph mode, without anything special."""
    objective, source = work
    made = engine(objective, lanes=1)
    return made, steps(made, source), weights(made.model)


def test_accumulated_microbatches_are_one_large_batch(work, plainly):
    objective, source = work
    counts = plain(source.at(0))["weights"]["mlm"].reshape(4, -1).sum(axis=1)
    assert len(set(counts)) > 1
    made = engine(objective, accumulate=4)
    _, numbers, after = plainly
    assert_numbers(steps(made, source), numbers, 1e-5)
    assert_weights(weights(made.model), after, 1e-6)


@pytest.mark.parametrize("mode", ["fused", pytest.param("xla", marks=pytest.mark.slow)])
def test_every_way_of_compiling_takes_the_same_steps(work, plainly, mode):
    objective, source = work
    _, numbers, after = plainly
    made = engine(objective, compile=mode)
    if mode == "fused":  # as batches of texts of like lengths come
        free = lambda x: tf.TensorSpec([None] * x.ndim, x.dtype)  # noqa: E731
        made.expect(tf.nest.map_structure(free, source.at(0)))
    assert_numbers(steps(made, source), numbers, 1e-4)
    assert_weights(weights(made.model), after, 1e-4)
    ours, theirs = (e.evaluate(source.in_order(1)) for e in (made, plainly[0]))
    assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize(
    "how",
    [
        {"lanes": 2},
        {"lanes": 4, "compile": "fused"},
        {"lanes": 2, "accumulate": 2},
        {"lanes": 2, "remat": "block", "scan": True},
    ],
    ids=str,
)
def test_rows_in_lanes_take_the_same_steps_with_dropout_too(work, how):
    objective, source = work
    config = replace(CONFIG, depth=2, drop_path=0.3)
    whole, made = engine(objective, config, lanes=1), engine(objective, config, **how)
    assert (whole.lanes, made.lanes) == (1, how["lanes"])
    assert_numbers(steps(made, source), steps(whole, source), 1e-5)
    assert_weights(weights(made.model), weights(whole.model), 1e-5)
    seeds = [[v.numpy().tolist() for v in e.model.non_trainable_variables] for e in (made, whole)]
    assert seeds[0] == seeds[1] and seeds[0]
    assert made.evaluate(source.in_order(2)) == pytest.approx(whole.evaluate(source.in_order(2)))


def test_lanes_that_do_not_divide_the_rows_are_fewer(work, plainly):
    objective, source = work
    _, numbers, after = plainly
    made = engine(objective, lanes=6, batch=18)  # of sixteen rows; the greatest divisor is two
    free = lambda x: tf.TensorSpec([None] * x.ndim, x.dtype)  # noqa: E731
    made.expect(tf.nest.map_structure(free, source.at(0)))
    assert_numbers(steps(made, source), numbers, 1e-5)
    assert_weights(weights(made.model), after, 1e-5)


def share_threads():
    """Give threads rows of their own, in a process of its own."""
    threads = tf.config.threading
    for rows, lanes in ((9, 1), (9, 3), (8, 4)):
        if lanes == 4:
            tf.ones(2) + 1  # too late: nothing changes, and it is no error
        share_rows(TrainConfig(batch=rows, lanes=lanes))
        found = (
            threads.get_intra_op_parallelism_threads(),
            threads.get_inter_op_parallelism_threads(),
        )
        assert found == ((0, 0) if lanes == 1 else (1, 3))


def test_threads_have_rows_of_their_own_where_that_is_asked(nursery, tmp_path):
    child = nursery.start("test_engine:share_threads", tmp_path / "log")
    assert child.wait() == 0, (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("cores", "given", "lanes"),
    [
        (4, {"batch": 8}, 4),
        (4, {"batch": 6}, 1),
        (4, {"batch": 8, "remat": "block"}, 1),
        (4, {"batch": 8, "remat": "block", "lanes": 2}, 2),
        (16, {"batch": 32}, 1),
        (16, {"batch": 32, "lanes": 16}, 16),
        (2, {"batch_tokens": 100}, 2),
        (4, {"batch_tokens": 100}, 1),
        (4, {"batch": 8, "compile": "xla"}, 1),
        (4, {"batch": 8, "devices": "mirrored"}, 1),
    ],
)
def test_lanes_are_cores_that_divide_the_rows(cores, given, lanes, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(cores), raising=False)
    assert choose_lanes(TrainConfig(**given)) == lanes


@pytest.mark.parametrize("how", [{"compile": "xla"}, {"devices": "mirrored"}], ids=str)
def test_lanes_are_for_one_cpu_that_computes_in_graphs(how):
    assert choose_lanes(TrainConfig(batch=8, lanes=1, **how)) == 1
    with pytest.raises(InputError, match=r"train.lanes: expected none but on one CPU.*Received: 2"):
        share_rows(TrainConfig(batch=8, lanes=2, **how))


def distance(before, after):
    return np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(before, after, strict=True)))


def test_the_numbers_of_a_step_are_what_they_say(work):
    objective, source = work
    made = engine(objective, optimizer=keras.optimizers.SGD(0.5), clip=1e6)
    batch, before = source.at(0), weights(made.model)
    with tf.GradientTape() as tape:
        logits = made.model(batch["features"], training=True)
        chosen = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["targets"]["mlm"], logits)
        there = batch["weights"]["mlm"]
        loss = tf.reduce_sum(chosen * there) / tf.reduce_sum(there)
    gradients = tape.gradient(loss, [v.value for v in made.model.trainable_variables])
    norm = tf.linalg.global_norm([tf.convert_to_tensor(g) for g in gradients])
    best = logits.numpy().argmax(-1) == batch["targets"]["mlm"].numpy()
    real = batch["features"]["segments"].numpy() != 0
    found = made.step(batch)
    assert set(found) == {*objective.terms, *MEASURES, "tokens"}
    assert found == pytest.approx(
        {
            "loss": float(loss),
            "mlm_loss": float(loss),
            "mlm_accuracy": (best * there.numpy()).sum() / there.numpy().sum(),
            "learning_rate": 0.5,
            "grad_norm": float(norm),
            "weight_norm": float(tf.linalg.global_norm(weights(made.model))),
            "padding": 1 - real.mean(),
            "tokens": real.sum(),
        },
        rel=1e-4,
    )
    assert distance(before, weights(made.model)) == pytest.approx(0.5 * float(norm), rel=1e-3)


def test_gradients_are_clipped_by_their_global_norm_which_is_reported_before(work):
    objective, source = work
    made = engine(objective, optimizer=keras.optimizers.SGD(0.5), clip=0.1)
    before = weights(made.model)
    assert made.step(source.at(0))["grad_norm"] > 1
    assert distance(before, weights(made.model)) == pytest.approx(0.5 * 0.1, rel=1e-3)


def test_the_rate_of_a_step_is_that_of_its_schedule(plainly):
    made, numbers, _ = plainly
    found = [step["learning_rate"] for step in numbers]
    assert found == pytest.approx([made.train.rate * step / 10 for step in (1, 2, 3)])


def average_of(history):
    """Return what averages of these weights, one list a step, come to."""
    average = history[0]
    for now in history[1:]:
        average = [EMA * a + (1 - EMA) * w for a, w in zip(average, now, strict=True)]
    return average


def test_averages_follow_their_recurrence_and_are_swapped_in_and_out(work):
    objective, source = work
    made = engine(objective, ema=EMA)
    start, history = weights(made.model), []
    with made.averaged():  # before the first step there is nothing to average
        assert_weights(weights(made.model), start, 0)
    for batch in source.stream(0, STEPS):
        made.step(batch)
        history.append(weights(made.model))
    now, average = history[-1], average_of(history)
    with made.averaged():
        assert_weights(weights(made.model), average, 1e-6)
    assert_weights(weights(made.model), now, 0)
    with pytest.raises(KeyError), made.averaged():
        raise KeyError
    assert_weights(weights(made.model), now, 0)
    assert max(np.abs(a - w).max() for a, w in zip(average, now, strict=True)) > 1e-4


def test_without_averages_the_weights_are_measured_as_they_are(plainly):
    made, _, after = plainly
    with made.averaged():
        assert_weights(weights(made.model), after, 0)


def test_evaluation_is_the_mean_over_the_split_whatever_the_size_of_batches(
    plainly, store, tokenizer
):
    made, _, after = plainly
    found = []
    for size in (16, 7, 1000):
        _, source = masked(store, tokenizer, size, pack=False)
        found.append(made.evaluate(source.in_order()))
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0] == pytest.approx(found[2], rel=1e-5)
    assert_weights(weights(made.model), after, 0)


def test_evaluation_leaves_out_dropout(store, tokenizer):
    objective, source = masked(store, tokenizer, 16)
    made, still = engine(objective, CONFIG), engine(objective, STILL)
    still.model.set_weights(weights(made.model))
    assert made.evaluate(source.in_order(1)) == made.evaluate(source.in_order(1))
    assert made.evaluate(source.in_order(1)) == pytest.approx(still.evaluate(source.in_order(1)))


def test_dropout_draws_anew_in_every_step(store, tokenizer):
    objective, source = masked(store, tokenizer, 4)
    made = engine(objective, CONFIG, optimizer=keras.optimizers.SGD(0.0), accumulate=2)
    seeds = [v for v in made.model.variables if "seed" in v.path]
    batch, losses = source.at(0), set()
    for count in (1, 2, 3):
        losses.add(made.step(batch)["loss"])
        assert {int(seed.numpy()[1]) for seed in seeds} == {count}
    assert len(losses) == 3


def test_the_loss_of_two_tasks_is_the_sum_of_theirs(store, tokenizer):
    objective, source = masked(store, tokenizer, 8, next_sentence=True)
    found = engine(objective).evaluate(source.in_order())
    assert set(found) == {*objective.terms, "loss"}
    assert found["loss"] == pytest.approx(found["mlm_loss"] + found["next_loss"])


def test_auto_is_islands_where_there_is_no_accelerator():
    assert choose_compile("graph") == "graph"
    accelerated = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU")
    assert choose_compile("auto") == ("xla" if accelerated else "fused")


def on_two_devices(folder, out):
    """Train on two devices, in a process of its own, and write down what happened."""
    from pipelines.data.store import Store
    from pipelines.tokenization.wordpiece import WordPiece

    cpu = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    strategy = choose_strategy(TrainConfig(devices="mirrored", batch=8))
    tokenizer = WordPiece.load(f"{folder}/vocabulary")
    objective, source = masked(Store.open(f"{folder}/store"), tokenizer, 16, pack=False)
    with strategy.scope():
        made = engine(objective, strategy=strategy, accumulate=2, ema=EMA)
    numbers, after = [], []
    shares = source.stream(0, STEPS, made.share())
    for batch in strategy.distribute_datasets_from_function(lambda _: shares):
        numbers.append(made.step(batch))
        after.append([w.tolist() for w in weights(made.model)])
    numbers.append(made.evaluate(source.in_order(1)))
    with made.averaged():
        averages = [w.tolist() for w in weights(made.model)]
    with strategy.scope():
        made = engine(objective, CONFIG, strategy=strategy)
    dropped = []
    for batch in strategy.distribute_datasets_from_function(lambda _: shares):
        dropped.append(made.step(batch))
    refused = ""
    try:
        choose_strategy(TrainConfig(devices="mirrored", batch=3))
    except InputError as error:
        refused = str(error)
    with open(out, "w") as file:
        json.dump([strategy.num_replicas_in_sync, refused, numbers, after, averages, dropped], file)
    assert not any("__autograph_generated" in module for module in sys.modules)


def test_two_devices_take_the_steps_of_one(work, plainly, nursery, store, vocabulary, tmp_path):
    folder, out, log = tmp_path / "in", tmp_path / "out.json", tmp_path / "log"
    folder.mkdir()
    (folder / "vocabulary").symlink_to(vocabulary)
    (folder / "store").symlink_to(store.folder)
    child = nursery.start("test_engine:on_two_devices", log, str(folder), str(out))
    assert child.wait() == 0, log.read_text()
    replicas, refused, numbers, after, averages, dropped = json.loads(out.read_text())
    assert replicas == 2
    assert refused == "train.batch: expected a multiple of the 2 devices. Received: 3."
    made, wanted, last = plainly
    assert_numbers(numbers, [*wanted, made.evaluate(work[1].in_order(1))], 1e-5)
    after = [[np.array(w) for w in step] for step in after]
    assert_weights(after[-1], last, 1e-5)
    assert_weights([np.array(w) for w in averages], average_of(after), 1e-6)
    assert_numbers(dropped, steps(engine(work[0], CONFIG), work[1]), 1e-5)  # of the same masks

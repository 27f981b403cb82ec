"""One step is one step: accumulated, compiled in any way, on any number of devices."""

import json
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import CONFIG, LENGTH, STILL, engine, masked, plain, weights

from pipelines.core.api import Objective, Rows, Selection
from pipelines.core.batches import Batches
from pipelines.core.devices import choose_compile, choose_lanes, choose_strategy, share_rows
from pipelines.core.engine import MEASURES
from pipelines.core.train_config import TrainConfig
from tfattn.errors import InputError
from tfattn.models.config import Classify

STEPS = 3
EMA = 0.8
DROPPING = replace(CONFIG, depth=2, drop_path=0.3)


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


@pytest.fixture(scope="module")
def in_one_lane(work):
    """Return an engine with dropout after its steps, and their numbers."""
    objective, source = work
    whole = engine(objective, DROPPING, lanes=1)
    return whole, steps(whole, source)


def test_accumulated_microbatches_are_one_large_batch(work, plainly):
    objective, source = work
    counts = plain(source.at(0))["weights"]["mlm"].reshape(4, -1).sum(axis=1)
    assert len(set(counts)) > 1
    made = engine(objective, accumulate=4)
    _, numbers, after = plainly
    assert_numbers(steps(made, source), numbers, 1e-5)
    assert_weights(weights(made.model), after, 1e-6)


@pytest.mark.parametrize("mode", ["fused", "xla"])
def test_every_way_of_compiling_takes_the_same_steps(work, plainly, mode):
    objective, source = work
    _, numbers, after = plainly
    made = engine(objective, compile=mode)
    if mode == "fused":  # as batches of texts of like lengths come
        free = lambda x: tf.TensorSpec([None] * x.ndim, x.dtype)  # noqa: E731
        made.expect(tf.nest.map_structure(free, source.at(0)))
    assert_numbers(steps(made, source), numbers, 1e-4)
    assert_weights(weights(made.model), after, 1e-4)
    ours, theirs = (e.evaluate(source.in_order(1), source.rows) for e in (made, plainly[0]))
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
def test_rows_in_lanes_take_the_same_steps_with_dropout_too(work, in_one_lane, how):
    objective, source = work
    whole, numbers = in_one_lane
    made = engine(objective, DROPPING, **how)
    assert (whole.lanes, made.lanes) == (1, how["lanes"])
    assert_numbers(steps(made, source), numbers, 1e-5)
    assert_weights(weights(made.model), weights(whole.model), 1e-5)
    seeds = [[v.numpy().tolist() for v in e.model.non_trainable_variables] for e in (made, whole)]
    assert seeds[0] == seeds[1] and seeds[0]
    assert made.evaluate(source.in_order(2), source.rows) == pytest.approx(
        whole.evaluate(source.in_order(2), source.rows)
    )


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


def test_threads_have_rows_of_their_own_where_that_is_asked(fork_server, tmp_path):
    child = fork_server.start("test_engine:share_threads", tmp_path / "log")
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
        found.append(made.evaluate(source.in_order(), source.rows))
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0] == pytest.approx(found[2], rel=1e-5)
    assert_weights(weights(made.model), after, 0)


def test_evaluation_leaves_out_dropout(store, tokenizer):
    objective, source = masked(store, tokenizer, 16)
    made, still = engine(objective, CONFIG), engine(objective, STILL)
    still.model.set_weights(weights(made.model))
    assert made.evaluate(source.in_order(1), source.rows) == made.evaluate(
        source.in_order(1), source.rows
    )
    assert made.evaluate(source.in_order(1), source.rows) == pytest.approx(
        still.evaluate(source.in_order(1), source.rows)
    )


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
    found = engine(objective).evaluate(source.in_order(), source.rows)
    assert set(found) == {*objective.terms, "loss"}
    assert found["loss"] == pytest.approx(found["mlm_loss"] + found["next_loss"])


def test_auto_is_islands_where_there_is_no_accelerator():
    assert choose_compile("graph") == "graph"
    accelerated = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU")
    assert choose_compile("auto") == ("xla" if accelerated else "fused")


def on_two_devices(folder, out):
    """Train on two devices, in a process of its own, and write down what happened."""
    from pipelines.text.data.store import Store
    from pipelines.text.tokenization.wordpiece import WordPiece

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
    numbers.append(made.evaluate(source.in_order(1), source.rows))
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


def test_two_devices_take_the_steps_of_one(work, plainly, fork_server, store, vocabulary, tmp_path):
    folder, out, log = tmp_path / "in", tmp_path / "out.json", tmp_path / "log"
    folder.mkdir()
    (folder / "vocabulary").symlink_to(vocabulary)
    (folder / "store").symlink_to(store.folder)
    child = fork_server.start("test_engine:on_two_devices", log, str(folder), str(out))
    assert child.wait() == 0, log.read_text()
    replicas, refused, numbers, after, averages, dropped = json.loads(out.read_text())
    assert replicas == 2
    assert refused == "train.batch: expected a multiple of the 2 devices. Received: 3."
    made, wanted, last = plainly
    assert_numbers(numbers, [*wanted, made.evaluate(work[1].in_order(1), work[1].rows)], 1e-5)
    after = [[np.array(w) for w in step] for step in after]
    assert_weights(after[-1], last, 1e-5)
    assert_weights([np.array(w) for w in averages], average_of(after), 1e-6)
    assert_numbers(dropped, steps(engine(work[0], CONFIG), work[1]), 1e-5)  # of the same masks


NAMES = np.array(["ant", "bee", "cow"])


class BoxRows(Rows):
    """Eleven rows of boxes: up to four of each row, the other places of which are -1."""

    def __init__(self):
        rng = np.random.default_rng(5)
        self.tokens = rng.integers(5, 150, (11, LENGTH)).astype(np.int32)
        self.counts = rng.integers(0, 5, 11).astype(np.int32)
        there = np.arange(4) < self.counts[:, None]
        boxes = rng.random((11, 4, 2)).astype(np.float32)
        self.boxes = np.where(there[..., None], boxes, np.float32(-1))
        self.names = np.array([f"row {number}" for number in range(11)], object)

    def __len__(self):
        return 11

    def read(self, indices):
        """Return tokens, and what is wanted of them."""
        wanted = {"boxes": self.boxes, "count": self.counts, "name": self.names}
        return {name: array[indices] for name, array in {"tokens": self.tokens, **wanted}.items()}


class Collected:
    """What a metric was given, of all batches."""

    def __init__(self):
        self.batches, self.given = [], []

    def update(self, outputs, batch):
        """Keep it."""
        self.given.append((outputs, batch))

    def rows(self):
        """Return outputs, features, targets and weights of the split."""
        return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *self.given)

    def result(self):
        """Return numbers of the targets that only real rows give."""
        _, batch = self.rows()
        return {"rows": float(len(batch["targets"]["count"])),
                "boxes": float(batch["targets"]["count"].sum())}  # fmt: skip


class Boxes(Objective):
    """A task whose outputs are a structure of arrays, integers and strings."""

    def __init__(self):
        self.heads = (Classify("boxes", classes=6, pool="mean", dropout=0.0),)
        self.terms, self.losses = {"loss": "rows"}, ("loss",)
        self.selects, self.made = Selection("boxes", higher_is_better=True), []

    def batch(self, rows, epoch, row):
        targets = {"boxes": rows["boxes"], "count": rows["count"], "name": rows["name"]}
        weights = {"rows": tf.ones_like(row, tf.float32)}
        return {"features": {"tokens": rows["tokens"]}, "targets": targets, "weights": weights}

    def measure(self, model, batch, training):
        found = model(batch["features"], training=training)
        boxes = tf.reshape(found, [-1, 3, 2])
        best = tf.argmax(found[:, :3], axis=-1, output_type=tf.int32)
        first = batch["targets"]["boxes"][:, 0]
        loss = tf.reduce_mean(tf.square(boxes[:, 0] - first), axis=-1) * batch["weights"]["rows"]
        outputs = {"boxes": boxes, "said": (best, tf.gather(tf.constant(NAMES), best))}
        return {"loss": tf.reduce_sum(loss)}, outputs

    def metrics(self):
        self.made.append(Collected())
        return (self.made[-1],)


@pytest.mark.parametrize("how", [{"lanes": 1}, {"lanes": 2}, {"lanes": 2, "compile": "fused"}])
def test_a_metric_gets_outputs_of_any_structure_and_real_rows_alone(how):
    rows, objective = BoxRows(), Boxes()
    made, source = engine(objective, **how), Batches(rows, objective.batch, 4, 0)
    assert made.lanes == how["lanes"] and len(source.in_order()) == 3
    for batch in source.stream(0, 2):
        assert np.isfinite(made.step(batch)["loss"])
    objective.made.clear()
    numbers = made.evaluate(source.in_order(), rows)
    (metric,) = objective.made  # one for the evaluation
    outputs, batch = metric.rows()
    logits = made.model({"tokens": tf.constant(rows.tokens)}, training=False).numpy()
    boxes, best = logits.reshape(11, 3, 2), logits[:, :3].argmax(axis=1)
    assert outputs["boxes"].shape == (11, 3, 2)  # of the twelfth row, which fills a batch, nothing
    np.testing.assert_allclose(outputs["boxes"], boxes, rtol=1e-4, atol=1e-5)
    said, names = outputs["said"]
    np.testing.assert_array_equal(said, best)
    assert [name.decode() for name in names] == NAMES[best].tolist()
    assert set(batch) == {"features", "targets", "weights"}
    np.testing.assert_array_equal(batch["features"]["tokens"], rows.tokens)
    for name, wanted in (("boxes", rows.boxes), ("count", rows.counts)):
        np.testing.assert_array_equal(batch["targets"][name], wanted)
    assert [name.decode() for name in batch["targets"]["name"]] == rows.names.tolist()
    loss = np.mean((boxes[:, 0] - rows.boxes[:, 0]) ** 2, axis=1).mean()
    assert numbers["rows"] == 11 and numbers["boxes"] == rows.counts.sum()
    assert numbers["loss"] == pytest.approx(loss, rel=1e-4)
    made.evaluate(source.in_order(), rows)
    assert len(objective.made) == 2  # each evaluation has its own


class PlainBoxes(Boxes):
    """The same with outputs that XLA can make."""

    def measure(self, model, batch, training):
        boxes = tf.reshape(model(batch["features"], training=training), [-1, 3, 2])
        error = tf.reduce_mean(tf.square(boxes[:, 0] - batch["targets"]["boxes"][:, 0]), axis=-1)
        return {"loss": tf.reduce_sum(error * batch["weights"]["rows"])}, boxes


def test_string_targets_reach_the_metric_where_xla_compiles_the_step():
    rows, objective = BoxRows(), PlainBoxes()
    made, source = engine(objective, compile="xla"), Batches(rows, objective.batch, 4, 0)
    stream = source.stream(0, 2)
    made.expect(stream.element_spec)
    for batch in stream:
        assert np.isfinite(made.step(batch)["loss"])
    objective.made.clear()
    made.evaluate(source.in_order(), rows)
    outputs, batch = objective.made[0].rows()
    assert outputs.shape == (11, 3, 2)
    assert [name.decode() for name in batch["targets"]["name"]] == rows.names.tolist()

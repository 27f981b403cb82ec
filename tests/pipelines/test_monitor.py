"""What TensorBoard shows is what metrics.jsonl says and what the model gives."""

import json
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams import metadata, plugin_data_pb2
from tensorboard.util import tensor_util
from tiny import LENGTH, pretraining

import tfattn
from pipelines.core.batches import Batches
from pipelines.core.monitor import Monitor, flat
from pipelines.core.run import Run
from pipelines.core.train import train
from pipelines.core.train_config import MonitorConfig
from pipelines.text.data.packing import PackedRows
from pipelines.text.data.store import Store
from pipelines.text.figures import attention_maps
from pipelines.text.masked_lm import MaskedLMObjective
from pipelines.text.spec import MaskedLM
from pipelines.text.tokenization.wordpiece import WordPiece
from tfattn.visualize import heads_figure, pixels


@pytest.fixture(scope="module")
def recipe(corpus, vocabulary):
    shown = MonitorConfig(samples=3, share=1.0, profile=(2, 3))
    return replace(pretraining(corpus, vocabulary, rate=1e-2), monitor=shown)


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    """Return a finished run that shows everything."""
    folder = tmp_path_factory.mktemp("shown") / "run"
    train(recipe, folder)
    return folder


@pytest.fixture(scope="module")
def events(run):
    return read_events(run)


def read_events(run):
    """Return the values of a run's event files by tag: (step, array, plugin)."""
    found = defaultdict(list)
    for path in sorted((run / "events").glob("*tfevents*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                plugin = value.metadata.plugin_data
                array = None
                if value.HasField("tensor"):
                    array = tensor_util.make_ndarray(value.tensor)
                found[value.tag].append((event.step, array, plugin))
    return found


def metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_events_and_lines_hold_the_same_numbers(run, events):
    lines = metrics(run)
    assert len(lines) == 6 + 3
    wanted = {
        (f"{line['split']}/{name}", line["step"], np.float32(number).item())
        for line in lines
        for name, number in line.items()
        if name not in ("step", "split")
    }
    shown = {
        (tag, step, array.item())
        for tag, values in events.items()
        if tag.startswith(("train/", "validation/"))
        for step, array, _ in values
    }
    assert shown == wanted


def test_a_training_step_tells_all_that_is_watched(run):
    steps = [line for line in metrics(run) if line["split"] == "train"]
    for line in steps:
        assert {
            "loss", "mlm_loss", "mlm_accuracy", "learning_rate", "grad_norm", "weight_norm",
            "tokens_per_second", "padding", "tokens", "seconds", "waiting",
        } <= line.keys()  # fmt: skip
        assert 0 <= line["padding"] < 1
    assert all(line["tokens_per_second"] > 0 for line in steps)
    assert [line["seconds"] for line in steps] == sorted(line["seconds"] for line in steps)


def test_histograms_are_of_every_weight_by_its_path(run, events):
    model = tfattn.load(run / "model")
    for path, variable in model.weights_by_path().items():
        step, buckets, _ = events[path][-1]
        assert (step, len(events[path])) == (6, 3)
        assert buckets[:, 2].sum() == np.prod(variable.shape)
        assert buckets[0, 0] == pytest.approx(variable.numpy().min())
        assert buckets[-1, 1] == pytest.approx(variable.numpy().max())


@pytest.fixture(scope="module")
def probe(run, recipe):
    """Return the objective and the probe of the run, made again from its files."""
    tokenizer = WordPiece.load(run / "model")
    objective = MaskedLMObjective(recipe.objective, tokenizer, LENGTH, 0)
    ids = (tokenizer.start_id, tokenizer.separator_id, tokenizer.pad_id)
    rows = PackedRows(Store.open(run / "data" / "validation"), LENGTH, *ids)
    return objective, tokenizer, Batches(rows, objective.batch, 4, 0).at(0)


def test_the_attention_picture_is_of_the_models_weights(run, events, probe):
    _, tokenizer, batch = probe
    found = attention_maps(tfattn.load(run / "model"), batch["features"], tokenizer)
    assert list(found) == ["attention"]
    tokens = found["attention"].looking
    assert tokens[0] == "[CLS]" and 2 < len(tokens) <= LENGTH
    shown = events["attention"]
    assert [step for step, _, _ in shown] == [0, 3, 6]
    picture = tf.io.decode_png(shown[-1][1][2]).numpy()
    np.testing.assert_array_equal(picture, pixels(heads_figure(found["attention"])))
    assert (picture != tf.io.decode_png(shown[0][1][2]).numpy()).any(), "it learnt nothing"


def test_predictions_are_those_of_the_model(run, events, probe):
    objective, _, batch = probe
    rows = objective.report(tfattn.load(run / "model"), batch, 3, figures=False).table
    assert events["predictions"][-1][1].item().decode() == "\n".join(rows)


def test_the_recipe_becomes_hyperparameters(events, recipe):
    _, _, plugin = events[metadata.SESSION_START_INFO_TAG][0]
    data = plugin_data_pb2.HParamsPluginData.FromString(plugin.content)
    shown = data.session_start_info.hparams
    assert shown["train.rate"].number_value == 1e-2
    assert shown["objective.rate"].number_value == recipe.objective.rate
    assert shown["model.dim"].number_value == 16
    assert shown["train.precision"].string_value == "float32"
    assert set(shown) == {name for name, _ in flat(recipe)}


def test_a_profile_is_taken_between_its_steps_and_told(run, events):
    (profile,) = (run / "events" / "plugins" / "profile").glob("*/*.xplane.pb")
    assert profile.stat().st_size > 0
    [(_, text, _)] = events["profile"]
    where = dict(line.split("|")[1:3] for line in text.item().decode().splitlines()[2:])
    where = {kind.strip(): float(ms) for kind, ms in where.items()}
    assert where["matrix products"] > 0 and where["optimizer"] > 0
    assert list(where.values()) == sorted(where.values(), reverse=True)


def test_a_resumed_run_drops_what_came_after_its_checkpoint(tmp_path, recipe):
    run = Run(tmp_path)
    told = [{"step": step, "split": "train", "loss": 1.0 / step} for step in range(1, 6)]
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in told) + '{"step": 6, "sp')
    monitor = Monitor(run, replace(recipe, monitor=MonitorConfig()), 3)
    monitor.numbers("train", 4, {"loss": 9.0})
    monitor.close()
    assert metrics(tmp_path) == [*told[:3], {"step": 4, "split": "train", "loss": 9.0}]


def test_nothing_is_drawn_that_was_not_asked_for(corpus, vocabulary, tmp_path):
    recipe = pretraining(corpus, vocabulary, steps=1)
    assert isinstance(recipe.objective, MaskedLM)
    train(recipe, tmp_path / "run")
    tags = set(read_events(tmp_path / "run")) - {metadata.SESSION_START_INFO_TAG}
    assert tags and all(tag.startswith(("train/", "validation/")) for tag in tags)

"""A run from its first step to its result: what is kept, when it ends, and how it goes on."""

import json
import os
import shutil
import signal
import threading
import time
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file
from tiny import CONFIG, LENGTH, QUICK, SILENT, lines, pretraining, words

import pipelines.core.checkpoint
import pipelines.core.loop
import pipelines.core.train
import tfattn
from pipelines.core.batches import Batches
from pipelines.core.engine import Engine
from pipelines.core.loop import _Clock, _stop_signals, save_model
from pipelines.core.run import Interrupted
from pipelines.core.spec import Recipe
from pipelines.core.train import train
from pipelines.text.sources import TableData, TextData
from pipelines.text.spec import Classification, MaskedLM
from tfattn.errors import InputError
from tfattn.models.config import Tokens


@pytest.fixture(scope="module")
def start(tokenizer, tmp_path_factory):
    """Return the folder of a model to start from."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("start")
    save_model(folder, tfattn.build(CONFIG, Tokens()), tokenizer)
    return folder


@pytest.fixture(scope="module")
def finetuning(start, tmp_path_factory):
    """Return a recipe that tells texts of many syllables "ba" from others."""
    folder, rng = tmp_path_factory.mktemp("tables"), np.random.default_rng(2)
    for name, count in (("train", 40), ("validation", 30)):
        texts = [" ".join(words(rng, rng.integers(2, 6))) for _ in range(count)]
        label = ["yes" if text.count("a") > 2 else "no" for text in texts]
        rows = "".join(f"{text}\t{y}\n" for text, y in zip(texts, label, strict=True))
        (folder / f"{name}.tsv").write_text("text\tlabel\n" + rows)
    files = {name: (str(folder / f"{name}.tsv"),) for name in ("train", "validation")}

    def make(**settings):
        task, data = Classification(dropout=0.0), TableData(**files)
        return Recipe(None, task, data, replace(QUICK, **settings), SILENT, str(start))

    return make


class Crash(BaseException):
    """The end of a process, as far as files are concerned."""


def crash(*args):
    raise Crash


def crashing(monkeypatch, after):
    """Let the engine die when it is asked for a step after so many."""
    left, step = [after], Engine.step

    def count(self, batch):
        if not left[0]:
            crash()
        left[0] -= 1
        return step(self, batch)

    monkeypatch.setattr(Engine, "step", count)


@pytest.fixture(scope="module")
def finished(finetuning, tmp_path_factory):
    """Return a recipe that goes too far, its run, and its result."""
    recipe = finetuning(steps=16, rate=0.05, evaluate_every=2, checkpoint_every=5)
    run = tmp_path_factory.mktemp("finished") / "run"
    return recipe, run, train(recipe, run)


def test_the_best_step_is_that_of_the_best_score(finished):
    _, run, result = finished
    found = lines(run, "validation")
    scores = [line["accuracy"] for line in found]
    assert result["best_step"] == found[int(np.argmax(scores))]["step"]
    assert result["after"]["accuracy"] == max(scores)


def test_the_best_weights_are_kept_and_measured_last(finetuning, monkeypatch, tmp_path):
    scores, seen, evaluate = [0.4, 0.5, 0.9, 0.7, 0.6], [], Engine.evaluate

    def scripted(self, batches, rows):
        seen.append({path: v.numpy() for path, v in self.model.weights_by_path().items()})
        numbers = evaluate(self, batches, rows)
        return numbers | dict(zip(["accuracy"], scores[len(seen) - 1 : len(seen)], strict=False))

    monkeypatch.setattr(Engine, "evaluate", scripted)
    run = tmp_path / "run"
    assert train(finetuning(steps=8, rate=0.05, evaluate_every=2), run)["best_step"] == 4
    *_, best, _, last, measured = seen
    for name in ("best", "model"):
        np.testing.assert_equal(load_file(run / name / "model.safetensors"), best)
    np.testing.assert_equal(measured, best)
    assert not all(np.array_equal(best[path], last[path]) for path in best)


def test_the_result_tells_the_way(finished):
    _, run, result = finished
    first = lines(run, "validation")[0]
    assert result["before"] == {k: v for k, v in first.items() if k not in ("step", "split")}
    assert (result["steps"], first["step"]) == (16, 0)
    assert result["parameters"] == tfattn.load(run / "model").count_params()
    assert json.loads((run / "result.json").read_text()) == result


def test_evaluations_and_lines_come_when_they_were_asked_for(finished):
    _, run, _ = finished
    assert [line["step"] for line in lines(run, "validation")] == list(range(0, 17, 2))
    assert [line["step"] for line in lines(run, "train")] == list(range(1, 17))
    kept = sorted(os.listdir(run / "checkpoints"))
    assert kept == ["step-00000015", "step-00000016"]


def test_a_stop_in_the_last_step_is_not_forgotten(finetuning, monkeypatch, tmp_path):
    recipe, step = finetuning(steps=3), Engine.step

    def interrupted(self, batch):
        if int(self.optimizer.iterations.numpy()) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch)

    with monkeypatch.context() as patched, pytest.raises(Interrupted, match="at step 3 of 3"):
        patched.setattr(Engine, "step", interrupted)
        train(recipe, tmp_path / "run")
    assert train(recipe, tmp_path / "run")["steps"] == 3


def test_a_finished_run_gives_its_result_and_trains_no_more(finished, monkeypatch):
    recipe, run, result = finished
    before = (run / "metrics.jsonl").read_bytes()
    monkeypatch.setattr(pipelines.core.train, "prepare", None)  # nothing is even read
    assert train(recipe, run) == result
    assert (run / "metrics.jsonl").read_bytes() == before


def test_a_run_that_crashed_twice_repeats_no_line_and_ends_the_same(
    finished, monkeypatch, tmp_path
):
    recipe, whole, result = finished
    run = tmp_path / "run"
    with monkeypatch.context() as patched, pytest.raises(Crash):
        crashing(patched, after=9)  # lines up to 9, an evaluation at 8, a checkpoint at 5
        train(recipe, run)
    assert lines(run)[-1]["step"] == 9
    with open(run / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 10, "spl\xda')  # half a line, and what else the disk had
    with monkeypatch.context() as patched, pytest.raises(Crash):
        patched.setattr(pipelines.core.loop, "save_model", crash)  # after the last checkpoint
        train(recipe, run)
    assert not (run / "result.json").exists()
    with monkeypatch.context() as patched:
        crashing(patched, after=0)  # no step is taken again
        again = train(recipe, run)
    assert lines(run) == lines(whole)
    assert {**again, "seconds": 0} == {**result, "seconds": 0}
    assert (run / "model" / "model.safetensors").read_bytes() == (
        whole / "model" / "model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_a_run_resumes_when_what_it_started_from_is_gone(
    stage, start, finetuning, corpus, monkeypatch, tmp_path
):
    """All that a checkpoint does not hold is in the run directory."""
    origin = shutil.copytree(start, tmp_path / "origin")
    settings = {"steps": 8, "rate": 0.01, "evaluate_every": 2, "checkpoint_every": 3}
    if stage == "finetune":
        recipe = replace(finetuning(**settings), init=str(origin))
    else:
        data = TextData(files=(str(corpus),), validation_share=0.2, length=LENGTH)
        train_config = replace(QUICK, **settings)
        recipe = Recipe(None, MaskedLM(), data, train_config, SILENT, str(origin))
    whole, run = tmp_path / "whole", tmp_path / "run"
    result = train(recipe, whole)
    with monkeypatch.context() as patched, pytest.raises(Crash):
        crashing(patched, after=5)  # a checkpoint at 3
        train(recipe, run)
    shutil.rmtree(origin)
    again = train(recipe, run)
    assert {**again, "seconds": 0} == {**result, "seconds": 0}
    assert lines(run) == lines(whole)
    for name in ("model/model.safetensors", "checkpoints/step-00000008/variables.safetensors"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert (run / "resolved.json").read_bytes() == (whole / "resolved.json").read_bytes()


def test_evaluations_without_a_new_best_end_the_run(finetuning, tmp_path):
    recipe = finetuning(steps=50, rate=1e-12, evaluate_every=2, patience=3)
    result = train(recipe, tmp_path / "run")
    assert result["steps"] == 6  # the best was that of step 0
    assert result["best_step"] == 0
    assert result["after"] == pytest.approx(result["before"])


def test_a_loss_that_is_not_finite_leaves_the_last_checkpoint(finetuning, tmp_path, monkeypatch):
    run, step = tmp_path / "run", Engine.step
    recipe = finetuning(checkpoint_every=2)

    def poisoned(self, batch):
        if self.optimizer.iterations.numpy() == 2:
            variable = self.model.weights_by_path()["classify/logits/bias"]
            variable.assign([np.nan, 0])
        return step(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "step", poisoned)
        with pytest.raises(InputError) as caught:
            train(recipe, run)
    said = str(caught.value)
    assert "expected a finite loss. Received nan at step 3," in said
    assert "gradient norm nan" in said and "weight norm nan" in said
    assert sorted(os.listdir(run / "checkpoints")) == ["step-00000000", "step-00000002"]
    assert lines(run, "train")[-1]["step"] == 2


def test_a_full_disk_stops_the_run_and_leaves_the_last_checkpoint(
    finetuning, tmp_path, monkeypatch
):
    run, save = tmp_path / "run", pipelines.core.checkpoint.save_file
    recipe = finetuning(checkpoint_every=2)

    def full(arrays, path):
        if "step-00000004" in str(path):
            raise OSError(28, "No space left on device")
        save(arrays, path)

    with monkeypatch.context() as patched:
        patched.setattr(pipelines.core.checkpoint, "save_file", full)
        with pytest.raises(InputError, match="the disk is full.*same command"):
            train(recipe, run)
    assert sorted(os.listdir(run / "checkpoints")) == ["step-00000000", "step-00000002"]


def test_a_pretrained_run_is_measured_and_saved_with_its_averages(corpus, vocabulary, tmp_path):
    run = tmp_path / "run"
    recipe = pretraining(corpus, vocabulary, ema=0.5, rate=1e-2, steps=4)
    result = train(recipe, run)
    found = lines(run, "validation")
    assert result["before"]["loss"] == found[0]["loss"]
    assert result["after"] == pytest.approx(
        {k: v for k, v in found[-1].items() if k not in ("step", "split")}
    )
    held = load_file(run / "checkpoints" / "step-00000004" / "variables.safetensors")
    saved = load_file(run / "model" / "model.safetensors")
    for path, weight in saved.items():
        name = "transformer_" + path.replace("/", "_")
        np.testing.assert_array_equal(weight, held[f"adamw/{name}_average"], err_msg=path)
    assert any((held[f"transformer/{path}"] != weight).any() for path, weight in saved.items())


@pytest.mark.parametrize(("source", "step"), [(0.6, 0.0), (0.0, 0.6)], ids=["slow", "fast"])
def test_the_share_of_waiting_is_that_of_a_slow_source(
    finetuning, monkeypatch, tmp_path, source, step
):
    stream, take = Batches.stream, Engine.step

    def late(batch):
        slept = tf.numpy_function(lambda: np.int32(time.sleep(source) or 0), [], tf.int32)
        with tf.control_dependencies([slept]):
            return tf.nest.map_structure(tf.identity, batch)

    def slow(*args):
        return stream(*args).map(tf.autograph.experimental.do_not_convert(late))

    monkeypatch.setattr(Batches, "stream", slow)
    monkeypatch.setattr(Engine, "step", lambda *args: time.sleep(step) or take(*args))
    train(finetuning(steps=4), tmp_path / "run")
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    shares = [line["waiting"] for line in found if line["split"] == "train"]
    assert len(shares) == 4 and all(0 <= share <= 1 for share in shares)
    # On a busy machine a step may take as long as the slow source.
    assert np.median(shares[1:]) > 0.3 if source else np.median(shares[1:]) < 0.3


def test_waiting_is_smoothed_over_the_steps_since_the_last_line(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pipelines.core.loop.time, "monotonic", lambda: now[0])
    clock, shares = _Clock(0.0, "tokens"), []

    def source():
        for seconds in (1, 0, 3, 1):
            now[0] += seconds
            yield seconds

    for number, _ in enumerate(clock.waits(source()), 1):
        now[0] += 1  # the step
        clock.tick({"tokens": 1, "loss": 0.0})
        if number % 2 == 0:
            shares.append(clock.waiting())
            now[0] += 10  # an evaluation
            clock.skip()
    assert shares == [1 / 3, 4 / 6]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_stop_and_the_second_insists(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), _stop_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.wait(5)
        os.kill(os.getpid(), number)
        threading.Event().wait(5)
    assert signal.getsignal(number) is before


def test_outside_the_main_thread_signals_are_left_alone():
    found = []

    def run():
        with _stop_signals() as stop:
            found.append((stop.is_set(), signal.getsignal(signal.SIGINT)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [(False, before)]

"""A domain that is defined outside the product does all that a task does; see sums_spec.py."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

HERE = Path(__file__).parent
TRAIN = ("--train.steps", "300", "--train.checkpoint-every", "20", "--train.evaluate-every", "100")


def start(*words):
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, str(HERE / "launcher.py"), *map(str, words)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env)


def launch(*words):
    """Run a command to its end; return its code, the JSON of its last line, and what it said."""
    process = start(*words)
    out, errors = process.communicate(timeout=300)
    found = json.loads(out.splitlines()[-1]) if process.returncode == 0 and out else None
    return process.returncode, found, errors


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    chance = random.Random(4)
    rows = [[chance.randint(0, 60) for _ in range(3)] for _ in range(400)]
    path = tmp_path_factory.mktemp("table") / "numbers.csv"
    path.write_text("".join(f"{','.join(map(str, row))},{sum(row)}\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    words = ("pretrain", "sums-tiny", "--data.files", table, *TRAIN, "--out", out)
    code, found, errors = launch(*words, "--model.dropout", "0.1")
    assert code == 0, errors
    return out, found


def test_it_learns_and_keeps_the_best_weights(run):
    _, found = run
    assert found["after"]["loss"] < 0.7 * found["before"]["loss"]
    assert 0 <= found["before"]["exact_match"] <= found["after"]["exact_match"] <= 1


def test_a_killed_run_resumes_with_equal_bits(run, table, tmp_path):
    whole, _ = run
    killed = tmp_path / "killed"
    words = ("pretrain", "sums-tiny", "--data.files", table, *TRAIN, "--model.dropout", "0.1")
    process = start(*words, "--out", killed)
    deadline = time.monotonic() + 200
    while not any((killed / "checkpoints").glob("step-*[24680]0")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (killed / "result.json").exists()
    code, _, errors = launch(*words, "--out", killed)
    assert code == 0, errors
    ours, theirs = (load_file(out / "model" / "model.safetensors") for out in (whole, killed))
    assert ours.keys() == theirs.keys()
    for path, array in ours.items():
        np.testing.assert_array_equal(array, theirs[path], path)


def test_it_evaluates_and_its_export_answers_as_its_metric_says(run, table, tmp_path):
    whole, found = run
    code, measured, errors = launch("evaluate", whole, "--data.files", table)
    assert code == 0, errors
    assert measured["rows"] == 400 and measured["largest"] <= 180
    code, exported, errors = launch("export", whole, "--out", tmp_path / "served")
    assert code == 0, errors
    assert exported["inputs"] == ["numbers"] and exported["outputs"] == ["text"]
    served = tf.saved_model.load(exported["saved_model"]).signatures["serving_default"]
    numbers = np.loadtxt(table, delimiter=",", dtype=np.float32)
    texts = served(numbers=tf.constant(numbers[:, :3]))["text"].numpy()
    right = np.mean(
        [text.decode() == str(int(n)) for text, n in zip(texts, numbers[:, 3], strict=True)]
    )
    assert right == pytest.approx(measured["exact_match"], abs=1e-6)


def test_tensorboard_has_its_numbers_table_and_picture(run):
    whole, _ = run
    events = EventAccumulator(str(whole / "events"), size_guidance={"tensors": 0})
    events.Reload()
    tags = set(events.Tags()["tensors"])
    assert {"validation/exact_match", "train/loss", "watched/rows_shown"} <= tags
    assert any("predictions" in tag for tag in tags) and any("sums" in tag for tag in tags)


@pytest.mark.parametrize(
    "words, said",
    [
        (["--objective.places", "1"], "objective.places: expected at least 2. Received: 1."),
        (["--data.share", "2"], "data.share: expected a share between 0 and 1. Received: 2.0."),
        (["--data.files", "none.csv"], "data.files: expected at least one file. Received: none"),
        (
            ["--task", "masked-lm"],
            "model: expected a single stack.* for masked-lm",
        ),
        (["--objective.places", "3"], "objective.places: expected room for all sums. Received: 3"),
    ],
)
def test_bad_input_is_one_sentence_that_names_the_flag(words, said, table, tmp_path):
    files = [] if "--data.files" in words else ["--data.files", table]
    files = [] if "--task" in words else files
    code, _, errors = launch("pretrain", "sums-tiny", *files, *words, "--out", tmp_path / "out")
    assert code == 2
    assert re.match(f"error: {said}", errors.splitlines()[-1]), errors


def test_help_teaches_its_flags():
    process = start("pretrain", "sums-tiny", "--help")
    said, _ = process.communicate(timeout=100)
    flags = ("--objective.end-weight", "--data.share", "--model.columns", "sum-digits")
    assert all(flag in said for flag in flags)

"""A run that is killed and started again is, to the last bit, the run that was never killed.

Dropout is on, rows are packed and shuffled, the epoch ends in between, gradients are accumulated,
rows are in lanes, and the weights are averaged.
"""

import json
import shutil
import signal
import warnings

import pytest
from fork_server import COMMAND
from tiny import lines, pretraining

from pipelines.core.train import train

STEPS = 24
STOPPED = 130


def recipe(corpus, vocabulary, mode):
    return pretraining(
        corpus,
        vocabulary,
        steps=STEPS,
        accumulate=2,
        lanes=2,
        ema=0.9,
        compile=mode,
        evaluate_every=12,
        checkpoint_every=2,
        rate=1e-2,
    )


@pytest.fixture(scope="module")
def whole(corpus, vocabulary, tmp_path_factory):
    """Return an uninterrupted run in graph mode."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(recipe(corpus, vocabulary, "graph"), run)
    return run


def final(run):
    assert (run / "result.json").exists(), "the run is not done"
    return lines(run), (run / "model" / "model.safetensors").read_bytes()


def steps_taken(run):
    if not (run / "metrics.jsonl").exists():
        return 0
    found = (run / "metrics.jsonl").read_text().split("\n")[:-1]
    return sum(json.loads(line)["split"] == "train" for line in found)


def newest(run):
    return max(p.name for p in (run / "checkpoints").glob("step-*"))


def half_written(run):
    return list((run / "checkpoints").glob(".step-*.tmp"))


def with_slow_disk(words):
    """Run a command on a machine whose disk takes its time, so that a kill finds it writing."""
    import os
    import time

    from pipelines.__main__ import main

    sync = os.fsync
    os.fsync = lambda handle: (time.sleep(0.1), sync(handle))[1]
    return main(words)


def test_a_run_crosses_an_epoch_border_and_learns(whole, store):
    found = lines(whole, "train")
    assert [line["step"] for line in found] == list(range(1, STEPS + 1))
    tokens = sum(line["tokens"] for line in found)
    assert tokens > 1.2 * store.meta.tokens  # of which a part is for validation
    assert found[-1]["loss"] < found[0]["loss"]


def test_stopped_at_any_moment_and_started_again_a_run_is_bit_equal(whole, fork_server, tmp_path):
    run, log = tmp_path / "run", tmp_path / "log"
    words = ["pretrain", "--from", str(whole / "recipe.json"), "--out", str(run)]

    def stop(target, moment, number, code):
        child = fork_server.start(target, log, words)
        assert child.wait_until(moment), log.read_text()
        child.kill(number)
        assert child.wait() == code, log.read_text()
        assert not (run / "result.json").exists()

    kill = signal.SIGKILL, -signal.SIGKILL
    stop(COMMAND, lambda: (run / "resolved.json").exists(), *kill)  # before the first checkpoint
    stop(COMMAND, lambda: steps_taken(run) >= 5, signal.SIGTERM, STOPPED)
    step = steps_taken(run)
    assert 5 <= step < STEPS
    assert newest(run) == f"step-{step:08d}"
    assert f"stopped at step {step} of {STEPS}" in " ".join(log.read_text().split())
    writing = lambda: steps_taken(run) > step + 4 and half_written(run)  # noqa: E731
    stop("test_resume:with_slow_disk", writing, *kill)
    assert half_written(run)
    child = fork_server.start(COMMAND, log, words)
    assert child.wait() == 0, log.read_text()
    assert final(run) == final(whole)
    assert not half_written(run)


def test_a_damaged_checkpoint_costs_steps_but_not_exactness(whole, corpus, vocabulary, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    for done in ("result.json", "model/model.safetensors", "model/config.json"):
        (run / done).unlink()
    (run / "checkpoints" / newest(run) / "variables.safetensors").write_bytes(b"")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(recipe(corpus, vocabulary, "graph"), run)
    assert [newest(whole) in str(w.message) for w in caught] == [True]
    assert final(run) == final(whole)


@pytest.mark.release  # the same as above, in the other way to compile
def test_a_killed_run_of_islands_is_bit_equal(corpus, vocabulary, fork_server, tmp_path):
    whole, run, log = tmp_path / "whole", tmp_path / "run", tmp_path / "log"
    given = tmp_path / "recipe.json"
    recipe(corpus, vocabulary, "fused").save(given)
    words = ["pretrain", "--from", str(given), "--out"]
    never_killed = fork_server.start(COMMAND, log, [*words, str(whole)])
    child = fork_server.start(COMMAND, log, [*words, str(run)])
    assert child.wait_until(lambda: steps_taken(run) >= 9), log.read_text()
    child.kill(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    child = fork_server.start(COMMAND, log, [*words, str(run)])
    assert (never_killed.wait(), child.wait()) == (0, 0), log.read_text()
    assert final(run) == final(whole)

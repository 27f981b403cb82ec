"""Two processes that train one model: what one process would do, and after a kill the same bits."""

import json
import signal
from dataclasses import replace

import numpy as np
import pytest
from cluster import addresses, described, start
from fork_server import COMMAND
from test_resume import final, steps_taken
from tiny import STILL, lines, masked, plain, pretraining

import pipelines.core.devices
from pipelines.core.batches import Share
from pipelines.core.devices import choose_strategy
from pipelines.core.train_config import TrainConfig
from tfattn.errors import InputError

STEPS = 12


def recipe(corpus, vocabulary, devices, **fields):
    settings = {"steps": STEPS, "evaluate_every": 6, "checkpoint_every": 2, "rate": 1e-2} | fields
    return pretraining(corpus, vocabulary, devices=devices, accumulate=2, ema=0.9, **settings)


def run_on_two(fork_server, given, folder, run):
    words = ["pretrain", "--from", str(given), "--out", str(run)]
    return start(fork_server, folder, words)


def ended(workers):
    return [worker.wait(300) for worker in workers]


def said(folder):
    return "\n".join(log.read_text() for log in sorted(folder.glob("worker-*.log")))


@pytest.mark.multiprocess
def test_two_workers_take_the_steps_of_one(corpus, vocabulary, fork_server, tmp_path):
    runs = {}
    for devices in ("default", "workers"):
        given, runs[devices] = tmp_path / f"{devices}.json", tmp_path / devices
        replace(recipe(corpus, vocabulary, devices), model=STILL).save(given)
        if devices == "workers":
            assert ended(run_on_two(fork_server, given, tmp_path, runs[devices])) == [0, 0], said(
                tmp_path
            )
        else:
            words = ["pretrain", "--from", str(given), "--out", str(runs[devices])]
            assert fork_server.start(COMMAND, tmp_path / "log", words).wait() == 0
    found, expected = (lines(runs[devices]) for devices in ("workers", "default"))
    assert len(found) == len(expected) == STEPS + 3
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.pop("split") == theirs.pop("split")
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)
    results = [json.loads(line) for line in said(tmp_path).splitlines() if line.startswith("{")]
    assert len(results) == 2
    assert results[0] == results[1]


@pytest.mark.multiprocess
@pytest.mark.parametrize("victims", [(0,), pytest.param((1, 0), marks=pytest.mark.release)])
def test_a_worker_is_killed_and_all_start_again_bit_equal(
    victims, corpus, vocabulary, fork_server, tmp_path
):
    given, whole, run = tmp_path / "recipe.json", tmp_path / "whole", tmp_path / "run"
    recipe(corpus, vocabulary, "workers").save(given)
    assert ended(run_on_two(fork_server, given, tmp_path, whole)) == [0, 0], said(tmp_path)
    for victim in victims:  # the first one writes the checkpoints
        begun = steps_taken(run)
        workers = run_on_two(fork_server, given, tmp_path, run)
        moment = lambda: steps_taken(run) >= begun + 3  # noqa: B023, E731 - read at once
        assert workers[victim].wait_until(moment, 300), said(tmp_path)
        workers[victim].kill(signal.SIGKILL)
        assert workers[victim].wait() == -signal.SIGKILL
        assert workers[1 - victim].wait(300) != 0  # nobody trains on alone
        assert not (run / "result.json").exists()
    assert ended(run_on_two(fork_server, given, tmp_path, run)) == [0, 0], said(tmp_path)
    assert final(run) == final(whole)


@pytest.mark.multiprocess
def test_one_worker_is_asked_to_stop_and_all_do(corpus, vocabulary, fork_server, tmp_path):
    given, run = tmp_path / "recipe.json", tmp_path / "run"
    recipe(corpus, vocabulary, "workers", steps=2000, evaluate_every=2000).save(given)
    workers = run_on_two(fork_server, given, tmp_path, run)
    assert workers[0].wait_until(lambda: steps_taken(run) >= 3, 300), said(tmp_path)
    workers[1].kill(signal.SIGTERM)
    assert ended(workers) == [130, 130], said(tmp_path)
    assert said(tmp_path).count("a checkpoint is in") == 2


@pytest.mark.parametrize("own", [1, 2])
def test_shares_are_the_batch_and_no_row_is_read_twice(own, work):
    _, source = work
    step, parts = 3, 4
    whole = plain(source.at(step))["features"]["tokens"]
    shares = [Share(first, own, parts) for first in range(0, parts, own)]
    read = [
        [plain(batch)["features"]["tokens"] for batch in source.stream(step, step + 2, share)]
        for share in shares
    ]
    assert [len(each) for each in read] == [2 * own] * len(shares)
    joined = np.concatenate([rows for each in read for rows in each[:own]])
    np.testing.assert_array_equal(joined, whole)
    later = np.concatenate([rows for each in read for rows in each[own:]])
    np.testing.assert_array_equal(later, plain(source.at(step + 1))["features"]["tokens"])


@pytest.fixture(scope="module")
def work(store, tokenizer):
    return masked(store, tokenizer, 16, pack=False)


GOOD = described(["a:1", "b:2"], 1)


@pytest.mark.parametrize(
    "given",
    [
        *(None, "", "[1]", "{", json.dumps({"cluster": {"worker": ["a:1"]}})),
        GOOD.replace('"index": 1', '"index": 2'),
        GOOD.replace('"type": "worker"', '"type": "ps"'),
        GOOD.replace('"worker": [', '"chief": ["c:3"], "worker": ['),
    ],
)
def test_a_cluster_that_is_not_described_is_refused(given, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if given is not None:
        monkeypatch.setenv("TF_CONFIG", given)
    with pytest.raises(InputError, match="TF_CONFIG: expected .* for --train.devices workers"):
        choose_strategy(TrainConfig(devices="workers"))


def test_a_good_description_is_taken(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", described(addresses(2), 0))
    pipelines.core.devices._check_cluster()

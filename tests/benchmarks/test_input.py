"""Contestants of `benchmarks.input`: all texts come through, once or as often as asked."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.contest import in_turn, tell
from benchmarks.contestants import input_kerashub, input_ours
from benchmarks.input import contestants
from benchmarks.work import Reading
from pipelines.text.tokenization.wordpiece import train_wordpiece
from tests.benchmarks.test_contest import sleeper

TEXTS = [f"the {word} ran home and sat down" for word in ("cat", "dog", "cow", "hen")] * 100
TOKENS = 7 * len(TEXTS)  # every word is one


@pytest.fixture
def work(tmp_path):
    file, vocabulary = tmp_path / "texts.jsonl", tmp_path / "vocabulary"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    train_wordpiece(TEXTS, 200).save(vocabulary)
    return Reading(str(file), str(vocabulary), length=18, batch=5)


@pytest.mark.parametrize("times", [1, 3])
def test_every_token_comes_through(work, times):
    given = asdict(replace(work, times=times))
    ours = input_ours.contestant(given)()  # two texts fill a row, with [CLS] and [SEP]
    assert ours == times * TOKENS / (2 * 7 * work.batch)
    theirs = input_kerashub.contestant(given)()  # end to end, where the last batch is left
    assert theirs == times * TOKENS // ((work.length - 2) * work.batch)


def test_ids_alone_are_those_of_all_texts(work):
    ids = input_ours.contestant(asdict(work), ids_alone=True)()
    assert sum(len(chunk.values) for chunk in ids) == TOKENS


def test_without_its_environment_transformers_is_left_out(work, tmp_path):
    assert "transformers" not in contestants(work, tmp_path / "none")
    assert list(contestants(work, Path(sys.executable)))[:2] == ["KerasHub", "transformers"]


def test_the_clock_of_the_processor_stands_still_in_sleep(tmp_path, capsys):
    found = in_turn({"slow": sleeper(seconds=0.2)}, 3, tmp_path / "logs", clock="cpu")
    assert max(found["slow"].rounds) < 0.1 and found["slow"].first >= 0.2
    tell("a title", found, "slow", 100, None, tmp_path / "table.json")
    assert "GFLOP" not in capsys.readouterr().out

"""Answers to texts: fine-tuned, measured, generated and served."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the tokenizer's operations
from finished import QUICK, command

from pipelines.__main__ import main
from pipelines.core.finished import open_finished

PAIRS = {"the cat": "sat", "a dog": "ran on", "the hill": "a park", "its song": "mat"}
SMALL = ("--model.dim", "32", "--model.hidden-dim", "64", "--model.heads", "2", "--data.length")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    rows = [f"{text}\t{answer}" for text, answer in PAIRS.items()]
    path.write_text("\n".join(["text\tanswer", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def run(finished, table, tmp_path_factory):
    """Return a model over bytes that has learnt the pairs by heart."""
    folder = tmp_path_factory.mktemp("answers")
    words = ("--data.files", finished.corpus, *SMALL, "24", "--data.vocab-size", "300", *QUICK)
    command(
        "pretrain", "gpt2-tiny", *words, "--train.steps", "4", "--out", folder / "gpt",
        "--monitor.samples", "0",
    )  # fmt: skip
    files = ("--data.train", table, "--data.validation", table, "--data.label", "answer")
    command(
        "finetune", "text2text", "--init", folder / "gpt", *files, "--out", folder / "run",
        "--train.steps", "150", "--train.batch", "4", "--train.rate", "1e-2", "--monitor.samples",
        "2", "--train.evaluate-every", "150", *QUICK,
    )  # fmt: skip
    return folder / "run"


def test_answers_are_generated_and_end(run):
    found = command("generate", run, "--prompt", *PAIRS, "--tokens", "20", "--greedy")
    assert found["texts"] == list(PAIRS.values())


def test_the_export_answers_alike(run, tmp_path):
    said = command("export", run, "--out", tmp_path / "out", "--greedy")
    model = tf.saved_model.load(said["saved_model"])
    found = model.signatures["serving_default"](text=tf.constant(list(PAIRS)))["text"]
    assert [text.decode() for text in found.numpy()] == list(PAIRS.values())


def test_the_loss_is_of_the_answers_and_their_end_alone(run, table):
    found = command("evaluate", run, "--data.files", table)
    done = open_finished(str(run))
    loss = count = 0
    for text, answer in PAIRS.items():
        given, said = (done.processor.encode_batch([part])[0] for part in (text + "\n", answer))
        ids = np.array([done.processor.start_id, *given, *said, done.processor.separator_id])
        logits = np.asarray(done.model(ids[None, :-1].astype("int32")))[0].astype("float64")
        shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        for place in range(1 + len(given), len(ids)):
            loss -= math.log(shares[place - 1, ids[place]])
            count += 1
    assert found["loss"] == pytest.approx(loss / count, rel=1e-4)
    assert found["accuracy"] == 1 and found["rows"] == len(PAIRS) and found["rows_cut"] == 0


def test_the_recipe_is_repeated(run, table, tmp_path):
    recipe = json.loads((run / "recipe.json").read_text())
    wanted = {
        "spec": "TextToText",
        "head": None,
        "delimiter": "\\n",
        "prefix": [],
        "smoothing": 0.0,
    }
    assert recipe["objective"] == wanted
    words = ("finetune", "text2text", "--from", run / "recipe.json", "--out", tmp_path / "again")
    again = command(*words, "--train.steps", "1", "--monitor.samples", "0")
    first = json.loads((run / "result.json").read_text())
    assert again["before"]["loss"] == pytest.approx(first["before"]["loss"], rel=1e-5)


def test_a_second_text_has_no_place(run, table, tmp_path, capsys):
    words = ["finetune", "text2text", "--init", str(run), "--data.text-pair", "label"]
    words += ["--data.train", str(table), "--data.validation", str(table)]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert "data.text_pair: expected none, for text2text reads one" in capsys.readouterr().err


def test_a_model_that_sees_the_future_cannot_write(finished, table, tmp_path, capsys):
    files = ("--data.train", table, "--data.validation", table, "--data.label", "answer")
    words = ("finetune", "text2text", "--init", finished.pretrained, *files, "--out", tmp_path)
    assert main(list(map(str, words))) == 2
    assert (
        "init: expected a causal model, or an encoder with a decoder, for it is to write"
        in capsys.readouterr().err
    )

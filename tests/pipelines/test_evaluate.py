"""Evaluation gives the numbers of training, on the same split and on any other."""

import json
import random

import numpy as np
import pytest
import tensorflow as tf
from finished import command
from sklearn.metrics import f1_score

import pipelines.core.evaluate as module
from pipelines.__main__ import main
from pipelines.core.batches import Batches
from pipelines.text.spec import RowOptions
from tfattn.errors import InputError

CLOSE = {"rel": 1e-5, "abs": 1e-6}


@pytest.mark.parametrize("kind", ["pretrained", "classifier", "pairs", "regression"])
def test_the_same_split_gives_the_numbers_of_training(kind, finished):
    run = getattr(finished, kind)
    after = json.loads((run / "result.json").read_text())["after"]
    found = command("evaluate", run)
    assert found["run"] == str(run) and found["rows"] > 0
    assert {name: found[name] for name in after} == pytest.approx(after, **CLOSE)


@pytest.mark.parametrize("kind", ["pretrained", "classifier", "regression"])
def test_the_size_of_a_batch_changes_nothing(kind, finished):
    run = getattr(finished, kind)
    found = [command("evaluate", run, "--batch", size) for size in (1, 7, 1000)]
    numbers = [
        {name: value for name, value in numbers.items() if name not in ("run", "files")}
        for numbers in found
    ]
    assert numbers[0] == pytest.approx(numbers[1], **CLOSE)
    assert numbers[2] == pytest.approx(numbers[1], **CLOSE)


def test_bytes_that_are_not_utf8_are_accepted_where_a_flag_says_so(finished, tmp_path, capsys):
    path = tmp_path / "a.tsv"
    path.write_bytes((finished.folder / "validation.tsv").read_bytes().replace(b" ", b" \xff", 1))
    words = ["evaluate", str(finished.classifier), "--data.files", str(path)]
    assert main(words) == 2 and "--data.encoding-errors replace accepts" in capsys.readouterr().err
    assert command(*words, "--data.encoding-errors", "replace")["rows"] > 0


def test_the_last_line_is_one_object_of_strict_json(finished, capsys):
    assert main(["evaluate", str(finished.regression)]) == 0
    out, err = capsys.readouterr()

    def refuse(constant):
        raise AssertionError(constant)

    found = json.loads(out.splitlines()[-1], parse_constant=refuse)
    metrics = {"loss", "pearson", "spearman", "rmse"}
    assert set(found) == {"run", "files", "rows", "rows_cut", *metrics}
    assert found["files"] == [str(finished.folder / "validation-number.tsv")]
    assert all(name in err for name in {"rows", "rows_cut", *metrics})  # the table for people


def test_a_batch_has_no_more_rows_than_there_are(finished, monkeypatch):
    sizes = []

    def batches(rows, transform, size, *rest):
        sizes.append((size, len(rows)))
        return Batches(rows, transform, size, *rest)

    monkeypatch.setattr(module, "Batches", batches)
    for run in (finished.pretrained, finished.classifier):
        command("evaluate", run, "--batch", 100_000)
        command("evaluate", run, "--batch", 2)
    assert [size for size, _ in sizes] == [sizes[0][1], 2, 20, 2]


def test_a_stride_below_one_is_refused_before_anything_else(capsys):
    assert main(["evaluate", "nowhere", "--stride", "0"]) == 2
    assert capsys.readouterr().err == "error: stride: expected at least 1. Received: 0.\n"
    with pytest.raises(InputError, match="stride: expected at least 1. Received: 0"):
        RowOptions(stride=0)


def test_a_stride_is_in_the_result_and_one_without_use_is_told(copying, tmp_path, capsys):
    (tmp_path / "long.txt").write_text("mo red ka blue " * 40)
    (tmp_path / "short.txt").write_text("mo red")
    for name, stride, changes in (("long", 8, True), ("short", 8, False), ("long", 32, False)):
        file = str(tmp_path / f"{name}.txt")
        words = ["evaluate", str(copying[0]), "--data.files", file, "--stride", str(stride)]
        assert main(words) == 0
        out, err = capsys.readouterr()
        found = json.loads(out)
        assert (found["stride"], found["files"]) == (stride, [file])
        assert (f"so that {stride} changes nothing" in err) is not changes
    assert "stride" not in command("evaluate", copying[0])


def test_other_files_are_measured_alike(finished, tmp_path):
    (train, _, validation) = finished.labelled()[1:]
    found = command("evaluate", finished.classifier, "--data.files", train)
    assert found["rows"] == 40
    both = command("evaluate", finished.classifier, "--data.files", train, validation)
    assert both["rows"] == 60
    parts = command("evaluate", finished.classifier)
    assert both["accuracy"] * 60 == pytest.approx(found["accuracy"] * 40 + parts["accuracy"] * 20)


def test_metrics_are_those_of_the_labels_that_the_export_gives(finished, tmp_path):
    lines = (finished.folder / "train.tsv").read_text().splitlines()[1:]
    labels, texts = zip(*(line.split("\t") for line in lines), strict=True)
    command("export", finished.classifier, "--out", tmp_path / "out")
    model = tf.saved_model.load(str(tmp_path / "out" / "1"))
    said = model.signatures["serving_default"](text=tf.constant(texts))["label"].numpy().astype(str)
    found = command("evaluate", finished.classifier, "--data.files", finished.folder / "train.tsv")
    assert found["accuracy"] == pytest.approx(np.mean(said == np.array(labels)))
    score = f1_score(labels, said, average="macro", labels=["runs", "sits"], zero_division=0)
    assert found["macro_f1"] == pytest.approx(score)


def test_texts_of_a_pretrained_model_may_be_other_files(finished, tmp_path):
    draw = random.Random(3)
    sentences = [
        " ".join(draw.choices(["the", "cat", "sat", "on", "a", "hill"], k=9)) for _ in range(9)
    ]
    (tmp_path / "other.txt").write_text("\n\n".join(sentences))
    (tmp_path / "noise.txt").write_text("\n\n".join("zxq vvb" * 9 for _ in range(9)))
    found, noise = (
        command("evaluate", finished.pretrained, "--data.files", tmp_path / name)
        for name in ("other.txt", "noise.txt")
    )
    assert 0 < found["mlm_loss"] < 20 and found["loss"] == found["mlm_loss"]
    assert found["mlm_loss"] != noise["mlm_loss"]
    again = command("evaluate", finished.pretrained, "--data.files", tmp_path / "other.txt")
    assert again == found
    everything = command("evaluate", finished.pretrained, "--data.files", finished.corpus)
    held_out = command("evaluate", finished.pretrained)
    assert everything["rows"] > 10 * held_out["rows"]  # not the held-out share alone


def test_one_row_is_enough(finished, tmp_path):
    (tmp_path / "a.tsv").write_text("label\ttext\n3\ta cat\n")
    found = command("evaluate", finished.regression, "--data.files", tmp_path / "a.tsv")
    assert found["rows"] == 1 and found["pearson"] == 0.0
    (tmp_path / "b.tsv").write_text("label\ttext\nsits\ta cat\n")
    found = command("evaluate", finished.classifier, "--data.files", tmp_path / "b.tsv")
    assert found["rows"] == 1 and found["accuracy"] in (0.0, 1.0)


def test_a_model_that_gives_no_numbers_is_told_in_null(finished, tmp_path, monkeypatch, capsys):
    real = module.open_finished

    def broken(folder):
        done = real(folder)
        for variable in done.model.trainable_variables:
            variable.assign(np.full(variable.shape, np.nan))
        return done

    monkeypatch.setattr(module, "open_finished", broken)
    assert main(["evaluate", str(finished.pretrained)]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["loss"] is None and found["rows"] > 0

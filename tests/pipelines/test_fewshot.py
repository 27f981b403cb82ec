"""The command for in-context learning: what it finds, whose faults it tells, what it writes."""

import errno
import json
import os
import re
from dataclasses import replace

import pytest

from pipelines.__main__ import main
from pipelines.core.finished import open_finished
from pipelines.core.tables import Table, read_table
from pipelines.experiments import fewshot, fewshot_report
from pipelines.experiments.fewshot import few_shot
from pipelines.experiments.prompts import Prompt, Trials
from pipelines.text.generation.scoring import Scorer
from pipelines.text.spec import CausalLM
from pipelines.text.tokenization.characters import Characters
from tfattn.errors import InputError


def test_a_model_that_has_learnt_to_copy_is_seen_to(copying, capsys):
    run, task = copying
    words = ["fewshot", str(run), "--data.files", str(task), "--shots", "2", "0", "2"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert [result["shots"] for result in found["results"]] == [0, 2]
    assert [result["seeds"] for result in found["results"]] == [1, 3]
    assert found["majority"] < 0.7 and found["chance"] == 0.5 and found["rows"] == 60
    assert all(result["accuracy"] > 0.9 for result in found["results"])
    assert all(0.3 < result["chosen"]["red"] < 0.7 for result in found["results"])
    assert all(f"{result['accuracy']:.4f}" in err for result in found["results"])
    assert "too long" not in err and "retracing" not in err
    assert (run / "fewshot.png").read_bytes().startswith(b"\x89PNG")
    assert not list(run.glob(".fewshot*"))
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == found


def test_the_scorer_is_told_of_a_prefix_and_has_no_more_passes_than_rows(copying, monkeypatch):
    done, test = open_finished(str(copying[0])), read_table([str(copying[1])])
    made = []

    def scorer(*given):
        made.append(Scorer(*given))
        return made[-1]

    monkeypatch.setattr(fewshot, "Scorer", scorer)
    for prefix in (True, False):
        run = replace(done, recipe=replace(done.recipe, objective=CausalLM(prefix=prefix)))
        few_shot(run, test, None, Trials(shots=(0,), limit=3), Prompt(), 100_000)
    assert [(score.batch, score.prefix) for score in made] == [(3, True), (3, False)]


def test_demonstrations_come_from_other_files_and_long_prompts_are_told(copying, tmp_path, capsys):
    run, task = copying
    (tmp_path / "train.tsv").write_text("label\ttext\n" + "red\tmo mo red\nblue\tka ka blue\n" * 9)
    words = ["--data.files", str(task), "--data.train", str(tmp_path / "train.tsv")]
    words += ["--words", "ti", "lu", "--shots", "12", "--limit", "9", "--seeds", "1"]
    out = tmp_path / "a.png"
    assert main(["fewshot", str(run), *words, "--out", str(out)]) == 0
    said, err = capsys.readouterr()
    (result,) = json.loads(said)["results"]
    assert result["std"] is None and sum(result["chosen"].values()) == pytest.approx(1)
    assert result["prompts"] == result["prompts_shortened"] == 9
    assert 0 < result["shots_left"] < 12 and result["texts_cut"] == 0 and out.exists()
    assert "12 shots: 9 of 9 prompts were too long for the model" in " ".join(err.split())


def test_the_numbers_are_given_where_the_picture_fails(copying, tmp_path, monkeypatch, capsys):
    def full(*given):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fewshot_report, "write_picture", full)
    words = ["--data.files", str(copying[1]), "--shots", "0", "--limit", "2"]
    out = str(tmp_path / "a.png")
    assert main(["fewshot", str(copying[0]), *words, "--out", out]) == 0
    said, err = capsys.readouterr()
    assert json.loads(said)["plot"] is None and json.loads(said)["results"]
    assert f"{out}: the picture is not written. No space left" in err and "accuracy" in err
    assert not list(tmp_path.iterdir())


BAD = {
    "--shots -1": "shots: expected numbers from 0. Received: -1",
    "--shots none": "shots: expected numbers from 0. Received: none",
    "--shots 60": r"shots: expected at most \d+, the rows of .*task.tsv with another text .* 60",
    "--seeds 0": "seeds: expected at least 1. Received: 0",
    "--seed -1": "seed: expected at least 0. Received: -1",
    "--limit 0": "limit: expected at least 1. Received: 0",
    "--batch 0": "batch: expected at least 1. Received: 0",
    "--words a": r"words: expected 2, for the classes blue, red. Received: a",
    "--words a a": "words: expected different ones",
    "--words a =": "words: expected none that is empty",
    "--template {text}{0.__class__}{nope}{label}": (
        r"template: expected no field but \{text\} and \{label\}. "
        r"Received: \{0.__class__\}, \{nope\}"
    ),
    "--template {text}": r"template: expected \{text\} once, and \{label\} once and last",
    "--separator=": "separator: expected a text between two examples",
    "--out {t}/none/a.png": "out: expected a .png in a folder that is there",
    "--out {t}": "out: expected a .png in a folder that is there",
    "--out /proc/a.png": "out: expected a picture that can be written. Received: /proc/a.png: ",
    f"--out {'a' * 290}.png": "out: expected a picture that can be written. .* name too long",
    "--data.files none": "data.files: expected at least one file or glob",
    "--data.files {t}/none.tsv": "data.files: expected at least one file.* none for",
    "--data.files {t}": r"data.files: .* a folder; name its files, as in .*/\*\*/\*.tsv",
    "--data.files embedded": "data.files: expected tables, .* fewshot .* Received: embedded",
    "--data.train tfds:a/b": "data.train: expected tables, .* fewshot .* Received: tfds:a/b",
    "--data.train {t}/none.tsv": "data.train: expected at least one file.* none for",
    "--data.label lable": r"task.tsv, header: unknown column 'lable'",
    "--data.files {t}/one.tsv": r"one.tsv: expected at least two classes. Received: 'red'",
    "--data.files {t}/empty.tsv": r"empty.tsv, line 2, label: expected text",
    "--data.train {t}/other.tsv": r"other.tsv, line 3, label: unknown class 'green'",
}
TABLES = {"one": "red\ta\nred\tb", "empty": " \ta\nred\tb", "other": "red\ta\ngreen\tb"}


def test_what_cannot_be_asked_is_told(copying, tmp_path, capsys):
    for name, rows in TABLES.items():
        (tmp_path / f"{name}.tsv").write_text(f"label\ttext\n{rows}\n")
    for flags, message in BAD.items():
        given = ["" if word == "=" else word for word in flags.split()]
        given = [word.replace("{t}", str(tmp_path)) for word in given]
        files = [] if "--data.files" in given else ["--data.files", str(copying[1])]
        assert main(["fewshot", str(copying[0]), *files, *given]) == 2, flags
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and re.search(message, err), err


def test_a_model_or_a_vocabulary_of_another_kind_is_refused(finished, copying, capsys):
    files = ["--data.files", str(finished.folder / "validation.tsv")]
    assert main(["fewshot", str(finished.pretrained), *files]) == 2
    assert "model: expected a language model with causal masks" in capsys.readouterr().err
    done, test = open_finished(str(copying[0])), read_table([str(copying[1])])
    letters = replace(done, processor=Characters(tuple("abcdefghijklmnopqrstuvwxyz ")))
    with pytest.raises(InputError, match=r"template, separator: expected the 27 char.*'\\n' '='"):
        few_shot(letters, test, None, Trials(), Prompt(), 4)
    few = replace(done, processor=Characters(tuple("blured =>\n")))
    with pytest.raises(InputError, match="data.files: expected the .* characters"):
        few_shot(few, test, None, Trials(), Prompt(), 4)


def test_characters_of_another_vocabulary_are_told_with_where_they_stand(copying):
    done = open_finished(str(copying[0]))
    letters = replace(done, processor=Characters(tuple("abcdefghijklmnopqrstuvwxyz =>\n")))

    def ask(test, train, **trials):
        few_shot(letters, test, train, Trials(shots=(1,), limit=1, **trials), Prompt(), 4)

    good, bad = table(["a", "b", "c"], "red"), table(["A", "A", "A"], "red")
    with pytest.raises(InputError, match="^data.train: expected the 30 char.* Received: 'A'"):
        ask(good, bad)
    with pytest.raises(InputError, match="^data.files: expected the 30 char.* Received: 'A'"):
        ask(bad, good)
    with pytest.raises(InputError, match="^data.files: expected the 30 char.* Received: 'A'"):
        ask(table(["a", "A", "A"], "red"), None)  # a demonstration
    with pytest.raises(InputError, match="^a.tsv, labels: expected the 30 char.* Received: 'R'"):
        ask(table(["a", "b", "c"], "Red"), None)
    with pytest.raises(InputError, match="^words: expected the 30 char.* Received: 'R'"):
        ask(good, None, words=("Red", "blue"))


def table(texts, label):
    labels = ["blue", *[label] * (len(texts) - 1)]
    return Table(texts, None, labels, "a.tsv", [f"a.tsv, line {i}, label" for i in range(3)])

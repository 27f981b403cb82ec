"""What cannot be used is answered by one sentence and exit code 2, and nothing is left behind."""

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from finished import SHORT, TINY
from safetensors.numpy import load_file, save_file

from pipelines.__main__ import main
from pipelines.core.run import claim
from tfattn.errors import InputError

ROOT = Path(__file__).parents[2]
TEXT = b"\n\n".join(b"the cat sat on hill %d and sang" % i for i in range(60))
ROWS = "label\ttext\n" + "sits\tthe cat sat\nruns\ta dog ran\n" * 4


@pytest.fixture
def refused(capsys):
    """Run a command that has to be refused; return the sentence."""

    def run(*words):
        assert main([str(word) for word in words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        news = ("vocabulary: ", "train: ", "validation: ")  # what was read before
        lines = [line for line in err.splitlines() if line.strip() and not line.startswith(news)]
        assert len(lines) == 1 and lines[0].startswith("error: "), err
        assert lines[0].endswith("."), err
        return lines[0].removeprefix("error: ")

    return run


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


TEXTS = {
    "no file": ({}, "{t}/none.txt", r"data\.files: expected at least one.* none for .*none\.txt"),
    "a glob of nothing": ({}, "'{t}/*.text'", r"data\.files: expected .* none for .*/\*\.text"),
    "an empty file": ({"a.txt": ""}, "{t}/a.txt", r"data\.files: expected text.* none in .*a\.txt"),
    "only blanks": ({"a.txt": " \n\t\n\n"}, "{t}/a.txt", r"data\.files: expected text.*none in"),
    "only zero bytes": (
        {"a.txt": b"".join(b"\0" * n + b"\n\n" for n in range(99))},
        "{t}/a.txt",
        r"data\.files: expected text to learn a vocabulary from",
    ),
    "a folder": ({"d/a.txt": TEXT}, "{t}/d", r"data\.files: expected .* a folder; name its files"),
    "Latin-1": (
        {"a.txt": TEXT + b"\n\ncaf\xe9"},
        "{t}/a.txt",
        r"a\.txt, line 121: expected UTF-8.* byte 0xe9 .*--data\.encoding-errors replace",
    ),
    "UTF-16": ({"a.txt": TEXT.decode().encode("utf-16")}, "{t}/a.txt", r"line 1: expected UTF-8"),
    "half a gzip": (
        {"a.txt.gz": gzip.compress(TEXT)[:50]},
        "{t}/a.txt.gz",
        r"a\.txt\.gz: expected a readable file.* ended before",
    ),
    "no gzip": ({"a.txt.gz": TEXT}, "{t}/a.txt.gz", r"a\.txt\.gz: expected .* Not a gzipped file"),
    "a column that is not there": (
        {"a.csv": "body,label\nthe cat,1\n"},
        "{t}/a.csv",
        r"a\.csv, header: unknown column 'text'.* body, label",
    ),
    "no JSON in a line": (
        {"a.jsonl": '{"text": "the cat"}\nthe dog\n'},
        "{t}/a.jsonl",
        r"a\.jsonl, line 2: expected one JSON object",
    ),
    "a number for a text": (
        {"a.jsonl": '{"text": 3}\n'},
        "{t}/a.jsonl",
        r"a\.jsonl, line 1, text: expected text.* 3",
    ),
    "one document": (
        {"a.txt": "the cat sat on the hill"},
        "{t}/a.txt",
        r"data\.validation: expected files, or .* a share of 0\.02 of 1 documents in .*a\.txt",
    ),
    "an evil name": (
        {"a [red]{0}%s'.txt": ""},
        '"{t}/a [red]{{0}}%s\'.txt"',
        r"data\.files: expected text.* none in .*/a \[red\]\{0\}%s'\.txt",
    ),
    "no validation file": (
        {"a.txt": TEXT},
        "{t}/a.txt --data.validation {t}/b.txt",
        r"data\.validation: expected at least one.* none for .*b\.txt",
    ),
    "an empty validation file": (
        {"a.txt": TEXT, "b.txt": ""},
        "{t}/a.txt --data.validation {t}/b.txt",
        r"data\.validation: expected text.* none in .*b\.txt",
    ),
    "one document for pairs": (
        {"a.txt": TEXT, "b.txt": "the cat sat"},
        "{t}/a.txt --data.validation {t}/b.txt --objective.next-sentence",
        r"data\.validation: expected at least two documents.* 1",
    ),
    "no vocabulary": (
        {"a.txt": TEXT},
        "{t}/a.txt --data.tokenizer {t}/none",
        r"none: expected the file of a vocabulary: .*vocab\.txt.* none of them",
    ),
    "a vocabulary without [MASK]": (
        {"a.txt": TEXT, "v/vocab.txt": "[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n"},
        "{t}/a.txt --data.tokenizer {t}/v",
        r"vocab\.txt: expected .*Missing: \[MASK\]",
    ),
    "a data set that is no data set": ({}, "tfds:", r"data\.files: expected tfds:NAME/SPLIT"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_cannot_be_used(name, tmp_path, refused):
    files, given, message = TEXTS[name]
    write(tmp_path, files)
    words = ("pretrain", "bert-tiny", "--out", tmp_path / "out", *TINY, "--data.files")
    said = refused(*words, *shlex.split(given.format(t=tmp_path)))
    assert_says(said, message)
    assert not (tmp_path / "out").exists()


TABLES = {
    "no file": ({}, "", r"data\.train: expected at least one.* none for .*train\.tsv"),
    "no label": (
        {"train.tsv": "lable\ttext\na\tthe cat\n"},
        "",
        r"train\.tsv, header: unknown column 'label'\. Did you mean 'lable'\?",
    ),
    "no text": (
        {"train.tsv": "label\tone\ttwo\na\tb\tc\n"},
        "",
        r"train\.tsv, header: unknown column 'text'",
    ),
    "no second text": ({"train.tsv": ROWS}, "--data.text-pair b", r"unknown column 'b'"),
    "one class": (
        {"train.tsv": "label\ttext\nsits\tthe cat\nsits\ta dog\n"},
        "",
        r"train\.tsv: expected at least two classes\. Received: 'sits'",
    ),
    "an unseen label in validation": (
        {"train.tsv": ROWS, "val.tsv": "label\ttext\nsits\ta cat\nflies\ta bird\n"},
        "",
        r"val\.tsv, line 3, label: unknown class 'flies'.* runs, sits",
    ),
    "a header alone": ({"train.tsv": "label\ttext\n"}, "", r"train\.tsv: expected rows.* none"),
    "an empty table": ({"train.tsv": ""}, "", r"train\.tsv: expected a header"),
    "a short row": (
        {"train.tsv": ROWS + "sits\n"},
        "",
        r"train\.tsv, line 10: expected 2 fields, as in the header\. Received: 1",
    ),
    "an empty text": ({"train.tsv": ROWS + "sits\t \n"}, "", r"line 10, text: expected text"),
    "an empty label": ({"train.tsv": ROWS + " \ta cat\n"}, "", r"line 10, label: expected"),
    "Latin-1": (
        {"train.tsv": (ROWS + "sits\tcafé").encode("latin-1")},
        "",
        r"line 10: expected UTF",
    ),
    "an open quote": (
        {"train.csv": 'label,text\na,"the cat\n'},
        "--data.train {t}/train.csv",
        "CSV",
    ),
    "no table": ({"a.txt": ROWS}, "--data.train {t}/a.txt", r"a\.txt: expected a table.* '\.txt'"),
    "classes that are not all": (
        {"train.tsv": ROWS},
        "--classify.classes sits flies",
        r"train\.tsv, line 3, label: unknown class 'runs'",
    ),
    "a class with a zero byte": (
        {"train.tsv": ROWS + "a\0b\tthe cat\n"},
        "",
        r"classify\.classes\[0\]: expected Unicode without NUL",
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_cannot_be_used(name, tmp_path, finished, refused):
    files, given, message = TABLES[name]
    write(tmp_path, {"val.tsv": ROWS} | files)
    said = refused(
        "finetune", "classify", "--init", finished.pretrained, "--data.train",
        f"{tmp_path}/train.tsv", "--data.validation", f"{tmp_path}/val.tsv",
        "--out", tmp_path / "out", *SHORT, *given.format(t=tmp_path).split(),
    )  # fmt: skip
    assert_says(said, message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("label", ["warm", "nan", "1e400"])
def test_a_regression_takes_finite_numbers_only(label, tmp_path, finished, refused):
    write(tmp_path, {"a.tsv": f"label\ttext\n1\ta cat\n{label}\ta dog\n"})
    table = ["--data.train", tmp_path / "a.tsv", "--data.validation", tmp_path / "a.tsv"]
    words = ("finetune", "regress", "--init", finished.pretrained, *table)
    said = refused(*words, "--out", tmp_path / "out")
    assert_says(said, rf"a\.tsv, line 3, label: expected a finite number\. Received: '{label}'")


PRETRAIN = {
    "--model.dim 30 --model.heads 4": r"model\.dim: expected a multiple of heads.*dim=30, heads=4",
    "--model.depth 0": r"model\.depth: expected at least 1\. Received: 0",
    "--model.dropout 1": r"model\.dropout: expected a share from 0 to below 1\. Received: 1",
    "--model.kernel-std nan": r"model\.kernel_std: expected .*float.* Received: nan",
    "--model.kernel-std -1": r"model\.kernel_std: expected 0 or more\. Received: -1",
    "--model.max-length 8": r"data\.length: expected at most the 8 positions.* Received: 16",
    "--data.length 4": r"data\.length: expected 8 to 2\*\*20 tokens\. Received: 4",
    "--data.vocab-size 6": r"data\.vocab_size: expected 7 to 10\*\*7\. Received: 6",
    "--data.vocab-size 99999999": r"data\.vocab_size: expected 7 to 10\*\*7\. Received: 99999999",
    "--data.validation-share nan": r"data\.validation_share: expected a finite.* Received: nan",
    "--data.validation-share 1": r"data\.validation_share: expected a share.* Received: 1",
    "--data.files none": r"data\.files: expected at least one file or glob",
    "--objective.rate 0": r"objective\.rate: expected a share.* Received: 0",
    "--train.steps 0": r"train\.steps: expected at least 1\. Received: 0",
    "--train.steps -1": r"train\.steps: expected at least 1\. Received: -1",
    "--train.steps 99999999999999999999": r"train\.steps: expected int.* Received: 9999",
    "--train.epochs nan": r"train\.epochs: expected .*float.* Received: nan",
    "--train.epochs 0": r"train\.epochs: expected a number over 0\. Received: 0",
    "--train.rate nan": r"train\.rate: expected a finite number\. Received: nan",
    "--train.rate inf": r"train\.rate: expected a finite number\. Received: inf",
    "--train.rate 0": r"train\.rate: expected a number over 0\. Received: 0",
    "--train.clip -1": r"train\.clip: expected a number over 0\. Received: -1",
    "--train.weight-decay -1": r"train\.weight_decay: expected 0 or more\. Received: -1",
    "--train.beta2 1": r"train\.beta2: expected a number from 0 to below 1\. Received: 1",
    "--train.warmup 2": r"train\.warmup: expected a share from 0 to 1\. Received: 2",
    "--train.ema 1": r"train\.ema: expected a number between 0 and 1\. Received: 1",
    "--train.seed -1": r"train\.seed: expected 0 to 2\*\*32 - 1\. Received: -1",
    "--train.keep 0": r"train\.keep: expected at least 1\. Received: 0",
    "--monitor.samples -1": r"monitor\.samples: expected 0 or more\. Received: -1",
    "--monitor.profile 3 2": r"monitor\.profile: expected .* Received: 3 2",
    "--fresh": r"fresh: expected an init.* Received none",
    "--init {r}": r"init: expected no preset and no --model flags beside it",
}


@pytest.mark.parametrize("given", PRETRAIN)
def test_a_pretraining_that_cannot_be(given, tmp_path, finished, refused):
    words = ("pretrain", "bert-tiny", "--data.files", finished.corpus, "--out", tmp_path / "out")
    said = refused(*words, *TINY, *given.format(r=finished.pretrained).split())
    assert_says(said, PRETRAIN[given])
    assert not (tmp_path / "out").exists()


FINETUNE = {
    "--data.length 17": r"data\.length: expected at most the 16 positions.* Received: 17",
    "--data.length 1": r"data\.length: expected 8 to 2\*\*20 tokens\. Received: 1",
    "--classify.classes a a": r"classify\.classes: expected two or more different ones.*'a', 'a'",
    "--classify.dropout 1": r"classify\.dropout: expected a share from 0 to below 1\. Received: 1",
    "--regress.scale -1": r"regress: expected no such flags, for the task is classify",
    "--regress.pool pooler": r"regress: expected no such flags, for the task is classify",
    "--data.text label": r"columns: expected different ones\. Received: label, label",
    "--data.train none": r"data\.train: expected at least one file or glob",
    "--init none": r"init: expected a run or a folder with a model\. Received none",
    "--init {t}/nowhere": r"init: expected a run or a folder with a model\. Received: .*nowhere",
    "--init {t}": r"config\.json: expected the description of a model\. No such file",
}


@pytest.mark.parametrize("given", FINETUNE)
def test_a_fine_tuning_that_cannot_be(given, tmp_path, finished, refused):
    words = ("finetune", "classify", "--init", finished.pretrained, *finished.labelled())
    words += ("--out", tmp_path / "out", *SHORT, *given.format(t=tmp_path).split())
    assert_says(refused(*words), FINETUNE[given])
    assert not (tmp_path / "out").exists()


def test_a_regression_has_flags_of_its_own(tmp_path, finished, refused):
    words = ("finetune", "regress", "--init", finished.pretrained, *finished.labelled("-number"))
    said = refused(*words, "--out", tmp_path / "out", *SHORT, "--regress.scale", "-1")
    assert_says(said, r"^regress\.scale: expected 0 or more\. Received: -1")
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_trained_further_keeps_its_vocabulary(tmp_path, finished, refused):
    words = ("pretrain", "--init", finished.pretrained, "--data.files", finished.corpus)
    words += ("--data.length", "16", "--out", tmp_path / "out")
    said = refused(*words, "--data.tokenizer", finished.published)
    assert_says(said, r"data\.tokenizer: expected none beside init.* Received: .*published")
    assert not (tmp_path / "out").exists()


def test_a_model_that_does_not_fit_its_vocabulary_is_refused(tmp_path, finished, refused):
    shutil.copytree(finished.pretrained / "model", tmp_path / "model")
    with (tmp_path / "model" / "vocab.txt").open("a") as file:
        file.writelines(f"word{i}\n" for i in range(99))
    words = ("finetune", "classify", "--init", tmp_path / "model", *finished.labelled())
    said = refused(*words, "--out", tmp_path / "out")
    assert_says(said, r"model: expected a vocabulary of at most the \d+ tokens .*: \d+")


@pytest.mark.parametrize("command", ["pretrain", "export"])
def test_an_output_folder_has_to_be_empty_and_writable(command, tmp_path, finished, refused):
    write(tmp_path, {"full/mine.txt": "mine", "file": "mine"})
    words = {
        "pretrain": ("pretrain", "bert-tiny", "--data.files", finished.corpus, *TINY),
        "export": ("export", finished.classifier),
    }[command]
    for out, message in {
        "full": r"full: expected an empty folder\. Received one that holds 'mine\.txt'",
        "file": r"file: expected a folder that can be written\. File exists",
        "file/out": r"file/out: expected a folder that can be written\. Not a directory",
        "o" * 300: r"o: expected a folder that can be written\. File name too long",
    }.items():
        assert_says(refused(*words, "--out", tmp_path / out), message)
    if Path("/proc/self").exists():  # nobody may write there, not even root
        assert_says(refused(*words, "--out", "/proc/out"), r"/proc/out: expected a folder that can")
    said = refused(*words, "--out", "~nobody-of-this-name/out")
    assert_says(said, r"expected a user with a home folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


def test_an_output_folder_has_a_name_that_tensorflow_can_write_to(tmp_path):
    with pytest.raises(InputError, match="expected a folder that can be written"):
        claim(tmp_path / os.fsdecode(b"caf\xe9"), "")


def test_an_empty_folder_stays_and_its_parents_go(tmp_path, refused):
    (tmp_path / "mine").mkdir()
    words = ("pretrain", "bert-tiny", "--data.files", tmp_path / "none.txt", "--out")
    refused(*words, tmp_path / "mine")
    refused(*words, tmp_path / "new" / "er" / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_a_run_of_another_recipe_is_refused_and_stays(tmp_path, finished, refused):
    run = copied(finished.pretrained, tmp_path)
    before = sizes(run)
    words = ("pretrain", "bert-tiny", "--data.files", finished.corpus, "--out", run, *TINY)
    said = refused(*words, "--train.rate", "0.5", "--model.norm", "pre")
    assert_says(said, r"train\.rate is 0\.5 here, 0\.002 there")
    assert "model.norm is 'pre' here, 'post' there" in said
    words = ("finetune", "classify", "--init", finished.pretrained, *finished.labelled())
    said = refused(*words, "--out", run)
    assert_says(said, r"objective is Classification here, MaskedLM there")
    assert len(said) < 700
    assert sizes(run) == before


@pytest.mark.parametrize("what", ["--init", "evaluate", "export", "fill"])
def test_an_unfinished_run_is_refused(what, tmp_path, finished, refused):
    run = copied(finished.pretrained, tmp_path)
    (run / "result.json").unlink()
    words = {
        "--init": ("finetune", "classify", "--init", run, *finished.labelled()),
        "evaluate": ("evaluate", run),
        "export": ("export", run),
        "fill": ("fill", run, "--text", "the [MASK]"),
    }[what]
    out = () if what in ("evaluate", "fill") else ("--out", tmp_path / "out")
    assert_says(refused(*words, *out), r"run: expected a finished run\. Received .* finish it with")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["evaluate", "export", "fill"])
def test_what_is_no_run_is_refused(command, tmp_path, refused):
    write(tmp_path, {"file": "mine"})
    words = ("--text", "[MASK]") if command == "fill" else ()
    for name in ("none", "file", ""):
        said = refused(command, tmp_path / name, *words)
        assert_says(said, r"expected a run directory\. Received no recipe\.json there")


DAMAGES = {
    "result.json": ("{", r"result\.json: expected the numbers of a run in JSON"),
    "resolved.json": ("[]", r"resolved\.json: Recipe: expected an object of fields"),
    "recipe.json": ("{}", r"recipe\.json: Recipe: missing model, objective, data"),
    "model/config.json": ("{", r"config\.json: expected JSON"),
    "model/vocab.txt": ("the\n", r"vocab\.txt: expected \[PAD\]"),
    "model/model.safetensors": ("PK", r"model\.safetensors: expected weights as safetensors"),
    "data/validation/tokens.bin": ("", r"tokens\.bin: expected \d+ bytes\. Received: 0"),
    "data/validation/meta.json": ("{", r"meta\.json: expected the description of a token store"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_run_is_refused(name, tmp_path, finished, refused):
    run = copied(finished.pretrained, tmp_path)
    content, message = DAMAGES[name]
    (run / name).write_text(content)
    if name == "recipe.json":  # only the recipe that is resolved is needed to evaluate
        said = refused("pretrain", "--from", run / "recipe.json", "--out", tmp_path / "out")
    else:
        said = refused("evaluate", run)
    assert_says(said, message)


def test_a_model_of_other_sizes_is_refused(tmp_path, finished, refused):
    run = copied(finished.classifier, tmp_path)
    config = json.loads((run / "model" / "config.json").read_text())
    config["config"]["hidden_dim"] = 64
    (run / "model" / "config.json").write_text(json.dumps(config))
    said = refused("evaluate", run)
    assert_says(said, r"of another shape: .*feedforward\S* is \(16, 32\) for \(16, 64\)")
    weights = load_file(run / "model" / "model.safetensors")
    weights["stranger"] = np.zeros(3, np.float32)
    save_file(weights, run / "model" / "model.safetensors")
    assert_says(refused("evaluate", run), r"unused: stranger; of another shape: ")


def test_a_resumed_run_with_an_altered_store_is_refused_and_kept(tmp_path, finished, refused):
    run = copied(finished.pretrained, tmp_path)
    for path in (run / "result.json", run / "checkpoints"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    tokens = np.memmap(run / "data" / "train" / "tokens.bin", np.uint8, "r+")
    tokens[5] ^= 1
    tokens.flush()
    before = sizes(run)
    words = ("pretrain", "bert-tiny", "--data.files", finished.corpus, "--out", run, *TINY)
    assert_says(refused(*words), r"tokens\.bin: expected SHA-256 \w+, as when it was written")
    assert sizes(run) == before


def test_checkpoints_of_other_sizes_are_refused_and_kept(tmp_path, finished, refused):
    run = copied(finished.pretrained, tmp_path)
    (run / "result.json").unlink()
    for name in ("recipe.json", "resolved.json"):  # a run goes on as the second one says
        recipe = json.loads((run / name).read_text())
        recipe["model"]["hidden_dim"] = 48
        (run / name).write_text(json.dumps(recipe))
    before = set(sizes(run))
    said = refused("pretrain", "--from", run / "recipe.json", "--out", run)
    assert_says(
        said, r"step-00000004: expected the variables of this run.* \(32, 16\) for \(48, 16\)"
    )
    assert set(sizes(run)) == before


FROM = {
    "another object": ('{"a": 1}', r"Recipe: unknown field 'a'"),
    "a list": ("[]", r"Recipe: expected an object of fields\. Received: \[\]"),
    "null": ("null", r"Recipe: expected an object of fields\. Received: None"),
    "no JSON": ("label\ttext", r"a\.json: expected a Recipe in JSON"),
    "deep JSON": ("[" * 100_000, r"a\.json: expected a Recipe in JSON"),
    "UTF-16": ("{}".encode("utf-16"), r"a\.json: expected a Recipe in JSON"),
    "a zero byte": (
        {"data": {"files": ["a\0b"]}},
        r"data\.files\[0\]: expected Unicode without NUL",
    ),
    "a field too many": (
        {"train": {"stepps": 4}},
        r"Recipe\.train: unknown field 'stepps'.*'steps'",
    ),
    "a text for a number": ({"train": {"steps": "4"}}, r"Recipe\.train\.steps: expected int"),
    "NaN": ({"train": {"rate": float("nan")}}, r"Recipe\.train\.rate: expected a finite number"),
    "a huge number": ({"train": {"rate": 10**400}}, r"Recipe\.train\.rate: expected a finite"),
    "a bad number": ({"objective": {"rate": 2}}, r"Recipe\.objective\.rate: expected a share"),
    "an unknown class": ({"spec": "Popen"}, r"Recipe: unknown spec 'Popen'"),
    "an unknown mask": ({"model": {"masks": [{"spec": "os"}]}}, r"masks\[0\]: unknown spec 'os'"),
    "a class of classes": ({"data": {"spec": "Data"}}, r"Recipe\.data: "),
    "a table for texts": ({"data": {"spec": "TableData"}}, r"Recipe\.data: "),
    "no model": ({"model": None}, r"preset: expected --init, --from or one of: bert-tiny"),
}


@pytest.mark.parametrize("name", FROM)
def test_a_recipe_that_is_none(name, tmp_path, finished, refused):
    given, message = FROM[name]
    if isinstance(given, dict):
        recipe = json.loads((finished.pretrained / "recipe.json").read_text())
        for key, value in given.items():
            merge = isinstance(value, dict) and "spec" not in value
            recipe[key] = recipe[key] | value if merge else value
        given = json.dumps(recipe)
    write(tmp_path, {"a.json": given})
    said = refused("pretrain", "--from", tmp_path / "a.json", "--out", tmp_path / "out")
    assert_says(said, message)
    assert not (tmp_path / "out").exists()


def test_a_recipe_has_to_be_there_and_of_the_command(tmp_path, finished, refused):
    out = ("--out", tmp_path / "out")
    said = refused("pretrain", "--from", tmp_path / "none.json", *out)
    assert_says(said, r"none\.json: expected a Recipe in JSON\. No such file")
    said = refused("pretrain", "--from", finished.classifier / "recipe.json", *out)
    assert_says(said, r"recipe\.json: expected a recipe of pretrain\. .*Classification")
    said = refused("finetune", "--from", finished.pretrained / "recipe.json", *out)
    assert_says(said, r"recipe\.json: expected a recipe of finetune\. .*MaskedLM")


HUGGING = {
    "another model": ({"config.json": '{"model_type": "mamba"}'}, r"model_type: unknown .*'mamba'"),
    "far larger": (
        {"config.json": '{"model_type": "llama"}'},
        r"expected weights of the 6,607,343,616 parameters that its config describes\. Received",
    ),
    "no vocabulary": ({"vocab.txt": None}, r"expected the file of a vocabulary: .*vocab\.txt"),
    "pickles only": (
        {"model.safetensors": None, "pytorch_model.bin": b"\x80\x02."},
        r"model\.safetensors: expected weights as safetensors\. No such file",
    ),
    "damaged weights": ({"model.safetensors": "PK"}, r"expected weights as safetensors"),
    "no config": ({"config.json": None}, r"config\.json: expected the description of a model"),
}


@pytest.mark.parametrize("name", HUGGING)
def test_a_published_folder_that_cannot_be_read(name, tmp_path, finished, refused):
    shutil.copytree(finished.published, tmp_path / "bert")
    files, message = HUGGING[name]
    write(tmp_path / "bert", {n: c for n, c in files.items() if c is not None})
    for gone in (n for n, content in files.items() if content is None):
        (tmp_path / "bert" / gone).unlink()
    words = ("finetune", "classify", "--init", tmp_path / "bert", *finished.labelled())
    assert_says(refused(*words, "--out", tmp_path / "out"), message)
    assert not (tmp_path / "out").exists()


def test_texts_to_fill_in_need_a_mask_and_have_to_fit(finished, refused):
    words = ("fill", finished.pretrained, "--text")
    assert_says(refused(*words, "the cat"), r"text: expected at least one \[MASK\].*'the cat'")
    assert_says(refused(*words, "a " * 20 + "[MASK]"), r"text: expected at most 16 tokens.* 23")
    assert_says(refused(*words, "[MASK]", "--top", "0"), r"top: expected at least 1.* 0")
    said = refused("fill", finished.classifier, "--text", "[MASK]")
    assert_says(said, r"classifier: expected a masked language model")


def test_files_to_evaluate_on_are_checked_like_those_of_the_run(tmp_path, finished, refused):
    write(tmp_path, {"a.tsv": "label\ttext\nflies\ta bird\n", "b.txt": ""})
    words = ("evaluate", finished.classifier, "--data.files")
    assert_says(refused(*words, tmp_path / "c.tsv"), r"data\.files: expected .* none for .*c\.tsv")
    assert_says(
        refused(*words, tmp_path / "a.tsv"), r"a\.tsv, line 2, label: unknown class 'flies'"
    )
    said = refused("evaluate", finished.pretrained, "--data.files", tmp_path / "b.txt")
    assert_says(said, r"data\.files: expected text.* none in .*b\.txt")
    said = refused("evaluate", finished.classifier, "--batch", "0")
    assert_says(said, r"batch: expected at least 1\. Received: 0")


def test_a_link_that_leads_to_itself_is_refused(tmp_path, refused):
    (tmp_path / "a.txt").symlink_to("a.txt")
    words = ("pretrain", "bert-tiny", "--out", tmp_path / "out", *TINY, "--data.files")
    for files in ("a.txt", "*.txt"):
        said = refused(*words, tmp_path / files)
        assert_says(said, r"a\.txt: expected a readable file.* symbolic links")


def test_bytes_that_are_not_utf8_may_be_replaced(tmp_path, capsys):
    write(tmp_path, {"a.txt": b"\xef\xbb\xbf" + TEXT.replace(b"\n", b"\r\n") + b"\n\ncaf\xe9 \0au"})
    words = ["--data.files", f"{tmp_path}/a.txt", "--data.encoding-errors", "replace"]
    assert main(["pretrain", "bert-tiny", "--out", f"{tmp_path}/out", *TINY, *words]) == 0
    vocabulary = (tmp_path / "out" / "processor" / "vocab.txt").read_text().split("\n")
    assert "cat" in vocabulary and "\ufeff" not in "".join(vocabulary)


def test_a_model_that_no_memory_holds_is_refused_before_it_is_made(tmp_path, finished, refused):
    words = ("pretrain", "gpt3-175b", "--data.files", finished.corpus, "--data.vocab-size", "300")
    said = refused(*words, "--data.length", "16", "--out", tmp_path / "out")
    assert_says(said, r"model: expected one that trains in the .* GiB .* Received 17\d,\d+,\d+,")


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, finished, refused):
    words = (
        "pretrain",
        "bert-tiny",
        "--data.files",
        finished.corpus,
        *TINY,
        "--train.rate",
        "1e30",
    )
    said = refused(*words, "--out", tmp_path / "out")
    assert_says(said, r"finite loss.* at step \d.* gradient norm .* weight norm ")


def test_a_refusal_is_quiet_in_a_process_of_its_own(tmp_path):
    """Even with TensorFlow loaded: one line, no notes, no traceback; and names in any bytes."""
    name = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    run = subprocess.run(
        [sys.executable, "-m", "pipelines", "pretrain", "bert-tiny", "--data.files", name,
         "--out", tmp_path / "out"],
        cwd=ROOT, capture_output=True, timeout=120, env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (2, b"")
    assert run.stderr.startswith(b"error: data.files: expected at least one file.")
    assert run.stderr.count(b"\n") == 1 and b"caf" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_tensorflow_that_does_not_load_is_told(tmp_path):
    write(
        tmp_path,
        {"tensorflow.py": "import os\nos.write(2, b'no AVX here')\nraise ImportError('why')"},
    )
    run = subprocess.run(
        [sys.executable, "-m", "pipelines", "demo", "--out", tmp_path / "demo"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert run.returncode == 2 and "no AVX here" in run.stderr
    assert run.stderr.endswith("to be installed. Received: ImportError: why.\n")
    assert "Traceback" not in run.stderr


def assert_says(said, message):
    assert re.search(message, said), said


def copied(run, folder):
    shutil.copytree(run, folder / "run")
    return folder / "run"


def sizes(folder):
    return {path: path.stat().st_size for path in sorted(folder.rglob("*"))}

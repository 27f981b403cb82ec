"""The command line: quick help, documented flags, presets, and recipes that repeat a run."""

import errno
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from finished import command

from pipelines.__main__ import main
from pipelines.commands import flags
from pipelines.commands.finished import Evaluate
from pipelines.commands.table import as_json, commands, parsing
from pipelines.core.run import Interrupted
from pipelines.core.spec import Recipe
from pipelines.core.train_config import TrainConfig
from pipelines.domains import presets
from tfattn.families import preset, pretraining_head
from tfattn.spec import differences

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(commands())
HELP = """
import contextlib, io, json, sys
from pipelines.__main__ import main

class Terminal(io.StringIO):
    encoding = "utf-8"

texts = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(Terminal()) as out:
        try:
            main([*words, "--help"])
        except SystemExit as stop:
            assert stop.code == 0, words
    texts.append(out.getvalue())
heavy = {"tensorflow", "keras", "jax", "torch", "sklearn", "scipy", "matplotlib"}
print(json.dumps([texts, sorted(heavy & set(sys.modules))]))
"""


def helps(*commands):
    """Return the help of several commands on a terminal, and what heavy was imported for it."""
    run = subprocess.run(
        [sys.executable, "-c", HELP, json.dumps(commands)], cwd=ROOT, timeout=120,
        env={**os.environ, "COLUMNS": "80"}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0 and run.stderr == "", run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def helped():
    """Return the help of every command."""
    return dict(zip(COMMANDS, helps(*([name] for name in COMMANDS))[0], strict=True))


def flag_texts(text):
    """Return what the boxes of a help say about each flag, -h aside, and each positional."""
    found, name, positional = {}, None, False
    for line in text.splitlines():
        inside = line.strip("│ ")
        if line.startswith("╭"):
            name, positional = None, "positional" in line
        elif line.startswith("│") and (
            inside.startswith("--") or (positional and re.match(r"\[|[A-Z]{2}", inside))
        ):
            name = inside.split()[0].strip(",")
            found[name] = inside
        elif name is not None and line.startswith("│"):
            found[name] += " " + inside
    return found


def defaults_of(text):
    texts = flag_texts(text)
    return {n: m[1] for n, t in texts.items() if (m := re.search(r"\(default: (.*?)\)", t))}


def test_help_imports_nothing_heavy():
    texts, heavy = helps([], *([name] for name in COMMANDS), ["pretrain", "bert-mini"])
    assert heavy == []
    assert all(name in texts[0] for name in COMMANDS)


def test_help_comes_at_once():
    words = [sys.executable, "-m", "pipelines", "pretrain", "--help"]
    times = []
    for _ in range(3):
        start = time.monotonic()
        run = subprocess.run(words, cwd=ROOT, capture_output=True, timeout=60)
        times.append(time.monotonic() - start)
        assert run.returncode == 0
    assert min(times) < 5  # half a second on a machine that does nothing else


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_is_explained_in_eighty_columns(name, helped):
    text = helped[name]
    usage, *lines = text.splitlines()
    assert usage.startswith(f"usage: python -m pipelines {name}")
    assert max(map(len, lines)) <= 80
    texts = flag_texts(text)
    for said in texts.values():
        explained = re.sub(r"\[.*?\]+|\{.*?\}|\(.*?\)|\S*[A-Z]{3,}\S*|--\S*", "", said)
        assert re.search(r"[a-z]{2,}", explained), said
        assert re.search(r"\((default: .+|required)\)$", said), said
    fields = TrainConfig.__dataclass_fields__
    if name in ("pretrain", "finetune"):
        assert {f"--train.{field.replace('_', '-')}" for field in fields} <= set(texts)


def test_help_shows_the_defaults_of_the_preset_or_the_recipe(finished):
    recipe = str(finished.pretrained / "recipe.json")
    (mini, aside, cased, *repeated), _ = helps(
        ["pretrain", "bert-mini"],
        ["pretrain", "--out", "bert-tiny", "bert-mini"],
        ["pretrain", "bert-base-cased"],
        ["pretrain", "--from", recipe],
        ["pretrain", f"--from={recipe}"],
    )
    rates = {name: str(presets()[name].train.rate) for name in ("bert-mini", "bert-tiny")}
    assert rates["bert-mini"] != rates["bert-tiny"]
    assert defaults_of(mini)["--train.rate"] == rates["bert-mini"]
    assert defaults_of(aside)["--train.rate"] == rates["bert-mini"]
    assert defaults_of(cased)["--data.lowercase"] == "False"
    for text in repeated:
        found = defaults_of(text)
        assert found["--train.steps"] == "4" and found["--data.vocab-size"] == "200"


def test_a_t5_moves_by_shares_of_its_weights(tmp_path):
    heads = [pretraining_head("t5-tiny").to_json()]
    ours = {"format": "tfattn", "config": preset("t5-tiny").to_json(), "heads": heads}
    for folder, described in (("theirs", {"model_type": "t5"}), ("ours", ours)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(json.dumps(described))
    words = [["--init", str(tmp_path / name)] for name in ("theirs", "ours", "none")]
    commands = (["finetune", "text2text"], ["pretrain"])
    given = [[*command, *init] for command in commands for init in words]
    found = [defaults_of(text)["--train.proportional"] for text in helps(*given)[0]]
    assert found == ["True", "True", "False"] * 2
    (scratch,), _ = helps(["pretrain", "t5-mini"])
    assert defaults_of(scratch)["--train.proportional"] == "True"


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        ("pretrain bert-tiny --train.step 4", "--train.steps"),
        ("pretrain bert-tiny --data.fiels a.txt", "--data.files"),
        ("finetune classify --data.lable a", "--data.label"),
        ("evaluate run --data.flies a", "--data.files"),
        ("export run --outt a", "--out"),
    ],
)
def test_a_misspelt_flag_is_answered_with_the_nearest(words, nearest, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert re.search(rf"(Perhaps you meant|Did you mean).*{nearest}\b", said, re.S), said


def test_a_misspelt_command_or_preset_is_answered_with_the_nearest(capsys):
    for words, said in {
        ("pretrian", "bert-tiny"): "unknown command 'pretrian'. Did you mean 'pretrain'?",
        ("pretrain", "bert-tny"): "preset: unknown preset 'bert-tny'. Did you mean 'bert-tiny'?",
    }.items():
        assert main(list(words)) == 2
        assert capsys.readouterr().err.startswith(f"error: {said}")


def test_no_command_is_answered_with_what_there_is(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in COMMANDS)


def test_a_stopped_run_says_where_it_goes_on(monkeypatch, capsys):
    def stopped(self, base=None):
        raise Interrupted("stopped at step 3 of 9")

    monkeypatch.setattr(Evaluate, "run", stopped)
    assert main(["evaluate", "nothing"]) == 130
    assert capsys.readouterr().err == "\nstopped at step 3 of 9\n"


def test_a_stop_before_there_is_anything_is_told_too(monkeypatch, capsys):
    def stopped(self, base=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(Evaluate, "run", stopped)
    assert main(["evaluate", "nothing"]) == 130
    assert capsys.readouterr().err.startswith("\nstopped. The same command")


def test_a_reader_that_has_seen_enough_is_no_fault():
    shell = f"{sys.executable} -m pipelines finetune --help | head -1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.startswith("usage") and not done.stderr


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    def wrong(self, base=None):
        raise ZeroDivisionError

    monkeypatch.setattr(Evaluate, "run", wrong)
    with pytest.raises(ZeroDivisionError):
        main(["evaluate", "nothing"])


def test_presets_are_listed_with_their_exact_counts(capsys):
    assert main(["presets"]) == 0
    out, err = capsys.readouterr()
    counts = json.loads(out)
    assert list(counts) == list(presets())
    assert counts["bert-base-uncased"] == 108_891_648
    assert all(name in err and f"{count:,}" in err for name, count in counts.items())


def test_a_recipe_repeats_a_run_bit_for_bit(finished, tmp_path):
    recipe = finished.pretrained / "recipe.json"
    again = command("pretrain", "--from", recipe, "--out", tmp_path / "again")
    first = json.loads((finished.pretrained / "result.json").read_text())
    assert again["after"] == first["after"]
    assert weights(tmp_path / "again") == weights(finished.pretrained)
    assert (tmp_path / "again" / "recipe.json").read_bytes() == recipe.read_bytes()


def test_a_recipe_of_a_fine_tuning_repeats_it_too(finished, tmp_path):
    command("finetune", "--from", finished.classifier / "recipe.json", "--out", tmp_path / "again")
    assert weights(tmp_path / "again") == weights(finished.classifier)


def test_flags_beside_a_recipe_win(finished):
    given = str(finished.pretrained / "recipe.json")
    words = ["--from", given, "--train.seed", "1", "--model.dropout", "0.5", "--data.length", "9"]
    there, here = Recipe.load(given), pretraining(words)
    found = {d.name: d.here for d in differences(here, there)}
    assert found == {"train.seed": 1, "model.dropout": 0.5, "data.length": 9}


def test_epochs_take_the_place_of_the_steps_that_a_preset_has():
    assert pretraining(["bert-tiny"]).train.steps == 10_000
    train = pretraining(["bert-tiny", "--train.epochs", "2"]).train
    assert (train.steps, train.epochs) == (None, 2.0)
    train = pretraining(["bert-tiny", "--train.epochs=2", "--train.steps", "9"]).train
    assert (train.steps, train.epochs) == (9, 2.0)


def test_none_unsets_a_flag(finished):
    given = str(finished.pretrained / "recipe.json")
    words = ["--from", given, "--train.steps", "none", "--data.validation", "none"]
    recipe = pretraining(words)
    assert recipe.train.steps is None and recipe.data.validation == ()


def test_the_model_of_a_preset_takes_room_for_what_the_data_has():
    config = pretraining(["bert-mini", "--data.length", "64", "--data.vocab-size", "500"]).model
    assert (config.dim, config.max_length, config.vocab_size) == (256, 64, 500)
    config = pretraining(["bert-mini", "--model.max-length", "256"]).model
    assert config.max_length == 256


def test_a_second_identical_command_says_that_all_is_done(finished, capsys):
    run = finished.classifier
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    first = json.loads((run / "result.json").read_text())
    words = ["finetune", "--from", str(run / "recipe.json"), "--out", str(run)]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"run": str(run)} | first
    assert " is done" in err.replace("\n", " ")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_the_last_line_is_strict_json():
    said = as_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": "\udce9"}})
    assert json.loads(said) == {"a": None, "b": [None, 1.5], "c": {"d": "\udce9"}}
    assert said.isascii() and "NaN" not in said


def test_another_backend_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert main(["demo"]) == 2
    assert "KERAS_BACKEND: expected tensorflow" in capsys.readouterr().err


def test_what_the_disk_refuses_is_told_without_a_traceback(monkeypatch, capsys, finished):
    def full(self, base=None):
        raise OSError(code, os.strerror(code), "/full/model.safetensors")

    monkeypatch.setattr(Evaluate, "run", full)
    for code in (errno.ENOSPC, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR):
        assert main(["evaluate", "nothing"]) == 2
        said = capsys.readouterr().err
        assert said == f"error: /full/model.safetensors: {os.strerror(code)}.\n"


def test_what_does_not_fit_into_memory_is_told_without_a_traceback(monkeypatch, capsys):
    def large(self, base=None):
        import tensorflow as tf

        return tf.zeros((2**40, 2**20))

    monkeypatch.setattr(Evaluate, "run", large)
    assert main(["evaluate", "nothing"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: memory: expected a model and batches that fit;")
    assert "tensor with shape" in said and said.count("\n") == 1


def weights(run):
    return (run / "model" / "model.safetensors").read_bytes()


def pretraining(words):
    """Return the recipe that the words of `pretrain` come to."""
    found = parsing("pretrain", words)
    return flags.parse(found.kind, words, "", found.default).recipe(found.base)

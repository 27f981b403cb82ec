"""A ladder as data: its runs, what cannot be a ladder, and what a refused one leaves behind."""

import re
import shlex
from dataclasses import replace

import pytest

from pipelines.__main__ import main
from pipelines.commands import flags
from pipelines.commands.scaling import Scaling
from pipelines.commands.table import parsing
from pipelines.experiments import ladder, ladder_runs
from pipelines.text.presets import PRESETS as RECIPES
from tfattn.errors import InputError
from tfattn.families import PRESETS

WIDTHS = (8, 16)
SMALL = shlex.split(
    "--presets gpt2-tiny --widths 8 16 --token-shares 0.5 1 --data.length 16 "
    "--data.algorithm characters --data.validation-share 0.2 --train.batch 4"
)


def command(words):
    return flags.parse(Scaling, words, "", parsing("scaling", words).default)


@pytest.mark.parametrize("name", ["nanogpt-tiny", "gpt2-small", "llama-mini", "tinyllama-1.1b"])
def test_a_width_keeps_the_shape_of_its_preset(name):
    own = PRESETS[name]
    assert ladder.at_width(own, own.dim) == own
    half = ladder.at_width(own, own.dim // 2)
    assert (half.depth, half.dim / half.heads) == (own.depth, own.dim / own.heads)
    assert half.hidden_dim == own.hidden_dim // 2
    assert ladder.at_width(own, 50).dim == 50  # heads are found that divide it


def test_the_largest_model_comes_first_and_narrow_ones_have_higher_rates():
    rungs = command(["--widths", "64", "256", "--seeds", "2"]).rungs()
    assert [r.name for r in rungs[:3]] == [
        "nanogpt-tiny-width256",
        "nanogpt-tiny-width256-seed1",
        "nanogpt-tiny-width256-share0.5",
    ]
    rates = {r.size: r.recipe.train.rate for r in rungs}
    own = RECIPES["nanogpt-tiny"].train.rate
    assert rates == {"nanogpt-tiny-width64": 2 * own, "nanogpt-tiny-width256": own / 2}
    given = command(["--widths", "64", "256", "--train.rate", "1e-4"]).rungs()
    assert {r.recipe.train.rate for r in given} == {1e-4}


def test_presets_have_their_own_rates_and_the_data_of_the_first():
    rungs = command(["--presets", "gpt2-tiny", "gpt2-mini"]).rungs()
    assert {r.size: r.recipe.train.rate for r in rungs} == {
        name: RECIPES[name].train.rate for name in ("gpt2-tiny", "gpt2-mini")
    }
    assert {r.recipe.data for r in rungs} == {RECIPES["gpt2-tiny"].data}


def test_a_share_of_epochs_is_a_share_too():
    rungs = command(["--train.epochs", "2", "--token-shares", "0.25", "1"]).rungs()
    assert {(r.recipe.train.steps, r.recipe.train.epochs) for r in rungs} == {
        (None, 0.5),
        (None, 2.0),
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--widths 32", r"widths: expected at least two\. Received: 32\."),
        ("--widths 32 32", r"widths: expected different ones\. Received: 32, 32\."),
        ("--widths 0 32", r"widths: expected at least 1\. Received: 0\."),
        ("--presets none", r"presets: expected at least one\. Received none\."),
        ("--presets gpt2-tiny gpt2-tiny", r"presets: expected different ones\."),
        ("--presets gpt2-tiny gpt2-mni", r"presets: unknown preset 'gpt2-mni'\. Did you mean"),
        (
            "--presets gpt2-tiny gpt2-mini --widths 8 16",
            r"widths: expected one preset to have them\. Received: gpt2-tiny, gpt2-mini\.",
        ),
        (
            "--presets gpt2-tiny bert-mini",
            r"presets: expected the same objective, .* gpt2-tiny \(CausalLM\) and bert-mini \(Mask",
        ),
        (
            "--presets gpt2-tiny nanogpt-tiny",
            r"presets: expected the same kind of tokens, .*\(bpe\) and .*\(characters\)\.",
        ),
        (
            "--presets bert-base-cased bert-base-uncased",
            r"presets: expected the same kind .*\(cased wordpiece\) and .*\(wordpiece\)\.",
        ),
        ("--token-shares 0 1", r"token-shares: expected different shares over 0, up to 1\. .*0\.0"),
        ("--token-shares 0.5 1.5", r"token-shares: expected .*Received: 0\.5, 1\.5\."),
        ("--token-shares 1 1", r"token-shares: expected different shares"),
        ("--token-shares none", r"token-shares: expected .*Received: none\."),
        ("--token-shares nan 1", r"token-shares: expected .*Received: nan, 1\.0\."),
        (
            "--token-shares 0.5 0.5000001 1",
            r"token-shares: expected shares that differ in steps\. .* 0\.5 and 0\.5000001, of \d+",
        ),
        ("--token-shares 0.25 0.5 1 --train.steps 2", r"Received: 0\.25 and 0\.5, of 1 each\."),
        (
            "--presets llama-tiny --widths 7 13",
            r"widths: expected even ones for rotary positions\. Received: 7\.",
        ),
        ("--seeds 0", r"seeds: expected at least 1\. Received: 0\."),
        ("--train.seed 4294967295 --seeds 2", r"train\.seed: expected 0 to 2\*\*32 - 1\."),
        ("--data.files none.txt", r"data\.files: expected at least one file\. .*none\.txt"),
    ],
)
def test_a_ladder_that_cannot_be_is_refused(words, message, tmp_path, capsys):
    assert main(["scaling", *words.split(), "--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert re.search(message, err), err
    assert not (tmp_path / "out").exists()


def test_a_run_directory_is_no_place_for_a_ladder(tmp_path, capsys):
    (tmp_path / "recipe.json").write_text("{}")
    assert main(["scaling", "--out", str(tmp_path)]) == 2
    assert "expected a folder for several runs" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["scaling.png", "scaling.json"])
def test_a_folder_where_the_result_would_be_is_told_first(name, tmp_path, capsys):
    (tmp_path / name).mkdir()
    assert main(["scaling", "--out", str(tmp_path)]) == 2
    said = f"error: {tmp_path / name}: expected a file, or nothing yet. Received a folder.\n"
    assert capsys.readouterr().err == said
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_no_folder_is_not_this_one(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["scaling", "--out", ""]) == 2
    assert capsys.readouterr().err == "error: out: expected a folder. Received: ''.\n"
    assert not list(tmp_path.iterdir())


@pytest.fixture
def words(tmp_path):
    """Return the words of a small ladder in a folder that is not there yet, tmp_path / "out"."""
    (tmp_path / "a.txt").write_text("\n\n".join(f"the cat sat {i}" for i in range(99)))
    return [*SMALL, "--data.files", str(tmp_path / "a.txt"), "--out", str(tmp_path / "out")]


def test_a_model_too_large_is_refused_before_the_corpus_is_read(
    words, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(ladder_runs, "prepare", _not_reached)
    words[words.index("--widths") + 2] = "262144"
    assert main(["scaling", *words]) == 2
    said = r"error: gpt2-tiny-width262144: model: expected one that trains in the .*\n"
    assert re.fullmatch(said, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_model_too_large_with_its_vocabulary_leaves_nothing(words, tmp_path, monkeypatch):
    def refuse(config, heads):
        if config.vocab_size > 1 and config.dim == 8:  # the last of the runs
            raise InputError(f"model: expected no {config.vocab_size} and {len(heads)} heads.")

    monkeypatch.setattr(ladder_runs, "check_memory", refuse)
    monkeypatch.setattr(ladder_runs, "train", _not_reached)
    with pytest.raises(InputError, match=r"width8: model: expected no \d\d and 1 heads\."):
        command(words).run()
    assert not (tmp_path / "out").exists()


def test_a_first_run_that_is_refused_leaves_nothing_that_was_not_there(
    words, tmp_path, monkeypatch
):
    def refuse(recipe, folder):
        raise InputError("train.batch: expected another.")

    monkeypatch.setattr(ladder_runs, "train", refuse)
    with pytest.raises(InputError, match="expected another"):
        command(words).run()
    assert not (tmp_path / "out").exists()
    rung = command(words).rungs()[0]
    ladder_runs.open_run(tmp_path / "out" / "corpus", ladder.corpus_recipe(rung))
    with pytest.raises(InputError, match="expected another"):
        command(words).run()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["corpus"]


def test_shares_of_epochs_that_come_to_the_same_steps_are_refused(words, tmp_path, monkeypatch):
    monkeypatch.setattr(ladder_runs, "train", _not_reached)
    with pytest.raises(InputError, match=r"^token-shares: .* Received: 1\.0 and 0\.5, of 1 each"):
        command([*words, "--train.epochs", "0.05"]).run()
    assert not (tmp_path / "out").exists()


def test_shares_that_differ_in_steps_differ_in_names():
    words = ["--token-shares", "0.5", "0.5000001", "--train.steps", "100000000"]
    assert len({rung.name for rung in command(words).rungs()}) == 2 * len(ladder.STEPS_OF_WIDTH)


def _not_reached(*_):
    raise AssertionError("it goes on")


def test_heads_of_rotary_positions_are_of_even_widths():
    own = replace(PRESETS["llama-tiny"], dim=64, heads=8, kv_heads=None)
    narrow = ladder.at_width(own, 24)  # of 3 heads of 8, as before
    assert (narrow.heads, ladder.at_width(own, 18).heads) == (3, 1)  # 2 were 9 wide
    assert command(["--presets", "llama-tiny", "--widths", "14", "26"]).rungs()


def test_help_tells_which_presets_go_together(capsys):
    with pytest.raises(SystemExit):
        main(["scaling", "--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "of the same objective and kind of tokens" in said


def test_a_ladder_is_data():
    size = ladder.sizes(("nanogpt-tiny",), WIDTHS)["nanogpt-tiny-width8"]
    assert size.model == replace(PRESETS["nanogpt-tiny"], dim=8, heads=1, hidden_dim=32)

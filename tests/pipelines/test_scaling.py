"""A ladder of sizes, whole, on a corpus that is read in a moment; and what its runs come to."""

import json
import re
import shlex
from dataclasses import replace

import numpy as np
import pytest

from pipelines import progress
from pipelines.__main__ import main
from pipelines.commands import flags
from pipelines.commands.scaling import Scaling
from pipelines.commands.table import defaults
from pipelines.defaults import RECIPES
from pipelines.experiments import ladder, scaling
from pipelines.experiments.power_law import fit
from pipelines.recipes import Recipe
from pipelines.training.engine import Engine
from tfattn.families import PRESETS

WIDTHS = (8, 16)
LADDER = shlex.split(
    "--presets gpt2-tiny --widths 8 16 --token-shares 0.5 1 --data.length 16 "
    "--data.algorithm characters --data.validation-share 0.2 --train.steps 8 --train.batch 4 "
    "--train.log-every 1 --train.compile graph --train.precision float32"
)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Climb the ladder, and again; return its folder, two results and what was printed."""
    folder = tmp_path_factory.mktemp("ladder")
    draw = np.random.default_rng(3)
    texts = (" ".join(draw.choice(["the", "cat", "sat", "on", "it"], size=20)) for _ in range(200))
    (folder / "a.txt").write_text("\n\n".join(texts) + "\n")
    words = [*LADDER, "--data.files", str(folder / "a.txt"), "--out", str(folder / "out")]
    with pytest.MonkeyPatch.context() as patch, progress.console.capture() as printed:
        first = command(words).run()
        patch.setattr(Engine, "step", _no_step)
        again = command(words).run()
    return folder / "out", first, again, printed.get()


def command(words):
    return flags.parse(Scaling, words, "", defaults("scaling", words)[0])


def _no_step(self, batch):
    raise AssertionError("it trains again")


def test_every_size_is_trained_for_every_share_with_a_schedule_of_its_own(job):
    found = {}
    for folder in job[0].glob("gpt2-tiny-*"):
        recipe = Recipe.load(folder / "recipe.json")
        found[folder.name] = (recipe.model.dim, recipe.train.steps)
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        rates = [line["learning_rate"] for line in lines if line["split"] == "train"]
        assert len(rates) == recipe.train.steps
        assert rates[-1] < 0.5 * max(rates) == max(rates[:2]) / 2  # each comes to its end
    assert found == {
        "gpt2-tiny-width8": (8, 8),
        "gpt2-tiny-width8-share0.5": (8, 4),
        "gpt2-tiny-width16": (16, 8),
        "gpt2-tiny-width16-share0.5": (16, 4),
    }


def test_the_points_are_what_the_runs_say(job):
    out, result, _, _ = job
    assert [(p["size"], p["share"]) for p in result["points"]] == [
        (f"gpt2-tiny-width{width}", share) for width in WIDTHS for share in (0.5, 1)
    ]
    for point in result["points"]:
        share = "" if point["share"] == 1 else f"-share{point['share']}"
        done = json.loads((out / f"{point['size']}{share}" / "result.json").read_text())
        model = Recipe.load(out / f"{point['size']}{share}" / "resolved.json").model
        assert [*point["losses"]] == [point["loss"]] == [done["after"]["loss"]]
        assert point["parameters"] == model.non_embedding_count() < done["parameters"]
        assert 0.9 < point["tokens"] / (done["steps"] * 4 * 16) <= 1
        assert point["compute"] == pytest.approx(model.flops_per_token(16) * point["tokens"])


def test_all_runs_share_one_vocabulary_and_one_store(job):
    out = job[0]
    for name in ("tokenizer/characters.json", "data/train/tokens.bin", "data/validation/meta.json"):
        found = {path.read_bytes() for path in out.glob(f"*/{name}")}
        assert len(list(out.glob(f"*/{name}"))) == 5 and len(found) == 1
        assert (out / "corpus" / name).stat().st_nlink == 5  # and no copies
    assert not list(out.glob("**/.*"))


def test_the_result_is_on_the_disk_and_drawn(job):
    out, result, _, _ = job
    assert json.loads((out / "scaling.json").read_text()) == {
        name: value for name, value in json.loads(json.dumps(result)).items() if name != "run"
    }
    assert (out / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert result["laws"]["parameters"]["interval"] is None  # of two sizes


def test_the_same_command_again_trains_nothing_and_gives_the_same(job):
    assert job[1] == job[2]


def test_it_tells_which_run_comes_and_what_is_left(job):
    printed = job[3]
    assert "1 of 4  gpt2-tiny-width16\n" in printed
    assert re.search(r"4 of 4  gpt2-tiny-width8-share0.5  \d\d% of the compute done, ", printed)
    assert "is done already" in printed and "two points tell no uncertainty" in printed


def test_another_recipe_in_the_same_folder_is_refused(job, capsys):
    for words, message in {
        ("--data.length", "8"): r"corpus: expected an empty folder or a run of the same recipe.*",
        ("--train.batch", "6"): r"width16: expected an empty .* train\.batch is 6 here, 4 there",
    }.items():
        given = [*LADDER, "--data.files", str(job[0].parent / "a.txt"), *words]
        assert main(["scaling", *given, "--out", str(job[0])]) == 2
        assert re.search(message, capsys.readouterr().err)


def points(law=lambda n, d: 3.0, seeds=(0.0,), widths=(32, 64, 128), shares=(0.5, 1.0)):
    """Return the points of a ladder whose runs are not trained, but lose what `law` says."""
    words = ["--widths", *map(str, widths), "--token-shares", *map(str, shares)]
    rungs = command([*words, "--seeds", str(len(seeds))]).rungs()
    results = {}
    for rung in rungs:
        tokens = 1e6 * rung.share
        loss = law(rung.config.non_embedding_count(), tokens) + seeds[rung.seed]
        results[rung.name] = {"tokens": tokens, "loss": loss}
    return scaling.summary(rungs, results, 500_000)


def test_the_laws_of_a_ladder_that_has_them_are_found():
    laws = scaling.fit_laws(points(lambda n, d: (1e13 / n) ** 0.07 * (1e9 / d) ** 0.09))
    assert laws["parameters"].fitted.exponent == pytest.approx(0.07)
    assert laws["tokens"].fitted.exponent == pytest.approx(0.09)
    assert {p.share for p in laws["parameters"].points} == {1.0}
    assert {p.size for p in laws["tokens"].points} == {"nanogpt-tiny-width128"}


def test_compute_counts_the_points_that_no_cheaper_one_betters():
    law = scaling.fit_laws(points(lambda n, d: (1e13 / n) ** 0.07))["compute"]
    widths, half = (32, 64, 128), 0.5  # longer runs are no better here
    assert [(p.size, p.share) for p in law.points] == [
        (f"nanogpt-tiny-width{w}", half) for w in widths
    ]
    assert law.fitted == fit([p.compute for p in law.points], [p.loss for p in law.points])


def test_a_point_is_the_mean_over_its_seeds():
    point = points(lambda n, d: 3.0, seeds=(0.1, -0.1, 0.3))[0]
    assert point.losses == (3.1, 2.9, 3.3)
    assert point.loss == pytest.approx(3.1) and point.passes == 1.0


def test_one_share_and_one_size_on_the_frontier_are_no_law_and_are_drawn(tmp_path):
    laws = scaling.fit_laws(points(lambda n, d: n, shares=(1.0,)))
    assert laws["tokens"].fitted is None and laws["compute"].fitted is None
    said = scaling.described("tokens", laws["tokens"])
    assert said["exponent"] is None and len(said["points"]) == 1
    assert scaling.described("compute", laws["compute"])["unit"] == "FLOPs"
    scaling.draw(points(shares=(1.0,)), laws, scaling.PUBLISHED, tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


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
        ("--token-shares 0 1", r"token_shares: expected different shares over 0, up to 1\. .*0\.0"),
        ("--token-shares 0.5 1.5", r"token_shares: expected .*Received: 0\.5, 1\.5\."),
        ("--token-shares 1 1", r"token_shares: expected different shares"),
        ("--token-shares none", r"token_shares: expected .*Received: none\."),
        ("--token-shares nan 1", r"token_shares: expected .*Received: nan, 1\.0\."),
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


def test_a_model_too_large_is_refused_before_any_is_trained(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Engine, "step", _no_step)
    (tmp_path / "a.txt").write_text("\n\n".join(f"the cat sat {i}" for i in range(99)))
    words = [*LADDER, "--data.files", str(tmp_path / "a.txt"), "--out", str(tmp_path / "out")]
    words[words.index("--widths") + 2] = "262144"
    assert main(["scaling", *words]) == 2
    assert "model: expected one that trains in the" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["corpus"]


def test_the_time_left_counts_the_steps_and_what_each_run_takes_besides():
    done = [{"seconds": 90.0, "besides": 20.0}, {"seconds": 30.0, "besides": None}]
    said = scaling.time_left([3.0, 1.0, 2.0, 2.0], done)  # 30 seconds a unit of cost
    assert "50% of the compute done, about 2:40 left" in said
    assert scaling.time_left([1.0], []) == ""


def test_a_ladder_is_data():
    size = ladder.sizes(("nanogpt-tiny",), WIDTHS)["nanogpt-tiny-width8"]
    assert size.model == replace(PRESETS["nanogpt-tiny"], dim=8, heads=1, hidden_dim=32)

"""A ladder of sizes, whole, on a corpus that is read in a moment; and what its runs come to."""

import json
import re
import shlex
import shutil

import numpy as np
import pytest

from pipelines.__main__ import main
from pipelines.commands import flags
from pipelines.commands.scaling import Scaling
from pipelines.commands.table import parsing
from pipelines.core import progress
from pipelines.core.engine import Engine
from pipelines.core.spec import Recipe
from pipelines.experiments import ladder_runs, scaling
from pipelines.experiments.power_law import fit
from tfattn.errors import InputError

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
    return flags.parse(Scaling, words, "", parsing("scaling", words).default)


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
    for name in ("processor/characters.json", "data/train/tokens.bin", "data/validation/meta.json"):
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
        err = capsys.readouterr().err
        assert re.search(message, err) and "Another --out begins anew." in err
        assert "--init" not in err  # which this command has not


@pytest.fixture
def copy(job, tmp_path, monkeypatch):
    """Return a copy of the finished ladder, and the words that train nothing in it."""
    monkeypatch.setattr(Engine, "step", _no_step)
    shutil.copytree(job[0], tmp_path / "out")
    files = ["--data.files", str(job[0].parent / "a.txt")]
    return tmp_path / "out", [*LADDER, *files, "--out", str(tmp_path / "out")]


def edit(path, edited):
    path.write_text(json.dumps(edited(json.loads(path.read_text()))))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("{", r"expected the numbers of a run in JSON\..*"),
        ("{}", r"expected after\.loss to be a number of 0 or more\. Received: None"),
        ("[1]", r"expected after\.loss to be a number of 0 or more\. Received: None"),
        ('{"after": {"loss": "x"}}', r"expected after\.loss .* Received: 'x'"),
        ('{"after": {"loss": null}}', r"expected after\.loss .* Received: None"),
        ('{"after": {"loss": -1}}', r"expected after\.loss .* Received: -1"),
        ('{"after": {"loss": NaN}}', r"expected after\.loss .* Received: nan"),
        ('{"after": {"loss": true}}', r"expected after\.loss .* Received: True"),
        ('{"after": {"loss": 1}, "steps": 0}', r"expected steps .* of 1 or more\. Received: 0"),
        ('{"after": {"loss": 1}, "steps": 8}', r"expected seconds .*\. Received: None"),
    ],
)
def test_a_damaged_result_is_named_and_what_to_do_is_said(copy, capsys, result, message):
    path = copy[0] / "gpt2-tiny-width16" / "result.json"
    path.write_text(result)
    assert_told(copy, capsys, path, message)


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (lambda text: None, r"expected a file that can be read\. Received: No such file"),
        (lambda text: "", r"expected lines of training .*\. Received: none\."),
        (lambda text: text[:-5], r"expected a JSON object a line\. Received: line \d+, "),
        (
            lambda text: text + "[1]\n",
            r"expected a JSON object a line\. Received: line \d+, \[1\]\.",
        ),
        (lambda text: text.replace('"tokens": ', '"tokens": -'), r"expected tokens .*: -\d+"),
        (lambda text: text.replace('"tokens"', '"token"'), r"expected tokens .* Received: None"),
    ],
)
def test_a_damaged_log_is_named_and_what_to_do_is_said(copy, capsys, damaged, message):
    path = copy[0] / "gpt2-tiny-width16" / "metrics.jsonl"
    text = damaged(path.read_text())
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert_told(copy, capsys, path, message)


def assert_told(copy, capsys, path, message):
    assert main(["scaling", *copy[1]]) == 2
    *_, said = capsys.readouterr().err.splitlines()  # after what is done
    assert said.startswith(f"error: {path}: expected ") and re.search(message, said), said
    assert said.endswith(f" Delete {path.parent} to train that run again.")


def test_losses_of_zero_are_points_without_a_law(copy):
    (copy[0] / "scaling.png").unlink()
    for path in copy[0].glob("gpt2-tiny-*/result.json"):
        edit(path, lambda result: result | {"after": {"loss": 0.0}})
    with progress.console.capture() as printed:
        result = command(copy[1]).run()
    assert [p["losses"] for p in result["points"]] == [(0.0,)] * 4
    assert [law["exponent"] for law in result["laws"].values()] == [None] * 3
    assert "parameters: a loss of 0 has no logarithm, and tells no law" in printed.get()
    assert (copy[0] / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_runs_that_are_done_need_no_memory(copy, monkeypatch):
    monkeypatch.setattr(ladder_runs, "check_memory", _no_memory)
    command(copy[1]).run()
    shutil.rmtree(copy[0] / "gpt2-tiny-width8")
    with pytest.raises(InputError, match=r"^gpt2-tiny-width8: model: expected less\."):
        command(copy[1]).run()


def _no_memory(config, heads):
    raise InputError("model: expected less.")


def test_what_two_points_leave_open_is_a_dash(job):
    row = next(line for line in job[3].splitlines() if line.startswith("│ parameters"))
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[2:] == ["–", "–", "–", "2", "0.076"] and float(cells[1])


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


def test_the_time_left_counts_the_steps_and_what_each_run_takes_besides():
    done = [{"seconds": 90.0, "besides": 20.0}, {"seconds": 30.0, "besides": None}]
    said = scaling.time_left([3.0, 1.0, 2.0, 2.0], done)  # 30 seconds a unit of cost
    assert "50% of the compute done, about 2:40 left" in said
    assert scaling.time_left([1.0], []) == ""

"""Run directories of other versions are refused by one sentence that names the version."""

import json
import shutil

import pytest
from finished import QUICK, TINY

from pipelines.__main__ import main
from pipelines.core.spec import FORMAT, Recipe
from pipelines.text.presets import PRESETS
from tfattn.errors import InputError

OLD = "Received format 0, written by tfattn 0.1: use that version, or train again."
NEWER = (
    "Received format 99, written by a version other than tfattn 0.2: use that version, or train "
    "again."
)


def as_old(recipe):
    """Change a recipe to one of 0.1: no format, and a head of its own."""
    del recipe["format"]
    recipe["head"] = None


def as_newer(recipe):
    """Change a recipe to one that is to come, with a field that is not known yet."""
    recipe |= {"format": 99, "agents": 3}


@pytest.fixture(params=[(as_old, OLD), (as_newer, NEWER)], ids=["old", "newer"])
def other(request, finished, tmp_path):
    """Return a finished run as another version writes it, and what is said of its format."""
    change, said = request.param
    run = tmp_path / "run"
    shutil.copytree(finished.pretrained, run)
    for name in ("recipe.json", "resolved.json"):
        recipe = json.loads((run / name).read_text())
        change(recipe)
        (run / name).write_text(json.dumps(recipe))
    return run, said


COMMANDS = {
    "pretrain --from": ("pretrain --from {run}/recipe.json --out {out}", "recipe.json"),
    "finetune --from": ("finetune classify --from {run}/recipe.json --out {out}", "recipe.json"),
    "pretrain --init": ("pretrain --init {run} --out {out}", "recipe.json"),
    "evaluate": ("evaluate {run}", "resolved.json"),
    "export": ("export {run} --out {out}", "resolved.json"),
    "fill": ("fill {run} --text [MASK]", "resolved.json"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_run_of_another_format_is_refused_in_one_sentence(name, other, tmp_path, capsys):
    run, received = other
    words, file = COMMANDS[name]
    assert main(words.format(run=run, out=tmp_path / "out").split()) == 2
    out, err = capsys.readouterr()
    expected = f"{run / file}: expected a run of format 1, which tfattn 0.2 writes."
    assert (out, err) == ("", f"error: {expected} {received}\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("done", [True, False], ids=["finished", "unfinished"])
def test_a_run_of_another_format_is_not_resumed_and_stays(done, other, finished, capsys):
    run, received = other
    if not done:
        (run / "result.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    words = ["pretrain", "bert-tiny", "--data.files", str(finished.corpus), *TINY]
    assert main([*words, "--out", str(run)]) == 2
    out, err = capsys.readouterr()
    expected = f"{run / 'recipe.json'}: expected a run of format 1, which tfattn 0.2 writes."
    assert (out, err) == ("", f"error: {expected} {received}\n")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_what_starts_from_a_run_of_another_format_is_refused(other, finished, tmp_path, capsys):
    run, received = other
    words = ["finetune", "classify", "--init", str(run), *finished.labelled(), *QUICK]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.endswith(f"{received}\n"), err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", [True, "1", None, 1.5, [1], {"a": 1}, -1, 0])
def test_a_format_that_is_none_is_refused(given, tmp_path):
    PRESETS["bert-tiny"].save(tmp_path / "recipe.json")
    recipe = json.loads((tmp_path / "recipe.json").read_text())
    assert recipe["format"] == FORMAT
    assert Recipe.load(tmp_path / "recipe.json") == PRESETS["bert-tiny"]
    (tmp_path / "recipe.json").write_text(json.dumps(recipe | {"format": given}))
    with pytest.raises(InputError, match=r"recipe\.json: expected a run of format 1, .* Received"):
        Recipe.load(tmp_path / "recipe.json")

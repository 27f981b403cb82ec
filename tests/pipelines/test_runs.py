"""A run directory: taken up, refused, or cleared, and never half-written."""

from dataclasses import replace

import pytest

from pipelines.core import run as runs
from pipelines.core.run import (
    Run,
    claim,
    discarded_on_bad_input,
    find_run,
    open_run,
    release,
)
from pipelines.text.presets import PRESETS
from tfattn.errors import InputError

RECIPE = PRESETS["bert-tiny"]


def fail(run):
    (run.folder / "data").mkdir()
    with pytest.raises(InputError, match="bad"), discarded_on_bad_input(run):
        raise InputError("bad")


def test_a_new_run_holds_its_recipe(tmp_path):
    run = open_run(tmp_path / "a" / "run", RECIPE)
    assert run.recipe() == RECIPE and run.result is None
    assert [path.name for path in run.folder.iterdir()] == ["recipe.json"]


def test_a_run_that_fails_at_once_goes_with_all_that_was_made_for_it(tmp_path):
    (tmp_path / "mine").mkdir()
    fail(open_run(tmp_path / "mine", RECIPE))
    fail(open_run(tmp_path / "a" / "run", RECIPE))
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_parents_that_somebody_else_uses_stay(tmp_path):
    run = open_run(tmp_path / "a" / "run", RECIPE)
    (tmp_path / "a" / "other").touch()
    fail(run)
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "other"]


def test_a_run_that_was_there_before_stays(tmp_path):
    open_run(tmp_path / "run", RECIPE)
    fail(open_run(tmp_path / "run", RECIPE))
    assert (tmp_path / "run" / "recipe.json").exists()


def test_a_run_that_has_a_checkpoint_stays(tmp_path):
    run = open_run(tmp_path / "run", RECIPE)
    run.checkpoints.mkdir()
    fail(run)
    assert run.recipe() == RECIPE


def test_a_fault_of_ours_discards_nothing(tmp_path):
    run = open_run(tmp_path / "run", RECIPE)
    with pytest.raises(ZeroDivisionError), discarded_on_bad_input(run):
        raise ZeroDivisionError
    assert run.recipe() == RECIPE


def test_a_link_to_a_folder_may_be_the_output(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to("disk")
    fail(open_run(tmp_path / "run", RECIPE))
    assert (tmp_path / "run").is_symlink() and list((tmp_path / "disk").iterdir()) == []


def test_release_follows_no_link(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    made = claim(tmp_path / "run", ".tmp")
    (tmp_path / "run" / "link").symlink_to(tmp_path / "precious")
    release(tmp_path / "run", made)
    assert (tmp_path / "precious" / "file").exists() and not (tmp_path / "run").exists()


def test_what_a_killed_process_left_of_a_recipe_is_no_obstacle(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".recipe.json.tmp").write_text("{")
    assert open_run(tmp_path / "run", RECIPE).recipe() == RECIPE
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["recipe.json"]


def test_a_few_differences_are_told_and_the_rest_counted(tmp_path):
    open_run(tmp_path / "run", RECIPE)
    train = replace(RECIPE.train, steps=1, batch=2, rate=0.5, seed=3, clip=4.0, keep=5, ema=0.9)
    with pytest.raises(InputError, match=r"train\.steps is 1 here, 10000 there; .*; and 2 more\."):
        open_run(tmp_path / "run", replace(RECIPE, train=train))


def test_a_home_folder_is_understood_and_an_unknown_one_told(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_run("~/run", RECIPE).folder == tmp_path / "run"
    with pytest.raises(InputError, match="~nobody-here/run: expected a user with a home folder"):
        find_run("~nobody-here/run")


def test_only_a_result_makes_a_run_finished(tmp_path):
    run = open_run(tmp_path / "run", RECIPE)
    run.model.mkdir()
    (run.model / "config.json").touch()  # written just before the result
    with pytest.raises(InputError, match=r"run: expected a finished run"):
        find_run(run.folder, finished=True)
    run.finish({"steps": 1})
    assert find_run(run.folder, finished=True).result == {"steps": 1}
    assert isinstance(find_run(run.folder), Run) and runs.SHOWN == 5

"""A checkpoint is whole or not there; a damaged one is named and the one before it is taken."""

import errno
import json
import os
import re
import resource
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from tiny import CONFIG

import pipelines.core.checkpoint
import tfattn
from pipelines.core.checkpoint import ARRAYS, STATE, Checkpoints, State, variables_by_path
from pipelines.core.optimize import build_optimizer
from pipelines.core.train_config import TrainConfig
from tfattn.errors import InputError
from tfattn.models.config import Tokens


def variables(value=0.0, size=3):
    return {
        "a/kernel": keras.Variable(np.full((2, size), value, "float32")),
        "b/seed": keras.Variable(np.array([7, int(value)], "uint32"), dtype="uint32"),
    }


def value_of(found):
    assert (found["a/kernel"].numpy() == float(found["b/seed"].numpy()[1])).all()
    return float(found["a/kernel"].numpy()[0, 0])


def put(found, value):
    found["a/kernel"].assign(np.full(found["a/kernel"].shape, value))
    found["b/seed"].assign([7, value])


@pytest.fixture
def held(tmp_path):
    """Return variables, their checkpoints, and two of these: 10.0 at step 1 and 20.0 at step 2."""
    found = variables()
    checkpoints = Checkpoints(tmp_path / "checkpoints", found, keep=2)
    for step in (1, 2):
        put(found, 10 * step)
        checkpoints.save(State(step, best=step / 3, best_step=step, stale=step, seconds=step / 7))
    put(found, 99)
    return found, checkpoints


def names(checkpoints):
    return sorted(os.listdir(checkpoints.folder))


def test_a_checkpoint_restores_every_variable_and_the_state(held):
    found, checkpoints = held
    assert checkpoints.restore() == State(2, best=2 / 3, best_step=2, stale=2, seconds=2 / 7)
    assert value_of(found) == 20


def test_without_a_checkpoint_nothing_is_restored(tmp_path):
    found = variables(5.0)
    assert Checkpoints(tmp_path / "none", found, keep=2).restore() is None
    assert value_of(found) == 5


def test_only_the_newest_are_kept(held):
    _, checkpoints = held
    checkpoints.save(State(30))
    checkpoints.save(State(200))
    assert names(checkpoints) == ["step-00000030", "step-00000200"]


def flip(folder):
    data = bytearray((folder / ARRAYS).read_bytes())
    data[-1] ^= 1
    (folder / ARRAYS).write_bytes(data)


def edit_state(folder):
    text = (folder / STATE).read_text()
    (folder / STATE).write_text(text.replace('"step": 2', '"step": 3'))


DAMAGES = {
    "a flipped bit": flip,
    "arrays cut short": lambda folder: os.truncate(folder / ARRAYS, 100),
    "no arrays": lambda folder: (folder / ARRAYS).unlink(),
    "no state": lambda folder: (folder / STATE).unlink(),
    "an edited state": edit_state,
    "an empty state": lambda folder: (folder / STATE).write_text(""),
    "a state cut short": lambda folder: os.truncate(folder / STATE, 10),
    "a state that is no object": lambda folder: (folder / STATE).write_text("17"),
    "a state without a checksum": lambda folder: (folder / STATE).write_text('{"step": 2}'),
    "a state that is not UTF-8": lambda folder: (folder / STATE).write_bytes(b"\xff\xfe{}"),
    "a state of binary zeros": lambda folder: (folder / STATE).write_bytes(bytes(50)),
    "nothing in it": lambda folder: [path.unlink() for path in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(held, damage):
    found, checkpoints = held
    newest = checkpoints.folder / "step-00000002"
    DAMAGES[damage](newest)
    with pytest.warns(UserWarning, match=re.escape(f"{newest}: damaged checkpoint skipped")):
        assert checkpoints.restore().step == 1
    assert value_of(found) == 10


def test_where_all_are_damaged_the_run_starts_anew(held):
    found, checkpoints = held
    for folder in checkpoints.folder.iterdir():
        flip(folder)
    with (
        pytest.warns(UserWarning, match="step-00000002.*damaged"),
        pytest.warns(UserWarning, match="step-00000001.*damaged"),
    ):
        assert checkpoints.restore() is None
    assert value_of(found) == 99


@pytest.mark.parametrize("keep", [1, 2])
def test_the_next_checkpoint_takes_the_place_of_damaged_ones(held, keep):
    found, checkpoints = held
    checkpoints.keep = keep
    flip(checkpoints.folder / "step-00000002")
    with pytest.warns(UserWarning, match="damaged"):
        checkpoints.restore()
    put(found, 15)
    checkpoints.save(State(2))
    put(found, 99)
    assert checkpoints.restore().step == 2
    assert value_of(found) == 15
    assert names(checkpoints) == ["step-00000001", "step-00000002"][-keep:]


@pytest.mark.parametrize("keep", [1, 2])
def test_a_damaged_checkpoint_never_pushes_out_a_whole_one(held, keep):
    found, checkpoints = held
    checkpoints.keep = keep
    shutil.copytree(checkpoints.folder / "step-00000002", checkpoints.folder / "step-00000008")
    flip(checkpoints.folder / "step-00000008")
    with pytest.warns(UserWarning, match="step-00000008"):
        assert checkpoints.restore().step == 2
    put(found, 50)
    checkpoints.save(State(5))
    assert "step-00000008" not in names(checkpoints)
    put(found, 99)
    assert checkpoints.restore().step == 5
    assert value_of(found) == 50


CALLS = {  # of `save`, in their order
    "mkdir": Path,
    "save_file": pipelines.core.checkpoint,
    "_sha256": pipelines.core.checkpoint,
    "write_text": Path,
    "fsync": os,
    "replace": os,
}


def failing(monkeypatch, call, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(CALLS[call], call, fail)


@pytest.mark.parametrize("call", CALLS)
def test_a_crash_at_any_call_leaves_the_earlier_checkpoints(held, monkeypatch, call):
    found, checkpoints = held

    class Crash(BaseException):
        pass

    with monkeypatch.context() as patched:
        failing(patched, call, Crash())
        with pytest.raises(Crash):
            checkpoints.save(State(3))
    assert {"step-00000001", "step-00000002"} <= set(names(checkpoints))
    assert checkpoints.restore().step == 2
    assert value_of(found) == 20
    assert not [name for name in names(checkpoints) if name.endswith(".tmp")]
    checkpoints.save(State(4))
    assert checkpoints.restore().step == 4


@pytest.mark.parametrize("call", CALLS)
def test_a_full_disk_is_said_and_leaves_the_earlier_checkpoints(held, monkeypatch, call):
    found, checkpoints = held
    with monkeypatch.context() as patched:
        failing(patched, call, OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(InputError, match="room for a checkpoint.*the disk is full") as caught:
            checkpoints.save(State(3))
    assert str(checkpoints.folder) in str(caught.value)
    assert names(checkpoints) == ["step-00000001", "step-00000002"]
    assert checkpoints.restore().step == 2
    assert value_of(found) == 20


def test_a_real_write_that_fails_is_said_and_leaves_the_earlier_checkpoints(held):
    found, checkpoints = held
    large = variables(1.0, size=100_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(InputError, match="expected room for a checkpoint. The run stops"):
            Checkpoints(checkpoints.folder, large, keep=2).save(State(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(checkpoints) == ["step-00000001", "step-00000002"]
    assert checkpoints.restore().step == 2


def test_what_a_killed_process_left_half_written_is_removed(held):
    _, checkpoints = held
    leftover = checkpoints.folder / ".step-00000003.tmp"
    leftover.mkdir()
    (leftover / ARRAYS).write_bytes(b"half")
    assert checkpoints.restore().step == 2
    assert not leftover.exists()


@pytest.mark.parametrize(
    ("others", "named"),
    [
        (lambda: variables(size=4), "a/kernel \\(2, 3\\) for \\(2, 4\\)"),
        (lambda: {"a/kernel": variables()["a/kernel"]}, "b/seed \\(2,\\) for None"),
        (lambda: {**variables(), "c": keras.Variable(1.0)}, "c None for \\(\\)"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(held, others, named):
    _, checkpoints = held
    with pytest.raises(InputError, match=f"step-00000002: expected the variables.*{named}"):
        Checkpoints(checkpoints.folder, others(), keep=2).restore()


def test_a_state_is_readable_json(held):
    _, checkpoints = held
    described = json.loads((checkpoints.folder / "step-00000002" / STATE).read_text())
    assert described["step"] == 2
    assert len(described["sha256"]) == 64


def built():
    model = tfattn.build(CONFIG, Tokens())
    return model, build_optimizer(TrainConfig(ema=0.9), 10, model)


def test_paths_do_not_depend_on_what_was_built_before():
    first, second = (variables_by_path(*built()) for _ in range(2))
    assert list(first) == list(second)
    assert {"seed_0/seed_generator_state", "adamw/iteration"} <= set(first)
    assert "transformer/encoder/block_0/self/query/kernel" in first


def test_every_variable_of_model_and_optimizer_is_saved():
    model, optimizer = built()
    found = {id(v) for v in variables_by_path(model, optimizer).values()}
    assert found == {id(v) for v in [*model.variables, *optimizer.variables]}


def test_two_variables_of_one_path_are_refused():
    model, _ = built()
    with pytest.raises(RuntimeError, match="share the path"):
        variables_by_path(model, tfattn.build(CONFIG, Tokens()))

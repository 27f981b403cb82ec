"""Checkpoints: everything that exact resume needs, written whole or not at all.

A checkpoint is a folder `step-00001000/` with `variables.safetensors` (weights, optimizer and
dropout seeds by path) and `state.json` (step, what the loop remembers, and a sha256 over all of
it). It is written under a temporary name, synced, and renamed; a damaged one is recognised and the
one before it is taken. The position in the data is the step itself (pipelines/core/batches.py).
"""

import contextlib
import errno
import hashlib
import itertools
import json
import re
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pipelines.core import atomic
from tfattn.errors import InputError

ARRAYS, STATE = "variables.safetensors", "state.json"


@dataclass(frozen=True)
class State:
    """What a loop remembers besides its variables."""

    step: int
    best: float | None = None  # metric of the best evaluation so far
    best_step: int | None = None
    stale: int = 0  # evaluations since then
    seconds: float = 0.0  # of training so far


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: holds them.
        variables: what is saved and restored, by path.
        keep: how many are kept.
    """

    def __init__(self, folder: Path, variables: dict[str, keras.Variable], keep: int):
        self.folder, self.variables, self.keep = folder, variables, keep

    def save(self, state: State) -> None:
        """Write a checkpoint and remove those that are too old.

        Raises:
            InputError: no room or no permission; earlier checkpoints are untouched.
        """
        target = self.folder / f"step-{state.step:08d}"
        with _disk(self.folder), atomic.replacing_folder(target) as temporary:
            arrays = {path: np.asarray(v.value) for path, v in self.variables.items()}
            save_file(arrays, temporary / ARRAYS)
            described = {**vars(state), "sha256": _sha256(temporary / ARRAYS, vars(state))}
            (temporary / STATE).write_text(json.dumps(described) + "\n", encoding="utf-8")
            for later in self._folders():
                if later.name >= target.name:  # it was found damaged, or we would not be here
                    shutil.rmtree(later)
        for old in self._folders()[self.keep :]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self) -> State | None:
        """Put the newest whole checkpoint into the variables; return its state, or None.

        Raises:
            InputError: a checkpoint that is whole but of another model.
        """
        for leftover in self.folder.glob(".*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        for folder in self._folders():
            try:
                state, arrays = _read(folder)
            except (OSError, ValueError, TypeError, SafetensorError) as error:
                warnings.warn(
                    f"{folder}: damaged checkpoint skipped for the one before it ({error}).",
                    stacklevel=2,
                )
                continue
            self._assign(arrays, folder)
            return state
        return None

    def average(self, model: keras.Model, count: int) -> None:
        """Put the mean of the newest checkpoints' weights into the model (arXiv:1706.03762, 6.1).

        Args:
            model: one whose variables are saved here.
            count: checkpoints at most; damaged ones are left out.
        """
        paths = {id(v): path for path, v in self.variables.items()}
        wanted = {paths[id(v)]: v for v in model.trainable_variables}
        sums, read = {path: np.zeros(v.shape) for path, v in wanted.items()}, 0
        for folder in self._folders()[:count]:
            with contextlib.suppress(OSError, ValueError, TypeError, SafetensorError):
                _, arrays = _read(folder)
                read += 1
                for path in sums:
                    sums[path] += arrays[path]
        for path, variable in wanted.items() if read else ():
            variable.assign(sums[path] / read)

    def _assign(self, arrays: dict[str, np.ndarray], folder: Path) -> None:
        ours = {path: tuple(v.shape) for path, v in self.variables.items()}
        theirs = {path: array.shape for path, array in arrays.items()}
        if ours != theirs:
            wrong = sorted(p for p in ours | theirs if ours.get(p) != theirs.get(p))
            shown = ", ".join(f"{p} {theirs.get(p)} for {ours.get(p)}" for p in wrong[:3])
            raise InputError(
                f"{folder}: expected the variables of this run. "
                f"Received {len(wrong)} that are missing, unused or of another shape: {shown}."
            )
        for path, variable in self.variables.items():
            variable.assign(arrays[path])

    def _folders(self) -> list[Path]:
        """Return the checkpoints, newest first."""
        return sorted(self.folder.glob("step-*"), reverse=True)


def variables_by_path(*owners: Any) -> dict[str, keras.Variable]:
    """Return all variables of models and optimizers by path.

    Keras numbers the seeds of dropout over the whole process; here they are numbered from 0, so
    that paths do not depend on what was built before.

    Raises:
        RuntimeError: two share a path, so that a checkpoint could not tell them apart.
    """
    found: dict[str, keras.Variable] = {}
    seeds = itertools.count()
    for variable in (v for owner in owners for v in owner.variables):
        path = re.sub(r"^seed_generator(_\d+)?/", lambda _: f"seed_{next(seeds)}/", variable.path)
        if found.setdefault(path, variable) is not variable:
            raise RuntimeError(f"two variables share the path {path!r}")
    return found


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        problem = "the disk is full" if full else str(error)
        raise InputError(
            f"{folder}: expected room for a checkpoint. The run stops: {problem}. "
            "The checkpoints before it are whole; start again with the same command."
        ) from None


def _read(folder: Path) -> tuple[State, dict[str, np.ndarray]]:
    described = json.loads((folder / STATE).read_text(encoding="utf-8"))
    if not isinstance(described, dict):
        raise ValueError(f"{STATE} holds no object")
    given = described.pop("sha256", None)
    if given != _sha256(folder / ARRAYS, described):
        raise ValueError("its sha256 is not the one it was written with")
    return State(**described), load_file(folder / ARRAYS)


def _sha256(path: Path, described: dict[str, Any]) -> str:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps(described, sort_keys=True).encode())
    return digest.hexdigest()

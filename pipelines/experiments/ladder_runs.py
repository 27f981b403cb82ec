"""The runs of a ladder on the disk: one corpus, lent to all of them, and what each came to."""

import contextlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from pipelines.core import atomic
from pipelines.core.devices import check_memory
from pipelines.core.run import Run, discarded_on_bad_input, open_run, release
from pipelines.core.train import prepare, steps_of, train
from pipelines.experiments.ladder import Rung, check_steps, corpus_recipe
from pipelines.text.data.store import META, Meta
from tfattn.errors import InputError

SHOWN = 80  # characters of what is damaged


@contextlib.contextmanager
def shared_corpus(rungs: list[Rung], out: Path) -> Iterator[tuple[Run, Meta]]:
    """Give the vocabulary and token stores of all runs, and what was counted in one pass.

    If it was made by this call and bad input comes up before any run began, it is taken away, so
    that the folder is free for other data.

    Raises:
        InputError: data that cannot be used, a model too large, or shares of the same steps.
    """
    left = [rung for rung in rungs if _result(Run(out / rung.name)) is None]
    _check_memory(left, 1)  # before the long work, whatever the vocabulary will be
    shared = open_run(out / "corpus", corpus_recipe(rungs[0]), init=False)
    try:
        task = prepare(shared, rungs[0].recipe, None)
        _check_memory(left, task.config.vocab_size, task.objective.heads)
        check_steps(rungs, [_steps(rung, len(task.train)) for rung in rungs])
        yield shared, Meta.load(shared.data / "train" / META)
    except InputError:
        if shared.claimed is not None and not any((out / rung.name).exists() for rung in rungs):
            release(shared.folder, shared.claimed)
        raise


def trained(rung: Rung, folder: Path, shared: Run) -> dict[str, Any]:
    """Train a run, or read what it came to.

    Returns:
        `loss`; `tokens` that were seen; `seconds` of training; and `besides`, the seconds of all
        else, or None for a run that was there before.

    Raises:
        InputError: data that cannot be used, a run of another recipe, or one with damaged files.
    """
    run = open_run(folder, rung.recipe, init=False)
    result, besides = _result(run), None
    if result is None:
        began = time.monotonic()
        for mine, theirs in ((run.processor, shared.processor), (run.data, shared.data)):
            _lend(theirs, mine)
        with discarded_on_bad_input(run):
            result = train(rung.recipe, folder)
        besides = max(time.monotonic() - began - result["seconds"], 0.0)
    path = run.folder / "result.json"
    return {
        "loss": _number(path, result, "after", "loss"),
        "tokens": _number(path, result, "steps", least=1) * _tokens_a_step(run),
        "seconds": _number(path, result, "seconds"),
        "besides": besides,
    }


def _check_memory(rungs, vocabulary, heads=()):
    for rung in rungs:
        try:
            check_memory(replace(rung.config, vocab_size=vocabulary), heads)
        except InputError as error:
            raise InputError(f"{rung.size}: {error}") from None


def _steps(rung, rows):
    """Return the steps of a run over so many rows."""
    config = rung.recipe.train
    return steps_of(config, rows / (config.batch * config.accumulate))


def _lend(theirs: Path, mine: Path) -> None:
    """Give a folder to a run, whole or not at all, by links where the disk has them."""
    if mine.exists():
        return
    with atomic.replacing_folder(mine) as temporary:
        shutil.copytree(theirs, temporary, copy_function=_link, dirs_exist_ok=True)


def _link(source, target):
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _result(run):
    try:
        return run.result
    except InputError as error:
        raise InputError(f"{error} {_advice(run.folder)}") from None


def _tokens_a_step(run: Run) -> float:
    """Return the tokens of a step that are no padding, as logged through the run."""
    path, found = run.metrics, []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or error
        raise _damaged(path, "a file that can be read", problem) from None
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
        except ValueError as error:
            raise _damaged(path, "a JSON object a line", f"line {number}, {error}") from None
        if not isinstance(line, dict):
            raise _damaged(path, "a JSON object a line", f"line {number}, {text}")
        if line.get("split") == "train":
            found.append(_number(path, line, "tokens"))
    if not sum(found):
        raise _damaged(path, "lines of training that count tokens", "none")
    return mean(found)


def _number(path: Path, found: Any, *keys: str, least: int = 0) -> float:
    """Return the number that a file has under these keys, one in the other."""
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    known = isinstance(found, int | float) and not isinstance(found, bool)
    if not known or not least <= found < math.inf:
        raise _damaged(path, f"{'.'.join(keys)} to be a number of {least} or more", repr(found))
    return found


def _damaged(path, expected, received):
    shown = str(received)[:SHOWN]
    return InputError(f"{path}: expected {expected}. Received: {shown}. {_advice(path.parent)}")


def _advice(folder):
    return f"Delete {folder} to train that run again."

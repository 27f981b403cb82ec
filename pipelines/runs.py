"""A run directory: what is where, and whose it is.

recipe.json        the whole run as data; `--from` repeats it
tokenizer/         the vocabulary
data/              token stores of a pretraining run
checkpoints/       step-00001000/ ...: everything that exact resume needs
best/              weights that were best by validation, where a metric chooses
model/             the weights of the finished run
events/            TensorBoard
metrics.jsonl      the same numbers, a JSON object a line
result.json        the last numbers; a run that has it is done
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.recipes import Recipe, differences
from tfattn.errors import InputError


class Interrupted(Exception):
    """The user stopped a run; a checkpoint was written."""


@dataclass(frozen=True)
class Run:
    """The directory of one run."""

    folder: Path

    @property
    def recipe_file(self) -> Path:
        """Return where the recipe is."""
        return self.folder / "recipe.json"

    @property
    def resolved(self) -> Path:
        """Return where the recipe is with all that the data said."""
        return self.folder / "resolved.json"

    @property
    def tokenizer(self) -> Path:
        """Return where the vocabulary is."""
        return self.folder / "tokenizer"

    @property
    def data(self) -> Path:
        """Return where token stores are."""
        return self.folder / "data"

    @property
    def checkpoints(self) -> Path:
        """Return where checkpoints are."""
        return self.folder / "checkpoints"

    @property
    def best(self) -> Path:
        """Return where the best weights so far are."""
        return self.folder / "best"

    @property
    def model(self) -> Path:
        """Return where the final weights are."""
        return self.folder / "model"

    @property
    def events(self) -> Path:
        """Return where TensorBoard's files are."""
        return self.folder / "events"

    @property
    def metrics(self) -> Path:
        """Return where the log of numbers is."""
        return self.folder / "metrics.jsonl"

    @property
    def result(self) -> dict[str, Any] | None:
        """Return the last numbers of a finished run, or None."""
        path = self.folder / "result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def finish(self, result: dict[str, Any]) -> None:
        """Mark the run as done."""
        write_atomically(self.folder / "result.json", json.dumps(result, indent=2) + "\n")

    def recipe(self) -> Recipe:
        """Return the recipe of the run."""
        return Recipe.load(self.recipe_file)


def open_run(out: str | Path, recipe: Recipe) -> Run:
    """Start a run in `out`, or take up the one of the same recipe that is there.

    Raises:
        InputError: `out` holds a run of another recipe or other files, or cannot be written.
    """
    run = Run(Path(out).expanduser())
    if run.recipe_file.exists():
        found = differences(recipe, run.recipe())
        if found:
            listed = "; ".join(f"{d.name} is {d.here!r} here, {d.there!r} there" for d in found)
            raise InputError(
                f"{run.folder}: expected an empty folder or a run of the same recipe. "
                f"Received a run in which {listed}."
            )
        return run
    check_empty(run.folder)
    write_atomically(run.recipe_file, json.dumps(recipe.to_json(), indent=2) + "\n")
    return run


@contextlib.contextmanager
def discarded_on_bad_input(run: Run) -> Iterator[None]:
    """Remove what a run wrote in this block if its input turns out bad and it never began."""
    try:
        yield
    except InputError:
        if not run.checkpoints.exists():
            shutil.rmtree(run.folder, ignore_errors=True)
        raise


def find_run(folder: str | Path) -> Run:
    """Return the run at `folder`.

    Raises:
        InputError: there is none.
    """
    run = Run(Path(folder).expanduser())
    if not run.recipe_file.exists():
        raise InputError(f"{run.folder}: expected a run directory. Received no recipe.json there.")
    return run


def check_empty(folder: Path) -> None:
    """Create `folder` and see that it is empty and can be written.

    Raises:
        InputError: it cannot be made or written, or holds files.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = sorted(p.name for p in folder.iterdir())
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        problem = error.strerror or str(error)
        raise InputError(f"{folder}: expected a folder that can be written. {problem}.") from None
    if held:
        shown = ", ".join(held[:3]) + (", ..." if len(held) > 3 else "")
        raise InputError(f"{folder}: expected an empty folder. Received one that holds {shown}.")


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole or not at all, and durably."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

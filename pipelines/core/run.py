"""A run directory: what is where, and whose it is.

recipe.json        the whole run as data; `--from` repeats it
processor/         the vocabulary of a text model, or how images are read
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape

from pipelines.core import atomic
from pipelines.core.progress import say
from pipelines.core.spec import Recipe
from tfattn.errors import InputError
from tfattn.spec import Spec, differences

SHOWN = 5  # differences that a message lists


class Interrupted(Exception):
    """The user stopped a run; a checkpoint was written."""


@dataclass(frozen=True)
class Run:
    """The directory of one run."""

    folder: Path
    claimed: tuple[Path, ...] | None = None  # folders made for it by this call; None: it was there

    @property
    def recipe_file(self) -> Path:
        """Return where the recipe is."""
        return self.folder / "recipe.json"

    @property
    def resolved(self) -> Path:
        """Return where the recipe is with all that the data said."""
        return self.folder / "resolved.json"

    @property
    def processor(self) -> Path:
        """Return where the vocabulary is, or what else turns raw input into features."""
        return self.folder / "processor"

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
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: expected the numbers of a run in JSON. {error}.") from None

    def finish(self, result: dict[str, Any]) -> None:
        """Mark the run as done."""
        atomic.write_text(self.folder / "result.json", json.dumps(result, indent=2) + "\n")

    def recipe(self) -> Recipe:
        """Return the recipe of the run."""
        return Recipe.load(self.recipe_file)


def user_path(given: str | Path) -> Path:
    """Return the path, with `~` as the home folder.

    Raises:
        InputError: `~NAME` of nobody.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise InputError(f"{given}: expected a user with a home folder. {error}") from None


def open_run(out: str | Path, recipe: Recipe, init: bool = True) -> Run:
    """Start a run in `out`, or take up the one of the same recipe that is there.

    Args:
        out: its folder.
        recipe: of the run.
        init: whether the command has the flag --init, which a message may then name.

    Raises:
        InputError: `out` holds a run of another recipe or other files, or cannot be written.
    """
    run = Run(user_path(out))
    if os.path.exists(run.recipe_file):
        found = [
            f"{d.name} is {_shown(d.here)} here, {_shown(d.there)} there"
            for d in differences(recipe, run.recipe())
        ]
        if found:
            from_weights = f", or with --init {run.folder} from its weights"
            more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            raise InputError(
                f"{run.folder}: expected an empty folder or a run of the same recipe. "
                f"Received a run in which {'; '.join(found[:SHOWN])}{more}. "
                f"Another --out begins anew{from_weights if init else ''}."
            )
        if run.result is not None:
            say(f"{escape(str(run.folder))} is done already")
        return run
    run = Run(run.folder, claim(run.folder, atomic.beside(run.recipe_file).name))
    atomic.write_text(run.recipe_file, json.dumps(recipe.to_json(), indent=2) + "\n")
    return run


@contextlib.contextmanager
def discarded_on_bad_input(run: Run) -> Iterator[None]:
    """Take away a run that this call began if its input turns out bad before the first step."""
    try:
        yield
    except InputError:
        if run.claimed is not None and not run.checkpoints.exists():
            release(run.folder, run.claimed)
        raise


def find_run(folder: str | Path, finished: bool = False) -> Run:
    """Return the run at `folder`.

    Raises:
        InputError: there is none, or it is not finished and should be.
    """
    run = Run(user_path(folder))
    if not os.path.exists(run.recipe_file):
        raise InputError(f"{run.folder}: expected a run directory. Received no recipe.json there.")
    if finished and run.result is None:
        raise InputError(
            f"{run.folder}: expected a finished run. Received one without a result.json; "
            "finish it with the command that began it."
        )
    return run


def claim(
    folder: Path, leftover: str, beside: Callable[[str], bool] = lambda name: False
) -> tuple[Path, ...]:
    """Create `folder`, see that it is empty and can be written; return the folders made for it.

    What a killed process left half-written there is called `leftover`, and removed. Files whose
    names `beside` allows may be there.

    Raises:
        InputError: it cannot be made or written, or holds files.
    """
    absent = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        str(folder).encode("utf-8")  # TensorFlow writes to no other name
        folder.mkdir(parents=True, exist_ok=True)
        _remove(folder / leftover)
        held = sorted(p.name for p in folder.iterdir() if not beside(p.name))
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{folder}: expected a folder that can be written. {problem}.") from None
    if held:
        shown = ", ".join(map(repr, held[:3])) + (", ..." if len(held) > 3 else "")
        raise InputError(f"{folder}: expected an empty folder. Received one that holds {shown}.")
    return tuple(absent)


def release(
    folder: Path, made: tuple[Path, ...], beside: Callable[[str], bool] = lambda name: False
) -> None:
    """Undo a claim: remove what came into `folder`, and the folders that were made for it."""
    for path in folder.iterdir():
        if not beside(path.name):
            _remove(path)
    for path in made:
        with contextlib.suppress(OSError):  # somebody else put something there
            path.rmdir()


def try_file(path: Path, flag: str, kind: str) -> None:
    """Complain, before any work, of a file that could not be written.

    Args:
        path: of the file.
        flag: by which it was given.
        kind: what it is, for people, such as "a picture".

    Raises:
        InputError: a folder or a name in which nothing can be written, or no file but a device.
    """
    if not path.name or os.path.exists(path) and not os.path.isfile(path):
        kept = "a folder" if os.path.isdir(path) else "no regular file"
        raise InputError(f"{flag}: expected {kind} that can be written. Received: {path}: {kept}.")
    temporary = atomic.beside(path)
    try:
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise InputError(
            f"{flag}: expected {kind} that can be written. Received: {path}: {error.strerror}."
        ) from None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _shown(value: object) -> str:
    text = type(value).__name__ if isinstance(value, Spec) else repr(value)
    if isinstance(value, tuple):
        text = " ".join(map(str, value)) or "none"
    return text if len(text) <= 60 else f"{text[:57]}..."

"""The command that measures what a model learns from its prompt, and its flags.

Nothing here imports Keras or TensorFlow at the top: help is answered at once.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.markup import escape

from pipelines.commands.finished import RunFolder
from pipelines.commands.quiet import import_tensorflow
from pipelines.core.progress import say
from pipelines.core.records import EMBEDDED, data_flag, expand
from pipelines.core.run import find_run, try_file, user_path
from pipelines.core.spec import Recipe
from pipelines.core.tfds import TFDS
from pipelines.experiments.prompts import Prompt, Trials
from tfattn.errors import InputError


@dataclass(frozen=True)
class FewShotData:
    """Labelled texts: what to try, and what to show before."""

    files: tuple[str, ...] = ()  # required: .tsv, .csv or .jsonl (.gz) with a header
    train: tuple[str, ...] = ()  # demonstrations; none: the other rows of the files
    text: str = "text"  # column of the text
    label: str = "label"  # column of the label
    encoding_errors: Literal["strict", "replace"] = "strict"  # bytes that are not UTF-8


@dataclass(frozen=True)
class FewShot:
    """Measure what a language model learns from its prompt (arXiv:2005.14165).

    The likeliest label after a text is taken; a plot shows accuracy over examples.

    Example: python -m pipelines fewshot runs/gpt --data.files val.tsv --shots 0 1 5
    """

    run_: RunFolder  # directory of a finished run
    data: FewShotData = FewShotData()
    trials: Annotated[Trials, tyro.conf.OmitArgPrefixes] = Trials()
    prompt: Annotated[Prompt, tyro.conf.OmitArgPrefixes] = Prompt()
    batch: int = 32  # passes at a time; a text has one, or one for each way that its labels begin
    # Where the picture is written; none: RUN/fewshot.png.
    out: Annotated[str | None, tyro.conf.arg(metavar="FILE.PNG")] = None

    def run(self, base: Recipe | None = None) -> dict[str, Any]:
        """Measure, draw, and return what to print."""
        if self.batch < 1:
            raise InputError(f"batch: expected at least 1. Received: {self.batch}.")
        run = find_run(self.run_, finished=True)
        out = _picture(str(run.folder / "fewshot.png") if self.out is None else self.out)
        if not self.data.files:
            raise InputError("data.files: expected at least one file or glob. Received none.")
        test = self._table("files", self.data.files)
        train = self._table("train", self.data.train) if self.data.train else None
        title = self._title(run.folder.resolve().name)
        import_tensorflow()
        from pipelines.core.finished import open_finished
        from pipelines.experiments.fewshot import few_shot
        from pipelines.experiments.fewshot_report import draw_accuracy, print_accuracy

        done = open_finished(self.run_)
        found = few_shot(done, test, train, self.trials, self.prompt, self.batch)
        print_accuracy(self.run_, found)
        try:
            draw_accuracy(title, found, out)
        except OSError as error:  # the numbers took long: they are given all the same
            say(escape(f"{out}: the picture is not written. {error.strerror or error}."))
            return {"run": self.run_, **found, "plot": None}
        return {"run": self.run_, **found, "plot": str(out)}

    def _title(self, run):
        names = [path.name for path in expand(self.data.files)]
        more = f" and {len(names) - 1} more" if names[1:] else ""
        return f"{run[:40]} on {names[0][:40]}{more}"

    def _table(self, flag, files):
        from pipelines.core.tables import read_table

        for name in files:
            if name == EMBEDDED or name.startswith(TFDS):
                raise InputError(
                    f"data.{flag}: expected tables, .tsv, .csv or .jsonl (.gz), for fewshot reads "
                    f"no other texts. Received: {name}."
                )
        with data_flag(flag):
            return read_table(
                files,
                text=self.data.text,
                label=self.data.label,
                encoding_errors=self.data.encoding_errors,
            )


def _picture(out: str) -> Path:
    path = user_path(out)
    there = os.path.isdir(path.parent) and not os.path.isdir(path)  # of Path it may raise
    if path.suffix.lower() != ".png" or not there:
        raise InputError(f"out: expected a .png in a folder that is there. Received: {out}.")
    try_file(path, "out", "a picture")  # before all measuring
    return path

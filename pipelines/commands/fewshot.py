"""The command that measures what a model learns from its prompt, and its flags.

Nothing here imports Keras or TensorFlow at the top: help is answered at once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pipelines.commands.finished import RunFolder
from pipelines.commands.quiet import import_tensorflow
from pipelines.data.records import data_flag
from pipelines.experiments.prompts import Prompt, Trials
from pipelines.runs import find_run, user_path
from tfattn.errors import InputError
from tfattn.models.config import TransformerConfig


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

    def run(self, base: TransformerConfig | None = None) -> dict[str, Any]:
        """Measure, draw, and return what to print."""
        if self.batch < 1:
            raise InputError(f"batch: expected at least 1. Received: {self.batch}.")
        run = find_run(self.run_, finished=True)
        out = run.folder / "fewshot.png" if self.out is None else _picture(self.out)
        if not self.data.files:
            raise InputError("data.files: expected at least one file or glob. Received none.")
        test = self._table("files", self.data.files)
        train = self._table("train", self.data.train) if self.data.train else None
        import_tensorflow()
        from pipelines.experiments.fewshot import draw_accuracy, few_shot, print_accuracy
        from pipelines.inference.finished import open_finished

        done = open_finished(self.run_)
        found = few_shot(done, test, train, self.trials, self.prompt, self.batch)
        draw_accuracy(found, out)
        print_accuracy(self.run_, found)
        return {"run": self.run_, **found, "plot": str(out)}

    def _table(self, flag, files):
        from pipelines.data.tables import read_table

        with data_flag(flag):
            return read_table(
                files,
                text=self.data.text,
                label=self.data.label,
                encoding_errors=self.data.encoding_errors,
            )


def _picture(out: str) -> Path:
    path = user_path(out)
    if path.suffix.lower() != ".png" or path.is_dir() or not path.parent.is_dir():
        raise InputError(f"out: expected a .png in a folder that is there. Received: {out}.")
    return path

"""The commands on a finished run: evaluate, export, fill, generate.

Nothing here imports Keras or TensorFlow at the top: help is answered at once.
"""

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import tyro

from pipelines.commands.derived import derived
from pipelines.commands.quiet import import_tensorflow
from pipelines.core.records import check_files
from pipelines.core.run import find_run, user_path
from pipelines.core.spec import Options, Recipe, expect
from pipelines.domains import tasks
from pipelines.text.spec import TextTask
from tfattn.errors import InputError
from tfattn.models.sampling import Sampling

RunFolder = Annotated[str, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
SamplingFlags = Annotated[Sampling, tyro.conf.OmitArgPrefixes]


@dataclass(frozen=True)
class EvaluateData:
    """What to measure on."""

    files: tuple[str, ...] = ()  # texts or images like the run's; none: its own validation split
    # Bytes that are not UTF-8; none: as in the run.
    encoding_errors: Literal["strict", "replace"] | None = None


@dataclass(frozen=True)
class Evaluate:
    """Measure a finished run, in float32; the last line printed is one JSON object.

    Example: python -m pipelines evaluate runs/reviews --data.files val.tsv
    """

    run_: RunFolder  # directory of a finished run
    data: EvaluateData = EvaluateData()
    batch: int = 64  # rows at a time

    def run(self, base: Recipe | None = None) -> dict[str, Any]:
        """Evaluate, and return what to print."""
        if self.batch < 1:
            raise InputError(f"batch: expected at least 1. Received: {self.batch}.")
        find_run(self.run_, finished=True)
        # A folder is what images come from, and else an error that is said when it is read.
        folders = [name for name in self.data.files if user_path(name).is_dir()]
        check_files("files", tuple(name for name in self.data.files if name not in folders))
        options = given_options(self)
        import_tensorflow()
        from pipelines.core.evaluate import evaluate, print_table

        files, errors = self.data.files, self.data.encoding_errors
        numbers = evaluate(self.run_, files, self.batch, options, errors)
        print_table(self.run_, numbers)
        return numbers


@dataclass(frozen=True)
class Export:
    """Write a finished run as a SavedModel of raw strings, or of encoded images.

    It gives labels and probabilities, or numbers, or a vector (masked models),

    or the text that follows (causal models), or the target of a source (T5, ...).

    The sampling flags are for these two; no flags: targets by beams of 4.

    Example: python -m pipelines export runs/reviews --out exported
    """

    run_: RunFolder  # directory of a finished run
    # Where its subfolder 1, or the next version, is written: what model servers read.
    out: Annotated[str, tyro.conf.arg(metavar="FOLDER")] = "exported"

    def run(self, base: Recipe | None = None) -> dict[str, Any]:
        """Export, and return what to print."""
        find_run(self.run_, finished=True)
        options = given_options(self)
        import_tensorflow()
        from pipelines.core.export import export

        return export(self.run_, self.out, options)


def evaluate_command() -> type[Evaluate]:
    """Return the command with the options of all tasks."""
    return _with_options(Evaluate, [task.evaluate_options for task in tasks().values()])


def export_command() -> type[Export]:
    """Return the command with the options of all tasks."""
    return _with_options(Export, [task.export_options for task in tasks().values()])


def given_options(command: Any) -> dict[str, Any]:
    """Return the options that differ from their defaults, by name, once they are checked."""
    given: dict[str, Any] = {}
    for value in vars(command).values():
        if isinstance(value, Options):
            value.check()
            default = type(value)()
            named = {option.name: getattr(value, option.name) for option in fields(value)}
            given |= {n: x for n, x in named.items() if x != getattr(default, n)}
    return given


def _with_options(base: type, kinds: list[type[Options]]) -> Any:
    own: dict[str, Any] = {
        kind.__name__.removesuffix("Options").lower(): (
            Annotated[kind, tyro.conf.OmitArgPrefixes],
            kind(),
        )
        for kind in dict.fromkeys(kinds)
        if fields(kind)
    }
    return derived(base, own)


@dataclass(frozen=True)
class Fill:
    """Say what a pretrained model would put in place of [MASK].

    Example: python -m pipelines fill runs/mine --text "The [MASK] was late."
    """

    run_: RunFolder  # directory of a finished run
    text: tuple[str, ...]  # one or several, each with one or several [MASK]
    top: int = 3  # guesses for each [MASK]

    def run(self, base: Recipe | None = None) -> dict[str, Any]:
        """Fill in, and return what to print."""
        for name, value in (("text", len(self.text)), ("top", self.top)):
            if value < 1:
                raise InputError(f"{name}: expected at least 1. Received: {value}.")
        find_run(self.run_, finished=True)
        import_tensorflow()
        from pipelines.core.finished import open_finished
        from pipelines.text.fill import fill

        done = open_finished(self.run_)
        return {text: fill(done, text, self.top) for text in self.text}


@dataclass(frozen=True)
class Generate:
    """Continue texts with a language model; the last line printed is one JSON object.

    Example: python -m pipelines generate runs/gpt --prompt "ROMEO:" --top-p 0.9
    """

    run_: RunFolder  # directory of a finished run
    prompt: tuple[str, ...]  # one or several texts to continue
    # To add at most; a text may end before. Of a long prompt the end is read that leaves room for
    # them, or for half of the context where they are more.
    tokens: int = 200
    seed: int = 0  # the same one gives the same text
    sampling: SamplingFlags = Sampling()

    def run(self, base: Recipe | None = None) -> dict[str, Any]:
        """Generate, and return what to print."""
        if not self.prompt:
            raise InputError("prompt: expected at least 1. Received: 0.")
        if not 1 <= self.tokens <= 2**20:
            raise InputError(f"tokens: expected 1 to 2**20. Received: {self.tokens}.")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed: expected 0 to 2**32 - 1. Received: {self.seed}.")
        find_run(self.run_, finished=True)
        import_tensorflow()
        from pipelines.core.finished import open_finished
        from pipelines.core.progress import texts
        from pipelines.text.documents import tokenizer_of
        from pipelines.text.generate import generate

        done = open_finished(self.run_)
        tokenizer_of(done)  # refuses other models than those of text
        delimiter = expect(done.task, TextTask).prompt_format().delimiter
        with texts([prompt + delimiter for prompt in self.prompt]) as show:
            return generate(done, self.prompt, self.tokens, self.sampling, self.seed, show)

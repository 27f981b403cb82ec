"""The command on a finished run of a source and a target: translate.

Nothing here imports Keras or TensorFlow at the top: help is answered at once.
"""

import os
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from pipelines.commands.finished import RunFolder
from pipelines.commands.quiet import import_tensorflow
from pipelines.core import atomic
from pipelines.core.records import lines
from pipelines.core.run import find_run, try_file, user_path
from pipelines.core.spec import Recipe
from tfattn.errors import InputError
from tfattn.models.sampling import Sampling

PathFlag = Annotated[str | None, tyro.conf.arg(metavar="PATH")]


@dataclass(frozen=True)
class Translate:
    """Write the targets of sources: translations, summaries, answers.

    The last line printed is one JSON object.

    Example: python -m pipelines translate runs/nmt --text "The cat sits."
    --best 3 --attention map.png
    """

    run_: RunFolder  # directory of a finished run
    text: tuple[str, ...] = ()  # one or several sources
    file: PathFlag = None  # more of them, one a line
    out: PathFlag = None  # writes the targets there, one a line
    tokens: int | None = None  # of a target at most; none: as many as in training
    beams: int = 4  # beginnings that are followed at once; 1 = always the likeliest token
    length_penalty: float = 0.6  # the more, the longer the targets (arXiv:1609.08144, equation 14)
    # The more, the worse for targets that leave a part of the source out (the same).
    coverage_penalty: float = 0.0
    best: int = 1  # targets of each source, with their scores
    # Where to draw what each word of the first target looks at: .png a picture, .npz the arrays.
    attention: PathFlag = None

    def run(self, base: Recipe | None = None) -> dict[str, Any]:
        """Translate, and return what to print."""
        sampling = Sampling(
            greedy=self.beams == 1,
            beams=self.beams,
            length_penalty=self.length_penalty,
            coverage_penalty=self.coverage_penalty,
        )
        find_run(self.run_, finished=True)
        sources = [text.strip() for text in self.text]
        if self.file is not None:
            sources += [line.strip() for line in lines(user_path(self.file), advice="")]
        if not sources:
            raise InputError("text: expected at least one --text, or a --file. Received none.")
        empty = [number for number, source in enumerate(sources, 1) if not source]
        if empty:
            raise InputError(f"text: expected text. Received none in source {empty[0]}.")
        if self.tokens is not None and not 1 <= self.tokens <= 2**14:
            raise InputError(f"tokens: expected 1 to 2**14. Received: {self.tokens}.")
        attention = None if self.attention is None else user_path(self.attention)
        if attention is not None and attention.suffix not in (".png", ".npz"):
            raise InputError(f"attention: expected a .png or an .npz. Received: {attention}.")
        out = None if self.out is None else user_path(self.out)
        if out is not None:
            file = None if self.file is None else user_path(self.file)
            for flag, other in (("file", file), ("attention", attention)):
                if other is not None and os.path.realpath(other) == os.path.realpath(out):
                    raise InputError(f"out: expected another file than {flag}. Received: {out}.")
            try_file(out, "out", "a file")
        import_tensorflow()
        from pipelines.core.finished import open_finished
        from pipelines.text.translate import translate

        done = open_finished(self.run_)
        found = translate(done, sources, self.tokens, sampling, self.best, attention=attention)
        if out is not None:
            texts = (" ".join(text.split()) for text in found["texts"])
            atomic.write_text(out, "".join(f"{text}\n" for text in texts))
        return found

"""What commands on a finished run of text may be asked for, and how they spell a prompt."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import tyro

from pipelines.core.run import try_file, user_path
from pipelines.core.spec import Options
from tfattn.errors import InputError
from tfattn.models.sampling import Sampling


class PromptFormat(NamedTuple):
    """How a text that a user gives becomes what the model was trained to read."""

    prefix: str = ""  # before the text
    delimiter: str = ""  # after it, where one stack reads the text and writes the answer
    is_bidirectional: bool = False  # whether the tokens of a prompt see each other

    def encoder_input(self, text: str) -> str:
        """Return what an encoder reads."""
        return self.prefix + text

    def decoder_prompt(self, text: str) -> str:
        """Return what a single stack reads before it writes."""
        return self.prefix + text + self.delimiter


@dataclass(frozen=True)
class RowOptions(Options):
    """How the text of an evaluation becomes rows."""

    # Of a causal model: rows overlap, and each has so many new tokens; none: rows side by side. The
    # smaller, the more context tokens have, and the longer it takes.
    stride: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.stride is not None and self.stride < 1:
            raise InputError(f"stride: expected at least 1. Received: {self.stride}.")


@dataclass(frozen=True)
class TargetOptions(Options):
    """How targets are written in an evaluation, and what is drawn of them."""

    # Of targets that are written: beginnings that are followed at once; 1 = the likeliest token.
    beams: int = 4
    # Where BLEU by the length of the source is drawn, a .png.
    picture: Annotated[str | None, tyro.conf.arg(metavar="PATH")] = None

    def __post_init__(self):
        super().__post_init__()
        Sampling(beams=self.beams)
        if self.picture is not None and not self.picture.lower().endswith(".png"):
            raise InputError(f"picture: expected a .png. Received: {self.picture}.")

    def check(self) -> None:
        """Refuse a picture that could not be written."""
        if self.picture is not None:
            try_file(user_path(self.picture), "picture", "a picture")


@dataclass(frozen=True)
class WritingOptions(Options):
    """How an exported model writes texts."""

    tokens: int | None = None  # written at most; none: half the context, or a target's in training
    sampling: Annotated[Sampling, tyro.conf.OmitArgPrefixes] = Sampling()

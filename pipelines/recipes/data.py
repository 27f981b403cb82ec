"""Where examples come from, as data."""

from dataclasses import dataclass
from typing import Literal

from tfattn.errors import InputError
from tfattn.spec import Spec

EMBEDDED = "embedded"  # in place of files: the documentation of this Python environment


@dataclass(frozen=True)
class Data(Spec):
    """Where examples come from."""


@dataclass(frozen=True)
class TextData(Data):
    """Documents for pretraining."""

    files: tuple[str, ...] = (EMBEDDED,)  # globs of .txt .jsonl .csv .tsv (.gz), or tfds:NAME/SPLIT
    validation: tuple[str, ...] = ()  # the same for validation; none: a share of the files
    validation_share: float = 0.02  # of the documents, where no validation files are given
    column: str = "text"  # of tables and JSON lines
    separator: Literal["blank-line", "line", "file"] = "blank-line"  # between documents of a .txt
    encoding_errors: Literal["strict", "replace"] = "strict"  # bytes that are not UTF-8
    split: Literal["documents", "tail"] = "documents"  # the share: whole documents, or their ends
    tokenizer: str | None = None  # folder with its files; none: a new vocabulary is trained
    # Of a new vocabulary: BERT's, GPT-2's byte-level one, T5's, or every character of the text.
    algorithm: Literal["wordpiece", "bpe", "unigram", "characters"] = "wordpiece"
    vocab_size: int = 8192  # tokens of a new vocabulary
    lowercase: bool = True  # of a new WordPiece vocabulary: fold case and strip accents
    length: int = 128  # tokens a row
    pack: bool = True  # several short documents in one row, kept apart by segments

    def __post_init__(self):
        super().__post_init__()
        if not self.files:
            raise InputError("data.files: expected at least one file or glob. Received none.")
        _check_length(self.length)
        _check_vocabulary(self.vocab_size)
        check_share(self.validation_share)


@dataclass(frozen=True)
class TableData(Data):
    """Labelled texts for fine-tuning."""

    # Required: .tsv, .csv or .jsonl (.gz) with a header; or embedded:summaries, documentation and
    # its first sentences.
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()  # required beside files: the same; chooses the best checkpoint
    text: str = "text"  # column of the text
    text_pair: str | None = None  # column of a second text
    label: str = "label"  # column of the label
    encoding_errors: Literal["strict", "replace"] = "strict"  # bytes that are not UTF-8
    length: int | None = None  # tokens a row at most; none: the positions that the model has

    def __post_init__(self):
        super().__post_init__()
        _check_length(self.length)


@dataclass(frozen=True)
class PairData(Data):
    """Sources and their targets, such as sentences and their translations."""

    # .tsv, .csv or .jsonl (.gz), or two texts of a sentence a line, of sources and of targets; or
    # embedded:en-fr: dates, numbers, names and lists of them, in any two languages of CLDR.
    train: tuple[str, ...] = (f"{EMBEDDED}:en-fr",)
    validation: tuple[str, ...] = ()  # required beside files: the same; never trained on
    # Columns of tables with a header; none: a .tsv without one, of a source and a target a line.
    source: str | None = None
    target: str | None = None
    encoding_errors: Literal["strict", "replace"] = "strict"  # bytes that are not UTF-8
    tokenizer: str | None = None  # folder with its files; none: a new one, of both languages
    algorithm: Literal["unigram", "bpe"] = "unigram"  # of a new vocabulary: T5's, or GPT-2's
    vocab_size: int = 8192  # tokens of a new vocabulary
    length: int = 128  # tokens of a source or a target at most
    too_long: Literal["drop", "cut", "error"] = "drop"  # what becomes of a longer pair in training

    def __post_init__(self):
        super().__post_init__()
        if (self.source is None) != (self.target is None):
            raise InputError(
                "data.source: expected both a source and a target column, or neither. "
                f"Received: {self.source} and {self.target}."
            )
        if self.source is not None and self.source == self.target:
            raise InputError(
                "data.source: expected another column than that of the target. "
                f"Received: {self.source} for both."
            )
        _check_length(self.length)
        _check_vocabulary(self.vocab_size)


def is_embedded(files: tuple[str, ...]) -> bool:
    """Return whether they name data that comes with the packages."""
    return len(files) == 1 and files[0].partition(":")[0] == EMBEDDED


def held_out(data: TableData | PairData) -> tuple[str, ...]:
    """Return the files of validation; embedded data has a split of its own."""
    return data.validation or (data.train if is_embedded(data.train) else ())


def check_share(value: float) -> None:
    """Complain of a share of validation that leaves one side nothing."""
    if not 0 < value < 1:
        raise InputError(
            f"data.validation_share: expected a share between 0 and 1. Received: {value}."
        )


def _check_vocabulary(value):
    # Five special tokens and one letter with ## and without; and what a trainer allocates.
    if not 7 <= value <= 10**7:
        raise InputError(f"data.vocab_size: expected 7 to 10**7. Received: {value}.")


def _check_length(value):
    if value is not None and not 8 <= value <= 2**20:
        raise InputError(f"data.length: expected 8 to 2**20 tokens. Received: {value}.")

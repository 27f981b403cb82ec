"""Where texts come from, as data: documents, labelled tables, pairs of a source and a target."""

from dataclasses import dataclass, replace
from typing import Literal, Self

from pipelines.core.records import EMBEDDED, check_files, is_embedded
from pipelines.core.spec import Data, check_share
from tfattn.errors import InputError
from tfattn.models.model_config import ModelConfig


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
        check_share("data.validation_share", self.validation_share)

    def check_sources(self) -> None:
        """Refuse files that are missing."""
        check_files("files", self.files)
        check_files("validation", self.validation)

    def validation_sources(self) -> tuple[str, ...]:
        """Return the files of validation; () = a share of the others."""
        return self.validation

    def without_sources(self) -> Self:
        """Return the same settings with the embedded documents."""
        return replace(self, files=(EMBEDDED,), validation=(), tokenizer=None)

    def size_model(self, config: ModelConfig, is_preset: bool) -> ModelConfig:
        """Return the config with as many positions and tokens as rows and vocabulary have."""
        return _sized(config, self, is_preset)

    @classmethod
    def like(cls, other: Data) -> Self:
        """Return the defaults with the kind of vocabulary that the other data has."""
        return cls(algorithm=getattr(other, "algorithm", cls.algorithm))


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

    def check_sources(self) -> None:
        """Refuse files that are missing, or that were not named."""
        for flag, files in (("train", self.train), ("validation", self.validation_sources())):
            check_named(flag, files)
            check_files(flag, files)

    def validation_sources(self) -> tuple[str, ...]:
        """Return the files of validation; embedded data has a split of its own."""
        return _held_out(self)


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

    def check_sources(self) -> None:
        """Refuse files that are missing."""
        check_files("train", self.train)
        check_files("validation", self.validation)

    def validation_sources(self) -> tuple[str, ...]:
        """Return the files of validation; embedded data has a split of its own."""
        return _held_out(self)

    def without_sources(self) -> Self:
        """Return the same settings with the embedded pairs."""
        return replace(self, train=type(self).train, validation=(), tokenizer=None)

    def size_model(self, config: ModelConfig, is_preset: bool) -> ModelConfig:
        """Return the config with as many positions and tokens as a side and the vocabulary have."""
        return _sized(config, self, is_preset)


def _check_vocabulary(value):
    # Five special tokens and one letter with ## and without; and what a trainer allocates.
    if not 7 <= value <= 10**7:
        raise InputError(f"data.vocab_size: expected 7 to 10**7. Received: {value}.")


def _check_length(value):
    if value is not None and not 8 <= value <= 2**20:
        raise InputError(f"data.length: expected 8 to 2**20 tokens. Received: {value}.")


def check_named(flag: str, files: tuple[str, ...]) -> None:
    """Refuse a flag that names no file where one is needed."""
    if not files:
        raise InputError(f"data.{flag}: expected at least one file or glob. Received none.")


def _held_out(data: TableData | PairData) -> tuple[str, ...]:
    return data.validation or (data.train if is_embedded(data.train) else ())


def _sized(config: ModelConfig, data: TextData | PairData, is_preset: bool) -> ModelConfig:
    if is_preset:
        config = config.with_fields(max_length=data.length)
    return config.with_fields(vocab_size=data.vocab_size)

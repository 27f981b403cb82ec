"""What every tokenizer does, and which there are; a folder's files tell its kind.

wordpiece    vocab.txt                BERT (pipelines/text/tokenization/wordpiece.py)
bpe          vocab.json, merges.txt   GPT-2 (pipelines/text/tokenization/bytepair.py)
unigram      spiece.model             T5 (pipelines/text/tokenization/unigram.py)
characters   characters.json          nanoGPT (pipelines/text/tokenization/characters.py)
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from pipelines.text.tokenization.bytepair import VOCABULARY as BYTEPAIR
from pipelines.text.tokenization.bytepair import BytePair, train_bytepair
from pipelines.text.tokenization.characters import FILE as CHARACTERS
from pipelines.text.tokenization.characters import Characters, train_characters
from pipelines.text.tokenization.unigram import Unigram, train_unigram
from pipelines.text.tokenization.unigram_files import MODEL as UNIGRAM
from pipelines.text.tokenization.wordpiece import WordPiece, train_wordpiece
from pipelines.text.tokenization.wordpiece_files import VOCABULARY as WORDPIECE
from tfattn.errors import InputError

Algorithm = Literal["wordpiece", "bpe", "unigram", "characters"]
# By the file that tells them; the first one found wins.
KINDS: dict[str, Any] = {
    CHARACTERS: Characters,
    BYTEPAIR: BytePair,
    UNIGRAM: Unigram,
    WORDPIECE: WordPiece,
}


class Tokenizer(Protocol):
    """Text to ids and back, in Python for stores and in the graph for what is exported."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens by id."""
        ...

    @property
    def size(self) -> int:
        """Number of tokens."""
        ...

    @property
    def pad_id(self) -> int | None:
        """Id of the token that fills rows up, or None."""
        ...

    @property
    def start_id(self) -> int | None:
        """Id of the token that begins a text, or None."""
        ...

    @property
    def separator_id(self) -> int | None:
        """Id of the token that ends a text, or None."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides on ids."""
        ...

    def encode_batch(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts in one int32 array, and the length of each text in int64."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """Return readable text."""
        ...

    def in_graph(self) -> Any:
        """Return what has `tokenize`, strings (b,) to ragged ids, as TensorFlow operations."""
        ...

    def save(self, folder: str | Path) -> None:
        """Write the files that tell this kind."""
        ...


def load_tokenizer(folder: str | Path, most: int | None = None) -> Tokenizer:
    """Read the tokenizer of a folder.

    Args:
        folder: with its files.
        most: tokens of the model there; None = there is no model.

    Raises:
        InputError: none there, one that is malformed, or one of more tokens.
    """
    kinds = [kind for name, kind in KINDS.items() if (Path(folder).expanduser() / name).exists()]
    if not kinds:
        raise InputError(
            f"{folder}: expected the file of a vocabulary: {', '.join(KINDS)}. "
            "Received: none of them."
        )
    found = kinds[0].load(folder)
    if most is not None and found.size > most:
        raise InputError(
            f"{folder}: expected a vocabulary of at most the {most} tokens that config.json "
            f"speaks of. Received: {found.size}."
        )
    return found


def has_tokenizer(folder: Path) -> bool:
    """Return whether a folder holds one."""
    return any((folder / name).exists() for name in KINDS)


def train_tokenizer(
    algorithm: Algorithm, documents: Iterable[str], vocab_size: int, lowercase: bool
) -> Tokenizer:
    """Learn a vocabulary of at most `vocab_size` tokens.

    Raises:
        InputError: no text in the documents, or more characters than `vocab_size` allows.
    """
    if algorithm == "characters":
        return train_characters(documents, vocab_size)
    if algorithm == "bpe":
        return train_bytepair(documents, vocab_size)
    if algorithm == "unigram":
        return train_unigram(documents, vocab_size)
    return train_wordpiece(documents, vocab_size, lowercase=lowercase)


def as_wordpiece(tokenizer: Tokenizer, what: str) -> WordPiece:
    """Return the tokenizer, for what needs [MASK] and [SEP].

    Raises:
        InputError: it is of another kind.
    """
    if not isinstance(tokenizer, WordPiece):
        raise InputError(
            f"{what}: expected a WordPiece vocabulary, which has a [MASK]. "
            f"Received: {type(tokenizer).__name__}."
        )
    return tokenizer

"""Unigram, T5's tokenizer: trained by SentencePiece, applied by tensorflow_text, as T5 itself does.

Each piece has a probability, and of all ways to cut a text into pieces the likeliest is taken
(Kudo, arXiv:1804.10959, section 3.2; Kudo and Richardson, arXiv:1808.06226). Above the pieces are
the sentinels <extra_id_0>, <extra_id_1>, ... with falling ids, which stand for what was cut out of
a text (arXiv:1910.10683, section 3.1.4). No text has them as ids, even if it spells their names.

What comes back is the text as SentencePiece normalises it: by NFKC ("½" is read as "1⁄2"), without
most control characters, and with one space for each run of blanks and line breaks, none at the
ends. T5 reads texts so too. "▁", which stands for a space in the pieces, is read as one.
"""

import functools
import hashlib
import io
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from pipelines.text.tokenization.unigram_files import SENTINELS, parse, read, sentinels_among, write
from tfattn.errors import InputError

COVERAGE = 0.9999  # share of a corpus' characters that its alphabet has to hold
LONGEST_LINE = 1000  # characters; SentencePiece counts bytes, and skips what is longer
LINES = 1_000_000  # of more a sample is learnt from, for each byte takes some 20 of memory
SKIPPED = "\u2585"  # marks what is unknown within SentencePiece, which skips lines that have it
_LINE = re.compile(rf".{{1,{LONGEST_LINE}}}(?!\S)|.{{1,{LONGEST_LINE}}}")
_TOO_FEW = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")
_NO_TEXT = re.compile(r"sentences_\.empty\(\)|all_chars_count")


@dataclass(frozen=True)
class Unigram:
    """A SentencePiece model, serialized, and how many sentinels stand above its pieces."""

    model: bytes
    extra_ids: int = SENTINELS
    start_id = None

    def __post_init__(self):
        try:
            parse(self.model)
        except InputError as error:
            raise InputError(f"model: {error}") from None
        if self.extra_ids < 0:
            raise InputError(
                f"extra_ids: expected sentinels, 0 or more. Received: {self.extra_ids}."
            )

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens by id: pieces, then the sentinels, the last one first."""
        return self._tokens

    @property
    def size(self) -> int:
        """Number of tokens."""
        return len(self.vocabulary)

    @property
    def pad_id(self) -> int:
        """Id of <pad>."""
        return self._processor.pad_id()

    @property
    def separator_id(self) -> int:
        """Id of </s>, which ends a text."""
        return self._processor.eos_id()

    @property
    def unknown_id(self) -> int:
        """Id of <unk>."""
        return self._processor.unk_id()

    @functools.cached_property
    def sentinels(self) -> tuple[int, ...]:
        """Ids of <extra_id_0>, <extra_id_1>, ..., as a text uses them, or no ids."""
        if self.extra_ids:
            return tuple(range(self.size - 1, self.size - 1 - self.extra_ids, -1))
        return sentinels_among(self.vocabulary)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides on ids."""
        return hashlib.sha256(f"unigram {self.extra_ids}\n".encode() + self.model).hexdigest()

    def encode_batch(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts in one int32 array, and the length of each text in int64.

        By tensorflow_text: of two ways that are equally likely, such as "-" and "--" for "---",
        SentencePiece's own release may take the other one than what is exported.
        """
        import tensorflow as tf

        clean = [text.encode("utf-8", "replace") for text in texts]  # no half characters
        found = self.in_graph().tokenize(tf.constant(clean, tf.string, shape=(len(clean),)))
        return found.flat_values.numpy(), found.row_lengths().numpy()

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text, with </s> and the sentinels by their names and without <pad>."""
        values = [int(i) for i in ids]
        wrong = [i for i in values if not 0 <= i < self.size]
        if wrong:
            raise InputError(f"token ids: expected 0 to {self.size - 1}. Received: {wrong[0]}.")
        shown, text = (i for i in values if i != self.pad_id), ""
        for named, group in itertools.groupby(shown, key=lambda i: bool(self._names[i])):
            run = list(group)
            if named:
                text += "".join(self._names[i] for i in run)
            else:
                lost = " " if text and self._spaced[run[0]] else ""
                text += lost + self._processor.decode(run)
        return text

    def in_graph(self) -> Any:
        """Return `tokenize` and `detokenize` as TensorFlow operations."""
        from pipelines.text.tokenization.unigram_graph import in_graph

        return in_graph(self.model, self.pad_id, self._names, self._spaced)

    def save(self, folder: str | Path) -> None:
        """Write `spiece.model` and `spiece.json`."""
        write(folder, self.model, self.extra_ids)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote, or any T5 folder of Hugging Face.

        Raises:
            InputError: a file that is missing or malformed.
        """
        return cls(*read(folder))

    @functools.cached_property
    def _processor(self) -> Any:
        return parse(self.model)[0]

    @functools.cached_property
    def _tokens(self) -> tuple[str, ...]:
        _, pieces = parse(self.model)
        return pieces + tuple(f"<extra_id_{n}>" for n in reversed(range(self.extra_ids)))

    @functools.cached_property
    def _names(self) -> tuple[str, ...]:
        """Of each id what it is written as, where SentencePiece does not write it."""
        pieces = self.size - self.extra_ids
        named = (i == self.separator_id or i >= pieces for i in range(self.size))
        return tuple(t if n else "" for t, n in zip(self.vocabulary, named, strict=True))

    @functools.cached_property
    def _spaced(self) -> tuple[bool, ...]:
        """Of each id whether it loses a space where a text begins with it."""
        pieces = self.vocabulary[: self.size - self.extra_ids]
        begins = self._processor.decode([[i] for i in range(len(pieces))])
        lost = (
            p.startswith("\u2581") and b[:1] != " " for p, b in zip(pieces, begins, strict=True)
        )
        return (*lost, *(False,) * self.extra_ids)


def train_unigram(
    documents: Iterable[str],
    vocab_size: int,
    *,
    sentinels: int = SENTINELS,
    byte_fallback: bool = True,
) -> Unigram:
    """Learn pieces until there are at most `vocab_size` tokens; the same documents give the same.

    Args:
        documents: read once, and not kept here.
        vocab_size: pieces, the 256 bytes and the sentinels together.
        sentinels: how many.
        byte_fallback: a character outside the alphabet becomes its bytes, and comes back. T5's own
            vocabulary has no bytes: there it becomes <unk>, and so transformers' T5Tokenizer reads
            it in any vocabulary.

    Raises:
        InputError: no text in the documents, or a `vocab_size` without room for an alphabet.
    """
    lines = _Lines(documents)
    try:
        model = _train(lines, vocab_size - sentinels, byte_fallback)
    except RuntimeError as error:
        if lines.error is not None:
            raise lines.error from None
        if _NO_TEXT.search(str(error)):
            raise InputError(
                "documents: expected text to learn a vocabulary from. Received: none."
            ) from None
        if not (least := _TOO_FEW.search(str(error))):
            raise
        raise InputError(
            f"vocab_size: expected at least {int(least[1]) + sentinels}. Received: {vocab_size}."
        ) from None
    return Unigram(model, sentinels)


class _Lines:
    """The lines of documents that SentencePiece can read, and the error that ended them."""

    def __init__(self, documents: Iterable[str]):
        self.documents = documents
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            for document in self.documents:
                clean = document.encode("utf-8", "replace").decode().replace(SKIPPED, " ")
                yield from _LINE.findall(clean)
        except BaseException as error:  # of which SentencePiece would keep the text alone
            self.error = error
            raise


def _train(lines: Iterable[str], pieces: int, byte_fallback: bool) -> bytes:
    """Return the serialized model of at most so many pieces."""
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="unigram",
        vocab_size=max(3, pieces),
        hard_vocab_limit=False,  # a small corpus has fewer pieces
        character_coverage=COVERAGE,
        byte_fallback=byte_fallback,
        normalization_rule_name="nmt_nfkc",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        max_sentence_length=4 * LONGEST_LINE,  # bytes
        input_sentence_size=LINES,
        num_threads=8,  # their sums are added in this order, on any machine
        minloglevel=2,
    )
    return model.getvalue()

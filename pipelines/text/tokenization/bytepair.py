"""Byte-level BPE, GPT-2's tokenizer: trained and applied by `tokenizers`, and in the graph by us.

Text is cut into words by a pattern, a word into its bytes, and pairs of neighbours are joined in
the order in which they were learnt (Sennrich et al., arXiv:1508.07909, section 3; Radford et al.
2019, section 2.2). Any text has ids, and they give back its very bytes.

`vocab.json` and `merges.txt` are GPT-2's own files.
"""

import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from pipelines.text.tokenization.byte_letters import BYTES, letters
from tfattn.errors import InputError

VOCABULARY, MERGES = "vocab.json", "merges.txt"
END = "<|endoftext|>"


@dataclass(frozen=True)
class BytePair:
    """The tokens by id, in the letters that stand for bytes, and the joins in their order."""

    vocabulary: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]

    def __post_init__(self):
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        object.__setattr__(self, "merges", tuple((a, b) for a, b in self.merges))
        known = set(self.vocabulary)
        if len(known) < len(self.vocabulary):
            raise InputError("vocabulary: expected different tokens. Received one twice.")
        for needed in (END, *letters()):
            if needed not in known:
                raise InputError(f"vocabulary: expected the token {needed!r}. It is missing.")
        for a, b in self.merges:
            if not {a, b, a + b} <= known:
                raise InputError(
                    f"merges: expected tokens of the vocabulary. Received: {a!r} and {b!r}."
                )

    @property
    def size(self) -> int:
        """Number of tokens."""
        return len(self.vocabulary)

    @functools.cached_property
    def end_id(self) -> int:
        """Id of <|endoftext|>, which stands before a text and after it."""
        return self.vocabulary.index(END)

    @property
    def start_id(self) -> int:
        """Id of what begins a text."""
        return self.end_id

    @property
    def separator_id(self) -> int:
        """Id of what ends a text."""
        return self.end_id

    @property
    def pad_id(self) -> None:
        """There is no padding token: segments tell."""
        return None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides on ids."""
        joins = [f"{a} {b}" for a, b in self.merges]
        text = "\n".join(("byte-level bpe", *self.vocabulary, "", *joins))
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    def encode_batch(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts in one int32 array, and the length of each text in int64."""
        clean = [text.encode("utf-8", "replace").decode() for text in texts]  # no half characters
        ids = [found.ids for found in self._tokenizer.encode_batch(clean)]
        flat = np.fromiter((i for row in ids for i in row), np.int32)
        return flat, np.array([len(row) for row in ids], np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text without <|endoftext|>; bytes that are no characters become U+FFFD."""
        values = list(ids)
        wrong = [i for i in values if not 0 <= i < self.size]
        if wrong:
            raise InputError(f"token ids: expected 0 to {self.size - 1}. Received: {wrong[0]}.")
        whole = "".join(self.vocabulary[i] for i in values if i != self.end_id)
        values = letters()
        return bytes(values[letter] for letter in whole).decode("utf-8", "replace")

    def in_graph(self) -> Any:
        """Return `tokenize` and `detokenize` as TensorFlow operations."""
        from pipelines.text.tokenization.bytepair_graph import in_graph

        return in_graph(self.vocabulary, self.merges)

    def save(self, folder: str | Path) -> None:
        """Write `vocab.json` and `merges.txt`, as Hugging Face reads them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        joins = "".join(f"{a} {b}\n" for a, b in self.merges)
        (folder / MERGES).write_text(f"#version: 0.2\n{joins}", encoding="utf-8", newline="\n")
        ids = {token: i for i, token in enumerate(self.vocabulary)}
        (folder / VOCABULARY).write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote, or GPT-2's own files.

        Raises:
            InputError: a file that is missing or malformed.
        """
        folder = Path(folder).expanduser()
        try:
            ids = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{folder / VOCABULARY}: expected tokens in JSON. {error}.") from None
        if not isinstance(ids, dict) or sorted(map(str, ids.values())) != sorted(
            map(str, range(len(ids)))
        ):
            raise InputError(
                f"{folder / VOCABULARY}: expected an object of tokens with the ids 0, 1, 2, ..."
            )
        merges = []
        try:
            lines = (folder / MERGES).read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError) as error:
            raise InputError(f"{folder / MERGES}: expected a join a line. {error}.") from None
        for number, line in enumerate(lines, 1):
            if not line or number == 1 and line.startswith("#version"):
                continue
            pair = line.rstrip("\r").split(" ")
            if len(pair) != 2:
                raise InputError(
                    f"{folder / MERGES}, line {number}: expected two tokens. Received: {line!r}."
                )
            merges.append((pair[0], pair[1]))
        try:
            return cls(tuple(sorted(ids, key=ids.__getitem__)), tuple(merges))
        except InputError as error:
            raise InputError(f"{folder}: {error}") from None

    @functools.cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer, models

        ids = {token: i for i, token in enumerate(self.vocabulary)}
        return _with_words(Tokenizer(models.BPE(vocab=ids, merges=list(self.merges))))


def train_bytepair(documents: Iterable[str], vocab_size: int) -> BytePair:
    """Learn joins until there are `vocab_size` tokens; the same documents give the same ones.

    Raises:
        InputError: no text in the documents, or a `vocab_size` without room for every byte.
    """
    from tokenizers import Tokenizer, models
    from tokenizers.trainers import BpeTrainer

    least = BYTES + 1
    if vocab_size < least:
        raise InputError(f"vocab_size: expected at least {least}. Received: {vocab_size}.")
    learner, read = _with_words(Tokenizer(models.BPE())), 0

    def clean() -> Iterable[str]:
        nonlocal read
        for document in documents:
            read += bool(document)
            yield document.encode("utf-8", "replace").decode()

    trainer = BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[END],
        initial_alphabet=sorted(letters()),
        show_progress=False,
    )
    learner.train_from_iterator(clean(), trainer)
    if not read:
        raise InputError("documents: expected text to learn a vocabulary from. Received: none.")
    model = json.loads(learner.to_str())["model"]
    pairs = tuple((a, b) for a, b in model["merges"])
    return BytePair(tuple(sorted(model["vocab"], key=model["vocab"].__getitem__)), pairs)


def _with_words(tokenizer: Any) -> Any:
    from tokenizers import pre_tokenizers

    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer

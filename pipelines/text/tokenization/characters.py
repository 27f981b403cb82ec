"""Characters as tokens: every character of the corpus is one, and nothing else.

No token is special, as in nanoGPT: texts have no start, no end, and no padding of their own.
`characters.json` holds the characters in the order of their ids.
"""

import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from tfattn.errors import InputError

FILE = "characters.json"
_UNICODE = 0x110000


@dataclass(frozen=True)
class Characters:
    """The characters, sorted."""

    vocabulary: tuple[str, ...]
    pad_id = start_id = separator_id = None

    def __post_init__(self):
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        wrong = [c for c in self.vocabulary if not isinstance(c, str) or len(c) != 1]
        if wrong or not self.vocabulary or len(set(self.vocabulary)) < len(self.vocabulary):
            raise InputError(
                "characters: expected different characters, one at least. "
                f"Received: {wrong[:1] or self.vocabulary[:3]!r} among {len(self.vocabulary)}."
            )

    @property
    def size(self) -> int:
        """Number of characters."""
        return len(self.vocabulary)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides on ids."""
        return hashlib.sha256(("characters\n" + "".join(self.vocabulary)).encode()).hexdigest()

    @functools.cached_property
    def _ids(self) -> np.ndarray:
        table = np.full(_UNICODE, -1, np.int32)
        table[[ord(c) for c in self.vocabulary]] = np.arange(self.size)
        return table

    def encode_batch(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts in one int32 array, and the length of each text in int64.

        Raises:
            InputError: a character that is not in the vocabulary; it is named.
        """
        points = [np.frombuffer(t.encode("utf-32-le", "surrogatepass"), "<u4") for t in texts]
        whole = np.concatenate(points) if points else np.zeros(0, "<u4")
        ids = self._ids[whole]
        if (ids < 0).any():
            unknown = sorted({chr(c) for c in np.unique(whole[ids < 0])})
            shown = " ".join(map(repr, unknown[:5])) + (" ..." if len(unknown) > 5 else "")
            raise InputError(
                f"text: expected the {self.size} characters of the vocabulary. Received: {shown}."
            )
        return ids, np.array([len(p) for p in points], np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text."""
        values = list(ids)
        wrong = [i for i in values if not 0 <= i < self.size]
        if wrong:
            raise InputError(f"token ids: expected 0 to {self.size - 1}. Received: {wrong[0]}.")
        return "".join(self.vocabulary[i] for i in values)

    def in_graph(self) -> Any:
        """Return `tokenize` and `detokenize` as TensorFlow operations."""
        return _in_graph(self.vocabulary)

    def save(self, folder: str | Path) -> None:
        """Write `characters.json`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"characters": "".join(self.vocabulary)}, indent=2)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: a file that is missing or malformed.
        """
        path = Path(folder).expanduser() / FILE
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: expected characters in JSON. {error}.") from None
        characters = held.get("characters") if isinstance(held, dict) else None
        if not isinstance(characters, str):
            raise InputError(f"{path}, characters: expected text. Received: {characters!r}.")
        try:
            return cls(tuple(characters))
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def train_characters(documents: Iterable[str], vocab_size: int) -> Characters:
    """Return the characters of the documents, sorted.

    Raises:
        InputError: none, or more than `vocab_size`.
    """
    found: set[str] = set()
    for document in documents:
        found.update(document)
    if not found:
        raise InputError("documents: expected text to learn characters from. Received: none.")
    if len(found) > vocab_size:
        raise InputError(
            f"vocab_size: expected at least the {len(found)} characters of the text. "
            f"Received: {vocab_size}."
        )
    return Characters(tuple(sorted(found)))


@functools.cache
def _in_graph(vocabulary: tuple[str, ...]) -> Any:
    import tensorflow as tf

    class InGraph(tf.Module):
        """The same table, in the graph."""

        def __init__(self):
            super().__init__()
            keys = tf.constant([c.encode("utf-8", "surrogatepass") for c in vocabulary])
            ids = tf.range(len(vocabulary), dtype=tf.int32)
            start = tf.lookup.KeyValueTensorInitializer(keys, ids)
            self.table = tf.lookup.StaticHashTable(start, -1)
            self.characters = keys

        def tokenize(self, texts):
            """Map strings (b,) to ragged ids; an unknown character is an error."""
            pieces = tf.strings.unicode_split(texts, "UTF-8", errors="strict")
            ids = self.table.lookup(pieces.flat_values)
            known = tf.debugging.Assert(
                tf.reduce_all(ids >= 0),
                ["text: expected characters of the vocabulary. Received:", pieces.flat_values],
                summarize=8,
            )
            with tf.control_dependencies([known] if known is not None else []):
                return pieces.with_flat_values(tf.identity(ids))

        def detokenize(self, ids):
            """Map ragged ids to strings (b,)."""
            pieces = ids.with_flat_values(tf.gather(self.characters, ids.flat_values))
            return tf.strings.reduce_join(pieces, axis=-1)

    return InGraph()

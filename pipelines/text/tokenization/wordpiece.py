"""WordPiece: trained by `tokenizers`, applied by tensorflow_text, the same ids from both.

A word is cut greedily into the longest pieces that the vocabulary knows; pieces inside a word
start with `##`. Schuster and Nakajima 2012; arXiv:1810.04805; D2L 15.6 and 15.8.

With normalizer.py the two libraries agree on every character of Unicode. One rule is ours: a word
of more than 400 bytes is [UNK], while BERT draws the line at 100 characters, which are at most 400
bytes; so a longer word of few bytes is cut into pieces here and is [UNK] there.
"""

import functools
import hashlib
import re
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from pipelines.text.tokenization.normalizer import characters_alone, normalizer_model
from pipelines.text.tokenization.wordpiece_files import (
    LONGEST_TOKEN,
    MASK,
    PAD,
    SEPARATOR,
    SPECIAL,
    START,
    UNKNOWN,
    check_vocabulary,
    read_vocabulary,
    token_bytes,
    write_vocabulary,
)
from tfattn.errors import InputError

LONGEST_WORD = 400  # bytes
COVERAGE = 0.9999  # share of a corpus' characters that its alphabet has to hold

# Text that may be one very long word: no blanks, ASCII punctuation or ideographs for a while.
_UNBROKEN = re.compile(r"[^\s!-/:-@\[-`{-~\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]{1000,}")


@dataclass(frozen=True)
class WordPiece:
    """A vocabulary, whether it is uncased, and what follows from the two."""

    vocabulary: tuple[str, ...]
    lowercase: bool = True

    def __post_init__(self):
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        check_vocabulary(self.vocabulary, "vocabulary")

    @property
    def size(self) -> int:
        """Number of tokens."""
        return len(self.vocabulary)

    @property
    def pad_id(self) -> int:
        """Id of [PAD]."""
        return self._ids[PAD]

    @property
    def unknown_id(self) -> int:
        """Id of [UNK]."""
        return self._ids[UNKNOWN]

    @property
    def start_id(self) -> int:
        """Id of [CLS]."""
        return self._ids[START]

    @property
    def separator_id(self) -> int:
        """Id of [SEP]."""
        return self._ids[SEPARATOR]

    @property
    def mask_id(self) -> int:
        """Id of [MASK]."""
        return self._ids[MASK]

    @functools.cached_property
    def continuation(self) -> np.ndarray:
        """True for the tokens that go on a word, `##ing`; (v,) bool."""
        array = np.array([token.startswith("##") for token in self.vocabulary])
        array.setflags(write=False)
        return array

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides on ids."""
        text = "\n".join((f"wordpiece lowercase={self.lowercase}", *self.vocabulary))
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    def encode_batch(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts in one int32 array, and the length of each text in int64."""
        import tensorflow as tf

        data = [_utf8(text, i) for i, text in enumerate(texts)]
        ragged = self.in_graph().tokenize(tf.constant(data, tf.string, shape=(len(data),)))
        return ragged.values.numpy(), ragged.row_lengths().numpy()

    def encode_reference(self, texts: list[str]) -> list[list[int]]:
        """Return what `tokenizers` makes of each text: slow, there to be compared with."""
        reference, lists = _reference(self.vocabulary, self.lowercase), []
        for text in texts:
            ids: list[int] = []
            for word in _words(reference, text):
                if len(word.encode("utf-8")) <= LONGEST_WORD:
                    ids += [piece.id for piece in reference.model.tokenize(word)]
                else:
                    ids.append(self.unknown_id)
            lists.append(ids)
        return lists

    def in_graph(self) -> Any:
        """Return the `FastBertTokenizer`: `tokenize` for tf.data and for what is exported."""
        return _fast(self.vocabulary, self.lowercase)

    def decode(self, ids: Iterable[int]) -> str:
        """Return readable text: words joined, special tokens kept except [PAD]."""
        values = np.fromiter(ids, np.int64)
        wrong = values[(values < 0) | (values >= self.size)]
        if wrong.size:
            raise InputError(f"token ids: expected 0 to {self.size - 1}. Received: {wrong[0]}.")
        tokens = (self.vocabulary[i] for i in values if i != self.pad_id)
        return " ".join(tokens).replace(" ##", "")

    def save(self, folder: str | Path) -> None:
        """Write `vocab.txt` and `tokenizer_config.json`, as Hugging Face reads them."""
        write_vocabulary(folder, self.vocabulary, self.lowercase)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote, or any BERT folder of Hugging Face.

        Raises:
            InputError: no vocabulary there, one that is malformed, or an option we do not have.
        """
        return cls(*read_vocabulary(folder))

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.vocabulary)}


def train_wordpiece(
    documents: Iterable[str],
    vocab_size: int,
    *,
    lowercase: bool = True,
) -> WordPiece:
    """Learn a vocabulary of at most `vocab_size` tokens; the same documents give the same one.

    `tokenizers` numbers the pieces `##a` in the random order of a hash map, and breaks ties by
    those numbers. So we count the characters first, and hand it the alphabet in order; meanwhile
    the documents wait in a temporary file.

    Raises:
        InputError: no text in the documents, or a `vocab_size` without room for an alphabet.
    """
    from tokenizers.trainers import WordPieceTrainer

    room = (vocab_size - len(SPECIAL)) // 2  # a character may be there with ## and without
    if room < 1:
        least = len(SPECIAL) + 2
        raise InputError(f"vocab_size: expected at least {least}. Received: {vocab_size}.")
    learner = _pipeline(SPECIAL, lowercase)

    def short_words(match: re.Match) -> str:
        words = _words(learner, match[0])
        return " ".join(word for word in words if len(word.encode("utf-8")) <= LONGEST_WORD)

    characters: Counter[str] = Counter()
    with tempfile.TemporaryFile() as spool:
        for i, document in enumerate(documents):
            data = _utf8(document, i)
            if _UNBROKEN.search(document):  # training is quadratic in the length of a word
                document = _UNBROKEN.sub(short_words, document)
                data = document.encode("utf-8")
            characters.update(document)
            spool.write(data + b"\n")
        alphabet = _alphabet(characters, learner, room)
        inside = [c for c in alphabet if len(_words(learner, f"a{c}a")) == 1]
        trainer = WordPieceTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            special_tokens=[*SPECIAL, *(f"##{c}" for c in inside)],
            limit_alphabet=len(alphabet),
            initial_alphabet=alphabet,
            show_progress=False,
        )
        spool.seek(0)
        learner.train_from_iterator((line.decode("utf-8") for line in spool), trainer)
    ranked = sorted(learner.get_vocab().items(), key=lambda item: item[1])
    return WordPiece(tuple(t for t, _ in ranked if token_bytes(t) <= LONGEST_TOKEN), lowercase)


def _alphabet(characters: Counter[str], learner: Any, room: int) -> list[str]:
    """Return the most frequent characters, after normalisation, in the order of Unicode."""
    counts: Counter[str] = Counter()
    for character, count in characters.items():
        for part in learner.normalizer.normalize_str(character):
            counts[part] += count
    del counts[" "]
    if not counts:
        raise InputError("documents: expected text to learn a vocabulary from. Received: none.")
    kept, covered, enough = [], 0, COVERAGE * counts.total()
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if covered >= enough or len(kept) == room:
            break
        kept.append(character)
        covered += count
    return sorted(kept)


def _pipeline(vocabulary: tuple[str, ...], lowercase: bool) -> Any:
    """Return the tokenizer of `tokenizers`."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    ids = {token: i for i, token in enumerate(vocabulary)}
    tokenizer: Any = Tokenizer(
        models.WordPiece(ids, unk_token=UNKNOWN, max_input_chars_per_word=LONGEST_WORD)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    alone = pre_tokenizers.Split(Regex(f"[{characters_alone()}]"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), alone])
    return tokenizer


def _words(pipeline: Any, text: str) -> list[str]:
    """Return the words that the pieces are looked for in."""
    normalized = pipeline.normalizer.normalize_str(text)
    return [word for word, _ in pipeline.pre_tokenizer.pre_tokenize_str(normalized)]


_reference = functools.lru_cache(maxsize=4)(_pipeline)


@functools.lru_cache(maxsize=4)
def _fast(vocabulary: tuple[str, ...], lowercase: bool) -> Any:
    """Return the tokenizer of tensorflow_text."""
    import tensorflow as tf
    import tensorflow_text as text

    with (
        tf.init_scope()
    ):  # the first call may come from inside a tf.data map, whose graph goes away
        try:
            return text.FastBertTokenizer(
                list(vocabulary),
                max_bytes_per_word=LONGEST_WORD,
                token_out_type=tf.int32,
                unknown_token=UNKNOWN,
                lower_case_nfd_strip_accents=lowercase,
                fast_bert_normalizer_model_buffer=normalizer_model(lowercase),
            )
        except RuntimeError as error:
            raise InputError(f"vocabulary: tensorflow_text cannot use it. {error}") from None


def _utf8(text: str, index: int) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"text {index}: expected Unicode text. Received: {error}.") from None

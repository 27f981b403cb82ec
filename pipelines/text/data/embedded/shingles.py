"""Near-duplicates by shingles: how many of a text's runs of five words were read before.

Broder, "On the resemblance and containment of documents" (1997). The containment is measured in
the union of all earlier texts rather than in one of them, so that a text pasted together from two
others is a duplicate too.
"""

import re
import zlib
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

WIDTH = 5  # words of a shingle
WORD = re.compile(r"[a-z0-9]+")
# Odd 64-bit factors, one per place in the shingle: the hash depends on the order of the words.
FACTORS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 1)


class Shingles:
    """The set of shingles of the texts that were added."""

    def __init__(self, texts: Iterable[str] = ()):
        self._seen: set[int] = set()
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """Remember a text."""
        self._seen |= hashes(text)

    def containment(self, text: str) -> float:
        """Return which share of the text's shingles was seen, 0 to 1."""
        own = hashes(text)
        return len(own & self._seen) / len(own) if own else 0.0

    def add_if_new(self, text: str, limit: float) -> bool:
        """Add a text unless `limit` or more of it was seen; tell whether it was added."""
        own = hashes(text)
        if own and len(own & self._seen) >= limit * len(own):
            return False
        self._seen |= own
        return True


def hashes(text: str) -> set[int]:
    """Hash every run of five words, case and punctuation aside; a shorter text is one run."""
    words = [_word(word) for word in WORD.findall(text.lower())]
    words += [0] * (WIDTH - len(words))
    ids, runs = np.array(words, np.uint64), len(words) - WIDTH + 1
    total = np.zeros(runs, np.uint64)
    for place, factor in enumerate(FACTORS):
        total += ids[place : place + runs] * np.uint64(factor)  # modulo 2^64
    return set(total.tolist())


@lru_cache(maxsize=1 << 16)
def _word(word: str) -> int:
    return zlib.crc32(word.encode())  # unlike hash(), the same in every process

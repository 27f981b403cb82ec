"""BERT's text normalisation for tensorflow_text, character by character as `tokenizers` does it.

The stock FastBertTokenizer folds by NFKC_Casefold: it reads "…" as "...", "½" as "1⁄2", "ß" as
"ss", and turns control characters into spaces. BERT and `tokenizers` do neither. Its normaliser is
a trie from characters to strings, so we hand it a trie of what `tokenizers` does instead.
"""

import functools
import itertools
import math
from typing import Any

import numpy as np

# Where the two libraries' Unicode tables disagree on what stands alone as a word: punctuation that
# is new to one of them, and 256 ideographs of Extension E. Both are made to let it stand alone.
_ALONE = """
    61D 9FD A76 C77 C84 166D 1B4E-1B4F 1B7D-1B7F 2E43-2E4F 2E52-2E5D 10D6E 10EAD 10F55-10F59
    10F86-10F89 111C9 113D4-113D5 113D7-113D8 1144B-1144F 1145A-1145B 1145D 11660-1166C 116B9 1183B
    11944-11946 119E2 11A3F-11A46 11A9A-11A9C 11A9E-11AA2 11B00-11B09 11BE1 11C41-11C45 11C70-11C71
    11EF7-11EF8 11F43-11F4F 11FFF 12FF1-12FF2 16D6D-16D6F 16E97-16E9A 16FE2 1E5FF 1E95E-1E95F
    2B820-2B91F
"""

# The trie is that of Darts-clone, each unit 32 bits; a value carries the flag "is replaced", the
# place of the replacement in a pool of bytes, and its length in the lowest six bits.
_LEAF_SHIFT, _WAY_SHIFT, _VALUE = 8, 10, 1 << 31
_REPLACED, _LENGTH_BITS = 1 << 30, 6


@functools.cache
def characters_alone() -> str:
    """Return the characters that are words of their own besides what the libraries agree on."""
    ranges = (text.split("-") for text in _ALONE.split())
    points = (range(int(ends[0], 16), int(ends[-1], 16) + 1) for ends in ranges)
    return "".join(map(chr, itertools.chain.from_iterable(points)))


def replacements(lowercase: bool) -> dict[str, str]:
    """Return every character that normalisation changes, and what it becomes.

    What this cannot say is an order: `tokenizers` also sorts combining marks (NFD), which shows
    only where two of the few spacing marks with a combining class stand side by side.
    """
    from tokenizers.normalizers import BertNormalizer

    # Ideographs get their spaces from the word splitter, without 80,000 rows here.
    normalizer = BertNormalizer(lowercase=lowercase, handle_chinese_chars=False)
    # No surrogates, and nothing from the planes 4 to 13: they are empty.
    points = itertools.chain(range(0xD800), range(0xE000, 0x40000), range(0xE0000, 0x110000))
    alphabet = [chr(point) for point in points if chr(point) != "|"]
    results = normalizer.normalize_str("|".join(alphabet)).split("|")
    table = {old: new for old, new in zip(alphabet, results, strict=True) if old != new}
    return table | {char: f" {table.get(char, char)} " for char in characters_alone()}


@functools.cache
def normalizer_model(lowercase: bool) -> bytes:
    """Return `replacements` as FastBertTokenizer's `fast_bert_normalizer_model_buffer`."""
    import flatbuffers  # comes with TensorFlow

    pool, places, values = bytearray(), {}, {}
    for old, new in replacements(lowercase).items():
        text = new.encode("utf-8")
        if text not in places:
            places[text] = len(pool)
            pool += text
        values[old] = _REPLACED | places[text] << _LENGTH_BITS | len(text)
    zero = values.pop("\0", 0)  # a trie has no room for the empty C string

    builder = flatbuffers.Builder(1 << 20)
    units = builder.CreateNumpyVector(_trie({key.encode(): v for key, v in values.items()}))
    strings = builder.CreateByteVector(bytes(pool))
    builder.StartObject(4)
    builder.PrependBoolSlot(0, lowercase, False)
    builder.PrependUOffsetTRelativeSlot(1, units, 0)
    builder.PrependInt32Slot(2, zero, 0)
    builder.PrependUOffsetTRelativeSlot(3, strings, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def _trie(values: dict[bytes, int]) -> np.ndarray:
    """Lay out UTF-8 characters and their values as a Darts-clone double array.

    A node has a base `b`; its child by byte `c` is unit `b ^ c`, which holds the byte and the way
    from there to the base of its own children. The root has base 0 and units 0-255. Every other
    inner node has continuation bytes only, 80-BF, so 64 aligned units are its own; equal subtrees
    are one node. The values follow, a unit each.
    """
    root: dict[int, Any] = {}
    for key, value in values.items():
        node = root
        for byte in key[:-1]:
            node = node.setdefault(byte, {})
        node[key[-1]] = value

    nodes: dict[tuple, int] = {}  # every inner node once: its items, and its base

    def number(node: dict[int, Any]) -> tuple:
        items = [(c, number(v) if isinstance(v, dict) else v) for c, v in sorted(node.items())]
        nodes.setdefault(tuple(items), 64 * (4 + len(nodes)) ^ 0x80)
        return tuple(items)

    nodes[number(root)] = 0
    first = 256 * math.ceil((4 + len(nodes)) / 4)
    bases = {value: first + i for i, value in enumerate(dict.fromkeys(values.values()))}
    units = np.zeros(256 * math.ceil((first + len(bases)) / 256), np.uint32)
    for items, base in nodes.items():
        for byte, child in items:
            unit, leaf = base ^ byte, isinstance(child, int)
            way = unit ^ (bases[child] if leaf else nodes[child])
            units[unit] = way << _WAY_SHIFT | leaf << _LEAF_SHIFT | byte
    for value, unit in bases.items():
        units[unit] = _VALUE | value
    return units

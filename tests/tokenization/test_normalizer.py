"""The trie that tensorflow_text reads says what `tokenizers` does, on all of Unicode."""

import itertools

import pytest
from tokenizers.normalizers import BertNormalizer

from pipelines.text.tokenization.normalizer import characters_alone, replacements
from pipelines.text.tokenization.wordpiece import WordPiece

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Planes 0 to 3 and the start of 14; 15 and 16 are private and alike.
POINTS = [*range(0xD800), *range(0xE000, 0x32400), *range(0xE0000, 0xE0200)]
POINTS += [0xF0000, 0xFFFFD, 0x100000, 0x10FFFD, 0x10FFFF]


# All but most of the syllables and ideographs, which are many and alike.
VARIED = [p for p in POINTS if not (0x4E00 <= p < 0xD700 or 0x20000 <= p < 0x2A000) or p % 37 == 0]


def chunks(points):
    for start in range(0, len(points), 4096):
        yield points[start : start + 4096]


@pytest.mark.parametrize("lowercase", [True, False])
def test_every_character_between_letters_gives_the_same_ids(lowercase):
    # x?y tells whether the character vanishes, is a blank, stands alone, or is part of the word.
    tokenizer = WordPiece((*SPECIAL, "x", "##x", "y", "##y"), lowercase)
    for chunk in chunks(VARIED):
        texts = [f"x{chr(point)}y" for point in chunk]
        flat, lengths = tokenizer.encode_batch(texts)
        reference = tokenizer.encode_reference(texts)
        ends = lengths.cumsum()
        for point, ids, start, end in zip(chunk, reference, ends - lengths, ends, strict=True):
            assert flat[start:end].tolist() == ids, f"U+{point:04X}"


@pytest.mark.parametrize("lowercase", [True, False])
def test_every_character_becomes_what_tokenizers_makes_of_it(lowercase):
    normalizer = BertNormalizer(lowercase=lowercase, handle_chinese_chars=False)
    fast = WordPiece((*SPECIAL, "x"), lowercase).in_graph()._fast_bert_normalizer
    for chunk in chunks(POINTS):
        outputs = fast.normalize([f"x{chr(point)}y" for point in chunk]).numpy()
        for point, output in zip(chunk, outputs, strict=True):
            expected = normalizer.normalize_str(f"x{chr(point)}y")
            # Blanks around what stands alone are the word splitter's affair.
            assert output.decode().replace(" ", "") == expected.replace(" ", ""), f"U+{point:04X}"


def test_characters_are_not_rewritten_as_the_stock_tokenizer_would():
    table = replacements(True)
    assert [table.get(c, c) for c in "…½²™ßﬁ０"] == list("…½²™ßﬁ０")  # NFKC_Casefold: "...", ...
    assert [table.get(c, c) for c in "ÀİΣ\u200b\0\ufffd"] == ["a", "i", "σ", "", "", ""]
    assert "À" not in replacements(False)


def test_what_stands_alone_has_blanks_around_it():
    assert replacements(True)["\u2e52"] == " \u2e52 "
    assert len(characters_alone()) == len(set(characters_alone())) > 256


def test_no_pair_of_characters_is_merged_by_the_trie():
    # Shared subtrees must not let a character through a neighbour's branch.
    fast = WordPiece((*SPECIAL, "x"), True).in_graph()._fast_bert_normalizer
    normalizer = BertNormalizer(lowercase=True, handle_chinese_chars=False)
    texts = ["".join(pair) for pair in itertools.product("AÀßΣ한ﬁ…\ue000\U000f0000a𝐀ÿ", repeat=2)]
    outputs = [text.decode() for text in fast.normalize(texts).numpy()]
    assert outputs == [normalizer.normalize_str(text) for text in texts]

"""Unigrams: SentencePiece against tensorflow_text, sentinels, and text that comes back."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from pipelines.text.tokenization import unigram
from pipelines.text.tokenization.tokenizer import train_tokenizer
from pipelines.text.tokenization.unigram import train_unigram
from tfattn.errors import InputError

ROOT = Path(__file__).parents[2]
WORDS = ["the", "cats", "dog", "doesn't", "running:", "they've", "12", "naïve", "cafés,", "seeing"]
SIZE = 500
NASTY = [
    "",
    " ",
    "\n\t \u3000\u00a0",
    "\0",
    "a\0b\x01\x07\x1b[0m\x7f",
    "The  cat\r\nsat\ton\n\nthe mat ",
    "👍 👍🏽 👩‍👩‍👧‍👦 🇫🇷 a👍b",
    "cafe\u0301 cafe\u0301\u0327 \u0301alone",
    "日本語と中文 한국어 ﾊﾞ ０１２ＡＢＣ",
    "½ ﬁ Ⅷ ™ … ﷺ",
    "العربية עברית 123 ภาษาไทย नमस्ते",
    "a\u200bb\u200dc\ufeffd\u00ade",
    "\u2581 a\u2581b \u2585 \u2047 \ufffd",
    "</s> <pad> <unk> <s> <0x41>",
    "x" * 5000,
    "dog" * 3000,
    "日👍" * 2000,
]


def corpus():
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS, k=draw.randint(3, 30))) for _ in range(200)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_unigram(iter(corpus()), SIZE)


@pytest.fixture(scope="module")
def reference(tokenizer):
    return SentencePieceProcessor(model_proto=tokenizer.model)


def encode(tokenizer, texts):
    flat, lengths = tokenizer.encode_batch(texts)
    assert flat.dtype == np.int32 and lengths.dtype == np.int64 and lengths.sum() == len(flat)
    return [ids.tolist() for ids in np.split(flat, lengths.cumsum()[:-1])] if texts else []


def test_pieces_come_first_and_sentinels_last_in_falling_order(tokenizer):
    assert tokenizer.vocabulary[:4] == ("<pad>", "</s>", "<unk>", "<0x00>")
    assert (tokenizer.pad_id, tokenizer.separator_id, tokenizer.unknown_id) == (0, 1, 2)
    assert tokenizer.start_id is None and tokenizer.size == len(tokenizer.vocabulary) <= SIZE
    assert tokenizer.vocabulary[-100] == "<extra_id_99>"
    assert tokenizer.vocabulary[-1] == "<extra_id_0>"
    names = [tokenizer.vocabulary[i] for i in tokenizer.sentinels]
    assert names == [f"<extra_id_{n}>" for n in range(100)]
    assert {"▁the", "▁cats", "▁dog"} <= set(tokenizer.vocabulary)


def test_a_vocabulary_has_the_size_that_was_asked_for_where_the_text_has_so_many_pieces():
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghij", k=draw.randint(2, 6))) for _ in range(3000)]
    trained = train_tokenizer("unigram", [" ".join(words)], 600, lowercase=True)
    assert trained.size == 600 and trained.sentinels[0] == 599


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_nasty_texts_get_the_ids_of_sentencepiece(tokenizer, reference, text):
    assert encode(tokenizer, [text]) == [reference.encode(text)]


def test_texts_of_many_lengths_get_the_ids_of_sentencepiece(tokenizer, reference):
    texts = [*corpus(), *NASTY]
    assert encode(tokenizer, texts) == reference.encode(texts)
    assert encode(tokenizer, []) == []


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30), min_size=1, max_size=5))
def test_any_text_comes_back_as_it_is_normalised(tokenizer, reference, texts):
    ids = encode(tokenizer, texts)
    expected = [reference.normalize(text).replace("▁", " ").removeprefix(" ") for text in texts]
    assert [tokenizer.decode(row) for row in ids] == expected
    back = tokenizer.in_graph().detokenize(tokenizer.in_graph().tokenize(texts))
    assert [text.decode() for text in back.numpy()] == expected
    assert tokenizer.unknown_id not in sum(ids, [])


@given(st.lists(st.text("abcxyzäéж日", min_size=1, max_size=8), max_size=8))
def test_words_one_space_apart_come_back_exactly(tokenizer, words):
    text = " ".join(words)
    assert tokenizer.decode(encode(tokenizer, [text])[0]) == text


def test_blanks_and_compatibility_characters_are_folded(tokenizer):
    (ids,) = encode(tokenizer, [" The  cat\n\n½ ﬁ "])
    assert tokenizer.decode(ids) == "The cat 1⁄2 fi"


def test_without_bytes_what_the_alphabet_lacks_is_unknown():
    plain = train_unigram(corpus(), 300, byte_fallback=False)
    assert "<0x00>" not in plain.vocabulary
    (ids,) = encode(plain, ["the 日 dog"])
    assert plain.unknown_id in ids and plain.decode(ids) == "the \u2047 dog".replace(
        " \u2047 ", "  \u2047  "
    )


def test_half_a_character_is_replaced_before_it_is_encoded(tokenizer):
    assert encode(tokenizer, ["a\ud83d"]) == encode(tokenizer, ["a?"])


def test_names_of_sentinels_and_of_the_end_are_only_text(tokenizer):
    texts = ["<extra_id_0> </s> <pad> <unk> <0x41>", "a<extra_id_99>b"]
    for text, ids in zip(texts, encode(tokenizer, texts), strict=True):
        assert not {*tokenizer.sentinels, 0, 1, 2} & set(ids)
        assert tokenizer.decode(ids) == text


def test_sentinels_and_the_end_are_named_and_padding_is_left_out(tokenizer):
    the, s = (tokenizer.vocabulary.index(piece) for piece in ("▁the", "s"))
    first, second = tokenizer.sentinels[:2]
    ids = [the, first, the, s, second, s, 1, 0, 0]
    assert tokenizer.decode(np.array(ids)) == "the<extra_id_0> thes<extra_id_1>s</s>"
    assert tokenizer.decode([first, the]) == "<extra_id_0> the"
    assert tokenizer.decode([0, the]) == "the" and tokenizer.decode([]) == ""
    with pytest.raises(InputError, match=f"expected 0 to {tokenizer.size - 1}. Received: -1"):
        tokenizer.decode([-1])


@settings(max_examples=50)
@given(data=st.data())
def test_the_graph_writes_any_ids_as_python_does(tokenizer, data):
    special = st.sampled_from([0, 1, 2, tokenizer.size - 1, tokenizer.size - 100])
    spaced = st.sampled_from([i for i, t in enumerate(tokenizer.vocabulary) if t[0] == "▁"])
    one = special | spaced | st.integers(0, tokenizer.size - 1)
    rows = data.draw(st.lists(st.lists(one, max_size=12), min_size=1, max_size=4))
    ids = tf.ragged.constant(rows, dtype=tf.int32, ragged_rank=1)
    texts = tokenizer.in_graph().detokenize(ids).numpy()
    assert [text.decode() for text in texts] == [tokenizer.decode(row) for row in rows]


def test_the_graph_leaves_out_ids_that_no_token_has(tokenizer):
    the, size = tokenizer.vocabulary.index("▁the"), tokenizer.size
    ids = tf.ragged.constant([[size, the, -1, 1], [size + 27], []], dtype=tf.int64)
    assert tokenizer.in_graph().detokenize(ids).numpy().tolist() == [b"the</s>", b"", b""]


def test_the_graph_tokenizer_may_be_made_inside_a_map_and_used_after_it():
    own = train_unigram(["made in a map " * 20], 450)
    texts = tf.data.Dataset.from_tensors(["made in", "map"])
    ids = next(iter(texts.map(lambda batch: own.in_graph().tokenize(batch))))
    assert ids.dtype == tf.int32 and ids.to_list() == encode(own, ["made in", "map"])


def test_a_seed_that_is_set_leaves_the_graph_tokenizer_as_it_was(tokenizer, reference):
    layer = tokenizer.in_graph()
    assert layer.tokenize(["the cats"]).to_list() == [reference.encode("the cats")]
    tf.random.set_seed(1)
    assert layer.tokenize(["the cats"]).to_list() == [reference.encode("the cats")]
    assert layer.detokenize(layer.tokenize(["the cats"])).numpy().tolist() == [b"the cats"]


def test_the_graph_tokenizer_is_exported(tokenizer, tmp_path):
    module = tf.Module()
    module.inner = tokenizer.in_graph()
    strings = [tf.TensorSpec([None], tf.string)]
    ragged = [tf.RaggedTensorSpec([None, None], tf.int32)]
    module.ids = tf.function(lambda texts: module.inner.tokenize(texts), strings)
    module.texts = tf.function(lambda ids: module.inner.detokenize(ids), ragged)
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    ids = loaded.ids(NASTY)
    assert ids.to_list() == encode(tokenizer, NASTY)
    tf.random.set_seed(1)
    expected = [tokenizer.decode(row) for row in ids.to_list()]
    assert [text.decode() for text in loaded.texts(ids).numpy()] == expected


def test_the_same_documents_give_the_same_bytes_in_any_process(tokenizer):
    assert train_unigram(corpus(), SIZE).model == tokenizer.model
    code = (
        "import sys; sys.path.insert(0, 'tests/tokenization'); import test_unigram as t; "
        "print(t.train_unigram(t.corpus(), t.SIZE).fingerprint)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == tokenizer.fingerprint


def test_a_sample_of_many_lines_is_the_same_one_again(monkeypatch, tokenizer):
    monkeypatch.setattr(unigram, "LINES", 150)
    first, second = (train_unigram(corpus(), SIZE) for _ in range(2))
    assert first.model == second.model != tokenizer.model


def test_nothing_is_skipped_in_long_lines_or_beside_a_block(capfd):
    many = "the cats " * 3000
    documents = [f"{many}{'Ω' * 30}", f"{'日' * 5000}Ж", "▅ Ψ " * 60]
    trained = train_unigram(documents, 500)
    assert {"Ω", "日", "Ψ"} <= set("".join(trained.vocabulary))
    assert capfd.readouterr() == ("", "")


def test_an_error_of_the_documents_is_told_as_it_is():
    def documents():
        yield "the cat"
        raise InputError("a.txt, line 7: expected UTF-8. Received: b'\\xff'.")

    with pytest.raises(InputError, match=r"^a\.txt, line 7: expected UTF-8"):
        train_unigram(documents(), SIZE)


@pytest.mark.parametrize("documents", [[], ["", " \n"], ["\x01"]])
def test_no_text_is_told(documents):
    message = "documents: expected text to learn a vocabulary from. Received: none."
    with pytest.raises(InputError, match=message):
        train_unigram(documents, SIZE)


@pytest.mark.parametrize("size", [0, 7, 100, 368])
def test_a_size_without_room_for_the_alphabet_is_told(size):
    # Three special tokens, 256 bytes, 100 sentinels, and "▁", "a" to "i".
    with pytest.raises(InputError, match=f"vocab_size: expected at least 369. Received: {size}."):
        train_unigram(["abc def ghi"], size)
    assert train_unigram(["abc def ghi"], 369).size == 369

"""Byte-level BPE: the graph against `tokenizers`, files, and bytes that come back."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from pipelines.text.data.store import Store, write_store
from pipelines.text.tokenization.byte_letters import letters
from pipelines.text.tokenization.bytepair import (
    END,
    MERGES,
    VOCABULARY,
    BytePair,
    train_bytepair,
)
from pipelines.text.tokenization.tokenizer import load_tokenizer
from tfattn.errors import InputError

WORDS = ["the", "cat's", "dog", "doesn't", "run:", "they've", "12", "naïve", "cafés,", "we'll\tsee"]
WORDS += ["3", "日本語\n\n"]
ATOMS = [
    "a",
    "the",
    "The",
    " ",
    "  ",
    "\n",
    "\t",
    "12",
    "½",
    "!",
    "?!",
    "é",
    "日本",
    "😀",
    "\0",
    "६",
]
ATOMS += ["'s", "'S", "'t", "'re", "'ve", "'m", "'ll", "'d", "'", "''", "x'"]
ATOMS += ["\u00a0", "\u3000", "\u200b", "\u0301"]


def corpus():
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS, k=draw.randint(3, 30))) for _ in range(300)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_bytepair(corpus(), 400)


@pytest.fixture(scope="module")
def tokenize(tokenizer):
    layer = tokenizer.in_graph()
    strings = [tf.TensorSpec([None], tf.string)]
    return tf.function(layer.tokenize, input_signature=strings, autograph=False)


def assert_the_same(tokenizer, tokenize, texts):
    ids, lengths = tokenizer.encode_batch(texts)
    found = tokenize(tf.constant([text.encode("utf-8", "replace") for text in texts]))
    np.testing.assert_array_equal(found.row_lengths(), lengths)
    np.testing.assert_array_equal(found.flat_values, ids)
    back = tokenizer.in_graph().detokenize(found).numpy()
    parts = np.split(ids, np.cumsum(lengths)[:-1])
    for text, own, row in zip(texts, back, parts, strict=True):
        assert own.decode() == tokenizer.decode(row) == text


def test_pairs_that_occur_often_are_joined(tokenizer):
    assert tokenizer.size == 310 and tokenizer.vocabulary[tokenizer.end_id] == END
    assert tokenizer.start_id == tokenizer.separator_id == tokenizer.end_id
    assert "Ġthey" in tokenizer.vocabulary and "Ġcafés," not in tokenizer.vocabulary
    whole, _ = tokenizer.encode_batch(["the cat's"])
    assert [tokenizer.vocabulary[i] for i in whole] == ["the", "Ġcat", "'s"]


def test_the_graph_gives_the_same_ids_on_texts_of_all_kinds(tokenizer, tokenize):
    draw = random.Random(1)
    texts = ["".join(draw.choices(ATOMS, k=draw.randint(0, 20))) for _ in range(3000)]
    assert_the_same(tokenizer, tokenize, [*texts, *corpus(), "", " ", "a" * 500, "\n" * 50])


def test_the_graph_gives_the_same_ids_on_every_code_point(tokenizer, tokenize):
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    for start in range(0, len(points), 200_000):
        texts = ["a{c}b {c}'s  {c} ".format(c=chr(c)) for c in points[start : start + 200_000]]
        ids, lengths = tokenizer.encode_batch(texts)
        found = tokenize(tf.constant([text.encode() for text in texts]))
        np.testing.assert_array_equal(found.row_lengths(), lengths)
        np.testing.assert_array_equal(found.flat_values, ids)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30), min_size=1, max_size=5))
def test_any_text_has_the_same_ids_and_comes_back(tokenizer, tokenize, texts):
    assert_the_same(tokenizer, tokenize, texts)


def test_bytes_that_are_no_character_are_replaced(tokenizer):
    snowman = [tokenizer.vocabulary.index(letter) for letter in map(_letter, "☃".encode())]
    assert tokenizer.decode(snowman) == "☃"
    assert tokenizer.decode([tokenizer.end_id, *snowman[:2]]) == "\ufffd"
    layer = tokenizer.in_graph()
    assert layer.detokenize(tf.ragged.constant([snowman[:2]])).numpy()[0].decode() == "\ufffd"
    with pytest.raises(InputError, match="token ids: expected 0 to 309. Received: 400"):
        tokenizer.decode([400])


def _letter(byte):
    return next(letter for letter, value in letters().items() if value == byte)


def test_half_a_character_is_replaced_before_it_is_encoded(tokenizer):
    ids, lengths = tokenizer.encode_batch(["a\ud83d"])
    assert tokenizer.decode(ids) == "a?" and lengths.tolist() == [len(ids)]


def test_the_same_documents_give_the_same_vocabulary_in_any_process(tokenizer):
    code = (
        "import sys; sys.path.insert(0, 'tests/tokenization'); import test_bytepair as t; "
        "print(t.train_bytepair(t.corpus(), 400).fingerprint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == tokenizer.fingerprint


def test_files_are_those_of_gpt2(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path) == tokenizer
    ids = json.loads((tmp_path / VOCABULARY).read_text(encoding="utf-8"))
    assert ids[END] == tokenizer.end_id and len(ids) == 310
    lines = (tmp_path / MERGES).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("#version") and len(lines) == 1 + len(tokenizer.merges)
    from tokenizers import Tokenizer, models, pre_tokenizers

    files = models.BPE.read_file(str(tmp_path / VOCABULARY), str(tmp_path / MERGES))
    theirs = Tokenizer(models.BPE(*files))
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert theirs.encode("the cat's 日").ids == tokenizer.encode_batch(["the cat's 日"])[0].tolist()


def test_what_decides_on_ids_is_in_the_fingerprint(tokenizer):
    fewer = BytePair(tokenizer.vocabulary, tokenizer.merges[:-1])
    assert fewer.fingerprint != tokenizer.fingerprint


@pytest.mark.parametrize(
    ("name", "held", "message"),
    [
        (VOCABULARY, "{", r"vocab\.json: expected tokens in JSON"),
        (VOCABULARY, "[]", r"vocab\.json: expected an object of tokens with the ids 0, 1, 2"),
        (VOCABULARY, '{"a": 3}', r"vocab\.json: expected an object of tokens with the ids"),
        (VOCABULARY, '{"a": 0}', r"vocabulary: expected the token '<\|endoftext\|>'"),
        (MERGES, "#version: 0.2\na b c\n", r"merges\.txt, line 2: expected two tokens"),
        (MERGES, "q zz\n", r"merges: expected tokens of the vocabulary. Received: 'q' and 'zz'"),
    ],
)
def test_a_malformed_file_is_told(name, held, message, tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / name).write_text(held, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_tokenizer(tmp_path)


def test_a_store_of_another_vocabulary_is_refused(tokenizer, tmp_path):
    other = train_bytepair(["another text of other words"] * 9, 280)
    store = write_store(tmp_path / "store", ["the cat"], tokenizer)
    assert Store.open(store.folder, tokenizer).meta.tokens > 0
    with pytest.raises(InputError, match="tokenizer: expected .*, the one in use"):
        Store.open(store.folder, other)


def test_a_vocabulary_without_its_merges_is_told(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / MERGES).unlink()
    with pytest.raises(InputError, match=r"merges\.txt: expected a join a line"):
        load_tokenizer(tmp_path)


def test_too_small_a_vocabulary_and_no_text_are_told():
    with pytest.raises(InputError, match="vocab_size: expected at least 257. Received: 100"):
        train_bytepair(["text"], 100)
    with pytest.raises(InputError, match="documents: expected text to learn a vocabulary"):
        train_bytepair([], 300)

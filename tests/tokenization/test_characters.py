import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from pipelines.text.tokenization.characters import FILE, Characters, train_characters
from pipelines.text.tokenization.tokenizer import load_tokenizer
from tfattn.errors import InputError

TEXTS = ["To be,\nor not", "naïve café", "日本語 𝔘 e\u0301", ""]


@pytest.fixture(scope="module")
def characters():
    return train_characters(TEXTS, 100)


def test_characters_are_sorted_and_each_there_once(characters):
    assert characters.vocabulary == tuple(sorted(set("".join(TEXTS))))
    assert characters.pad_id is characters.start_id is characters.separator_id is None


def test_text_goes_there_and_back(characters):
    ids, lengths = characters.encode_batch(TEXTS)
    assert ids.dtype == np.int32 and lengths.tolist() == [len(text) for text in TEXTS]
    parts = np.split(ids, np.cumsum(lengths)[:-1])
    assert [characters.decode(part) for part in parts] == TEXTS
    assert characters.encode_batch([])[1].shape == (0,)


def test_the_graph_gives_the_same_ids_and_texts(characters):
    layer = characters.in_graph()
    found = layer.tokenize(tf.constant(TEXTS))
    np.testing.assert_array_equal(found.flat_values, characters.encode_batch(TEXTS)[0])
    assert [text.decode() for text in layer.detokenize(found).numpy()] == TEXTS


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=4))
def test_any_text_is_the_same_in_the_graph(texts):
    if not "".join(texts):
        return
    tokenizer = train_characters(texts, 100)
    ids, lengths = tokenizer.encode_batch(texts)
    found = tokenizer.in_graph().tokenize(tf.constant([text.encode() for text in texts]))
    np.testing.assert_array_equal(found.flat_values, ids)
    np.testing.assert_array_equal(found.row_lengths(), lengths)


def test_an_unknown_character_is_named(characters):
    with pytest.raises(InputError, match="characters of the vocabulary. Received: 'X' 'Z'"):
        characters.encode_batch(["To be", "XZ X"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="characters of the vocabulary"):
        characters.in_graph().tokenize(tf.constant(["X"]))
    with pytest.raises(InputError, match="token ids: expected 0 to"):
        characters.decode([characters.size])


def test_a_vocabulary_is_written_and_read(characters, tmp_path):
    characters.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again == characters and again.fingerprint == characters.fingerprint
    assert Characters(characters.vocabulary[:-1]).fingerprint != characters.fingerprint


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ("{", r"characters\.json: expected characters in JSON"),
        ('{"characters": 3}', r"characters\.json, characters: expected text. Received: 3"),
        ('["a"]', r"characters\.json, characters: expected text"),
        ('{"characters": ""}', r"characters\.json: characters: expected different characters"),
        ('{"characters": "aa"}', r"characters\.json: characters: expected different characters"),
    ],
)
def test_a_malformed_file_is_told(held, message, tmp_path):
    (tmp_path / FILE).write_text(held)
    with pytest.raises(InputError, match=message):
        load_tokenizer(tmp_path)


def test_too_many_or_no_characters_are_told():
    with pytest.raises(InputError, match="expected at least the 3 characters of the text"):
        train_characters(["abc"], 2)
    with pytest.raises(InputError, match="expected text to learn characters from"):
        train_characters([], 10)

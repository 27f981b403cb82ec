"""The same ids and texts as transformers' T5Tokenizer, which reads the same folder.

python -m pytest -m parity -rP tests/parity        needs requirements-parity.txt
"""

import random

import pytest

from pipelines.text.tokenization.unigram import Unigram, train_unigram

transformers = pytest.importorskip(
    "transformers", reason="parity needs transformers: requirements-parity.txt"
)

pytestmark = pytest.mark.parity
WORDS = ["the", "cats", "dog", "doesn't", "running:", "they've", "12", "naïve", "cafés,", "seeing"]
TEXTS = [
    "",
    " ",
    "The  cat\n sat ",
    "½ ﬁ Ⅷ ０１２",
    "日本語 👍",
    "cafe\u0301",
    "a\0b\x01 c",
    "\u2581 a",
]


def texts(seed, count):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(3, 30))) for _ in range(count)]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t5")
    train_unigram(texts(0, 200), 300, byte_fallback=False).save(folder)  # they have no bytes
    return Unigram.load(folder), transformers.T5Tokenizer.from_pretrained(folder)


def test_the_ids_are_the_same(both):
    ours, theirs = both
    for text in [*texts(1, 50), *TEXTS]:
        ids, _ = ours.encode_batch([text])
        assert ids.tolist() == theirs(text, add_special_tokens=False).input_ids


def test_sentinels_have_the_same_ids_and_are_written_alike(both):
    ours, theirs = both
    names = [f"<extra_id_{n}>" for n in range(100)]
    assert list(ours.sentinels) == theirs.convert_tokens_to_ids(names)
    assert ours.size == len(theirs) and ours.pad_id == theirs.pad_token_id
    assert (ours.separator_id, ours.unknown_id) == (theirs.eos_token_id, theirs.unk_token_id)
    the, s = (ours.vocabulary.index(piece) for piece in ("▁the", "s"))
    ids = [the, ours.sentinels[0], the, s, ours.sentinels[1], s, ours.separator_id]
    assert ours.decode(ids) == theirs.decode(ids) == "the<extra_id_0> thes<extra_id_1>s</s>"

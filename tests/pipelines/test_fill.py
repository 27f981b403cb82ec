"""What a pretrained model puts in place of [MASK]."""

import json

import numpy as np
import pytest
import tensorflow as tf

from pipelines.__main__ import main
from pipelines.core.finished import open_finished
from pipelines.text.fill import fill, masked_ids


@pytest.fixture(scope="module")
def done(finished):
    return open_finished(str(finished.pretrained))


def test_every_mask_gets_its_likeliest_words(finished, capsys):
    words = ["fill", str(finished.pretrained), "--top", "2", "--text"]
    texts = ["the [MASK] sat", "[MASK] [MASK] ran"]
    assert main([*words, *texts]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == texts
    assert [len(found[text]) for text in texts] == [1, 2]
    for guesses in (guess for masks in found.values() for guess in masks):
        assert len(guesses) == 2 and 1 >= guesses[0][1] >= guesses[1][1] > 0


def test_guesses_are_the_softmax_over_the_whole_vocabulary(done):
    text = "the [MASK] sat on a hill"
    everything = fill(done, text, top=done.processor.size)[0]
    assert sorted(word for word, _ in everything) == sorted(done.processor.vocabulary)
    assert sum(share for _, share in everything) == pytest.approx(1, abs=1e-2)  # rounded
    ids = masked_ids(done.processor, text)
    logits = done.model({"tokens": ids[None], "segments": np.ones_like(ids)[None]})
    best = int(tf.argmax(logits[0, 2]))
    assert ids[2] == done.processor.mask_id
    assert everything[0][0] == done.processor.vocabulary[best]


def test_the_text_around_a_mask_is_tokenized_as_in_training(done):
    ids = masked_ids(done.processor, "The cat[MASK]sat, CAFÉ")
    parts = [done.processor.encode_batch([part])[0].tolist() for part in ("the cat", "sat, café")]
    special = done.processor
    assert ids.tolist() == [
        special.start_id, *parts[0], special.mask_id, *parts[1], special.separator_id
    ]  # fmt: skip

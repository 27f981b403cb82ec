"""Objectives that spoil texts, from a store to batches: every row fits, and nothing is lost."""

import numpy as np
import pytest
from tiny import plain, words

from pipelines.core.batches import Batches
from pipelines.core.runtimes import runtime_of
from pipelines.core.spec import Recipe
from pipelines.text.data.store import write_store
from pipelines.text.sources import TextData
from pipelines.text.spec import PrefixLM, SpanCorruption, TextInfilling
from pipelines.text.tokenization.unigram import train_unigram
from tfattn.families import preset

LENGTH = 64


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory):
    """Return a function from an objective to its rows and a batch, and the tokenizer."""
    rng = np.random.default_rng(3)
    texts = [". ".join(" ".join(words(rng, 8)) for _ in range(9)) for _ in range(60)]
    tokenizer = train_unigram(texts, 400)
    store = write_store(tmp_path_factory.mktemp("stores") / "store", texts, tokenizer)

    def make(objective):
        data = TextData(length=LENGTH)
        recipe = Recipe(model=preset("t5-tiny"), objective=objective, data=data)
        runtime = runtime_of(objective)
        rows = runtime.rows(recipe, tokenizer, store)
        found = runtime.objective(recipe, tokenizer)
        [batch] = Batches(rows, found.batch, 8, 0).in_order(1)  # all but the last are full
        return rows, plain(batch)

    return make, tokenizer


def sides(batch):
    """Return the sources and targets of a batch, with their ends, as lists."""
    features, targets = batch["features"], batch["targets"]["tokens"]
    there = features["segments"], features["target_segments"]
    return [
        (source[s > 0].tolist(), target[t > 0].tolist())
        for source, target, s, t in zip(features["tokens"], targets, *there, strict=True)
    ]


@pytest.mark.parametrize(("rate", "span"), [(0.15, 3.0), (0.15, 1.0), (0.9, 1.0)])
def test_spans_leave_rows_that_are_just_full(spoiled, rate, span):
    make, tokenizer = spoiled
    rows, batch = make(SpanCorruption(rate=rate, span=span))
    assert batch["features"]["tokens"].shape == (8, LENGTH)
    for source, target in sides(batch):
        assert LENGTH - 1 <= len(source) <= LENGTH
        assert len(target) == batch["targets"]["tokens"].shape[1]
        marks = [token for token in source if token in tokenizer.sentinels]
        assert marks == [token for token in target if token in tokenizer.sentinels]
        # All tokens of the row are on one side or the other, and both sides end.
        assert len(source) + len(target) == rows.length + 2 * len(marks) + 2


def test_a_sentinel_is_the_mask_of_a_vocabulary_that_has_none(spoiled):
    make, tokenizer = spoiled
    _, batch = make(TextInfilling())
    for source, target in sides(batch):
        masks = [token for token in source if token in tokenizer.sentinels]
        assert len(masks) > 1 and set(masks) == {tokenizer.sentinels[0]}
        assert len(target) == LENGTH and {*source} - {*masks} <= {*target}


def test_a_beginning_and_its_rest_are_a_row(spoiled):
    make, _ = spoiled
    rows, batch = make(PrefixLM())
    assert {len(source) + len(target) for source, target in sides(batch)} == {rows.length + 2}

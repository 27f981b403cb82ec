"""How a run's attention is measured on pairs whose alignment is known."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipelines.core.finished import Finished
from pipelines.core.run import Run
from pipelines.core.spec import Recipe
from pipelines.text import aligned as measured
from pipelines.text.data.embedded.aligned import aligned
from pipelines.text.sources import PairData
from pipelines.text.spec import Translation
from pipelines.text.tokenization.bytepair import train_bytepair
from tfattn.models.recurrent_config import RecurrentConfig

COUNT = 12


@pytest.fixture(scope="module")
def examples():
    return aligned("en", "iso", train=1, validation=COUNT).validation


@pytest.fixture(scope="module")
def tokenizer(examples):
    return train_bytepair([text for row in examples for text in (row.source, row.target)], 300)


def places(tokenizer, ids):
    """Return the first and the last end of the characters of each token, all of them ASCII."""
    ends = np.cumsum([len(tokenizer.decode([i])) for i in ids])
    return [0, *ends[:-1].tolist()], ends.tolist()


def looks(tokenizer, example, late):
    """Return the weights (t, s) of who looks at all that means the same, `late` tokens too late."""
    source, target = (
        tokenizer.encode_batch([text])[0].tolist() for text in (example.source, example.target)
    )
    (begins, ends), (starts, stops) = places(tokenizer, source), places(tokenizer, target)
    weights = np.zeros((len(target), len(source) + 1))
    for t in range(len(target)):
        for s in range(len(source)):
            for a, b, c, d in example.spans:
                both = max(begins[s], a) < min(ends[s], b) and max(starts[t], c) < min(stops[t], d)
                weights[t, s] = max(weights[t, s], both)
    nothing = weights.sum(axis=1) == 0
    weights[nothing, -1] = 1  # the end
    return np.roll(weights / weights.sum(axis=1, keepdims=True), late, axis=0)


def done(config, tokenizer):
    """Return a run of which nothing is asked but its config."""
    recipe = Recipe(None, Translation(), PairData(train=("embedded:en-iso",)))
    model: Any = SimpleNamespace(config=config)
    return Finished(Run(Path("none")), recipe, model, tokenizer)


def found(monkeypatch, tokenizer, examples, *lates):
    """Return the measures of a model with a block for each of `lates`."""
    rows = iter(examples)

    def weights(model, features):
        tokens, there = features["target_tokens"].numpy(), features["target_segments"].numpy()
        padded = np.zeros(
            (len(tokens), len(lates), 1, tokens.shape[1], features["tokens"].shape[1])
        )
        for row, (ids, known) in enumerate(zip(tokens, there, strict=True)):
            example = next(rows)
            target = tokenizer.encode_batch([example.target])[0].tolist()
            assert ids[known == 1].tolist() == [tokenizer.end_id, *target[:-1]]
            for block, late in enumerate(lates):
                seen = looks(tokenizer, example, late)
                padded[row, block, 0, : seen.shape[0], : seen.shape[1]] = seen
        return padded

    monkeypatch.setattr(measured, "alignment_weights", weights)
    monkeypatch.setattr(measured, "BATCH", 5)
    monkeypatch.setattr(measured, "PAIRS", COUNT)
    return measured.measure_alignment(done(RecurrentConfig(), tokenizer))


def test_who_looks_at_what_it_writes_next_has_no_error(monkeypatch, tokenizer, examples):
    numbers = found(monkeypatch, tokenizer, examples, 0)
    assert numbers["alignment_error"] == 0 and numbers["alignment_mass"] == pytest.approx(1)
    assert numbers["aer"] == numbers["aer_least_possible"] and "best_block" not in numbers


def test_of_the_blocks_the_one_with_the_least_error_is_told(monkeypatch, tokenizer, examples):
    numbers = found(monkeypatch, tokenizer, examples, 1, 0, 2)
    assert (numbers["best_block"], numbers["best_block_alignment_error"]) == (1, 0)
    assert numbers["alignment_mass"] < 0.9


def test_what_cannot_look_is_not_measured(tokenizer):
    deaf = RecurrentConfig(attention=None, attention_dim=None)
    assert measured.measure_alignment(done(deaf, tokenizer)) == {}

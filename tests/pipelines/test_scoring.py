"""Scores of candidates, and the accuracy that is made of them, are those of plain passes."""

from dataclasses import replace

import numpy as np
import pytest

import tfattn
from pipelines.core.finished import open_finished
from pipelines.core.tables import label_ids, read_table
from pipelines.experiments.demonstrations import draw
from pipelines.experiments.fewshot import few_shot, normalizer
from pipelines.experiments.prompts import Prompt, Trials
from pipelines.text.generation import scoring
from pipelines.text.generation.scoring import Scorer
from pipelines.text.tokenization.characters import Characters
from tfattn.errors import InputError
from tfattn.families import preset
from tfattn.models.config import Tokens

LETTERS = Characters(tuple(" \n:=>abcdefghijklmnopqrstuvwxyz{}"))
CANDIDATES = [(3,), (3, 5), (3, 5, 7), (8, 2), (9,)]


@pytest.fixture(scope="module")
def model():
    """Return a language model of 48 positions with weights large enough to differ."""
    sizes = {"dim": 16, "heads": 2, "hidden_dim": 32, "max_length": 48, "vocab_size": 33}
    config = replace(preset("gpt2-tiny"), **sizes, kernel_std=0.4)
    return tfattn.build(config, Tokens(transform=False, bias=False), dtype="float32")


def alone(model, context, candidate, prefix=False):
    """Return log P(candidate | context) of one eager pass of one row without padding."""
    tokens = np.array([[*context, *candidate[:-1]]])
    order = np.arange(tokens.shape[1])[None]
    order[:, : len(context) if prefix else 0] = 0
    logits = np.asarray(model({"tokens": tokens, "order": order}), np.float64)[0]
    shares = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
    return sum(shares[len(context) - 1 + j, token] for j, token in enumerate(candidate))


def some_contexts(count, longest=46):
    chance = np.random.default_rng(2)
    return [chance.integers(0, 33, size=n) for n in chance.integers(1, longest + 1, size=count)]


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_scores_are_those_of_each_row_alone(model, mode, monkeypatch):
    monkeypatch.setattr(scoring, "choose_compile", lambda auto: mode)
    score = Scorer(model, CANDIDATES, batch=4)
    given = [*some_contexts(2), some_contexts(1)[0][:1], np.arange(score.room) % 33]
    expected = [[alone(model, context, c) for c in CANDIDATES] for context in given]
    np.testing.assert_allclose(score(given), expected, rtol=0, atol=1e-5)


def test_a_prefix_language_model_reads_contexts_in_both_directions(model):
    given = [*some_contexts(3), np.arange(9) % 33]
    found = Scorer(model, CANDIDATES, batch=4, prefix=True)(given)
    expected = [[alone(model, context, c, prefix=True) for c in CANDIDATES] for context in given]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    causal = Scorer(model, CANDIDATES, batch=4)(given)
    assert np.abs(found - causal).max() > 0.01


def test_batches_and_padding_change_no_score(model):
    given = some_contexts(9)
    found = Scorer(model, CANDIDATES, batch=5)(given)
    lone = Scorer(model, CANDIDATES[:2], batch=1)
    for number, context in enumerate(given):
        np.testing.assert_allclose(found[number, :2], lone([context])[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        Scorer(model, CANDIDATES, batch=5)(given[::-1]), found[::-1], rtol=0, atol=1e-5
    )


def test_candidates_that_begin_alike_share_a_pass(model):
    assert Scorer(model, [(1,), (2,), (3,)]).stems == [()]
    assert Scorer(model, CANDIDATES).stems == [(3, 5), (8,)]


def test_nothing_is_compiled_twice_whatever_the_lengths_are(model):
    score = Scorer(model, CANDIDATES, batch=2)
    done = []
    for count in (1, 5, 3):
        score(some_contexts(count), done.append)
    assert done[-1] == 3 and score._score.experimental_get_tracing_count() == 1


def test_candidates_that_leave_no_room_are_refused(model):
    assert Scorer(model, [[1] * 48, [2]]).room == 1
    with pytest.raises(InputError, match="label: expected classes that fit .* 48 .* 49 tokens"):
        Scorer(model, [[1] * 49, [2]])


def test_scores_are_normalized_as_the_equations_say(model):
    score = Scorer(model, CANDIDATES)
    raw = np.array([[-1.0, -2.0, -6.0, -4.0, -3.0]])
    prompt = Prompt("{text} then: {label}")
    assert normalizer(score, LETTERS, prompt, "sum")(raw).tolist() == raw.tolist()
    found = normalizer(score, LETTERS, prompt, "token")(raw)
    np.testing.assert_allclose(found, [[-1.0, -1.0, -2.0, -2.0, -3.0]], rtol=1e-12)
    answer = LETTERS.encode_batch(["then:"])[0]
    without = [alone(model, answer, candidate) for candidate in CANDIDATES]
    found = normalizer(score, LETTERS, prompt, "unconditional")(raw)
    np.testing.assert_allclose(found, raw - without, rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="template: expected words before {label}"):
        normalizer(score, LETTERS, Prompt("{text} {label}"), "unconditional")


def test_accuracy_is_that_of_a_plain_loop(copying):
    done, test = open_finished(str(copying[0])), read_table([str(copying[1])])
    classes, prompt = ("blue", "red"), Prompt("{text} ka {label}")
    trials = Trials(shots=(3,), seeds=2, seed=4, limit=8)
    (result,) = few_shot(done, test, None, trials, prompt, 5)["results"]
    rows = np.random.default_rng(4).permutation(60)[:8]
    labels, accuracies = label_ids(test, classes), []

    def encode(text):
        return done.processor.encode_batch([text])[0].tolist()

    for seed in (4, 5):
        hits = []
        for row in rows:
            drawn = draw(seed, row, 3, test.texts, test.texts[row])
            lines = [f"{test.texts[i]} ka {test.labels[i]}\n" for i in drawn]
            context = [done.processor.start_id, *encode("".join(lines) + test.texts[row] + " ka")]
            found = [encode(" " + label) for label in classes]
            scores = [alone(done.model, context, ids) / len(ids) for ids in found]
            hits.append(np.argmax(scores) == labels[row])
        accuracies.append(np.mean(hits))
    assert result["accuracy"] == pytest.approx(np.mean(accuracies))
    assert result["std"] == pytest.approx(np.std(accuracies, ddof=1))

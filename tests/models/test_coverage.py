"""The coverage penalty of a beam search (arXiv:1609.08144, equation 14), against whole passes."""

import re

import numpy as np
import pytest
import test_encoder_decoder
import test_recurrent_model

from tfattn.errors import InputError
from tfattn.models.beam import ranked
from tfattn.models.generate import check, start
from tfattn.models.sampling import Sampling

ADDED, STOPS = 4, [1, 2, 11]
SOURCE = np.array([[3, 1, 4, 1, 5, 9, 2], [6, 5, 3, 0, 0, 0, 0]])  # a row with padding


@pytest.fixture(scope="module", params=["transformer", "recurrent"])
def model(request):
    if request.param == "transformer":
        found, _ = test_encoder_decoder.model_and_weights(np.random.default_rng(5))
        return found
    return test_recurrent_model.drawn(test_recurrent_model.CONFIGS["bahdanau"], spread=1.0)


def asked(model, source, texts, array):
    """Return log P (n, v) of what follows texts, and what they asked of source tokens (n, s)."""
    size = len(texts[0])
    rows = [[*text, *[0] * (ADDED + 1 - size)] for text in texts]  # of one shape, compiled once
    given = {"tokens": np.tile(source, (len(texts), 1)), "target_tokens": np.array(rows)}
    given["target_segments"] = np.tile(np.arange(ADDED + 1) < size, (len(texts), 1)).astype("int32")
    logits, weights = model(given, return_weights=True)
    z = array(logits).astype("float64")[:, size - 1]
    z -= z.max(axis=-1, keepdims=True)
    if isinstance(weights, tuple):
        weights = [cross for _, cross in weights[1]]
    asked = np.mean([array(block).mean(axis=1) for block in weights], axis=0)  # (n, t, s)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True)), asked[:, :size].sum(axis=1)


def searched(model, source, sampling, array):
    """Return the score, the text and what it loses for what it leaves out, of all that ended."""

    def loss(asked_of_all):
        covered = np.minimum(asked_of_all[:, source != 0], 1)
        return sampling.coverage_penalty * np.log(covered).sum(axis=-1)

    followed, ended = [([0], 0.0)], []
    for count in range(1, ADDED + 1):
        ways = []
        log_p, covered = asked(model, source, [text for text, _ in followed], array)
        for (text, so_far), row, lost in zip(followed, log_p, loss(covered), strict=True):
            ways += [(so_far + p, [*text, token], lost) for token, p in enumerate(row)]
        ways.sort(key=lambda way: -way[0])
        length = ((5 + count) / 6) ** sampling.length_penalty
        best = ways[: sampling.beams * (1 + len(STOPS))]
        ended += [(p / length + lost, t[1:-1]) for p, t, lost in best if t[-1] in STOPS]
        followed = [(t, p) for p, t, _ in ways if t[-1] not in STOPS][: sampling.beams]
    _, covered = asked(model, source, [text for text, _ in followed], array)
    for (text, so_far), lost in zip(followed, loss(covered), strict=True):
        ended.append((so_far / length + lost, text[1:]))
    return sorted(ended, key=lambda way: -way[0])[: sampling.beams]


def found_by(model, sampling, array):
    features = {"tokens": SOURCE, "segments": (SOURCE != 0).astype("int32")}
    state = start(model, features, 0, ADDED + 1, sampling)
    found = ranked(model, state, ADDED + 1, np.array(STOPS, "int32"), sampling)
    tokens, there, scores = (array(x) for x in (found.tokens, found.segments, found.scores))
    return [
        [
            (scores[row, k], tokens[row, k, 1:][there[row, k, 1:] != 0].tolist())
            for k in range(sampling.beams)
        ]
        for row in range(len(SOURCE))
    ]


@pytest.mark.parametrize("penalty", [0.0, 0.2, 3.0])
def test_texts_and_scores_are_those_of_a_search_over_whole_passes(penalty, model, array):
    sampling = Sampling(beams=3, length_penalty=0.6, coverage_penalty=penalty)
    for found, source in zip(found_by(model, sampling, array), SOURCE, strict=True):
        expected = searched(model, source, sampling, array)
        assert [text for _, text in found] == [text for _, text in expected]
        np.testing.assert_allclose(
            [score for score, _ in found], [score for score, _ in expected], rtol=1e-4
        )


def test_texts_that_leave_out_less_win(model, array):
    plain, wary = (
        found_by(model, Sampling(beams=3, coverage_penalty=penalty), array)
        for penalty in (0.0, 30.0)
    )
    lost = [0.0, 0.0]
    for way, found in enumerate((plain, wary)):
        for source, texts in zip(SOURCE, found, strict=True):
            _, covered = asked(model, source, [[0, *texts[0][1]]], array)
            lost[way] += np.log(np.minimum(covered[0, source != 0], 1)).sum()
    assert lost[1] > lost[0]


def test_it_is_refused_where_it_says_nothing():
    with pytest.raises(InputError, match="coverage_penalty: expected none beside beams of 1"):
        Sampling(coverage_penalty=0.2)
    with pytest.raises(InputError, match=re.escape("coverage_penalty: expected 0 to 100")):
        Sampling(beams=2, coverage_penalty=-0.1)
    deaf = test_recurrent_model.drawn(test_recurrent_model.CONFIGS["d2l-gru"])
    message = "coverage_penalty: expected none of a model that attends to no source"
    with pytest.raises(InputError, match=message):
        check(deaf, Sampling(beams=2, coverage_penalty=0.2))
    with pytest.raises(InputError, match="return_weights: expected a model with attention"):
        start(deaf, {"tokens": SOURCE}, 0, 4, Sampling(beams=2, coverage_penalty=0.2))

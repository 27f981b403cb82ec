"""Beam search against a plain one without a cache, and against all texts there are."""

import itertools

import numpy as np
import pytest
from test_decode import PROMPTS, VOCABULARY, last_logits, model_of, run

from tfattn.errors import InputError
from tfattn.models.sampling import Sampling


@pytest.fixture(scope="module")
def model():
    return model_of()


def log_shares(model, texts):
    """Return the logarithms of the probabilities (n, v) of what follows each text."""
    logits = last_logits(model, texts).astype("float64")
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def reference(model, prompt, sampling, count, stops):
    """Return what is added to the prompt, one whole pass for each text and token."""
    worth = lambda log_p, n: log_p / ((5 + n) / 6) ** sampling.length_penalty  # noqa: E731
    followed, ended = [(0.0, [])], []
    for step in range(1, count + 1):
        shares = log_shares(model, [[*prompt, *text] for _, text in followed])
        ways = [
            (log_p + share, [*text, token])
            for (log_p, text), row in zip(followed, shares, strict=True)
            for token, share in enumerate(row)
        ]
        ways.sort(key=lambda way: -way[0])
        ended += [(worth(p, step), text[:-1]) for p, text in ways if text[-1] in stops]
        ended = sorted(ended, key=lambda way: -way[0])[: sampling.beams]
        followed = [way for way in ways if way[1][-1] not in stops][: sampling.beams]
    ended += [(worth(p, count), text) for p, text in followed]
    return max(ended, key=lambda way: way[0])[1]


@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
def test_it_is_a_plain_search_without_a_cache(penalty, model):
    sampling = Sampling(beams=3, length_penalty=penalty)
    stops = [5, 17, 30]
    found, _ = run(model, PROMPTS, sampling, 6, stops=stops)
    assert found == [reference(model, prompt, sampling, 6, stops) for prompt in PROMPTS]


def test_grouped_heads_are_followed_alike():
    model = model_of("llama-tiny")
    sampling = Sampling(beams=4)
    found, _ = run(model, PROMPTS, sampling, 5, stops=[3])
    assert found == [reference(model, prompt, sampling, 5, [3]) for prompt in PROMPTS]


def test_many_beams_find_the_likeliest_of_all_texts(model):
    sampling = Sampling(beams=VOCABULARY, length_penalty=0.0)
    found, _ = run(model, PROMPTS[:1], sampling, 2)
    first = log_shares(model, PROMPTS[:1])[0]
    second = log_shares(model, [[*PROMPTS[0], token] for token in range(VOCABULARY)])
    texts = itertools.product(range(VOCABULARY), repeat=2)
    assert found[0] == list(max(texts, key=lambda pair: first[pair[0]] + second[pair[0]][pair[1]]))


def test_several_beams_find_what_a_greedy_choice_misses(model):
    greedy, _ = run(model, PROMPTS, Sampling(greedy=True), 8)
    wide, _ = run(model, PROMPTS, Sampling(beams=8, length_penalty=0.0), 8)

    def log_p(prompt, text):
        shares = log_shares(model, [[*prompt, *text[:i]] for i in range(len(text))])
        return sum(row[token] for row, token in zip(shares, text, strict=True))

    gains = [log_p(p, b) - log_p(p, a) for p, a, b in zip(PROMPTS, greedy, wide, strict=True)]
    assert max(gains) > 0.1


def test_rows_do_not_depend_on_each_other_and_compiling_changes_nothing(model, compiled):
    sampling = Sampling(beams=3)
    among, _ = run(model, PROMPTS, sampling, 6, stops=[5, 17])
    for row, prompt in enumerate(PROMPTS):
        assert run(model, [prompt], sampling, 6, stops=[5, 17])[0] == among[row : row + 1]
    assert run(model, PROMPTS, sampling, 6, stops=[5, 17], compiled=compiled)[0] == among


def test_it_ends_when_nothing_can_overtake_what_has_ended(model):
    stops = list(range(VOCABULARY))
    found, state = run(model, PROMPTS, Sampling(beams=2), 12, stops=stops)
    assert found == [[], [], []] and bool(np.asarray(state.ended).all())


def test_single_tokens_are_not_chosen_beside_it():
    for fields in ({"greedy": True}, {"top_k": 3}, {"temperature": 0.5}, {"top_p": 0.9}):
        (name,) = fields
        with pytest.raises(InputError, match=f"{name}: expected none beside beams, which does not"):
            Sampling(beams=2, **fields)
    for beams in (0, 99_999_999_999):
        with pytest.raises(InputError, match=f"beams: expected 1 to 1,024. Received: {beams}"):
            Sampling(beams=beams)
    with pytest.raises(InputError, match="length_penalty: expected none beside beams of 1"):
        Sampling(length_penalty=2.0)
    with pytest.raises(InputError, match="length_penalty: expected 0 to 10"):
        Sampling(beams=2, length_penalty=-1.0)

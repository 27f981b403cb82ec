"""The loop of generation against a plain loop without a cache."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

import tfattn
from tfattn.errors import InputError
from tfattn.families import PRESETS, gpt2
from tfattn.models.beam import loop_of
from tfattn.models.generate import CHUNK, State, check, choose, prefill
from tfattn.models.sampling import Sampling

WIDTH, VOCABULARY, ROWS = 64, 40, 8
PROMPTS = [[5, 6, 7], [9] * 20, [*range(1, 17)]]
SAMPLINGS = {
    "greedy": Sampling(greedy=True),
    "all": Sampling(temperature=2.0),
    "top k": Sampling(top_k=3),
    "top p": Sampling(top_p=0.4),
    "both, penalised": Sampling(temperature=0.7, top_k=9, top_p=0.8, repetition_penalty=1.5),
}


def model_of(name="gpt2-tiny", **fields):
    keras.utils.set_random_seed(3)
    family = tfattn.families.llama if name.startswith("llama") else gpt2
    config = replace(PRESETS[name], vocab_size=VOCABULARY, max_length=WIDTH, **fields)
    model = tfattn.build(config, family.HEAD)
    rng = np.random.default_rng(3)  # so that what is likely changes from token to token
    for path, variable in model.weights_by_path().items():
        spread = 0.1 if len(variable.shape) < 2 else 2.5 * variable.shape[0] ** -0.5
        start = 1.0 if path.endswith("gamma") else 0.0
        variable.assign(start + spread * rng.normal(size=variable.shape))
    return model


@pytest.fixture(scope="module")
def model():
    return model_of()


def buffers(prompts):
    end = -(-max(map(len, prompts)) // CHUNK) * CHUNK
    tokens, segments = np.zeros((2, len(prompts), WIDTH), np.int32)
    for row, prompt in enumerate(prompts):
        tokens[row, end - len(prompt) : end] = prompt
        segments[row, end - len(prompt) : end] = 1
    return tokens, segments, end


def run(model, prompts, sampling, count, stops=(), uniform=None, compiled=None, prefix=False):
    """Return the tokens that are added to each prompt, and the last state."""
    tokens, segments, end = buffers(prompts)
    if uniform is None:
        uniform = np.random.default_rng(0).random((len(prompts), WIDTH)).astype("float32")
    wrap = compiled or (lambda fn, jit: fn)
    first = wrap(lambda t, s, e: prefill(model, t, s, e, sampling, prefix), True)
    more = wrap(lambda held, *given: loop_of(sampling)(model, State(*held), *given, sampling), True)
    given = [ops.convert_to_tensor(x) for x in (tokens, segments, np.int32(end))]
    state = tuple(first(*given))
    given = (np.int32(end + count), uniform, np.array(stops, np.int32))
    state = State(*more(state, *(ops.convert_to_tensor(x) for x in given)))
    tokens, real = (np.asarray(x)[:, end : end + count] for x in (state.tokens, state.segments))
    return [row[there > 0].tolist() for row, there in zip(tokens, real, strict=True)], state


def reference_choice(logits, seen, u, sampling):
    logits = logits.astype("float64")
    for token in seen if sampling.repetition_penalty != 1 else ():
        penalty = sampling.repetition_penalty
        logits[token] = logits[token] / penalty if logits[token] > 0 else logits[token] * penalty
    if sampling.greedy:
        return int(logits.argmax())
    logits = logits / sampling.temperature
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    order = np.argsort(-logits, kind="stable")
    kept = len(shares) if sampling.top_k is None else sampling.top_k
    shares[order[kept:]] = 0
    shares /= shares.sum()
    if sampling.top_p is not None:
        before = np.cumsum(shares[order]) - shares[order]
        shares[order[before >= sampling.top_p]] = 0
    return int(np.searchsorted(np.cumsum(shares), u * shares.sum(), side="right"))


def last_logits(model, texts, prefixes=None):
    """Return the logits after each text; whole passes of one shape, so that one is compiled."""
    found = []
    for begin in range(0, len(texts), ROWS):
        tokens, segments, orders = np.zeros((3, ROWS, WIDTH), np.int32)
        some = texts[begin : begin + ROWS]
        for row, ids in enumerate(some):
            prefix = 0 if prefixes is None else prefixes[row]
            tokens[row, : len(ids)], segments[row, : len(ids)] = ids, 1
            orders[row, prefix : len(ids)] = range(prefix, len(ids))
        features = {"tokens": tokens, "segments": segments, "order": orders}
        logits = np.asarray(model(features))
        found += [logits[row, len(ids) - 1] for row, ids in enumerate(some)]
    return np.array(found)


def reference(model, sampling, count, uniform=None, prefix=False):
    """Return what is added to PROMPTS, without a cache, one whole pass a token."""
    texts, lengths = list(PROMPTS), [len(prompt) for prompt in PROMPTS]
    for step in range(count):
        logits = last_logits(model, texts, lengths if prefix else None)
        for row, ids in enumerate(texts):
            u = 0.0 if uniform is None else uniform[row, step]
            texts[row] = [*ids, reference_choice(logits[row].copy(), set(ids), u, sampling)]
    return [ids[length:] for ids, length in zip(texts, lengths, strict=True)]


@pytest.mark.parametrize("kind", SAMPLINGS)
def test_it_is_a_plain_loop_without_a_cache(kind, model):
    uniform = np.random.default_rng(1).random((3, WIDTH)).astype("float32")
    found, state = run(model, PROMPTS, SAMPLINGS[kind], 12, uniform=uniform)
    begin = int(state.column) - 12
    assert found == reference(model, SAMPLINGS[kind], 12, uniform[:, begin:])
    assert len({token for row in found for token in row}) > 3


@pytest.mark.parametrize("name", ["llama-tiny", "gpt3-tiny", "gpt1-tiny"])
def test_other_families_generate_alike(name):
    model = model_of(name)
    found, _ = run(model, PROMPTS, Sampling(greedy=True), 12)
    assert found == reference(model, Sampling(greedy=True), 12)


@pytest.mark.parametrize("kind", ["greedy", "both, penalised"])
def test_compiled_it_gives_the_same_tokens(kind, model, compiled):
    eager, _ = run(model, PROMPTS, SAMPLINGS[kind], 6)
    assert run(model, PROMPTS, SAMPLINGS[kind], 6, compiled=compiled)[0] == eager


@pytest.mark.parametrize("name", ["gpt2-tiny", "llama-tiny"])
def test_a_prefix_is_read_in_both_directions(name):
    model = model_of(name)
    found, _ = run(model, PROMPTS, Sampling(greedy=True), 12, prefix=True)
    plain, _ = run(model, PROMPTS, Sampling(greedy=True), 12)
    assert found == reference(model, Sampling(greedy=True), 12, prefix=True)
    assert found != plain


def test_rows_do_not_depend_on_each_other(model):
    uniform = np.random.default_rng(2).random((1, WIDTH)).astype("float32")
    alone, _ = run(model, PROMPTS[1:2], Sampling(), 10, uniform=uniform)
    among, _ = run(model, PROMPTS, Sampling(), 10, uniform=np.repeat(uniform, 3, axis=0))
    assert among[1] == alone[0]


def test_a_stop_ends_a_text_and_is_no_part_of_it(model):
    whole, _ = run(model, PROMPTS, Sampling(greedy=True), 12)
    stop = whole[0][4]
    found, state = run(model, PROMPTS, Sampling(greedy=True), 12, stops=[stop, 39])
    for row, text in enumerate(whole):
        cut = min([text.index(s) for s in (stop, 39) if s in text], default=12)
        assert found[row] == text[:cut]
        assert bool(np.asarray(state.ended)[row]) == (cut < 12)


def test_when_all_have_ended_the_loop_ends(model):
    stops = list(range(VOCABULARY))
    found, state = run(model, PROMPTS, Sampling(), 12, stops=stops)
    assert found == [[], [], []] and int(state.column) == buffers(PROMPTS)[2] + 1


def test_a_choice_never_falls_on_what_is_filtered_out():
    rng = np.random.default_rng(0)
    logits = ops.convert_to_tensor(rng.normal(size=(200, 9)).astype("float32") * 3)
    best = np.argsort(-np.asarray(logits), axis=1)
    for u in (0.0, 0.5, 1 - 2**-24):
        uniform = ops.full((200, 1), u, "float32")
        token = np.asarray(choose(logits, None, uniform, Sampling(top_k=2)))
        assert (token == best[:, :2]).any(axis=1).all()
        token = np.asarray(choose(logits, None, uniform, Sampling(top_p=1e-6)))
        np.testing.assert_array_equal(token[:, 0], best[:, 0])
    certain = ops.convert_to_tensor(np.array([[-1e9, 5.0, -1e9]], "float32"))
    assert int(choose(certain, None, ops.full((1, 1), 1 - 2**-24), Sampling())[0, 0]) == 1


def test_draws_follow_the_probabilities():
    logits = np.log(np.array([[0.5, 0.2, 0.2, 0.1]], "float32")).repeat(4000, axis=0)
    uniform = (np.arange(4000, dtype="float32")[:, None] + 0.5) / 4000
    for sampling in (Sampling(), Sampling(top_k=4), Sampling(top_p=1.0)):
        token = np.asarray(choose(ops.convert_to_tensor(logits), None, uniform, sampling))
        shares = np.bincount(token[:, 0], minlength=4) / 4000
        np.testing.assert_allclose(shares, [0.5, 0.2, 0.2, 0.1], atol=1e-3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 0.0}, r"temperature: expected 1e-6 to 1e6 \(greedy takes"),
        ({"temperature": -1.0}, "temperature: expected 1e-6 to 1e6"),
        ({"temperature": 1e-37}, "temperature: expected 1e-6 to 1e6"),
        ({"greedy": True, "top_p": 0.9}, "top_p: expected none beside greedy"),
        ({"greedy": True, "temperature": 0.5}, "temperature: expected none beside greedy"),
        ({"top_p": 0.0}, "top_p: expected a share over 0 and up to 1. Received: 0.0"),
        ({"top_p": 1.5}, "top_p: expected a share"),
        ({"top_k": 0}, "top_k: expected at least 1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty: expected a number over 0"),
    ],
)
def test_what_is_no_way_of_sampling_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Sampling(**fields)


def test_a_model_that_sees_the_future_or_has_no_vocabulary_is_refused():
    for fields, head in (
        ({"masks": (tfattn.Everything(),)}, gpt2.HEAD),
        ({"masks": (tfattn.Causal(), tfattn.Causal() | tfattn.Global(1))}, gpt2.HEAD),
        ({}, tfattn.Classify()),
    ):
        config = replace(PRESETS["gpt2-tiny"], vocab_size=VOCABULARY, **fields)
        with pytest.raises(InputError, match="expected a language model with causal masks"):
            check(tfattn.build(config, head), Sampling())

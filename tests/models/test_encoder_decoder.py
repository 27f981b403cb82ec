"""An encoder and a decoder against numpy, its features, and the published sizes."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from test_transformer import gelu, split

import tfattn
from tfattn.errors import InputError
from tfattn.mechanisms.relative import bucket_of
from tfattn.models.beam import loop_of
from tfattn.models.config import Classify, EncoderDecoderConfig, Tokens, TransformerConfig
from tfattn.models.generate import start
from tfattn.models.sampling import Sampling

ENCODER = TransformerConfig(
    dim=12, depth=2, heads=3, head_dim=6, hidden_dim=20, vocab_size=40, position="buckets",
    buckets=8, bucket_distance=6, norm="pre", norm_kind="rms", bias=False, stem_norm=False,
    score_scale=1.0, types=0, norm_epsilon=1e-6, dropout=0.0, attention_dropout=0.0,
)  # fmt: skip
DECODER = replace(ENCODER, masks=(tfattn.Causal(),), layout=("self", "cross", "feedforward"))
T5 = EncoderDecoderConfig(ENCODER, DECODER)
LEARNED = EncoderDecoderConfig(
    *(replace(side, position="learned", max_length=3) for side in (ENCODER, DECODER))
)
IDS = np.ones((1, 4), int)
PAIR = {"tokens": IDS[:, :3], "target_tokens": IDS}
HEAD = Tokens(transform=False, bias=False, scaled=True)


def model_and_weights(rng, config=T5, head=HEAD):
    model = tfattn.build(config, head)
    for variable in model.weights:
        variable.assign(0.5 * rng.normal(size=variable.shape))
    return model, {path: np.asarray(v) for path, v in model.weights_by_path().items()}


def rms(x, gamma):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * gamma


def attend(x, memory, w, path, allowed, bias=0.0):
    q = split(x @ w[f"{path}/query/kernel"], 3)
    k, v = (split(memory @ w[f"{path}/{name}/kernel"], 3) for name in ("key", "value"))
    scores = np.where(allowed, q @ k.transpose(0, 1, 3, 2) + bias, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    pooled = weights / weights.sum(-1, keepdims=True) @ v  # (b, h, t, e)
    return pooled.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1) @ w[f"{path}/output/kernel"]


def stack(x, w, name, allowed, future, memory=None, known=None):
    offsets = np.arange(x.shape[1])[None] - np.arange(x.shape[1])[:, None]
    bias = w[f"{name}/positions/embeddings"][bucket_of(offsets, 8, 6, future)].transpose(2, 0, 1)
    for block in (f"{name}/block_0", f"{name}/block_1"):
        y = rms(x, w[f"{block}/self_residual/norm/gamma"])
        x = x + attend(y, y, w, f"{block}/self", allowed, bias)
        if memory is not None:
            y = rms(x, w[f"{block}/cross_residual/norm/gamma"])
            x = x + attend(y, memory, w, f"{block}/cross", known)
        y = rms(x, w[f"{block}/feedforward_residual/norm/gamma"])
        y = gelu(y @ w[f"{block}/feedforward/expand/kernel"])
        x = x + y @ w[f"{block}/feedforward/contract/kernel"]
    return rms(x, w[f"{name}/norm/gamma"])


def test_a_whole_encoder_decoder_equals_the_reference(rng, close):
    model, w = model_and_weights(rng)
    source, target = rng.integers(1, 40, size=(2, 7)), rng.integers(1, 40, size=(2, 5))
    source[1, 5:] = 0
    there = (source != 0)[:, None, None]  # (b, 1, 1, s)
    table = w["stem/tokens/embeddings"]
    memory = stack(table[source], w, "encoder", there, True)
    causal = np.tril(np.ones((5, 5), bool))
    hidden = stack(table[target], w, "decoder", causal, False, memory, there)
    expected = hidden / np.sqrt(12) @ table.T
    close(model({"tokens": source, "target_tokens": target}), expected)


def test_tokens_one_by_one_are_those_of_the_whole_target(rng, close, array):
    model, _ = model_and_weights(rng)
    source, target = rng.integers(1, 40, size=(2, 7)), rng.integers(1, 40, size=(2, 5))
    source[1, 5:] = 0
    whole = array(model({"tokens": source, "target_tokens": target}))
    held, memory = model.begin({"tokens": source}, 8)
    assert {len(x) % 2 for x in memory} == {0} and len(memory) == 1 + 2 * 2
    for columns in (slice(0, 1), slice(1, 4), slice(4, 5)):
        positions = np.broadcast_to(np.arange(5)[columns], target[:, columns].shape)
        features = {"tokens": target[:, columns], "positions": positions}
        features["segments"] = np.ones_like(positions)
        hidden, held = model.advance(features, held, memory)
        close(model.logits(hidden), whole[:, columns])


@pytest.mark.parametrize("sampling", [Sampling(greedy=True), Sampling(beams=3, length_penalty=0.0)])
def test_a_target_is_written_as_a_search_over_whole_passes_finds_it(rng, array, sampling):
    model, _ = model_and_weights(rng)
    source = rng.integers(1, 40, size=(3, 7))
    source[1, 4:] = 0
    features = {"tokens": source, "segments": (source != 0).astype(int)}
    stops = np.array([1, 2], "int32")
    state = start(model, features, 0, 6, sampling)
    found = loop_of(sampling)(model, state, 6, np.zeros((3, 6), "float32"), stops, sampling)
    for row in range(3):
        beams, done = [([0], 0.0)], []
        for _ in range(5):
            ways = []
            for text, score in beams:
                padded = np.array([[*text, *[0] * (5 - len(text))]])  # one shape, compiled once
                given = {"tokens": source[row : row + 1], "target_tokens": padded}
                given["target_segments"] = (np.arange(5) < len(text)).astype(int)[None]
                z = array(model(given)).astype("float64")[0, len(text) - 1]
                log_p = z - z.max() - np.log(np.exp(z - z.max()).sum())
                ways += [([*text, token], score + log_p[token]) for token in range(40)]
            ways.sort(key=lambda way: -way[1])
            if sampling.greedy:
                ways = ways[:1]
            done += [way for way in ways[: 3 * sampling.beams] if way[0][-1] in stops]
            beams = [way for way in ways if way[0][-1] not in stops][: sampling.beams]
        ended = [(text[:-1], score) for text, score in done]
        best = (ended or beams)[0] if sampling.greedy else max(ended + beams, key=lambda x: x[1])
        there = array(found.segments)[row] != 0
        assert array(found.tokens)[row][there].tolist() == best[0]


def test_paths_are_those_of_one_stem_and_two_stacks(rng):
    _, w = model_and_weights(rng)
    assert len(w) == 1 + 2 * (1 + 1 + 2 * (4 + 2 + 2)) + 2 * (4 + 1)
    assert {path.split("/")[0] for path in w} == {"stem", "encoder", "decoder"}
    _, apart = model_and_weights(rng, replace(T5, shared=False))
    assert set(apart) == {*w, "target_stem/tokens/embeddings"}


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    "position", ["buckets", "learned", "sinusoidal", "rotary", "alibi", "shaw", "none"]
)
def test_the_count_of_parameters_is_that_of_the_built_model(shared, position):
    sides = (replace(side, position=position, stem_norm=True) for side in (ENCODER, DECODER))
    config = EncoderDecoderConfig(*sides, shared=shared)
    for heads in ((), (HEAD,), (Tokens(tied=False),)):
        assert tfattn.build(config, *heads).count_params() == config.parameter_count(heads)


def test_rows_of_many_pairs_are_those_of_each_pair(rng, array, close):
    model, _ = model_and_weights(rng)
    source, target = rng.integers(1, 40, size=(1, 7)), rng.integers(1, 40, size=(1, 6))
    segments, target_segments = np.array([[1, 1, 1, 2, 2, 2, 2]]), np.array([[1, 1, 2, 2, 2, 0]])
    features = {"tokens": source, "target_tokens": target}
    packed = model({**features, "segments": segments, "target_segments": target_segments})
    for number in (1, 2):
        mine, yours = segments[0] == number, target_segments[0] == number
        alone = model({"tokens": source[:, mine], "target_tokens": target[:, yours]})
        close(array(packed)[:, yours], array(alone))


def test_sums_of_targets_are_those_of_the_logits(rng, array, close):
    model, _ = model_and_weights(rng)
    features = {"tokens": rng.integers(1, 40, size=(2, 7))}
    features["target_tokens"] = targets = rng.integers(1, 40, size=(2, 5))
    logits = array(model(features)).astype("float64")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    loss, hits = model({**features, "targets": targets, "target_weights": np.ones((2, 5))})
    close(loss, -np.take_along_axis(log_p, targets[..., None], -1).sum())
    assert float(hits) == (logits.argmax(-1) == targets).sum()


def test_weights_of_attention_are_returned_for_both_stacks(rng, array):
    model, _ = model_and_weights(rng)
    features = {"tokens": rng.integers(1, 40, size=(2, 7)), "target_tokens": np.ones((2, 5), int)}
    _, (seen, asked) = model(features, return_weights=True)
    assert [tuple(one.shape) for one in seen] == [(2, 3, 7, 7)] * 2
    assert [[tuple(a.shape) for a in pair] for pair in asked] == [[(2, 3, 5, 5), (2, 3, 5, 7)]] * 2
    np.testing.assert_allclose(array(asked[0][1]).sum(-1), 1, atol=1e-5)


def test_it_is_saved_as_keras_saves(rng, close, tmp_path):
    model, _ = model_and_weights(rng)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    features = {"tokens": np.array([[4, 5, 6]]), "target_tokens": np.array([[1, 7]])}
    close(again(features), model(features))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: replace(T5, decoder=ENCODER), "expected 'cross' in the layout of the decoder"),
        (lambda: replace(T5, encoder=DECODER), "expected 'cross' in the layout of the decoder"),
        (lambda: replace(T5, decoder=replace(DECODER, dim=24)), "one dim of encoder and decoder"),
        (lambda: replace(T5, decoder=replace(DECODER, vocab_size=9)), "one vocab_size of encoder"),
        (lambda: tfattn.build(DECODER), "layout: expected 'cross' in the decoder of an"),
        (lambda: tfattn.build(T5, Classify()), "expected none, or one over the vocabulary"),
        (lambda: tfattn.build(T5)({"tokens": np.ones((1, 2), int)}), "expected target_tokens"),
        (lambda: tfattn.build(T5)({**PAIR, "targets": IDS}), "both targets and target_weights"),
        (lambda: tfattn.build(LEARNED)(PAIR), "target_tokens: expected at most 3 columns"),
        (lambda: tfattn.build(T5)({"target": np.ones((1, 2), int)}), "unknown feature 'target'"),
    ],
)
def test_what_cannot_be_is_told(change, message):
    with pytest.raises(InputError, match=message):
        change()


def test_a_config_survives_json():
    assert EncoderDecoderConfig.from_json(T5.to_json()) == T5

"""Recurrent encoder-decoders against numpy, their padding, their steps, and what they learn."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest

import tfattn
from tfattn.errors import InputError
from tfattn.families import recurrent
from tfattn.models.config import Classify, Pool, Tokens
from tfattn.models.recurrent_config import RecurrentConfig

HEAD = recurrent.HEAD
SMALL = RecurrentConfig(
    dim=6, hidden_dim=8, attention_dim=5, vocab_size=20, source_vocab_size=15, max_length=9
)
ALONE = replace(SMALL, attention=None, attention_dim=None)
CONFIGS = {
    "bahdanau": replace(SMALL, bidirectional=True, readout="maxout"),
    "bahdanau-deep-lstm": replace(SMALL, bidirectional=True, cell="lstm", depth=2),
    "bahdanau-dot": replace(SMALL, bidirectional=True, attention="scaled-dot"),
    "one direction, dot": replace(SMALL, attention="scaled-dot", attention_dim=None, depth=2),
    "d2l-bahdanau": replace(SMALL, depth=2),
    "d2l-gru": replace(ALONE, depth=2, repeat_context=True),
    "cho": replace(ALONE, bidirectional=True, repeat_context=True, readout="maxout"),
    "sutskever": replace(ALONE, cell="lstm", depth=3, reversed_source=True),
    "no context, maxout": replace(ALONE, readout="maxout", cell="lstm", bidirectional=True),
}
SOURCE = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 0, 0], [0, 5, 0, 3, 0]])
TARGET = np.array([[7, 11, 12, 4], [19, 8, 0, 0], [2, 0, 3, 18]])
PAIR = {"tokens": SOURCE, "target_tokens": TARGET}


def drawn(config, *heads, spread=0.6):
    model = tfattn.build(config, *(heads or (HEAD,)))
    rng = np.random.default_rng(3)
    for variable in model.weights:
        variable.assign(spread * rng.normal(size=variable.shape))
    return model


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def move(w, path, kind, x, states):
    """Return the states of a cell of Keras' after an input x (d,)."""
    kernel, recurrent_kernel, bias = (
        w[f"{path}/{name}"] for name in ("kernel", "recurrent_kernel", "bias")
    )
    if kind == "gru":
        (h,) = states
        xz, xr, xn = np.split(x @ kernel + bias[0], 3)
        hz, hr, hn = np.split(h @ recurrent_kernel + bias[1], 3)
        z = sigmoid(xz + hz)
        return [z * h + (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn)]
    h, c = states
    i, f, n, o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(n)
    return [sigmoid(o) * np.tanh(c), c]


def translate(w, config, source, target):
    """Return the logits (t, v) of one pair without padding, a token at a time."""
    u, kinds = config.hidden_dim, 2 if config.cell == "lstm" else 1
    directions = ["backward"] if config.reversed_source else ["forward"]
    directions = ["forward", "backward"] if config.bidirectional else directions
    x, ends = w["stem/tokens/embeddings"][source], []
    for layer in range(config.depth):
        outputs = []
        for direction in directions:
            states, made = [np.zeros(u)] * kinds, [None] * len(x)
            order = range(len(x))
            for s in order if direction == "forward" else reversed(order):
                states = move(w, f"encoder/{direction}_{layer}", config.cell, x[s], states)
                made[s] = states[0]
            outputs.append(np.stack(made))
            ends.append(states)
        x = np.concatenate(outputs, -1)
    memory = x
    end = np.concatenate([states[0] for states in ends[-len(directions) :]])
    if config.bidirectional:
        flat = [state for states in ends[1::2] for state in states]
        flat = [
            np.tanh(s @ w[f"initial/state_{i}/kernel"] + w[f"initial/state_{i}/bias"])
            for i, s in enumerate(flat)
        ]
        ends = [flat[i : i + kinds] for i in range(0, len(flat), kinds)]
    states, logits = ends, []
    for token in target:
        before = states[-1][0]
        embedded = w["target_stem/tokens/embeddings"][token]
        context = end[: 0 if not config.repeat_context else None]
        if config.attention is not None:
            if config.attention == "additive":
                path = "decoder/attention/score"
                query, keys = before @ w[f"{path}/query/kernel"], memory @ w[f"{path}/key/kernel"]
                scores = np.tanh(query + keys) @ w[f"{path}/vector"][:, 0]
            else:
                query, keys = before, memory
                if config.attention_dim is not None:
                    query, keys = query @ w["decoder/query/kernel"], keys @ w["decoder/key/kernel"]
                scores = keys @ query / np.sqrt(len(query))
            shares = np.exp(scores - scores.max())
            context = shares / shares.sum() @ memory
        below, new = np.concatenate([embedded, context]), []
        for layer in range(config.depth):
            new.append(move(w, f"decoder/cell_{layer}", config.cell, below, states[layer]))
            below = new[-1][0]
        states, read = new, new[-1][0]
        if config.readout == "maxout":
            both = np.concatenate([before, embedded, context])
            both = both @ w["decoder/maxout/kernel"] + w["decoder/maxout/bias"]
            read = both.reshape(-1, 2).max(-1)
        logits.append(read @ w["tokens/embeddings"].T + w["tokens/bias"])
    return np.stack(logits)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_whole_model_equals_the_reference_whatever_the_padding(name, array, close):
    config = CONFIGS[name]
    model = drawn(config)
    w = {path: np.asarray(v) for path, v in model.weights_by_path().items()}
    logits = array(model(PAIR))
    for row in range(len(SOURCE)):
        source, target = SOURCE[row][SOURCE[row] != 0], TARGET[row][TARGET[row] != 0]
        close(logits[row, TARGET[row] != 0], translate(w, config, source, target))


@pytest.mark.parametrize("name", CONFIGS)
def test_steps_give_the_logits_of_the_whole(name, close, array):
    model = drawn(CONFIGS[name])
    cache, memory = model.begin({"tokens": SOURCE}, 4)
    assert all(state.shape == (3, 8) for state in cache)
    assert all(kept.shape[0] == 3 for kept in memory)
    assert len(cache) == CONFIGS[name].states()
    whole = model(PAIR)
    for column in range(TARGET.shape[1]):
        tokens = TARGET[:, column : column + 1]
        features = {"tokens": tokens, "segments": (tokens != 0).astype(int)}
        features["positions"] = np.full((3, 1), column)
        before, (hidden, cache) = cache, model.advance(features, cache, memory)
        close(model.logits(hidden), whole[:, column : column + 1])
        for old, new in zip(before, cache, strict=True):
            rows = tokens[:, 0] == 0
            np.testing.assert_array_equal(array(old)[rows], array(new)[rows])


def test_several_tokens_may_be_advanced_at_once(close):
    model = drawn(CONFIGS["bahdanau"])
    cache, memory = model.begin({"tokens": SOURCE}, 4)
    segments = (TARGET != 0).astype(int)
    first, cache = model.advance(
        {"tokens": TARGET[:, :3], "segments": segments[:, :3]}, cache, memory
    )
    last, _ = model.advance({"tokens": TARGET[:, 3:], "segments": segments[:, 3:]}, cache, memory)
    whole = model(PAIR)
    close(model.logits(first), whole[:, :3])
    close(model.logits(last), whole[:, 3:])


def test_segments_say_what_is_padding_and_positions_say_nothing(close, array):
    model = drawn(CONFIGS["bahdanau"])
    features = {"tokens": np.where(SOURCE == 0, 7, SOURCE), "segments": (SOURCE != 0).astype(int)}
    features["target_tokens"] = np.where(TARGET == 0, 7, TARGET)
    features["target_segments"] = (TARGET != 0).astype(int)
    features["positions"], features["target_positions"] = 9 + SOURCE, 9 + TARGET
    real = TARGET != 0
    close(array(model(features))[real], array(model(PAIR))[real])


@pytest.mark.parametrize("name", CONFIGS)
def test_the_count_of_parameters_is_that_of_the_built_model(name):
    for config in (CONFIGS[name], replace(CONFIGS[name], source_vocab_size=None, shared=True)):
        for heads in ((), (HEAD,), (Tokens(tied=False),)):
            assert tfattn.build(config, *heads).count_params() == config.parameter_count(heads)
    matrices = (15 + 20) * 6
    assert CONFIGS[name].non_embedding_count() == CONFIGS[name].parameter_count() - matrices


def test_one_matrix_may_serve_three_times(close):
    config = replace(SMALL, dim=8, source_vocab_size=None, shared=True)
    model = drawn(config, Tokens(transform=False, tied=True))
    assert model.count_params() == config.parameter_count((Tokens(transform=False, tied=True),))
    matrix = np.asarray(model.weights_by_path()["stem/tokens/embeddings"])
    bare = tfattn.build(config)
    bare.set_weights([np.asarray(model.weights_by_path()[p]) for p in bare.weights_by_path()])
    bias = np.asarray(model.weights_by_path()["tokens/bias"])
    close(model(PAIR), np.asarray(bare(PAIR)) @ matrix.T + bias)


CELL = "kernel recurrent_kernel bias"
PATHS = {
    "bahdanau": {
        "stem/tokens": "embeddings",
        "target_stem/tokens": "embeddings",
        "encoder/forward_0": CELL,
        "encoder/backward_0": CELL,
        "initial/state_0": "kernel bias",
        "decoder/cell_0": CELL,
        "decoder/attention/score": "vector query/kernel key/kernel",
        "decoder/maxout": "kernel bias",
        "tokens": "embeddings bias",
    },
    "bahdanau-dot": {
        "stem/tokens": "embeddings",
        "target_stem/tokens": "embeddings",
        "encoder/forward_0": CELL,
        "encoder/backward_0": CELL,
        "initial/state_0": "kernel bias",
        "decoder/cell_0": CELL,
        "decoder": "query/kernel key/kernel",
        "tokens": "embeddings bias",
    },
    "sutskever": {
        "stem/tokens": "embeddings",
        "target_stem/tokens": "embeddings",
        **{f"encoder/backward_{i}": CELL for i in range(3)},
        **{f"decoder/cell_{i}": CELL for i in range(3)},
        "tokens": "embeddings bias",
    },
}


@pytest.mark.parametrize("name", PATHS)
def test_the_paths_of_weights_are_golden(name):
    expected = [f"{path}/{own}" for path, every in PATHS[name].items() for own in every.split()]
    assert sorted(tfattn.build(CONFIGS[name], HEAD).weights_by_path()) == sorted(expected)


def test_no_two_matrices_start_with_the_same_numbers_and_seeds_repeat_them():
    models = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        config = replace(CONFIGS["bahdanau-deep-lstm"], kernel_std=0.1)
        models.append(tfattn.build(config, HEAD).weights_by_path())
    drawn = {p: np.asarray(v) for p, v in models[0].items() if not p.endswith("bias")}
    starts = {weight.ravel()[:20].tobytes() for weight in drawn.values()}
    assert len(starts) == len(drawn)
    for path, first in drawn.items():
        np.testing.assert_array_equal(first, np.asarray(models[1][path]))
        assert not np.array_equal(first, np.asarray(models[2][path]))


def test_weights_of_attention_are_returned(array, close):
    for name in ("bahdanau", "bahdanau-dot"):
        model = drawn(CONFIGS[name])
        logits, (weights,) = model(PAIR, return_weights=True)
        close(logits, model(PAIR))
        assert weights.shape == (3, 1, 4, 5)
        np.testing.assert_allclose(array(weights).sum(-1), 1, atol=1e-5)
        assert not array(weights)[np.broadcast_to(SOURCE[:, None, None] == 0, weights.shape)].any()


def test_sums_of_targets_are_those_of_the_logits(array, close):
    model = drawn(CONFIGS["bahdanau"])
    targets, weights = np.random.default_rng(1).integers(1, 20, (3, 4)), TARGET != 0
    logits = array(model(PAIR)).astype("float64")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    loss, hits = model({**PAIR, "targets": targets, "target_weights": weights})
    close(loss, -(np.take_along_axis(log_p, targets[..., None], -1)[..., 0] * weights).sum())
    assert float(hits) == ((logits.argmax(-1) == targets) & weights).sum()
    some = model({**PAIR, "predict_positions": np.array([[2, 0]] * 3)})
    close(some, logits[:, [2, 0]])


def test_it_is_saved_as_keras_saves(close, tmp_path):
    for name in ("bahdanau", "bahdanau-dot", "sutskever"):
        model = drawn(CONFIGS[name])
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        assert again.config == model.config and again.heads == model.heads
        close(again(PAIR), model(PAIR))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_and_its_config_survive_json(name):
    assert RecurrentConfig.from_json(CONFIGS[name].to_json()) == CONFIGS[name]
    model = tfattn.build(CONFIGS[name], HEAD, dtype="mixed_bfloat16")
    again = type(model).from_config(json.loads(json.dumps(model.get_config())))
    assert again.config == model.config and again.dtype_policy.name == "mixed_bfloat16"
    assert list(again.weights_by_path()) == list(model.weights_by_path())


@pytest.mark.parametrize("name", ["bahdanau", "sutskever"])
def test_eight_pairs_are_learnt_by_heart_with_compile_and_fit(name):
    rng = np.random.default_rng(1)
    source, target = rng.integers(1, 15, (8, 5)), rng.integers(1, 20, (8, 4))
    source[4:, 3:] = 0
    begun = np.concatenate([np.ones((8, 1), int), target[:, :-1]], axis=1)
    wide = {"dim": 32, "hidden_dim": 64, "depth": 1}
    model = tfattn.build(replace(CONFIGS[name], **wide), HEAD)
    before = {path: np.asarray(v).copy() for path, v in model.weights_by_path().items()}
    model.compile(
        keras.optimizers.Adam(1e-2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=keras.backend.backend() == "jax",
    )
    features = {"tokens": source, "target_tokens": begun}
    fitted = model.fit(features, target, batch_size=8, epochs=60, verbose=0)
    assert fitted.history["loss"][0] == pytest.approx(np.log(20), rel=0.2)
    assert fitted.history["loss"][-1] < 0.05 and fitted.history["accuracy"][-1] == 1
    for path, weight in model.weights_by_path().items():  # every weight has a gradient
        assert not np.array_equal(before[path], np.asarray(weight)), path


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX has but one way")
@pytest.mark.parametrize("name", ["bahdanau", "sutskever"])
@pytest.mark.parametrize("how", ["graph of any shape", "jit"])
def test_the_gradient_of_a_compiled_model_is_the_eager_one(how, name, close):
    import tensorflow as tf

    model = drawn(CONFIGS[name])
    values = [v.value for v in model.weights]

    def gradients(source, target):
        weights = tf.cast(target != 0, "float32")
        asked = {"targets": 19 - target, "target_weights": weights}
        with tf.GradientTape() as tape:
            loss, _ = model({"tokens": source, "target_tokens": target, **asked}, training=True)
        return [tf.convert_to_tensor(x) for x in tape.gradient(loss, values)]

    any_shape = None if how == "jit" else [tf.TensorSpec((None, None), "int64")] * 2
    fast = tf.function(gradients, any_shape, jit_compile=how == "jit", autograph=False)
    pair = tf.constant(SOURCE), tf.constant(TARGET)
    for ours, theirs in zip(fast(*pair), gradients(*pair), strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "bfloat16"])
def test_bfloat16_stays_close(dtype, array):
    model = drawn(CONFIGS["bahdanau"], spread=0.3)
    low = tfattn.build(model.config, HEAD, dtype=dtype)
    low.set_weights(model.get_weights())
    ours, theirs = array(model(PAIR)), low(PAIR)
    assert keras.backend.standardize_dtype(theirs.dtype) == "float32"
    assert np.abs(ours - array(theirs)).max() < 0.03 * np.abs(ours).max()
    cache, memory = low.begin({"tokens": SOURCE}, 4)
    types = {keras.backend.standardize_dtype(x.dtype) for x in (*cache, *memory[:2])}
    assert types == {"bfloat16"}
    hidden, cache = low.advance(
        {"tokens": TARGET[:, :1], "segments": np.ones((3, 1), int)}, cache, memory
    )
    assert np.abs(array(low.logits(hidden)) - array(theirs)[:, :1]).max() < 0.01
    assert {keras.backend.standardize_dtype(x.dtype) for x in cache} == {"bfloat16"}


def test_a_source_without_tokens_is_finite(array):
    for name in ("bahdanau", "sutskever"):
        found = drawn(CONFIGS[name])({"tokens": 0 * SOURCE, "target_tokens": TARGET})
        assert np.isfinite(array(found)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: replace(SMALL, depth=0), "RecurrentConfig.depth: expected at least 1"),
        (lambda: replace(SMALL, attention_dim=0), "attention_dim: expected at least 1"),
        (lambda: replace(SMALL, dropout=1.0), "dropout: expected a share from 0 to below 1"),
        (lambda: replace(SMALL, kernel_std=-1.0), "kernel_std: expected 0 or more"),
        (lambda: replace(SMALL, cell="rnn"), "cell: unknown value 'rnn'"),
        (lambda: replace(SMALL, shared=True), "source_vocab_size: expected that of the target"),
        (
            lambda: replace(SMALL, bidirectional=True, reversed_source=True),
            "reversed_source: expected one direction",
        ),
        (lambda: replace(SMALL, repeat_context=True), "repeat_context: expected no attention"),
        (
            lambda: replace(SMALL, hidden_dim=7, readout="maxout"),
            "hidden_dim: expected an even width",
        ),
        (lambda: replace(SMALL, attention_dim=None), "expected a width for additive attention"),
        (
            lambda: replace(CONFIGS["bahdanau-dot"], attention_dim=None),
            "expected a width where the memory has two directions",
        ),
        (lambda: tfattn.build(SMALL, Classify()), "expected none, or one over the vocabulary"),
        (lambda: tfattn.build(SMALL, HEAD, Pool()), "expected none, or one over the vocabulary"),
        (lambda: tfattn.build(SMALL, Tokens()), "expected Tokens\\(tied=False\\) where 8 columns"),
        (lambda: tfattn.build(SMALL)({"tokens": SOURCE}), "features: expected target_tokens"),
        (lambda: tfattn.build(SMALL)({"target": SOURCE}), "unknown feature 'target'"),
        (lambda: tfattn.build(SMALL)({**PAIR, "targets": TARGET}), "both targets and"),
        (
            lambda: tfattn.build(ALONE)(PAIR, return_weights=True),
            "return_weights: expected a model with attention",
        ),
    ],
)
def test_what_cannot_be_is_told(change, message):
    with pytest.raises(InputError, match=message):
        change()

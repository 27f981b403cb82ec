from dataclasses import replace
from math import erf

import numpy as np
import pytest

import tfattn
from tfattn.errors import InputError
from tfattn.mechanisms.relative import bucket_of
from tfattn.models.cache import empty
from tfattn.models.config import Classify, Head, Pool, Tokens, TransformerConfig
from tfattn.models.stack import Stack

CONFIG = TransformerConfig(
    dim=12, depth=3, heads=3, hidden_dim=20, vocab_size=40, max_length=16, norm_epsilon=1e-6
)
TOKENS = np.array([[2, 5, 7, 9, 3], [2, 8, 3, 0, 0]])
TYPES = np.array([[0, 0, 1, 1, 1], [0, 0, 0, 0, 0]])


def model_and_weights(rng, *heads, config=CONFIG):
    model = tfattn.build(config, *heads)
    model.set_weights([rng.normal(size=v.shape).astype("float32") / 2 for v in model.weights])
    return model, {path: np.asarray(v) for path, v in model.weights_by_path().items()}


def norm(x, w, name):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * w[f"{name}/gamma"] + w[f"{name}/beta"]


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2)))


def split(x, heads):
    """Cut (b, t, d) into heads (b, h, t, e)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)


def bert(w, tokens, types, heads=3, depth=3):
    """BERT as its paper describes it: the hidden states (b, t, d) and the masked-LM logits."""
    b, t = tokens.shape
    x = w["stem/tokens/embeddings"][tokens] + w["stem/types/embeddings"][types]
    x = norm(x + w["stem/positions/embeddings"][:t], w, "stem/norm")
    padding = np.where(tokens == 0, -np.inf, 0.0)[:, None, None, :]  # (b, 1, 1, s)
    for i in range(depth):
        block = f"encoder/block_{i}"
        q, k, v = (
            split(x @ w[f"{block}/self/{name}/kernel"] + w[f"{block}/self/{name}/bias"], heads)
            for name in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1]) + padding
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        pooled = weights / weights.sum(-1, keepdims=True) @ v  # (b, h, t, e)
        y = pooled.transpose(0, 2, 1, 3).reshape(x.shape) @ w[f"{block}/self/output/kernel"]
        x = norm(x + y + w[f"{block}/self/output/bias"], w, f"{block}/self_residual/norm")
        feed = f"{block}/feedforward"
        y = gelu(x @ w[f"{feed}/expand/kernel"] + w[f"{feed}/expand/bias"])
        y = y @ w[f"{feed}/contract/kernel"] + w[f"{feed}/contract/bias"]
        x = norm(x + y, w, f"{block}/feedforward_residual/norm")
    f = norm(gelu(x @ w["tokens/transform/kernel"] + w["tokens/transform/bias"]), w, "tokens/norm")
    return x, f @ w["stem/tokens/embeddings"].T + w["tokens/bias"]


def test_a_whole_bert_equals_the_reference(rng, array, close):
    model, weights = model_and_weights(rng, Tokens())
    hidden, logits = bert(weights, TOKENS, TYPES)
    there = TOKENS != 0  # what padding itself becomes is nobody's business
    features = {"tokens": TOKENS, "types": TYPES}
    close(array(model(features))[there], logits[there])
    bare = tfattn.build(CONFIG)
    tfattn.assign(bare, weights, unused=("tokens",))
    close(array(bare(features))[there], hidden[there])


def test_the_heads_read_the_hidden_states(rng, array, close):
    heads = (Tokens(), Classify("next"), Classify("mean", 3, pool="mean"), Pool())
    model, w = model_and_weights(rng, *heads)
    hidden, logits = bert(w, TOKENS, np.zeros_like(TOKENS))
    out = model({"tokens": TOKENS})
    assert list(out) == ["tokens", "next", "mean", "pooler"]
    pooled = np.tanh(hidden[:, 0] @ w["pooler/kernel"] + w["pooler/bias"])
    close(out["pooler"], pooled)
    close(out["next"], pooled @ w["next/logits/kernel"] + w["next/logits/bias"])
    mean = np.stack([hidden[0].mean(0), hidden[1, :3].mean(0)])
    close(out["mean"], mean @ w["mean/logits/kernel"] + w["mean/logits/bias"])
    there = TOKENS != 0
    close(array(out["tokens"])[there], logits[there])


def test_pre_norm_ends_with_a_norm(rng, close, array):
    model, w = model_and_weights(rng, config=replace(CONFIG, norm="pre", position="sinusoidal"))
    assert "encoder/norm/gamma" in w and "stem/positions/embeddings" not in w
    hidden = array(model(TOKENS))
    close(
        (hidden - w["encoder/norm/beta"]) / w["encoder/norm/gamma"] @ np.ones(12),
        0 * TOKENS,
        "float16",
    )


def test_ids_alone_are_features_and_defaults_are_what_the_docstring_says(rng, close):
    model, _ = model_and_weights(rng)
    features = {
        "tokens": TOKENS,
        "segments": (TOKENS != 0).astype(int),
        "positions": np.tile(np.arange(5), (2, 1)),
        "types": np.zeros((2, 5), int),
    }
    close(model(TOKENS), model(features))
    close(model({"tokens": TOKENS}), model(features))


def test_another_id_may_be_padding(rng, array, close):
    model, _ = model_and_weights(rng, config=replace(CONFIG, pad_id=9))
    segments = (TOKENS != 9).astype(int)
    close(model(TOKENS), model({"tokens": TOKENS, "segments": segments}))


def test_predict_positions_are_columns_of_the_logits(rng, array, close):
    model, _ = model_and_weights(rng, Tokens())
    columns = np.array([[0, 4], [2, 1]])
    every = array(model(TOKENS))
    picked = model({"tokens": TOKENS, "predict_positions": columns})
    close(picked, np.stack([every[b, columns[b]] for b in range(2)]))


def test_weights_of_attention_are_returned_per_block(rng, array, close):
    model, _ = model_and_weights(rng, Tokens())
    out, weights = model(TOKENS, return_weights=True)
    close(out, model(TOKENS))
    assert [w.shape for w in weights] == [(2, 3, 5, 5)] * 3
    sums = array(weights[1]).sum(-1)
    close(sums[0], np.ones((3, 5)))
    close(sums[1], np.broadcast_to([1, 1, 1, 0, 0], (3, 5)))
    assert not array(weights[1])[1, :, :, 3:].any()


def test_masks_are_tiled_over_the_depth(rng, array):
    masks = (tfattn.Causal(), tfattn.Window(0, 1))
    model, _ = model_and_weights(rng, config=replace(CONFIG, masks=masks))
    _, weights = model(TOKENS, return_weights=True)
    seen = [array(w)[0].max(axis=0) > 0 for w in weights]
    below = np.tril(np.ones((5, 5), bool))
    np.testing.assert_array_equal(seen[0], below)
    np.testing.assert_array_equal(seen[1], ~np.tril(below, -1) & np.tril(np.ones((5, 5), bool), 1))
    np.testing.assert_array_equal(seen[2], below)


@pytest.mark.parametrize(
    "fields",
    [
        {"norm": "pre"},
        {"position": "sinusoidal"},
        {"types": 0},
        {"layout": ("feedforward",)},
        {"layout": ("feedforward", "self"), "depth": 1, "hidden_dim": 7},
        {"dim": 15, "max_length": 3, "vocab_size": 1},
    ],
)
def test_the_count_of_parameters_is_that_of_the_built_model(fields):
    config = replace(CONFIG, **fields)
    heads = (Tokens(), Classify(classes=3))
    assert tfattn.build(config, *heads).count_params() == config.parameter_count(heads)


def test_dropout_falls_where_the_config_says():
    config = replace(CONFIG, dropout=0.3, attention_dropout=0.4)
    model = tfattn.build(config, Classify(dropout=0.2))
    assert model.stem.dropout.rate == 0.3 and model.head_layers["classify"].dropout.rate == 0.2
    for block in model.encoder.blocks:
        assert [residual.dropout.rate for residual in block.residuals.values()] == [0.3, 0.3]
        assert block.sublayers["self"].attention.dropout.rate == 0.4


def test_too_long_a_row_is_refused(rng):
    model, _ = model_and_weights(rng)
    with pytest.raises(InputError, match=r"tokens: expected at most 16 columns\. Received: 17"):
        model(np.ones((1, 17), int))
    # Packed rows may be longer: their positions start again.
    packed = {"tokens": np.ones((1, 17), int), "positions": np.arange(17)[None] % 16}
    assert model(packed).shape == (1, 17, 12)
    waves, _ = model_and_weights(rng, config=replace(CONFIG, position="sinusoidal"))
    assert waves(np.ones((1, 17), int)).shape == (1, 17, 12)


def test_a_misspelt_feature_is_refused(rng):
    model, _ = model_and_weights(rng)
    with pytest.raises(InputError, match=r"unknown feature 'segment'\. Did you mean 'segments'"):
        model({"tokens": TOKENS, "segment": TOKENS})


def test_targets_without_weights_are_refused(rng):
    model, _ = model_and_weights(rng)
    with pytest.raises(InputError, match="expected both targets and target_weights"):
        model({"tokens": TOKENS, "targets": TOKENS})


@pytest.mark.parametrize(
    "heads",
    [
        (Tokens(), Tokens()),
        (Tokens("a"), Classify("a")),
        (Classify("encoder"),),
        (Classify("stem"),),
        (Classify("pooler"),),
    ],
)
def test_parts_of_one_name_are_refused(heads):
    with pytest.raises(InputError, match="heads: expected different names"):
        tfattn.build(CONFIG, *heads)


@pytest.mark.parametrize("head", [Head(), Tokens, "tokens"])
def test_what_is_no_head_is_refused(head):
    with pytest.raises(InputError, match=r"heads: expected Tokens\(\), Classify\(\), Pool\(\)"):
        tfattn.build(CONFIG, head)


def test_new_weights_have_the_spread_that_the_config_asks_for():
    config = replace(CONFIG, dim=144, depth=1, hidden_dim=576, vocab_size=500)
    # A normal distribution cut at two standard deviations has 0.88 of its spread.
    for std, expected in ((0.02, 0.02), (None, 144**-0.5)):
        model = tfattn.build(replace(config, kernel_std=std), Tokens(), Classify())
        for path, variable in model.weights_by_path().items():
            found = np.asarray(variable).std()
            if path.endswith("kernel"):
                assert found == pytest.approx(0.88 * expected, rel=0.15), path
            elif path.endswith("embeddings") and "types" not in path:
                assert found == pytest.approx(0.88 * 0.02, rel=0.1), path


def test_without_positions_a_model_is_blind_to_order(rng, array, close):
    model, _ = relative(rng, "none")
    tokens, order = rng.integers(1, 40, size=(2, 9)), rng.permutation(9)
    close(model(tokens[:, order]), array(model(tokens))[:, order])
    told, _ = relative(rng, "shaw")
    assert np.abs(array(told(tokens[:, order])) - array(told(tokens))[:, order]).max() > 0.1


def relative(rng, position="buckets", **fields):
    config = TransformerConfig(
        dim=12, depth=2, heads=3, head_dim=6, hidden_dim=20, vocab_size=40, position=position,
        buckets=8, bucket_distance=6, norm="pre", norm_kind="rms", bias=False, stem_norm=False,
        score_scale=1.0, types=0, dropout=0.0, attention_dropout=0.0, **fields,
    )  # fmt: skip
    model = tfattn.build(config, Tokens(transform=False, bias=False))
    for variable in model.weights:
        variable.assign(0.5 * rng.normal(size=variable.shape))
    return model, {path: np.asarray(v) for path, v in model.weights_by_path().items()}


def test_one_table_of_buckets_biases_all_blocks(rng, array, close):
    model, w = relative(rng)
    assert [path for path in w if "positions" in path] == ["encoder/positions/embeddings"]
    assert w["encoder/block_0/self/query/kernel"].shape == (12, 18)
    tokens = rng.integers(1, 40, size=(2, 9))
    x = w["stem/tokens/embeddings"][tokens]
    offsets = np.arange(9)[None] - np.arange(9)[:, None]
    bias = w["encoder/positions/embeddings"][bucket_of(offsets, 8, 6, True)].transpose(2, 0, 1)

    def rms(x, gamma):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + model.config.norm_epsilon) * gamma

    for block in ("encoder/block_0", "encoder/block_1"):
        y = rms(x, w[f"{block}/self_residual/norm/gamma"])
        q, k, v = (
            split(y @ w[f"{block}/self/{name}/kernel"], 3) for name in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 1, 3, 2) + bias
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        pooled = weights / weights.sum(-1, keepdims=True) @ v
        x = x + pooled.transpose(0, 2, 1, 3).reshape(2, 9, 18) @ w[f"{block}/self/output/kernel"]
        y = rms(x, w[f"{block}/feedforward_residual/norm/gamma"])
        y = gelu(y @ w[f"{block}/feedforward/expand/kernel"])
        x = x + y @ w[f"{block}/feedforward/contract/kernel"]
    x = rms(x, w["encoder/norm/gamma"])
    close(model(tokens), x @ w["stem/tokens/embeddings"].T)


@pytest.mark.parametrize("position", ["buckets", "alibi", "shaw"])
def test_a_cache_knows_how_far_its_keys_are(position, rng, array, close):
    model, _ = relative(rng, position, masks=(tfattn.Causal(),))
    tokens = rng.integers(1, 40, size=(2, 9)).astype("int32")
    whole, held = array(model(tokens)), empty(model.config, 2, 9, "float32")
    for begin, end in ((0, 4), (4, 5), (5, 9)):
        places = np.broadcast_to(np.arange(begin, end, dtype="int32"), (2, end - begin))
        features = {"tokens": tokens[:, begin:end], "positions": places}
        some, held = model({**features, "segments": np.ones_like(places)}, cache=held)
        close(some, whole[:, begin:end])


@pytest.mark.parametrize("position", ["buckets", "alibi", "shaw"])
def test_a_stack_with_a_position_is_rebuilt(position, rng, close):
    model, _ = relative(rng, position)
    again = Stack.from_config(model.encoder.get_config())
    again.build()
    again.set_weights(model.encoder.get_weights())
    x = rng.normal(size=(2, 9, 12)).astype("float32")
    close(again(x), model.encoder(x))

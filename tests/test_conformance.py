"""What every model of one text must do, over every such preset whose name ends in "-tiny".

A new family gets all of it by existing; it owes its golden paths in BLOCK_0 and REST.
"""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

import tfattn
from tfattn.families import FAMILIES, PRESETS
from tfattn.mechanisms.masks import Causal
from tfattn.models import cache
from tfattn.models.config import Classify, Pool, Tokens, TransformerConfig

TINY = [
    name
    for name, config in PRESETS.items()
    if name.endswith("-tiny") and isinstance(config, TransformerConfig)
]
HEADS = [
    (),
    (Pool(),),
    (Tokens(),),
    (Tokens(transform=False),),
    (Tokens(transform=False, bias=False, tied=False),),
    (Classify(classes=3),),
    (Classify(classes=1, pool="mean"),),
    (Classify(classes=2, pool="last"),),
    (Tokens(), Classify("next")),
    (Tokens(), Classify("a", 2), Classify("b", 5, pool="mean"), Pool()),
]

KERNELS = """
    self/query/kernel self/key/kernel self/value/kernel self/output/kernel
    feedforward/expand/kernel feedforward/contract/kernel
    self_residual/norm/gamma feedforward_residual/norm/gamma
"""
QKV_BIASES = "self/query/bias self/key/bias self/value/bias"
BIASES = """
    self/output/bias feedforward/expand/bias feedforward/contract/bias
    self_residual/norm/beta feedforward_residual/norm/beta
"""
BLOCK_0 = {
    "bert-tiny": KERNELS + QKV_BIASES + BIASES,
    "gpt1-tiny": KERNELS + QKV_BIASES + BIASES,
    "gpt2-tiny": KERNELS + QKV_BIASES + BIASES,
    "nanogpt-tiny": KERNELS,
    "gpt3-tiny": KERNELS + QKV_BIASES + BIASES,
    "gpt-neo-tiny": KERNELS + BIASES,
    "llama-tiny": KERNELS + "feedforward/gate/kernel",
}
STEM = "stem/tokens/embeddings stem/positions/embeddings "
PAIR = " pooler/kernel pooler/bias next/logits/kernel next/logits/bias "
REST = {  # with the family's own head over the vocabulary and Classify("next")
    "bert-tiny": STEM
    + PAIR
    + """
        stem/types/embeddings stem/norm/gamma stem/norm/beta
        tokens/transform/kernel tokens/transform/bias tokens/norm/gamma tokens/norm/beta tokens/bias
    """,
    "gpt1-tiny": STEM + PAIR,
    "gpt2-tiny": STEM + PAIR + "encoder/norm/gamma encoder/norm/beta",
    "nanogpt-tiny": STEM + PAIR + "encoder/norm/gamma",
    "gpt3-tiny": STEM + PAIR + "encoder/norm/gamma encoder/norm/beta",
    "gpt-neo-tiny": STEM + PAIR + "encoder/norm/gamma encoder/norm/beta",
    "llama-tiny": "stem/tokens/embeddings encoder/norm/gamma" + PAIR,
}
OWN = {name: family.HEAD for family in FAMILIES.values() for name in family.PRESETS}

pytestmark = pytest.mark.parametrize("name", TINY)
few_on_jax = pytest.mark.usefixtures("one_of_few_on_jax")


@pytest.fixture
def one_of_few_on_jax(name):
    """Skip most families on JAX, of files, precisions and starts: TensorFlow covers them all."""
    if keras.backend.backend() == "jax" and name not in ("bert-tiny", "gpt-neo-tiny", "llama-tiny"):
        pytest.skip("TensorFlow covers this family")


def small(name, **fields):
    """Return the preset with a small vocabulary, to be quick; all else as published."""
    return replace(PRESETS[name], vocab_size=100, **fields)


def randomized(config, *heads):
    """Return a model with weights large enough that every part of it shows in its outputs."""
    model = tfattn.build(config, *heads)
    rng = np.random.default_rng(3)
    for variable in model.weights:
        spread = 0.1 if len(variable.shape) < 2 else 1.5 * variable.shape[0] ** -0.5
        if variable.path.endswith("query/kernel") and config.score_scale == 1:
            spread *= (config.dim / config.heads) ** -0.5  # or each token would see but one
        start = 1.0 if variable.path.endswith("gamma") else 0.0
        variable.assign(start + spread * rng.normal(size=variable.shape))
    return model


def ids(*shape):
    return np.random.default_rng(5).integers(1, 100, size=shape)


def each(outputs):
    return outputs if isinstance(outputs, dict) else {"": outputs}


@few_on_jax
@pytest.mark.parametrize(
    "heads", HEADS, ids=lambda heads: "-".join(h.name for h in heads) or "none"
)
def test_shapes_and_counts_of_every_combination_of_heads(name, heads):
    if name != "bert-tiny" and heads not in (HEADS[0], HEADS[-1]):
        pytest.skip("heads know nothing of a family: one shows all, the others none and many")
    config = small(name)
    model = tfattn.build(config, *heads)
    assert model.count_params() == config.parameter_count(heads)
    shapes = {"": (2, 7, config.dim), "pooler": (2, config.dim)}
    for head in heads:
        if isinstance(head, Tokens):
            shapes[head.name] = (2, 7, 100)
        if isinstance(head, Classify):
            shapes[head.name] = (2, head.classes)
    outputs = model({"tokens": ids(2, 7)})
    assert isinstance(outputs, dict) == (len(heads) > 1)
    names = [head.name for head in heads] if len(heads) > 1 else [heads[0].name if heads else ""]
    for key, output in zip(names, each(outputs).values(), strict=True):
        assert output.shape == shapes[key]


@few_on_jax
def test_the_count_of_the_published_size_is_that_of_the_built_model(name):
    model = tfattn.build(PRESETS[name], Pool())
    assert model.count_params() == PRESETS[name].parameter_count((Pool(),))


@few_on_jax
def test_save_and_load_give_the_same_model(name, tmp_path, array):
    heads = (Tokens(), Classify("next"), Classify("mean", 3, pool="mean"))
    model = randomized(small(name), *heads)
    tfattn.save(model, tmp_path)
    again = tfattn.load(tmp_path)
    assert again.config == model.config and again.heads == model.heads
    features = {"tokens": ids(2, 7)}
    for ours, theirs in zip(model(features).values(), again(features).values(), strict=True):
        np.testing.assert_array_equal(array(ours), array(theirs))


@few_on_jax
def test_a_keras_file_gives_the_same_model(name, tmp_path, array):
    model = randomized(small(name), Tokens(), Classify())
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.config == model.config and again.heads == model.heads
    features = {"tokens": ids(2, 7)}
    for ours, theirs in zip(model(features).values(), again(features).values(), strict=True):
        np.testing.assert_array_equal(array(ours), array(theirs))


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "jit"])
def test_compiled_is_eager(name, jit, compiled, close):
    model = randomized(small(name), Tokens(), Classify())
    features = {
        "tokens": ops.convert_to_tensor(ids(2, 7)),
        "segments": ops.convert_to_tensor([[1, 1, 1, 2, 2, 0, 0], [1] * 7]),
        "predict_positions": ops.convert_to_tensor([[0, 3], [5, 6]]),
    }
    eager = model(features)
    fast = compiled(lambda features: model(features, training=False), jit)(features)
    for key in eager:
        close(fast[key], eager[key])


def test_padding_changes_nothing(name, close):
    pools = (Classify("mean", pool="mean"), Classify("last", pool="last"))
    model = randomized(small(name), Tokens(), Classify(), *pools, Pool())
    tokens = ids(2, 7)
    padded = np.concatenate([tokens, np.zeros((2, 4), int)], axis=1)
    # Whatever stands in the padding is not read.
    garbage = np.concatenate([tokens, ids(2, 4)], axis=1)
    given = {"tokens": garbage, "segments": (padded != 0).astype(int)}
    plain = model(tokens)
    for wide in (model(given), *((model(padded),) if PRESETS[name].pad_id == 0 else ())):
        close(wide["tokens"][:, :7], plain["tokens"])
        for key in ("classify", "mean", "last", "pooler"):
            close(wide[key], plain[key])


def packed(first, second, padding=2):
    a, b = len(first), len(second)
    return {
        "tokens": np.array([[*first, *second, *[0] * padding]]),
        "segments": np.array([[1] * a + [2] * b + [0] * padding]),
        "positions": np.array([[*range(a), *range(b), *[0] * padding]]),
    }


@pytest.mark.parametrize("mask", [tfattn.Everything(), tfattn.Causal() & tfattn.Window(3, 0)])
def test_a_packed_row_equals_each_of_its_documents_alone(name, mask, close):
    model = randomized(small(name, masks=(mask,)), Tokens())
    first, second = ids(5), ids(9)[::-1]
    together = model(packed(first, second))
    close(together[:, :5], model(first[None]))
    close(together[:, 5:14], model(second[None]))


def test_documents_of_a_row_do_not_see_each_other(name, array):
    model = randomized(small(name), Tokens())
    first, second = ids(5), ids(9)[::-1]
    before = array(model(packed(first, second), training=False))
    after = array(model(packed(100 - first, second), training=False))
    np.testing.assert_array_equal(before[:, 5:14], after[:, 5:14])
    assert not np.allclose(before[:, :5], after[:, :5], atol=1e-3)


def test_every_token_sees_every_token_unless_a_mask_forbids_it(name, array):
    tokens = ids(1, 6)
    for masks, sees in (
        ((tfattn.Everything(),), np.ones((6, 6), bool)),
        ((tfattn.Causal(),), np.tril(np.ones((6, 6), bool))),
    ):
        model = randomized(small(name, masks=masks))
        before = array(model(tokens))
        for changed in range(6):
            other = tokens.copy()
            other[0, changed] = 100 - other[0, changed]
            moved = np.abs(array(model(other)) - before)[0].max(axis=-1) > 1e-4
            np.testing.assert_array_equal(moved, sees[:, changed])


def test_types_are_read_where_the_model_has_some(name, array):
    model = randomized(small(name))
    tokens = ids(1, 6)
    zero = array(model({"tokens": tokens, "types": np.zeros((1, 6), int)}))
    one = array(model({"tokens": tokens, "types": np.ones((1, 6), int)}))
    np.testing.assert_array_equal(zero, array(model(tokens)))
    assert np.allclose(zero, one, atol=1e-3) == (PRESETS[name].types == 0)


def test_order_decides_who_sees_whom_and_positions_do_not(name, close):
    """A prefix whose tokens share the order 0 sees itself whole, as in a prefix language model."""
    causal = randomized(small(name, masks=(tfattn.Causal(),)))
    both = tfattn.build(small(name, masks=(tfattn.Everything(),)))
    both.set_weights(causal.get_weights())
    tokens = ids(1, 6)
    close(causal({"tokens": tokens, "order": np.zeros((1, 6), int)}), both(tokens))
    order = np.array([[0, 0, 0, 3, 4, 5]])
    close(causal({"tokens": tokens, "order": order})[:, :3], both(tokens[:, :3]))


def test_the_cache_gives_the_full_pass(name, close, array):
    model = randomized(small(name), OWN[name])
    causal = all(Causal() in parts(mask) for mask in PRESETS[name].masks)
    if not causal:
        model = randomized(small(name, masks=(Causal(),)), OWN[name])
    tokens, segments = ids(2, 9), np.ones((2, 9), int)
    segments[1, :3] = 0  # a shorter text, aligned at its end
    positions = np.maximum(np.cumsum(segments, axis=1) - 1, 0)
    features = {"tokens": tokens, "segments": segments, "positions": positions}
    whole = array(model(features))
    held = cache.empty(model.config, 2, 12, "float32")
    for columns in (slice(0, 4), slice(4, 5), slice(5, 6), slice(6, 9)):
        found, held = model({k: v[:, columns] for k, v in features.items()}, cache=held)
        real = segments[:, columns] != 0
        close(array(found)[real], whole[:, columns][real])
    assert int(held[0]) == 9


def test_one_batch_is_learnt_by_heart_with_compile_and_fit(name):
    model = tfattn.build(small(name, dropout=0.0, attention_dropout=0.0), Tokens())
    tokens, targets = ids(8, 12), np.random.default_rng(1).integers(0, 100, size=(8, 12))
    model.compile(
        keras.optimizers.Adam(2e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=keras.backend.backend() == "jax",  # TensorFlow takes longer to compile
    )
    fitted = model.fit({"tokens": tokens}, targets, batch_size=8, epochs=80, verbose=0)
    losses = fitted.history["loss"]
    assert losses[0] == pytest.approx(np.log(100), rel=0.3)
    # One of the 96 may be left: unscaled scores can saturate before they tell two contexts apart.
    assert losses[-1] < 0.05 and fitted.history["accuracy"][-1] > 94.5 / 96


def parts(mask):
    """Return a mask and all masks that it is made of."""
    below = (getattr(mask, name, None) for name in ("first", "second"))
    return [mask, *(part for half in below if half is not None for part in parts(half))]


@few_on_jax
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "bfloat16"])
def test_bfloat16_stays_close(name, dtype, array):
    heads = (Tokens(), Classify())
    model, low = tfattn.build(small(name), *heads), tfattn.build(small(name), *heads, dtype=dtype)
    low.set_weights(model.get_weights())
    features = {"tokens": ids(32, 7)}  # enough for their largest number to tell their size
    for ours, theirs in zip(model(features).values(), low(features).values(), strict=True):
        assert keras.backend.standardize_dtype(theirs.dtype) == "float32"
        ours, theirs = array(ours), array(theirs)
        assert np.abs(ours - theirs).max() < 0.03 * np.abs(ours).max()


@few_on_jax
def test_bfloat16_is_saved_and_loaded(name, tmp_path, array):
    model = tfattn.build(small(name), Tokens(), dtype="bfloat16")
    tfattn.save(model, tmp_path)
    again = tfattn.load(tmp_path, dtype="bfloat16")
    np.testing.assert_array_equal(array(model(ids(2, 7))), array(again(ids(2, 7))))


@few_on_jax
def test_the_paths_of_weights_are_golden(name):
    paths = list(tfattn.build(small(name), OWN[name], Classify("next")).weights_by_path())
    assert len(set(paths)) == len(paths)
    assert {p for p in paths if not p.startswith("encoder/block_")} == set(REST[name].split())
    depth = PRESETS[name].depth
    blocks = {f"encoder/block_{i}/{p}" for i in range(depth) for p in BLOCK_0[name].split()}
    assert {p for p in paths if p.startswith("encoder/block_")} == blocks


@few_on_jax
def test_the_same_seed_builds_the_same_model(name):
    models = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        models.append(tfattn.build(small(name), Tokens(), Classify()).get_weights())
    for first, second in zip(*models[:2], strict=True):
        np.testing.assert_array_equal(first, second)
    assert not np.array_equal(models[0][0], models[2][0])


@few_on_jax
def test_no_two_matrices_start_with_the_same_numbers(name):
    weights = tfattn.build(small(name), Tokens(), Classify("a"), Classify("b")).weights_by_path()
    drawn = {p: np.asarray(v) for p, v in weights.items() if p.endswith(("kernel", "embeddings"))}
    starts = {weight.ravel()[:100].tobytes() for weight in drawn.values()}
    assert len(starts) == len(drawn)


@few_on_jax
def test_a_model_survives_its_config(name):
    model = tfattn.build(small(name), Tokens(), Classify("next"), dtype="mixed_bfloat16")
    config = json.loads(json.dumps(model.get_config()))
    again = type(model).from_config(config)
    assert again.config == model.config and again.heads == model.heads
    assert again.dtype_policy.name == "mixed_bfloat16"
    assert list(again.weights_by_path()) == list(model.weights_by_path())

"""What every model of a source and a target must do, over every such preset called "-tiny".

A new family gets all of it by existing; it owes its golden paths in PATHS.
"""

import json

import keras
import numpy as np
import pytest
from keras import ops

import tfattn
from tfattn.families import FAMILIES, PRESETS
from tfattn.models.config import Tokens, TransformerConfig
from tfattn.models.recurrent_config import RecurrentConfig
from tfattn.models.vision_config import VisionConfig

PAIRS = {
    name: family.head(name)
    for family in FAMILIES.values()
    for name, config in family.PRESETS.items()
    if name.endswith("-tiny") and not isinstance(config, TransformerConfig | VisionConfig)
}
T5_BLOCK = """
    self/query/kernel self/key/kernel self/value/kernel self/output/kernel self_residual/norm/gamma
    feedforward/expand/kernel feedforward/contract/kernel feedforward_residual/norm/gamma
"""
T5_CROSS = """
    cross/query/kernel cross/key/kernel cross/value/kernel cross/output/kernel
    cross_residual/norm/gamma
"""
T5_REST = """
    stem/tokens/embeddings encoder/positions/embeddings encoder/norm/gamma
    decoder/positions/embeddings decoder/norm/gamma
"""


def blocks(encoder, decoder, depth=2):
    """Return the paths of all blocks of two stacks."""
    sides = (("encoder", encoder), ("decoder", decoder))
    return {
        f"{side}/block_{i}/{path}"
        for side, paths in sides
        for i in range(depth)
        for path in paths.split()
    }


NMT_BIASES = """
    self/query/bias self/key/bias self/value/bias self/output/bias self_residual/norm/beta
    feedforward/expand/bias feedforward/contract/bias feedforward_residual/norm/beta
"""
NMT_CROSS_BIASES = """
    cross/query/bias cross/key/bias cross/value/bias cross/output/bias cross_residual/norm/beta
"""
RECURRENT = {"stem/tokens/embeddings", "target_stem/tokens/embeddings"}
RECURRENT |= {"tokens/bias", "tokens/embeddings"}


def cells(*paths):
    """Return the paths of recurrent cells."""
    return {f"{path}/{kind}" for path in paths for kind in ("kernel", "recurrent_kernel", "bias")}


GATE = " feedforward/gate/kernel"
PATHS = {  # of the whole model with the family's own head
    "t5-tiny": blocks(T5_BLOCK, T5_BLOCK + T5_CROSS) | set(T5_REST.split()),
    "t5-v1.1-tiny": blocks(T5_BLOCK + GATE, T5_BLOCK + T5_CROSS + GATE)
    | {*T5_REST.split(), "tokens/embeddings"},
    "transformer-nmt-tiny": blocks(
        T5_BLOCK + NMT_BIASES, T5_BLOCK + NMT_BIASES + T5_CROSS + NMT_CROSS_BIASES
    )
    | {"stem/tokens/embeddings"},
    "seq2seq-tiny": RECURRENT
    | cells("encoder/backward_0", "encoder/backward_1", "decoder/cell_0", "decoder/cell_1"),
    "bahdanau-tiny": RECURRENT
    | cells("encoder/forward_0", "encoder/backward_0", "decoder/cell_0")
    | {"initial/state_0/kernel", "initial/state_0/bias", "decoder/attention/score/vector"}
    | {"decoder/attention/score/query/kernel", "decoder/attention/score/key/kernel"},
}
OFF = {"dropout": 0.0, "attention_dropout": 0.0, "inner_dropout": 0.0}
pytestmark = pytest.mark.parametrize("name", PAIRS)
few_on_jax = pytest.mark.usefixtures("one_of_few_on_jax")


@pytest.fixture
def one_of_few_on_jax(name):
    """Skip most families on JAX, of files, precisions and starts: TensorFlow covers them all."""
    if keras.backend.backend() == "jax" and name not in ("t5-tiny", "bahdanau-tiny"):
        pytest.skip("TensorFlow covers this family")


def small(name, **fields):
    """Return the preset with a small vocabulary, to be quick; all else as it is."""
    kind = RecurrentConfig if isinstance(PRESETS[name], RecurrentConfig) else TransformerConfig
    given = {k: v for k, v in fields.items() if k in kind.__dataclass_fields__}  # of dropouts
    return PRESETS[name].with_fields(vocab_size=100, **given)


def ids(*shape, seed=5):
    return np.random.default_rng(seed).integers(1, 100, size=shape)


def pair(rows=2, source=7, target=5):
    return {"tokens": ids(rows, source), "target_tokens": ids(rows, target, seed=6)}


def randomized(name, **fields):
    """Return a model with weights large enough that every part of it shows in its outputs."""
    model = tfattn.build(small(name, **fields), PAIRS[name])
    rng = np.random.default_rng(3)
    for variable in model.weights:
        spread = 0.1 if len(variable.shape) < 2 else 1.5 * variable.shape[0] ** -0.5
        if variable.path.endswith("query/kernel"):
            spread *= 0.2  # or each token would see but one
        if variable.path.endswith("gate/kernel"):
            spread *= 0.3  # or products with it would drown the rest, and grow what is rounded
        start = 1.0 if variable.path.endswith("gamma") else 0.0
        variable.assign(start + spread * rng.normal(size=variable.shape))
    return model


@few_on_jax
def test_shapes_and_counts(name):
    config = small(name)
    for heads, width in (((), config.dim), ((PAIRS[name],), 100), ((Tokens(tied=False),), 100)):
        model = tfattn.build(config, *heads)
        assert model.count_params() == config.parameter_count(heads)
        assert model(pair()).shape == (2, 5, width)


@few_on_jax
def test_the_count_of_the_published_size_is_that_of_the_built_model(name):
    model = tfattn.build(PRESETS[name], PAIRS[name])
    assert model.count_params() == PRESETS[name].parameter_count((PAIRS[name],))


@few_on_jax
def test_save_and_load_give_the_same_model(name, tmp_path, array):
    model = randomized(name)
    tfattn.save(model, tmp_path / "ours")
    model.save(tmp_path / "model.keras")
    keras_file = keras.models.load_model(tmp_path / "model.keras")
    for again in (tfattn.load(tmp_path / "ours"), keras_file):
        assert again.config == model.config and again.heads == model.heads
        np.testing.assert_array_equal(array(model(pair())), array(again(pair())))


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "jit"])
def test_compiled_is_eager(name, jit, compiled, close):
    model = randomized(name)
    features = {key: ops.convert_to_tensor(value) for key, value in pair().items()}
    features["segments"] = ops.convert_to_tensor([[1] * 5 + [0] * 2, [1] * 7])
    features["predict_positions"] = ops.convert_to_tensor([[0, 3], [1, 4]])
    fast = compiled(lambda features: model(features, training=False), jit)(features)
    close(fast, model(features))


def test_padding_of_either_side_changes_nothing(name, close):
    model = randomized(name)
    plain = pair()
    # Whatever stands in the padding is not read.
    wide = {key: np.concatenate([value, ids(2, 4)], axis=1) for key, value in plain.items()}
    wide["segments"] = np.array([[1] * 7 + [0] * 4] * 2)
    wide["target_segments"] = np.array([[1] * 5 + [0] * 4] * 2)
    close(model(wide)[:, :5], model(plain))


def test_a_target_token_sees_the_whole_source_and_what_is_before_it(name, array):
    model, given = randomized(name), pair(rows=1)
    before = array(model(given))

    def moved(key, column):
        other = {**given, key: given[key].copy()}
        other[key][0, column] = 100 - other[key][0, column]
        return np.abs(array(model(other)) - before)[0].max(axis=-1) > 1e-5

    for column in range(7):
        assert moved("tokens", column).all()
    for column in range(5):
        np.testing.assert_array_equal(moved("target_tokens", column), np.arange(5) >= column)


def test_the_cache_gives_the_full_pass(name, close, array):
    model, given = randomized(name), pair()
    given["segments"] = np.array([[1] * 7, [1] * 4 + [0] * 3])
    whole = array(model(given))
    target = given.pop("target_tokens")
    held, memory = model.begin(given, 8)
    for columns in (slice(0, 1), slice(1, 2), slice(2, 5)):
        tokens = target[:, columns]
        positions = np.broadcast_to(np.arange(5)[columns], tokens.shape)
        asked = {"tokens": tokens, "positions": positions, "segments": np.ones_like(tokens)}
        hidden, held = model.advance(asked, held, memory)
        close(model.logits(hidden), whole[:, columns])


def test_one_batch_is_learnt_by_heart_with_compile_and_fit(name):
    keras.utils.set_random_seed(0)
    model = tfattn.build(small(name, **OFF), PAIRS[name])
    targets = np.random.default_rng(1).integers(0, 100, size=(8, 5))
    model.compile(
        keras.optimizers.Adam(5e-3 if isinstance(model.config, RecurrentConfig) else 2e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=keras.backend.backend() == "jax",  # TensorFlow takes longer to compile
    )
    fitted = model.fit(pair(rows=8), targets, batch_size=8, epochs=100, verbose=0)
    # One of the 40 may be left: unscaled scores can saturate before they tell two sources apart.
    assert fitted.history["loss"][-1] < 0.1 and fitted.history["accuracy"][-1] > 38.5 / 40


@few_on_jax
def test_bfloat16_stays_close(name, array):
    model = tfattn.build(small(name), PAIRS[name])
    low = tfattn.build(small(name), PAIRS[name], dtype="mixed_bfloat16")
    low.set_weights(model.get_weights())
    features = pair(rows=32)  # enough for their largest number to tell their size
    ours, theirs = array(model(features)), array(low(features))
    assert theirs.dtype == "float32"
    assert np.abs(ours - theirs).max() < 0.03 * np.abs(ours).max()


@few_on_jax
def test_the_paths_of_weights_are_golden(name):
    paths = list(tfattn.build(small(name), PAIRS[name]).weights_by_path())
    assert len(set(paths)) == len(paths) and set(paths) == PATHS[name]


@few_on_jax
def test_the_same_seed_builds_the_same_model_and_no_two_matrices_are_alike(name):
    models = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        models.append(tfattn.build(small(name), PAIRS[name]))
    first, second, other = (model.get_weights() for model in models)
    for ours, theirs in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(first[0], other[0])
    drawn = [
        np.asarray(v).ravel()[:100].tobytes()
        for path, v in models[0].weights_by_path().items()
        if path.endswith(("kernel", "embeddings"))
    ]
    assert len(set(drawn)) == len(drawn)


def test_a_new_model_gives_logits_near_nothing(name, array):
    keras.utils.set_random_seed(0)
    logits = array(tfattn.build(small(name), PAIRS[name])(pair(rows=16)))
    # Cross entropy of a uniform guess plus half their variance: at most a little more than it.
    assert logits.std() < 2.0


@few_on_jax
def test_a_model_survives_its_config(name):
    model = tfattn.build(small(name), PAIRS[name], dtype="mixed_bfloat16")
    again = type(model).from_config(json.loads(json.dumps(model.get_config())))
    assert again.config == model.config and again.heads == model.heads
    assert again.dtype_policy.name == "mixed_bfloat16"
    assert list(again.weights_by_path()) == list(model.weights_by_path())

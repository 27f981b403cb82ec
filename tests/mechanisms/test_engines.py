"""Every engine computes what `attend` computes, and what the dense one does, with gradients."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from tfattn import backend, ways
from tfattn.mechanisms import attention as module
from tfattn.mechanisms import engines
from tfattn.mechanisms.attention import attend
from tfattn.mechanisms.masks import Causal, Everything, Global, Strided, Window
from tfattn.mechanisms.multihead import MultiHeadAttention
from tfattn.mechanisms.positions import Rotary
from tfattn.mechanisms.relative import Alibi, Buckets, Shaw

DIM, HEADS, LENGTH = 12, 3, 43
NEAR = Window(5, 2)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Let blocks have sixteen queries, so that there are several of them, and rows be long."""
    for name in ("BLOCK", "ROW_BLOCK", "LONG"):
        monkeypatch.setattr(engines, name, 1)


def inputs(rng, length=LENGTH):
    return ops.convert_to_tensor(rng.normal(size=(2, length, DIM)).astype("float32"))


def packed(length=LENGTH):
    """Return segments of two documents and padding, and positions in each."""
    segments = np.ones((2, length), "int32")
    segments[0, 20:] = 2
    segments[1, 35:] = 0
    positions = np.arange(length, dtype="int32")[None].repeat(2, axis=0)
    positions[0, 20:] -= 20
    return {"segments": segments, "positions": positions}


def attention(rng, **kwargs):
    layer = MultiHeadAttention(DIM, HEADS, **kwargs)
    layer.build()
    for variable in layer.weights:
        if "seed" not in variable.path:
            variable.assign(0.4 * rng.normal(size=variable.shape))
    return layer


def numbers(layer, way, x, *args, variables=None, compiled=None, **kwargs):
    """Return the output, and the gradients by the input, the memory and all weights.

    Compiled "graph", "xla" or "fused"; JAX has one way. Uncompiled they are quicker, once.
    """
    variables = layer.trainable_variables if variables is None else variables
    values = [v.value for v in variables]
    given = [x, *args]

    def run(given, values):
        with keras.StatelessScope(list(zip(variables, values, strict=True))):
            return layer(*given, **kwargs)

    with ways.using(attention=way, fused=compiled == "fused"):
        if keras.backend.backend() == "jax":
            import jax

            loss = lambda *both: ops.sum(ops.sin(run(*both)))  # noqa: E731
            found = jax.jit(jax.grad(loss, argnums=(0, 1)))(given, values)
            return [run(given, values), *found[0], *found[1]]
        import tensorflow as tf

        def step(given, values):
            with tf.GradientTape() as tape:
                tape.watch([given, values])
                result = run(given, values)
                loss = tf.reduce_sum(tf.sin(result))
            found = tape.gradient(loss, [*given, *values])
            return [result, *(g if g is None else tf.convert_to_tensor(g) for g in found)]

        if compiled is None:
            return step(given, values)
        return tf.function(step, autograph=False, jit_compile=compiled == "xla")(given, values)


class Reference:
    """A layer of multi-head attention with `attend` in place of its engines."""

    def __init__(self, layer):
        self.layer, self.trainable_variables = layer, layer.trainable_variables

    def __call__(self, x, segments=None, positions=None, bias=None):
        layer, mask = self.layer, self.layer.attention.mask
        q, k, v = layer.query(x), layer.key(x), layer.value(x)
        if segments is not None:
            same = (segments[:, :, None] == segments[:, None]) & (segments[:, None] > 0)
            mask = (mask(positions[:, :, None], positions[:, None]) & same)[:, None]
        return layer.output_projection(attend(q, k, v, mask, bias))


ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


@pytest.mark.parametrize("compiled", [None, "fused"] if ON_TENSORFLOW else [None])
@pytest.mark.parametrize("engine", ["dense", "blocked", "local"])
@pytest.mark.parametrize(
    ("mask", "kv_heads", "is_packed", "has_bias"),
    [
        (Everything(), None, True, True),
        (Causal(), 1, False, True),
        (NEAR | Global(2), None, True, False),
        (NEAR, 1, True, False),  # the mask that the local engine takes
    ],
    ids=str,
)
def test_every_engine_computes_the_plain_attention(
    mask, kv_heads, is_packed, has_bias, engine, compiled, rng, close
):
    layer, x = attention(rng, mask=mask, kv_heads=kv_heads), inputs(rng)
    given = packed() if is_packed else {}
    if has_bias:
        given["bias"] = rng.normal(size=(1, HEADS, LENGTH, LENGTH)).astype("float32")
    found = numbers(layer, engine, x, compiled=compiled, **given)
    expected = numbers(Reference(layer), "auto", x, **given)
    assert len(found) == len(expected) == 10
    for ours, theirs in zip(found, expected, strict=True):
        scale = max(1.0, float(ops.max(ops.abs(theirs))))
        close(ours / scale, theirs / scale)


def assert_like_dense(layer, way, close, *args, **kwargs):
    expected = numbers(layer, "dense", *args, **kwargs)
    found = numbers(layer, way, *args, **kwargs)
    assert len(found) == len(expected) > 5
    for ours, theirs in zip(found, expected, strict=True):
        if theirs is not None:  # of a mask that lets no position be told
            scale = max(1.0, float(ops.max(ops.abs(theirs))))
            close(ours / scale, theirs / scale)


MASKS = [Everything(), Causal(), Strided(3), NEAR | Global(2), ~Causal()]


@pytest.mark.parametrize("is_long", [True, False] if backend.can_split_rows() else [False])
@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_blocks_are_dense_attention_under_any_mask(mask, is_long, rng, close, monkeypatch):
    monkeypatch.setattr(engines, "LONG", 1 if is_long else 2**18)
    layer = attention(rng, mask=mask)
    assert_like_dense(layer, "blocked", close, inputs(rng), **packed())
    assert_like_dense(layer, "blocked", close, inputs(rng, 16))  # one block, no segments


POSITIONS = {
    "rotary": lambda: Rotary(10_000.0),
    "shaw": lambda: Shaw(DIM // HEADS, 6, "random_normal"),
    "alibi": lambda: Alibi(HEADS),
    "buckets": lambda: Buckets(HEADS, 8, 12, initializer="random_normal"),
}


def compilations():
    """Return a position, an engine and a compilation each; of blocks, the slowest, each one once.

    Blocks take ten seconds to trace and to compile. All pairs of the three are release tests.
    """
    kinds = {"buckets": "xla", "shaw": "graph", "rotary": "fused"}  # of scores, weights, neither
    for kind, way in itertools.product(kinds, ("dense", "blocked", "local")):
        for compiled in ("graph", "xla", "fused"):
            repeated = way == "blocked" and compiled != kinds[kind]
            marks = [pytest.mark.release] if repeated else []
            yield pytest.param(kind, way, compiled, marks=marks)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX always compiles")
@pytest.mark.parametrize(("kind", "way", "compiled"), list(compilations()))
def test_they_are_the_same_when_compiled(kind, way, compiled, rng, close):
    layer = attention(rng, mask=NEAR, position=POSITIONS[kind](), kv_heads=1, dropout=0.3)
    x, state = inputs(rng), layer.attention.dropout.seeds.state
    begin = ops.copy(state.value)
    for training in (False, True):
        more = {"training": training, **packed()}
        state.assign(begin)
        found = numbers(layer, way, x, compiled=compiled, **more)
        state.assign(begin)
        expected = numbers(layer, way, x, **more)
        assert len(found) == len(expected) > 5
        for ours, theirs in zip(found, expected, strict=True):
            scale = max(1.0, float(ops.max(ops.abs(theirs))))
            close(ours / scale, theirs / scale)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX knows all sizes")
@pytest.mark.parametrize("way", ["auto", "blocked"])
@pytest.mark.parametrize("kind", ["alibi", "rotary"])  # heads differ, or are alike
def test_where_islands_are_compiled_sizes_may_be_unknown(kind, way, rng, close):
    import tensorflow as tf

    layer = attention(rng, mask=Causal(), position=POSITIONS[kind]())

    def step(x, segments):
        with ways.using(fused=True, attention=way), tf.GradientTape() as tape:
            tape.watch(x)
            result = layer(x, segments=segments, training=True)
            loss = tf.reduce_sum(tf.sin(result))
        return [result, tape.gradient(loss, x)]

    given = [tf.TensorSpec((None, None, DIM)), tf.TensorSpec((None, None), tf.int32)]
    step = tf.function(step, input_signature=given, autograph=False)
    for length in (1, 5, 43):
        x, segments = inputs(rng, length), packed(length)["segments"]
        expected = numbers(layer, "dense", x, segments=segments, training=True)
        for ours, theirs in zip(step(x, segments), expected, strict=False):
            close(ours, theirs)


@pytest.mark.parametrize("length", [1, 2, 3, 9])
def test_short_texts_have_fewer_parts(length, rng, close):
    layer = attention(rng, mask=Causal())
    for compiled in (None, "fused") if keras.backend.backend() == "tensorflow" else (None,):
        x = inputs(rng, length)
        found = numbers(layer, "blocked", x, compiled=compiled)
        for ours, theirs in zip(found, numbers(layer, "dense", x), strict=True):
            if theirs is not None:  # of one key all weights are 1
                close(ours, theirs)


@pytest.mark.parametrize("way", ["blocked", "local"])
@pytest.mark.parametrize("kind", POSITIONS)
def test_they_know_positions_and_train_them(kind, way, rng, close):
    layer = attention(rng, mask=NEAR, position=POSITIONS[kind](), kv_heads=1)
    assert_like_dense(layer, way, close, inputs(rng), **packed())


@pytest.mark.parametrize("way", ["blocked", "local"])
@pytest.mark.parametrize("kind", ["alibi", "buckets"])
def test_they_ask_the_position_of_a_stack(kind, way, rng, close):
    position = POSITIONS[kind]()
    position.build()
    layer = attention(rng, mask=NEAR)
    variables = [*layer.trainable_variables, *position.trainable_variables]
    more = {"bias": position, "variables": variables, **packed()}
    assert_like_dense(layer, way, close, inputs(rng), **more)


@pytest.fixture
def asked_for(monkeypatch):
    """Return what is asked of map_chunks: rows and heads, by row or not, places, and how many."""
    found = []

    def map_chunks(fn, chunked, keys, values, size, row_independent, parallel, **how):
        (q,) = chunked[0].vectors
        found.append((*q.shape[::2], row_independent, size(parallel), parallel))
        return q

    monkeypatch.setattr(engines.backend, "map_chunks", map_chunks)
    return found


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("fused", [False, True])
def test_long_rows_are_by_themselves_and_their_heads_if_alike(
    fused, lanes, rng, asked_for, monkeypatch
):
    rows_apart = keras.backend.backend() == "tensorflow"
    for name, value in {"BLOCK": 2000, "ROW_BLOCK": 1280, "LONG": 40 * 40}.items():
        monkeypatch.setattr(engines, name, value)
    together = 2 if lanes == 1 and rows_apart else 1
    places = 32 // (together * lanes)  # of 40 scores each
    all_rows = (2, HEADS, False, 16, 1)
    with ways.using(attention="blocked", fused=fused, lanes=lanes):
        for kind, heads in ((None, True), ("rotary", True), ("alibi", False), ("shaw", False)):
            position = None if kind is None else POSITIONS[kind]()
            attention(rng, position=position)(inputs(rng, 40))
            alone = (2 * HEADS, 1, True, places) if heads else (2, HEADS, True, 16)
            assert asked_for.pop() == ((*alone, together) if rows_apart else all_rows)
        attention(rng)(inputs(rng, 39))  # not long
        attention(rng)(inputs(rng, 40), bias=POSITIONS["alibi"]())  # made once for all rows
        attention(rng)(inputs(rng, 40), bias=ops.zeros((1, HEADS, 40, 40)))
        assert asked_for == [all_rows] * 3


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX knows all sizes")
def test_blocks_are_small_where_sizes_are_unknown(asked_for, rng, monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(engines, "BLOCK", 2**23)
    layer, unknown = attention(rng), tf.TensorSpec((None, None, DIM))
    with ways.using(attention="blocked"):
        tf.function(layer.__call__, autograph=False).get_concrete_function(unknown)
    assert 16 <= asked_for[0][3] <= 2**12


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="islands are for TensorFlow")
@pytest.mark.parametrize(("kind", "apart"), [("rotary", False), ("alibi", True)])
def test_masks_are_made_in_islands_of_one_head(kind, apart, rng, monkeypatch):
    layer, made = attention(rng, mask=Causal(), position=POSITIONS[kind]()), []
    honest = module.admissible
    monkeypatch.setattr(module, "admissible", lambda *args: made.append(1) or honest(*args))
    with ways.using(attention="blocked", fused=True):
        layer(inputs(rng, 4), segments=np.ones((2, 4), "int32"))
    assert bool(made) == apart


def test_blocks_of_rows_and_heads_that_are_alike_drop_other_weights(rng, array):
    layer = attention(rng, dropout=0.5)
    for projection in (layer.query, layer.key, layer.value):  # all heads are the same
        kernel, bias = projection.weights
        kernel.assign(np.tile(array(kernel)[:, : DIM // HEADS], (1, HEADS)))
        bias.assign(np.zeros(bias.shape))
    for weight, value in zip(layer.output_projection.weights, (np.eye(DIM), 0.0), strict=True):
        weight.assign(np.broadcast_to(value, weight.shape))
    x = ops.repeat(inputs(rng)[:1], 2, axis=0)
    with ways.using(attention="blocked"):
        made = [array(layer(x, training=training)) for training in (False, True)]
    for pooled, are_same in zip(made, (True, False), strict=True):
        heads = np.split(pooled, HEADS, axis=-1)
        assert np.allclose(pooled[0], pooled[1], atol=1e-5) == are_same
        assert np.allclose(heads[0], heads[1], atol=1e-5) == are_same
        if not are_same:  # most numbers are others, in every block
            assert (np.abs(heads[0] - heads[1]) > 1e-3).mean(axis=(0, 2)).min() > 0.5


def test_blocks_add_a_bias_that_is_there(rng, close):
    layer = attention(rng, mask=Causal())
    for batch in (1, 2):
        bias = rng.normal(size=(batch, HEADS, LENGTH, LENGTH)).astype("float32")
        assert_like_dense(layer, "blocked", close, inputs(rng), bias=bias, **packed())


def test_blocks_ask_a_memory_and_a_prefix(rng, close):
    layer = attention(rng)
    memory = inputs(rng, 21)
    segments = {"memory_segments": np.array([[1] * 21, [1] * 10 + [0] * 11])}
    assert_like_dense(layer, "blocked", close, inputs(rng), memory, **segments)
    layer = attention(rng, mask=Causal())
    order = np.maximum(np.arange(LENGTH) - 19, 0)[None].repeat(2, axis=0)
    assert_like_dense(layer, "blocked", close, inputs(rng), order=order)


WINDOWS = [Window(5, 2), Window(20, 0), Window(0, 3), Causal() & Window(17, 9), Window(40, 40)]


@pytest.mark.parametrize(
    ("mask", "length"),
    [*((mask, 33) for mask in WINDOWS), (WINDOWS[0], 16), (WINDOWS[3], 64)],
    ids=str,
)
def test_near_the_diagonal_is_all_that_a_window_sees(mask, length, rng, close):
    layer = attention(rng, mask=mask)
    segments = np.ones((2, length), "int32")
    segments[0, length // 2 :] = 2
    segments[1, length - 3 :] = 0
    assert_like_dense(layer, "local", close, inputs(rng, length), segments=segments)
    assert_like_dense(layer, "local", close, inputs(rng, length))


def chosen(mask, length, batch=1, same_tokens=True, bias=None):
    shape = (batch, length, 8, 4)
    x = keras.KerasTensor(shape) if length is None else np.broadcast_to(np.float32(0), shape)
    columns = keras.KerasTensor((1, None)) if length is None else np.arange(length)[None]
    both = engines.Operand((x,), None, columns, None, columns)
    return engines.choose_engine(mask, both, both, same_tokens, bias)


def test_the_engine_is_chosen_by_mask_and_length():
    assert chosen(Everything(), 512, 16) == "dense"
    assert chosen(Everything(), 8192) == "blocked"
    assert chosen(Everything(), 1024, 16) == "blocked"
    for lanes, way in ((8, "dense"), (16, "blocked")):  # of a row each
        with ways.using(lanes=lanes):
            assert chosen(Everything(), 1024) == way
    assert chosen(NEAR, 512) == "local"
    assert chosen(NEAR, 32) == "dense"
    assert chosen(NEAR, 8192, same_tokens=False) == "blocked"
    assert chosen(NEAR, 512, bias=np.zeros((1, 1, 512, 512))) == "dense"
    assert chosen(NEAR, None) == chosen(Causal(), None) == "dense"
    with ways.using(attention="local"):
        assert chosen(Causal(), 8192) == "blocked"  # reaches back to the first


@pytest.mark.parametrize("way", ["blocked", "local"])
def test_weights_are_dropped_in_their_share(way, rng, array, compiled):
    layer = attention(rng, mask=NEAR, dropout=0.3)
    x, steps, count = inputs(rng), 200, layer.attention.dropout.seeds.state

    def step(x, draws):
        with keras.StatelessScope([(count, draws)]) as scope:
            return layer(x, training=True), scope.get_current_value(count)

    drawn, draws = [], count.value
    with ways.using(attention=way):
        plain, step = array(layer(x)), compiled(step)
        for _ in range(steps):
            y, draws = step(x, draws)
            drawn.append(array(y))
    drawn = np.stack(drawn)
    error = np.abs(drawn.mean(axis=0) - plain) / (drawn.std(axis=0) / np.sqrt(steps) + 1e-6)
    assert error.mean() == pytest.approx(0.8, abs=0.2)  # of a normal number: sqrt(2 / pi)
    assert np.abs(drawn[0] - drawn[1]).max() > 0.01
    blocks = drawn[:, 0, :32] - plain[0, :32]
    both = (blocks[:, :16] * blocks[:, 16:]).mean() / blocks.std() ** 2
    assert abs(both) < 0.03  # blocks do not share a mask


@pytest.mark.parametrize("way", ["dense", "blocked", "local"])
def test_the_gradient_sees_the_mask_that_was_drawn(way, rng, array):
    """The output is linear in the values' bias, so a difference quotient is the derivative."""
    layer = attention(rng, mask=NEAR, dropout=0.3)
    seeds = layer.attention.dropout.seeds.state
    state, x = array(seeds).copy(), inputs(rng)
    bias = layer.value.bias
    found = []
    for moved in (0.0, 1.0):
        seeds.assign(state)
        bias.assign(array(bias) + moved)
        seeds.assign(state)
        found.append(numbers(layer, way, x, training=True, variables=[bias]))
    ends = [array(x[0]) for x in found]
    assert np.abs(ends[1] - ends[0]).max() > 0.1
    seeds.assign(state)
    step = 1e-3
    bias.assign(array(bias) - 1.0 + step)
    more = np.sin(array(numbers(layer, way, x, training=True, variables=[bias])[0])).sum()
    slope = (more - np.sin(ends[0]).sum()) / step
    assert slope == pytest.approx(float(array(found[0][-1]).sum()), rel=2e-2)


@pytest.mark.parametrize("mask", [Causal(), Window(9, 4), ~Causal(), Everything()], ids=str)
def test_parts_of_queries_have_all_the_keys_that_they_may_see(mask):
    columns = np.arange(LENGTH)[None]
    whole = engines.operand((np.zeros((1, LENGTH, 1, 1)),), None, None, None)
    whole = whole._replace(order=columns, columns=columns)
    pairs, met = 0, []
    for queries, keys in engines.split_by_reach(mask, whole, whole):
        met.append(queries.columns)
        pairs += queries.columns.size * keys.columns.size
        allowed = np.broadcast_to(mask(queries.columns.T, columns), (queries.columns.size, LENGTH))
        needed = columns[0][allowed.any(axis=0)]
        assert set(needed) <= set(keys.columns[0])
    np.testing.assert_array_equal(np.concatenate(met, axis=1), columns)
    share = pairs / LENGTH**2
    expected = {Causal(): 0.63, Window(9, 4): 0.5}.get(mask, 1.0)
    assert share == pytest.approx(expected, abs=0.06)

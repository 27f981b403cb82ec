"""Recurrent layers against those of Keras, their padding, and their gradient where compiled."""

import keras
import numpy as np
import pytest
from keras import ops

import tfattn
from tfattn import ways

S, D, U = 6, 5, 4
THERE = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 1]])
KERAS = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}
BOTH = ("forward", "backward")


def drawn(layer, rng):
    layer.build()
    layer.set_weights([0.7 * rng.normal(size=v.shape) for v in layer.weights])
    return layer


def source(rng):
    return ops.convert_to_tensor(rng.normal(size=(3, S, D)).astype("float32"))


@pytest.mark.parametrize("segments", [None, THERE], ids=["whole", "padded"])
@pytest.mark.parametrize("cell", KERAS)
@pytest.mark.parametrize("directions", [("forward",), ("backward",), BOTH], ids="-".join)
def test_an_encoder_is_the_layers_of_keras(cell, directions, segments, rng, close):
    encoder = drawn(tfattn.RecurrentEncoder(D, U, 1, cell, directions), rng)
    x = source(rng)
    made, states = encoder(x, segments)
    outputs, ends = [], []
    for index, direction in enumerate(directions):
        backward = direction == "backward"
        theirs = KERAS[cell](U, return_sequences=True, return_state=True, go_backwards=backward)
        theirs.build((None, None, D))
        theirs.set_weights([np.asarray(v) for v in encoder.cells[index].weights])
        y, *end = theirs(x, mask=None if segments is None else ops.convert_to_tensor(THERE == 1))
        outputs.append(ops.flip(y, axis=1) if backward else y)
        ends += end
    close(made, ops.concatenate(outputs, axis=-1))
    for ours, end in zip(states, ends, strict=True):
        close(ours, end)


@pytest.mark.parametrize("cell", KERAS)
def test_a_layer_reads_the_one_below(cell, rng, close):
    encoder = drawn(tfattn.RecurrentEncoder(D, U, 2, cell, BOTH), rng)
    below = tfattn.RecurrentEncoder(D, U, 1, cell, BOTH)
    above = tfattn.RecurrentEncoder(2 * U, U, 1, cell, BOTH)
    for half, cells in ((below, encoder.cells[:2]), (above, encoder.cells[2:])):
        half.build()
        half.set_weights([np.asarray(v) for own in cells for v in own.weights])
    x = source(rng)
    made, states = encoder(x, THERE)
    middle, first = below(x, THERE)
    last, second = above(middle, THERE)
    close(made, last)
    for ours, theirs in zip(states, (*first, *second), strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("cell", KERAS)
def test_padding_moves_no_states_wherever_it_stands(cell, rng, close, array):
    encoder = drawn(tfattn.RecurrentEncoder(D, U, 2, cell, BOTH), rng)
    x = array(source(rng))
    made, states = encoder(x, THERE)
    for row in range(3):
        real = THERE[row] == 1
        alone, ends = encoder(x[row : row + 1, real])
        close(array(made)[row, real], alone[0])
        for state, end in zip(states, ends, strict=True):
            close(state[row], end[0])


@pytest.mark.parametrize("cell", KERAS)
def test_backwards_is_a_reversed_source_with_its_padding_at_the_end(cell, rng, close, array):
    backward = drawn(tfattn.RecurrentEncoder(D, U, 1, cell, ("backward",)), rng)
    forward = tfattn.RecurrentEncoder(D, U, 1, cell)
    forward.build()
    forward.set_weights(backward.get_weights())
    x = array(source(rng))
    turned = x.copy()
    for row in range(3):
        real = x[row, THERE[row] == 1]
        turned[row, : len(real)] = real[::-1]
    lengths = THERE.sum(axis=1)
    there = (np.arange(S) < lengths[:, None]).astype(int)
    made, states = backward(x, THERE)
    expected, ends = forward(turned, there)
    for state, end in zip(states, ends, strict=True):
        close(state, end)
    for row in range(3):  # what is made for a token stands where the token does
        close(array(made)[row, THERE[row] == 1], array(expected)[row, : lengths[row]][::-1])


def test_initial_states_have_a_map_each(rng, close):
    layer = drawn(tfattn.InitialStates(U, 2), rng)
    states = rng.normal(size=(2, 3, U))
    found = layer(tuple(states))
    for index, state in enumerate(states):
        kernel, bias = (np.asarray(v) for v in layer.maps[index].weights)
        close(found[index], np.tanh(state @ kernel + bias))


def decoder(rng, cell="gru", kind="additive", maxout=True, dropout=0.0):
    """Return a decoder of two layers, and what it reads."""
    attention = {
        "additive": lambda: tfattn.Attention(tfattn.Additive(U, 7, 3, name="score")),
        "scaled-dot": tfattn.Attention,
    }.get(kind, lambda: None)()
    width, both = (0 if kind is None else 7), 3 if kind == "scaled-dot" else None
    layer = tfattn.RecurrentDecoder(D, U, 2, cell, width, attention, both, maxout, dropout)
    drawn(layer, rng)
    states = rng.normal(size=(4 if cell == "lstm" else 2, 3, U)).astype("float32")
    memory = rng.normal(size=(3, S, 7)).astype("float32")
    return layer, tuple(states), memory


def ready(rng, *options, **more):
    """Return a decoder, its states, and what it remembers of a source."""
    layer, states, memory = decoder(rng, *options, **more)
    return layer, states, layer.remember(memory, THERE, memory[:, -1])


KINDS = [
    (cell, kind, maxout)
    for cell in KERAS
    for kind in ("additive", "scaled-dot", "repeated", None)
    for maxout in (True, False)
]


@pytest.mark.parametrize(("cell", "kind", "maxout"), KINDS)
def test_steps_one_by_one_are_the_whole(cell, kind, maxout, rng, close):
    layer, states, memory = ready(rng, cell, kind, maxout)
    x = source(rng)
    whole, ends = layer(x, states, memory, THERE)
    assert whole.shape == (3, S, U // 2 if maxout else U)
    for column in range(S):
        here = slice(column, column + 1)
        made, states = layer(x[:, here], states, memory, THERE[:, here])
        close(made, whole[:, here])
    for state, end in zip(states, ends, strict=True):
        close(state, end)


def test_states_stay_where_the_target_is_padding(rng, close, array):
    layer, states, memory = ready(rng, "lstm")
    x = source(rng)
    there = np.array([[1] * S, [1, 1, 0, 0, 0, 0], [0] * S])
    _, ends = layer(x, states, memory, there)
    _, early = layer(x[:, :2], states, memory)
    for first, state, end in zip(states, early, ends, strict=True):
        close(end[1], state[1])
        np.testing.assert_array_equal(array(end)[2], array(first)[2])


def test_attention_weights_are_of_the_tokens_alone(rng, array, close):
    for kind in ("additive", "scaled-dot"):
        layer, states, memory = ready(rng, kind=kind)
        x = source(rng)
        made, _, weights = layer(x, states, memory, return_weights=True)
        close(made, layer(x, states, memory)[0])
        weights = array(weights)
        assert weights.shape == (3, 1, S, S)
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
        np.testing.assert_array_equal(weights[:, 0] != 0, np.repeat(THERE[:, None], S, 1) != 0)


def test_what_a_padded_source_holds_is_not_read(rng, close):
    layer, states, (memory, keys, segments) = ready(rng)
    x, hole = source(rng), (THERE == 0)[..., None]
    other = ops.where(hole, 9.0, memory), ops.where(hole[..., None], 9.0, keys), segments
    close(layer(x, states, other)[0], layer(x, states, (memory, keys, segments))[0])


def test_dropout_acts_in_training_between_layers_and_on_the_output(rng, array, close):
    layer, states, memory = ready(rng, maxout=False, dropout=0.5)
    same, _, _ = ready(np.random.default_rng(7), maxout=False)
    same.set_weights(layer.get_weights())
    x = source(rng)
    close(layer(x, states, memory)[0], same(x, states, memory)[0])
    plain, ends = (array(y) for y in (layer(x, states, memory)[0], layer(x, states, memory)[1][0]))
    noisy, moved = layer(x, states, memory, training=True)
    assert 0.2 < (array(noisy) == 0).mean() < 0.8
    assert not np.allclose(array(noisy), plain) and not np.allclose(array(moved[1]), ends)
    encoder = drawn(tfattn.RecurrentEncoder(D, U, 2, dropout=0.5), rng)
    quiet, (first, second) = encoder(x)
    loud, (unmoved, other) = encoder(x, training=True)
    close(unmoved, first)  # the input of the first layer is whole
    assert not np.allclose(array(loud), array(quiet), atol=1e-3)
    assert not np.allclose(array(other), array(second), atol=1e-3)


class Whole(keras.layers.Layer):
    """A decoder that reads a memory as it is."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def build(self, *shapes):
        self.built = True

    def call(self, x, states, memory):
        ready = self.decoder.remember(memory, THERE, memory[:, -1])
        return ops.sum(self.decoder(x, states, ready, THERE)[0] ** 2)


def gradients(layer, states, memory, x):
    """Return those of the sum of squares of the output, by each weight, the input, the memory."""
    whole, given = Whole(layer), (x, memory)
    whole.build()
    if keras.backend.backend() == "jax":
        import jax

        def of(values, x, memory):
            seeds = [v.value for v in whole.non_trainable_variables]  # of Keras' cells, not read
            return whole.stateless_call(values, seeds, x, states, memory)[0]

        first, *rest = jax.grad(of, (0, 1, 2))([v.value for v in layer.weights], *given)
        return [*first, *rest]
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(given)
        result = whole(x, states, memory)
    return tape.gradient(result, [*(v.value for v in layer.weights), *given])


@pytest.mark.parametrize("kind", ["additive", "scaled-dot", "repeated"])
@pytest.mark.parametrize("how", ["graph", "jit", "fused"])
def test_compiled_it_has_the_same_gradient(how, kind, rng, compiled, close, array):
    if keras.backend.backend() == "jax" and how != "jit":
        pytest.skip("JAX has but one way")
    layer, states, memory = decoder(rng, "lstm" if kind == "scaled-dot" else "gru", kind)
    given = source(rng), ops.convert_to_tensor(memory)
    expected = gradients(layer, states, given[1], given[0])
    fast = compiled(lambda x, memory: gradients(layer, states, memory, x), how == "jit")
    with ways.using(fused=how == "fused"):
        found = fast(*given)
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(array(theirs)).max() > 1e-3
        close(ours, theirs)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "bfloat16"])
def test_bfloat16_stays_close(dtype, rng, array):
    x = array(source(rng))
    layer, states, memory = ready(rng)
    config = {**layer.get_config(), "dtype": dtype}
    config["attention"]["config"]["dtype"] = dtype
    low = tfattn.RecurrentDecoder.from_config(config)
    low.build()
    low.set_weights(layer.get_weights())
    made, ends = low(x, states, memory, THERE)
    assert keras.backend.standardize_dtype(made.dtype) == "bfloat16"
    expected = array(layer(x, states, memory, THERE)[0])
    assert np.abs(array(made) - expected).max() < 0.05 * np.abs(expected).max()
    assert all(keras.backend.standardize_dtype(end.dtype) == "bfloat16" for end in ends)


def test_an_encoder_serves_in_the_users_own_model(rng, close, tmp_path):
    x = keras.Input((None, D))
    model = keras.Model(x, tfattn.RecurrentEncoder(D, U, 2, "lstm", BOTH)(x)[0])
    values = rng.normal(size=(2, 7, D)).astype("float32")
    expected = model.predict(values, verbose=0)
    assert expected.shape == (2, 7, 2 * U)
    model.save(tmp_path / "model.keras")
    close(keras.models.load_model(tmp_path / "model.keras").predict(values, verbose=0), expected)

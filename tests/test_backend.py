import keras
import numpy as np
import pytest
from keras import ops

import tfattn
from tfattn import backend
from tfattn.blocks.norm import layer_norm
from tfattn.mechanisms.attention import masked_softmax

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="islands are for TensorFlow"
)


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def pick(x, index, offset):
    """Read an integer argument and one that may be None."""
    picked = ops.take(x, index, axis=0)
    return picked if offset is None else picked * ops.tanh(offset)


ALLOWED = np.array([True, False, True, True])
CASES = {
    "residual and norm, a number among tensors": (
        layer_norm,
        (normal(2, 3, 4), 2 * normal(2, 3, 4), normal(4), normal(4), 1e-6),
    ),
    "norm, None": (layer_norm, (normal(2, 3, 4), None, normal(4), normal(4), 1e-6)),
    "masked softmax, a boolean": (masked_softmax, (normal(2, 3, 4), ALLOWED)),
    "softmax, None": (masked_softmax, (normal(2, 3, 4), None)),
    "activation": (keras.activations.gelu, (normal(2, 5),)),
    "integers, None": (pick, (normal(4, 3), np.array([1, 1, 3]), None)),
    "integers, a tensor behind them": (pick, (normal(4, 3), np.array([1, 1, 3]), normal(3, 3))),
}


def forward_and_gradients(fn, arguments):
    import tensorflow as tf

    arguments = [tf.convert_to_tensor(a) if isinstance(a, np.ndarray) else a for a in arguments]
    floats = [a for a in arguments if tf.is_tensor(a) and a.dtype.is_floating]
    with tf.GradientTape() as tape:
        tape.watch(floats)
        result = fn(*arguments)
        loss = tf.reduce_sum(result * tf.cos(tf.range(tf.size(result), dtype=result.dtype)[0]))
        loss = loss + tf.reduce_sum(
            result**2
            * tf.reshape(tf.sin(tf.range(tf.size(result), dtype=result.dtype)), tf.shape(result))
        )
    return [result, *tape.gradient(loss, floats)]


@on_tensorflow
@pytest.mark.parametrize("outer", ["eager", "graph", "xla"])
@pytest.mark.parametrize("case", CASES)
def test_an_island_is_the_plain_function_forward_and_backward(case, outer, close):
    import tensorflow as tf

    fn, arguments = CASES[case]
    island = backend.island(fn)

    def fused():
        with backend.fusing():
            return forward_and_gradients(island, arguments)

    run = fused if outer == "eager" else tf.function(fused, jit_compile=outer == "xla")
    expected = forward_and_gradients(fn, arguments)
    found = run()
    assert len(found) == len(expected) > 1
    for ours, plain in zip(found, expected, strict=True):
        close(ours, plain)


@on_tensorflow
def test_islands_are_compiled_only_inside_fusing():
    import tensorflow as tf

    island = backend.island(keras.activations.gelu)

    def operations(enabled):
        with backend.fusing(enabled):
            traced = tf.function(lambda x: island(x)).get_concrete_function(tf.TensorSpec((2,)))
        return {operation.type for operation in traced.graph.get_operations()}

    assert not {"PartitionedCall", "StatefulPartitionedCall"} & operations(False)
    assert {"PartitionedCall", "StatefulPartitionedCall"} & operations(True)


@on_tensorflow
def test_a_model_learns_the_same_with_and_without_islands(close, rng):
    import tensorflow as tf

    config = tfattn.TransformerConfig(
        dim=8, depth=1, hidden_dim=16, vocab_size=20, dropout=0.0, attention_dropout=0.0
    )
    model = tfattn.build(config, tfattn.Tokens())
    model.set_weights([rng.normal(size=v.shape).astype("float32") for v in model.weights])
    tokens = tf.constant(rng.integers(0, 20, size=(2, 6)))  # some are padding

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(tokens, training=True) ** 2)
        found = tape.gradient(loss, [v.value for v in model.trainable_variables])
        return [tf.convert_to_tensor(g) / (1 + tf.reduce_max(tf.abs(g))) for g in found]

    plain = gradients()
    gradients = tf.function(gradients.python_function)
    with backend.fusing():
        fused = gradients()
    for ours, expected in zip(fused, plain, strict=True):
        close(ours, expected)


def test_fusing_ends_with_its_block_and_nests():
    assert not backend._fusing.get()
    with pytest.raises(KeyError), backend.fusing():
        with backend.fusing(False):
            assert not backend._fusing.get()
        assert backend._fusing.get()
        raise KeyError
    assert not backend._fusing.get()


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow has islands")
def test_on_other_backends_an_island_is_the_function_itself():
    assert backend.island(layer_norm) is layer_norm


def derivative(fn):
    """Return the gradient of `fn`, to be compiled as a whole."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(fn)
    import tensorflow as tf

    def of(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            result = fn(x)
        return tape.gradient(result, x)

    return of


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("jit", [None, False, True], ids=["eager", "graph", "jit"])
def test_a_scan_and_its_gradient_are_those_of_a_loop(jit, reverse, compiled, close):
    x, w = (ops.convert_to_tensor(normal(*shape)) for shape in ((5, 3, 4), (4, 4)))

    def step(carried, now):
        h = ops.tanh(ops.matmul(carried[0], w) + now[0])
        return (h, carried[1] + now[1]), (h, h[:, :2])

    def scanned(x):
        start = (ops.zeros((3, 4)), ops.zeros((), "int32"))
        return backend.scan(step, start, (x, ops.arange(5)), 2, reverse)

    def looped(x):
        carried, made = (ops.zeros((3, 4)), ops.zeros((), "int32")), {}
        for i in reversed(range(5)) if reverse else range(5):
            carried, made[i] = step(carried, (x[i], i))
        return carried, [ops.stack([made[i][j] for i in range(5)]) for j in range(2)]

    def loss(run):
        def of(x):
            (end, _), (all_, some) = run(x)
            return ops.sum(end**2) + ops.sum(all_**3) + ops.sum(ops.sin(some))

        return of

    def numbers(run):
        def of(x):
            every = [y for tensors in run(x) for y in tensors]
            return ops.concatenate([ops.ravel(ops.cast(y, "float32")) for y in every])

        return of

    fast = (lambda fn: fn) if jit is None else lambda fn: compiled(fn, jit)
    close(fast(numbers(scanned))(x), numbers(looped)(x))
    close(fast(derivative(loss(scanned)))(x), derivative(loss(looped))(x))

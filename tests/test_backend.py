import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import tfattn
from tfattn import backend, ways
from tfattn.blocks.norm import layer_norm, rms_norm
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
    "norm, no beta": (layer_norm, (normal(2, 3, 4), None, normal(4), None, 1e-6)),
    "norm of long rows": (layer_norm, (normal(2, 1500), None, normal(1500), normal(1500), 1e-6)),
    "root-mean-square norm": (rms_norm, (normal(2, 3, 4), 2 * normal(2, 3, 4), normal(4), 1e-6)),
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
        with ways.using(fused=True):
            return forward_and_gradients(island, arguments)

    run = fused if outer == "eager" else tf.function(fused, jit_compile=outer == "xla")
    expected = forward_and_gradients(fn, arguments)
    found = run()
    assert len(found) == len(expected) > 1
    for ours, plain in zip(found, expected, strict=True):
        close(ours, plain)


@on_tensorflow
def test_islands_are_compiled_only_where_a_step_is_fused():
    import tensorflow as tf

    island = backend.island(keras.activations.gelu)

    def operations(enabled):
        with ways.using(fused=enabled):
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
    with ways.using(fused=True):
        fused = gradients()
    for ours, expected in zip(fused, plain, strict=True):
        close(ours, expected)


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
        return backend.scan(step, start, (x, ops.arange(5)), [x.dtype] * 2, reverse)

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


def pooled(index, parts, own, whole, known=None):
    """A block of an attention: parts are queries and numbers to add, or None."""
    (q, more), (k, v), (factor,) = parts, own, whole
    scores = ops.einsum("bte,bse->bts", q, k) * factor + ops.cast(index, q.dtype)
    if more is not None:
        scores = scores * ops.cast(more, q.dtype)[..., None]
    made = ops.einsum("bts,bse->bte", ops.tanh(scores), v)
    if known is not None:  # 0 or nearly, and NaN if it is not what was kept
        made = made + ops.sqrt(-ops.sum(ops.abs(known[1] - ops.sum(scores, axis=-1))) + 1e-3) * 0
    return made, [ops.sum(scores, axis=-1)]


def at_once(q, k, v, more, factor, size, by_row):
    """What map_chunks gives of `pooled`, without a loop."""
    made, begins = [], range(0, q.shape[1], size)
    for row in range(q.shape[0]) if by_row else [slice(None)]:
        of = (lambda x, row=row: x[row : row + 1]) if by_row else lambda x: x
        blocks = []
        for i, begin in enumerate(begins):
            index = i + row * len(begins) if by_row else i
            some = [x if x is None else of(x)[:, begin : begin + size] for x in (q, more)]
            blocks.append(pooled(index, some, (of(k), of(v)), (factor,))[0])
        made.append(ops.concatenate(blocks, axis=1))
    return ops.concatenate(made, axis=0)


@pytest.mark.parametrize("jit", [None, False, True], ids=["eager", "graph", "jit"])
@pytest.mark.parametrize(
    ("size", "more", "by_row", "together"),
    [
        (3, None, False, 1),
        (4, np.arange(7)[None], False, 2),
        (7, None, False, 1),
        (9, None, True, 1),
        (3, None, True, 2),
        (4, np.arange(14).reshape(2, 7), True, 2),
    ],
)
def test_blocks_and_their_gradients_are_those_of_all_at_once(
    jit, size, more, by_row, together, compiled, close
):
    by_row = by_row and backend.can_split_rows()
    k, v = (ops.convert_to_tensor(normal(2, 5, 4) * f) for f in (1.0, -0.7))
    q, factor = ops.convert_to_tensor(normal(2, 7, 4)), ops.convert_to_tensor(np.float32(0.5))
    fast = (lambda fn: fn) if jit is None else lambda fn: compiled(fn, jit)
    rows = []

    def places(count):
        rows.append(count)
        return size

    def blocked(q, k, v, factor):
        how = {"saved_types": ("float32",), "row_independent": by_row, "parallel": together}
        return backend.map_chunks(pooled, (q, more), (k, v), (factor,), places, **how)

    def plain(q, k, v, factor):
        return at_once(q, k, v, more, factor, size, by_row)

    given = [q, k, v, factor]
    close(fast(blocked)(*given), plain(*given))
    for place in range(4):

        def loss(run, place=place):
            return lambda x: ops.sum(ops.sin(run(*given[:place], x, *given[place + 1 :])))

        found = fast(derivative(loss(blocked)))(given[place])
        close(found, derivative(loss(plain))(given[place]))
    together = together if keras.backend.backend() == "tensorflow" else 1
    assert set(rows) == {together * (1 if by_row else 2)}


@on_tensorflow
def test_blocks_by_row_are_of_tensors_with_all_rows():
    q, k = normal(2, 7, 4), normal(1, 5, 4)
    with pytest.raises(ValueError, match="one batch size. Received: batches of {1, 2}"):
        backend.map_chunks(pooled, (q, None), (k, k), (0.5,), lambda rows: 3, row_independent=True)


@on_tensorflow
def test_blocks_sum_gradients_in_no_smaller_a_type_than_theirs():
    q, k, v = (ops.convert_to_tensor(normal(1, 9, 4) * f, "float64") for f in (1.0, 0.3, -0.7))

    def blocked(k):
        return backend.map_chunks(pooled, (q, None), (k, v), (0.5,), lambda rows: 3, ("float64",))

    def plain(k):
        return at_once(q, k, v, None, 0.5, 3, False)

    runs = (derivative(lambda k, run=run: ops.sum(ops.sin(run(k)))) for run in (blocked, plain))
    found, expected = (ops.convert_to_numpy(run(k)) for run in runs)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("jit", [None, False, True], ids=["eager", "graph", "jit"])
def test_what_is_recomputed_has_the_same_gradient(jit, compiled, close):
    x, w, count = ops.convert_to_tensor(normal(3, 4)), normal(4, 4), np.array([1, 2])

    def step(x, w, count, none, factor):
        y = ops.tanh(ops.matmul(x, w)) * factor
        return [y if none is None else none, count + 1]

    def of(x, run):
        y, more = run(x, w, count, None, 0.5)
        return ops.sum(y**2) * ops.cast(more[0], y.dtype)

    fast = (lambda fn: fn) if jit is None else lambda fn: compiled(fn, jit)
    found = fast(derivative(lambda x: of(x, backend.recomputed(step))))(x)
    close(found, derivative(lambda x: of(x, step))(x))


@on_tensorflow
@pytest.mark.parametrize("outer", ["eager", "graph"])
def test_one_after_the_other_is_the_same(outer, close):
    import tensorflow as tf

    def run(x, y):
        with tf.GradientTape() as tape:
            tape.watch([x, y])
            z = backend.control_dependency(tf.sin(x), tf.cos(y)) * tf.cos(y)
        return [z, *tape.gradient(z, [x, y])]

    x, y = (tf.constant(normal(3) * f) for f in (1.0, 0.5))
    found = (tf.function(run, autograph=False) if outer == "graph" else run)(x, y)
    expected = (tf.sin(x) * tf.cos(y), tf.cos(x) * tf.cos(y), -tf.sin(x) * tf.sin(y))
    for ours, theirs in zip(found, expected, strict=True):
        close(ours, theirs)


@on_tensorflow
def test_where_islands_are_compiled_sums_are_products(close):
    x = normal(3, 5, 7)
    for fused in (False, True):
        with ways.using(fused=fused):
            close(backend.row_sums(ops.convert_to_tensor(x)), x.sum(-1, keepdims=True))
            close(backend.column_sums(ops.convert_to_tensor(x)), x.sum((0, 1)))
            many = ops.ones((70_000, 2), "float16")  # of which 65,504 is the largest
            assert np.isposinf(ops.convert_to_numpy(backend.column_sums(many))).all()
            close(backend.column_sums(many * 0.5), [35_000, 35_000], "float16")


SOFTMAX = """
import sys
import tensorflow as tf
from tfattn import backend, ways

def softmax(x):
    powers = tf.exp(x - tf.reduce_max(x, axis=-1, keepdims=True))
    return powers / tf.matmul(powers, tf.ones((64, 1)))

if sys.argv[1] == "island":
    with ways.using(fused=True):
        backend.compiled(softmax)(tf.ones((512, 64)))
made = tf.function(softmax, jit_compile=True)
text = made.experimental_get_compiler_ir(tf.ones((512, 64)))(stage="optimized_hlo")
print("ynn" in text, "dot" in text)
"""


@on_tensorflow
@pytest.mark.parametrize("kind", ["plain", "island"])
def test_islands_are_compiled_without_what_two_threads_must_not_run(kind):
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {
        "PYTHONPATH": str(Path(__file__).parents[1])
    }
    words = [sys.executable, "-c", SOFTMAX, kind]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(kind == "plain"), "True"]


@on_tensorflow
def test_a_rank_that_tensorflow_does_not_know_is_set():
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec(None)], autograph=False)
    def rank(x):
        return tf.constant(backend.with_rank(x, 4).shape.rank)

    assert int(rank(tf.zeros((1, 2, 3, 4)))) == 4

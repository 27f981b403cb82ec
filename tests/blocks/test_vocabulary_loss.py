"""The loss in chunks against a few lines of numpy, and that no tensor is as large as all logits."""

import keras
import numpy as np
import pytest
from keras import ops

from tfattn import ways
from tfattn.blocks.heads import TokensHead
from tfattn.blocks.vocabulary_loss import vocabulary_loss

ROWS, DIM, VOCABULARY = 37, 8, 50
CHUNKS = {"one": 10**6, "several": 10 * VOCABULARY, "a row each": 1}


@pytest.fixture
def given(rng):
    hidden, matrix, bias = (
        rng.normal(size=shape).astype("float32")
        for shape in ((ROWS, DIM), (VOCABULARY, DIM), (VOCABULARY,))
    )
    targets = rng.integers(0, VOCABULARY, ROWS).astype("int32")
    targets[::3] = (hidden @ matrix.T + bias)[::3].argmax(1)
    weights = (rng.random(ROWS) * (rng.random(ROWS) > 0.3)).astype("float32")
    return hidden, matrix, bias, targets, weights


def reference(hidden, matrix, bias, targets, weights, smoothing=0.0):
    """Return loss, hits and the gradients of the loss, in float64."""
    h, e = hidden.astype("float64"), matrix.astype("float64")
    z = h @ e.T + (0 if bias is None else bias)
    shares = np.exp(z - z.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    rows = np.arange(len(targets))
    wanted = np.full(shares.shape, smoothing / VOCABULARY)
    wanted[rows, targets] += 1 - smoothing
    loss = -(weights[:, None] * wanted * np.log(shares)).sum()
    hits = (weights * (z.argmax(1) == targets)).sum()
    dz = (shares - wanted) * weights[:, None]
    return loss, hits, (dz @ e, dz.T @ h, dz.sum(0))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("at_once", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("training", [True, False])
def test_loss_and_hits_are_those_of_all_logits(given, at_once, training, smoothing, close):
    loss, hits, _ = reference(*given, smoothing)
    found = vocabulary_loss(*given, training=training, at_once=at_once, smoothing=smoothing)
    close(found[0], loss)
    close(found[1], hits)
    assert hits > 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("at_once", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("of", [0, 1, 2], ids=["hidden", "matrix", "bias"])
def test_gradients_are_those_of_all_logits(given, at_once, of, smoothing, close, gradient):
    def loss(x):
        each = [ops.convert_to_tensor(a) for a in given]
        each[of] = x
        options = {"training": True, "at_once": at_once, "smoothing": smoothing}
        return 3.0 * vocabulary_loss(*each, **options)[0]

    close(gradient(loss, given[of]), 3 * reference(*given, smoothing)[2][of])


def test_without_a_bias(given, close, gradient):
    hidden, matrix, _, *rest = given
    wanted = reference(hidden, matrix, None, *rest)
    close(vocabulary_loss(hidden, matrix, None, *rest, training=True)[0], wanted[0])
    found = gradient(lambda x: vocabulary_loss(x, matrix, None, *rest, training=True)[0], hidden)
    close(found, wanted[2][0])


@pytest.mark.parametrize("jit", [False, True])
def test_compiled_it_gives_the_same(given, jit, compiled, close):
    def both(*tensors):
        with ways.using(fused=not jit):
            return vocabulary_loss(*tensors, training=True, at_once=10 * VOCABULARY)

    found = compiled(both, jit)(*map(ops.convert_to_tensor, given))
    close(found[0], reference(*given)[0])
    close(found[1], reference(*given)[1])


def test_where_islands_are_compiled_gradients_are_the_same(given, close, gradient):
    wanted = reference(*given, smoothing=0.1)[2]
    with ways.using(fused=True):
        for place, expected in enumerate(wanted):

            def loss(x, place=place):
                tensors = [*given[:place], x, *given[place + 1 :]]
                return vocabulary_loss(*tensors, training=True, smoothing=0.1)[0]

            close(gradient(loss, given[place]), expected)


def test_a_target_without_weight_may_be_any_number(given, close):
    hidden, matrix, bias, targets, weights = given
    weights, other = weights.copy(), targets.copy()
    weights[0], other[0] = 0, 10 * VOCABULARY
    with ways.using(fused=True):
        found = vocabulary_loss(hidden, matrix, bias, other, weights, training=True)
    close(found[0], reference(hidden, matrix, bias, targets, weights)[0])


def test_large_logits_lose_no_digits_of_the_gradient(given, close, gradient):
    hidden, matrix, bias, *rest = given
    wanted = reference(*given)[2][0]
    for fused in (False, True):
        with ways.using(fused=fused):
            found = gradient(
                lambda x: vocabulary_loss(x, matrix, bias + 1024, *rest, training=True)[0], hidden
            )
        np.testing.assert_allclose(found, wanted, atol=3e-4)  # of 1,024 the last digit is 6e-5


def test_of_equal_logits_the_first_is_the_guess():
    hidden, matrix = ops.zeros((3, DIM)), ops.ones((VOCABULARY, DIM))
    _, hits = vocabulary_loss(hidden, matrix, None, np.array([0, 1, 49]), np.ones(3, "float32"))
    assert float(hits) == 1


def test_large_logits_give_a_finite_loss(close):
    hidden = np.array([[1e4], [-1e4]], "float32")
    matrix = np.array([[1.0], [-1.0]], "float32")
    loss, hits = vocabulary_loss(hidden, matrix, None, np.array([0, 0]), np.ones(2, "float32"))
    close(loss, 2e4)
    assert float(hits) == 1


def test_the_sum_of_half_precision_is_taken_in_float32(given, close):
    hidden, matrix, bias, targets, weights = given
    low = ops.cast(hidden, "bfloat16")
    loss, _ = vocabulary_loss(low, matrix, bias, targets, weights)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    close(loss, reference(*given)[0], "bfloat16")


def test_the_head_gives_sums_at_the_asked_columns(rng, close):
    head = TokensHead(VOCABULARY, DIM)
    head.build()
    head.set_weights([rng.normal(size=v.shape) for v in head.weights])
    hidden = rng.normal(size=(3, 6, DIM)).astype("float32")
    matrix = rng.normal(size=(VOCABULARY, DIM)).astype("float32")
    columns = rng.integers(0, 6, (3, 2)).astype("int32")
    targets, weights = rng.integers(0, VOCABULARY, (3, 2)), rng.random((3, 2)).astype("float32")
    logits = np.asarray(ops.convert_to_numpy(head(hidden, matrix, columns))).astype("float64")
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    own = np.take_along_axis(shares, targets[..., None], axis=-1)[..., 0]
    loss, hits = head(hidden, matrix, columns, (targets, weights), training=False)
    close(loss, -(weights * np.log(own)).sum())
    close(hits, (weights * (logits.argmax(-1) == targets)).sum())


def test_the_head_smooths_in_training_alone(given, close):
    hidden, matrix, bias, targets, weights = given
    head = TokensHead(VOCABULARY, DIM, transform=False, smoothing=0.1)
    head.build()
    head.set_weights([bias])
    asked = (targets[None], weights[None])
    for training, smoothing in ((True, 0.1), (False, 0.0), (None, 0.0)):
        loss, hits = head(hidden[None], matrix, targets=asked, training=training)
        close(loss, reference(*given, smoothing)[0])
        close(hits, reference(*given)[1])
    assert TokensHead.from_config(head.get_config()).smoothing == 0.1


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="looks into a graph")
def test_no_tensor_is_as_large_as_all_logits():
    import tensorflow as tf

    rows, at_once = 96, 8 * VOCABULARY
    hidden = tf.Variable(tf.zeros((rows, DIM)))
    matrix = tf.Variable(tf.zeros((VOCABULARY, DIM)))
    targets, weights = tf.zeros(rows, tf.int32), tf.ones(rows)

    def step(at_once):
        @tf.function(autograph=False)
        def fn():
            with tf.GradientTape() as tape:
                given = (hidden.value(), matrix.value(), None, targets, weights)
                loss, _ = vocabulary_loss(*given, training=True, at_once=at_once)
            return tape.gradient(loss, [hidden, matrix])

        return fn.get_concrete_function().graph

    def largest(graph):
        graphs = [graph, *(held.graph for held in graph._functions.values())]
        tensors = [t for g in graphs for op in g.get_operations() for t in op.outputs]
        return max(t.shape.num_elements() or 0 for t in tensors if t.shape.rank is not None)

    assert largest(step(at_once)) < rows * VOCABULARY <= largest(step(10**6))

import keras
import numpy as np
import pytest
from keras import ops

from tfattn.mechanisms.masks import Causal, Everything, Window
from tfattn.mechanisms.multihead import MultiHeadAttention
from tfattn.mechanisms.positions import Position


def reference(weights, x, memory, allowed, rotate=lambda head: head, bias=0.0):
    """One head after the other, in two dimensions; `allowed` is (b, t, s)."""
    wq, bq, wk, bk, wv, bv, wo, bo = weights
    out = np.zeros(x.shape) + bo
    for b in range(len(x)):
        for h in range(wq.shape[1]):
            q = rotate(x[b] @ wq[:, h] + bq[h])
            k = rotate(memory[b] @ wk[:, h] + bk[h])
            v = memory[b] @ wv[:, h] + bv[h]
            score = np.where(allowed[b], q @ k.T / np.sqrt(q.shape[-1]) + bias, -np.inf)
            weights = np.exp(score - score.max(axis=-1, keepdims=True))
            out[b] += weights / weights.sum(axis=-1, keepdims=True) @ v @ wo[h]
    return out


def layer_and_weights(rng, dim=12, heads=3, **kwargs):
    layer = MultiHeadAttention(dim, heads, **kwargs)
    layer.build()
    drawn = [0.5 * rng.normal(size=v.shape).astype("float32") for v in layer.weights]
    layer.set_weights(drawn)
    e = dim // heads
    cut = [(dim, heads, e), (heads, e)] * 3 + [(heads, e, dim), (dim,)]  # by head, as Keras does
    return layer, [w.reshape(shape) for w, shape in zip(drawn, cut, strict=False)]


class Turned(Position):
    """Rotary pairs and a distance penalty, both linear in the position."""

    def rotate(self, x, positions):
        half = x.shape[-1] // 2
        angle = ops.cast(positions, x.dtype)[:, :, None, None]  # (b, t, 1, 1)
        sin, cos, a, b = ops.sin(angle), ops.cos(angle), x[..., :half], x[..., half:]
        return ops.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)

    def bias(self, positions, key_positions):
        far = positions[:, None, :, None] - key_positions[:, None, None, :]
        return -0.3 * ops.cast(ops.abs(far), "float32")  # (b, 1, t, s)


@keras.saving.register_keras_serializable("tests")
class Trained(Position):
    """A position with a weight of its own."""

    def build(self, *shapes):
        self.slope = self.add_weight(name="slope", shape=(), initializer="ones")
        self.built = True

    def bias(self, positions, key_positions):
        far = positions[:, None, :, None] - key_positions[:, None, None, :]
        return self.slope * ops.cast(far, "float32")


def test_self_attention_equals_the_reference(rng, close):
    layer, weights = layer_and_weights(rng)
    x = rng.normal(size=(2, 5, 12)).astype("float32")
    close(layer(x), reference(weights, x, x, np.ones((2, 5, 5), bool)))


def test_self_attention_with_a_mask_and_padding(rng, close):
    layer, weights = layer_and_weights(rng, mask=Causal() & Window(2, 0))
    x = rng.normal(size=(2, 5, 12)).astype("float32")
    segments = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    band = np.tril(np.ones((5, 5), bool)) & ~np.tril(np.ones((5, 5), bool), -3)
    out = layer(x, segments=segments)
    close(out[0], reference(weights, x[:1], x[:1], band[None])[0])
    close(out[1, :3], reference(weights, x[1:, :3], x[1:, :3], band[None, :3, :3])[0])
    close(out[1, 3:], np.tile(weights[-1], (2, 1)))  # nothing pooled: the output's bias alone


def test_cross_attention_equals_the_reference(rng, close):
    layer, weights = layer_and_weights(rng)
    x = rng.normal(size=(2, 3, 12)).astype("float32")
    memory = rng.normal(size=(2, 5, 12)).astype("float32")
    close(layer(x, memory), reference(weights, x, memory, np.ones((2, 3, 5), bool)))
    memory_segments = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    allowed = np.broadcast_to(memory_segments[:, None] != 0, (2, 3, 5))
    close(
        layer(x, memory, memory_segments=memory_segments),
        reference(weights, x, memory, allowed),
    )


@pytest.mark.parametrize("kv_heads", [None, 1])
def test_a_memory_may_be_remembered(rng, close, kv_heads):
    layer = MultiHeadAttention(12, 3, kv_heads=kv_heads)
    x = rng.normal(size=(2, 3, 12)).astype("float32")
    memory = rng.normal(size=(2, 5, 12)).astype("float32")
    segments = {"memory_segments": np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])}
    expected = layer(x, memory, **segments)
    close(layer(x, remembered=layer.remember(memory), **segments), expected)


def test_cross_attention_asks_within_its_own_segment(rng, close):
    layer, weights = layer_and_weights(rng)
    x = rng.normal(size=(1, 4, 12)).astype("float32")
    memory = rng.normal(size=(1, 5, 12)).astype("float32")
    segments, memory_segments = np.array([[1, 1, 2, 2]]), np.array([[1, 1, 2, 2, 2]])
    out = layer(x, memory, segments=segments, memory_segments=memory_segments)
    every = np.ones((1, 2, 3), bool)
    close(out[:, :2], reference(weights, x[:, :2], memory[:, :2], every[:, :, :2]))
    close(out[:, 2:], reference(weights, x[:, 2:], memory[:, 2:], every))


@pytest.mark.parametrize("mask", [Everything(), Causal()])
def test_it_equals_the_layer_of_keras(rng, array, close, mask):
    layer, weights = layer_and_weights(rng, mask=mask)
    theirs = keras.layers.MultiHeadAttention(num_heads=3, key_dim=4)
    x = rng.normal(size=(2, 5, 12)).astype("float32")
    segments = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    allowed = np.broadcast_to(segments[:, None] != 0, (2, 5, 5))
    options = {"attention_mask": allowed, "use_causal_mask": mask == Causal()}
    theirs.build(x.shape, x.shape)
    theirs.set_weights(weights)
    expected, scores = theirs(x, x, return_attention_scores=True, **options)
    ours, found = layer(x, segments=segments, return_weights=True)
    there = segments != 0  # they do not silence the queries of padding
    close(array(ours)[there], array(expected)[there])
    close(found[0], scores[0])


def test_cross_attention_equals_the_layer_of_keras(rng, close):
    layer, weights = layer_and_weights(rng)
    theirs = keras.layers.MultiHeadAttention(num_heads=3, key_dim=4)
    x = rng.normal(size=(2, 3, 12)).astype("float32")
    memory = rng.normal(size=(2, 5, 12)).astype("float32")
    theirs.build(x.shape, memory.shape)
    theirs.set_weights(weights)
    close(layer(x, memory), theirs(x, memory))


def test_a_position_rotates_and_biases(rng, close):
    layer, weights = layer_and_weights(rng, position=Turned())
    x = rng.normal(size=(2, 5, 12)).astype("float32")
    p = np.arange(5)

    def rotate(head):  # (t, e), as complex numbers
        turned = (head[:, :2] + 1j * head[:, 2:]) * np.exp(1j * p)[:, None]
        return np.concatenate([turned.real, turned.imag], axis=-1)

    bias = -0.3 * np.abs(p[:, None] - p[None])
    close(layer(x), reference(weights, x, x, np.ones((2, 5, 5), bool), rotate, bias))


def test_default_positions_count_from_zero_and_only_distance_matters(rng, close):
    layer, _ = layer_and_weights(rng, position=Turned())
    x = rng.normal(size=(2, 5, 12)).astype("float32")
    positions = np.tile(np.arange(5), (2, 1))
    close(layer(x), layer(x, positions=positions))
    close(layer(x), layer(x, positions=positions + 9))
    assert not np.allclose(layer(x), layer(x, positions=2 * positions), atol=1e-3)


def test_a_position_biases_by_the_places_of_what_is_cached(rng, array, close):
    layer, _ = layer_and_weights(rng, mask=Causal(), position=Turned())
    x = rng.normal(size=(2, 5, 12)).astype("float32")
    positions = np.array([[3, 4, 5, 6, 7], [0, 1, 2, 3, 4]], "int32")
    segments = np.ones((2, 5), "int32")
    whole = layer(x, positions=positions, segments=segments)
    kept = [np.zeros((6, 5, 4), "float32")] * 2
    for column, end in ((0, 2), (2, 3), (3, 5)):
        there = np.where(np.arange(5) < end, segments, 0)
        held = (np.int32(column), positions, positions, there, *kept)
        some = slice(column, end)
        given = {"positions": positions[:, some], "segments": segments[:, some]}
        y, kept = layer(x[:, some], **given, cache=tuple(map(ops.convert_to_tensor, held)))
        close(y, array(whole)[:, some])


def test_a_position_does_not_touch_cross_attention(rng, close):
    layer, weights = layer_and_weights(rng, position=Turned())
    x = rng.normal(size=(2, 3, 12)).astype("float32")
    memory = rng.normal(size=(2, 5, 12)).astype("float32")
    close(layer(x, memory), reference(weights, x, memory, np.ones((2, 3, 5), bool)))


def test_the_weights_of_a_position_are_created_and_trained():
    layer = MultiHeadAttention(12, 3, position=Trained(name="position"))
    layer.build()
    assert f"{layer.name}/position/slope" in [v.path for v in layer.trainable_variables]
    again = MultiHeadAttention.from_config(layer.get_config())
    again.build()
    assert len(again.weights) == len(layer.weights) == 9
    shared = layer.position
    MultiHeadAttention(12, 3, position=shared).build()
    assert len(shared.weights) == 1


def test_attention_weights_sum_to_one(rng, close):
    layer, _ = layer_and_weights(rng)
    x = rng.normal(size=(2, 5, 12)).astype("float32")
    out, weights = layer(x, return_weights=True)
    assert weights.shape == (2, 3, 5, 5)
    close(ops.sum(weights, axis=-1), np.ones((2, 3, 5)))
    close(out, layer(x))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precision_stays_finite_with_padding(rng, array, dtype):
    layer, _ = layer_and_weights(rng, dtype=dtype)
    x = rng.normal(size=(2, 5, 12)).astype("float32")
    out = array(layer(x, segments=np.array([[1, 1, 0, 0, 0], [0, 0, 0, 0, 0]])))
    assert np.isfinite(out).all()


def test_it_works_in_a_functional_model_of_unknown_sizes(rng, close):
    layer, _ = layer_and_weights(rng, mask=Causal(), position=Turned())
    x = keras.Input((None, 12))
    segments = keras.Input((None,), dtype="int32")
    model = keras.Model([x, segments], layer(x, segments=segments))
    values = rng.normal(size=(2, 5, 12)).astype("float32")
    ids = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], "int32")
    assert model.output.shape == (None, None, 12)
    close(model([values, ids]), layer(values, segments=ids))


def test_the_four_kernels_start_with_different_numbers(array):
    layer = MultiHeadAttention(12, 3)
    layer.build()
    kernels = [array(v).ravel() for v in layer.weights if v.path.endswith("kernel")]
    assert len({kernel.tobytes() for kernel in kernels}) == 4


def test_the_width_divides_by_the_heads():
    with pytest.raises(ValueError, match="dim must divide by heads. Received: dim=10, heads=3"):
        MultiHeadAttention(10, 3)

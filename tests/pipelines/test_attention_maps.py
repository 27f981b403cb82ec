"""The numbers of the maps are the layer's, and the picture shows them where they belong."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import STILL

import tfattn
from pipelines.training.attention_maps import SHOWN, attention_weights, draw
from tfattn.models.config import Tokens

YELLOW = (253, 231, 36)  # the greatest weight of a panel, in matplotlib's viridis


def test_weights_are_softmax_of_the_layers_scores():
    keras.utils.set_random_seed(0)
    model = tfattn.build(STILL, Tokens())
    segments = np.array([[1, 1, 2, 2, 0], [1, 1, 1, 1, 1]], np.int32)
    tokens = np.array([[5, 9, 7, 30, 0], [8, 8, 41, 6, 2]], np.int32)
    positions = np.array([[0, 1, 0, 1, 0], [0, 1, 2, 3, 4]], np.int32)
    features = {"tokens": tokens, "segments": segments, "positions": positions}
    features = {name: tf.constant(array) for name, array in features.items()}
    found = attention_weights(model, features)
    assert found.shape == (STILL.depth, 2, STILL.heads, 5, 5)
    values = {path: v.numpy() for path, v in model.weights_by_path().items()}
    x = model.stem(tokens, positions).numpy()

    def split(name):
        kernel, bias = (
            values[f"encoder/block_0/self/{name}/{part}"] for part in ("kernel", "bias")
        )
        return (x @ kernel + bias).reshape(2, 5, STILL.heads, -1).transpose(0, 2, 1, 3)

    queries, keys = split("query"), split("key")
    scores = queries @ keys.transpose(0, 1, 3, 2) / np.sqrt(queries.shape[-1])
    seen = (segments[:, :, None] == segments[:, None, :]) & (segments[:, None, :] > 0)
    scores = np.where(seen[:, None], scores, -np.inf)
    with np.errstate(invalid="ignore"):
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
    real = segments > 0
    for row in range(2):  # queries of padding see nothing, and nobody looks at them
        np.testing.assert_allclose(
            found[0, row][:, real[row]], shares[row][:, real[row]], atol=1e-5
        )


def bright(picture):
    """Return where the greatest weights are drawn, as (row, column) shares of the picture."""
    places = np.argwhere((picture[..., :3] == YELLOW).all(axis=-1))
    return places / picture.shape[:2]


@pytest.mark.parametrize(
    ("query", "key", "down", "right"), [(0, 3, False, True), (3, 0, True, False)]
)
def test_queries_go_down_and_keys_go_right(query, key, down, right):
    weights = np.zeros((1, 1, 4, 4))
    weights[0, 0, query, key] = 1.0
    row, column = bright(draw(weights, ["one", "two", "three", "four"])).mean(axis=0)
    assert (row > 0.5, column > 0.5) == (down, right)


def test_blocks_go_down_and_heads_go_right():
    weights = np.full((2, 3, 2, 2), 0.5)
    weights[1, 2] = np.eye(2)
    one = draw(weights, ["a", "b"])
    weights[0, 0], weights[1, 2] = np.eye(2), 0.5
    other = draw(weights, ["a", "b"])
    changed = np.argwhere((one != other).any(axis=-1)) / one.shape[:2]
    low, high = changed.min(axis=0), changed.max(axis=0)
    assert (low < (0.5, 1 / 3)).all() and (high > (0.5, 2 / 3)).all()
    middle = (changed[:, 1] > 0.4) & (changed[:, 1] < 0.6)
    assert not middle.any(), "a panel between the two has changed"


def test_long_texts_are_cut_to_what_can_be_read():
    weights = np.full((1, 1, 200, 200), 0.1)
    whole = draw(weights, ["w"] * 200)
    np.testing.assert_array_equal(whole, draw(weights[..., :SHOWN, :SHOWN], ["w"] * SHOWN))

import keras
import numpy as np
import pytest

from tfattn.blocks.heads import ClassifyHead, TokensHead, mean_pool


def norm(x, gamma, beta, epsilon):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(
        x.var(-1, keepdims=True) + epsilon
    ) * gamma + beta


def draw(rng, layer):
    layer.build()
    layer.set_weights([rng.normal(size=v.shape).astype("float32") for v in layer.weights])
    return {v.path.split("/", 1)[1]: np.asarray(v) for v in layer.weights}


def test_tokens_are_scored_by_the_embedding_matrix(rng, close):
    head = TokensHead(10, 6, activation="relu", epsilon=0.01)
    w = draw(rng, head)
    hidden = rng.normal(size=(2, 5, 6)).astype("float32")
    embeddings = rng.normal(size=(10, 6)).astype("float32")
    f = np.maximum(hidden @ w["transform/kernel"] + w["transform/bias"], 0)
    f = norm(f, w["norm/gamma"], w["norm/beta"], 0.01)
    close(head(hidden, embeddings), f @ embeddings.T + w["bias"])


def test_without_the_transform_it_is_one_product(rng, close):
    head = TokensHead(10, 6, transform=False)
    w = draw(rng, head)
    assert list(w) == ["bias"]
    hidden = rng.normal(size=(2, 5, 6)).astype("float32")
    embeddings = rng.normal(size=(10, 6)).astype("float32")
    close(head(hidden, embeddings), hidden @ embeddings.T + w["bias"])


def test_predict_positions_picks_columns(rng, array, close):
    head = TokensHead(10, 6)
    draw(rng, head)
    hidden = rng.normal(size=(2, 5, 6)).astype("float32")
    embeddings = rng.normal(size=(10, 6)).astype("float32")
    columns = np.array([[0, 4, 4], [3, 1, 0]])
    every = array(head(hidden, embeddings))
    picked = head(hidden, embeddings, columns)
    close(picked, np.stack([every[b, columns[b]] for b in range(2)]))


def test_the_bias_of_tokens_is_added_in_float32(rng, array):
    head = TokensHead(10, 6, transform=False, dtype="mixed_bfloat16")
    head.build()
    bias = rng.normal(size=10).astype("float32")
    head.set_weights([bias])
    logits = head(np.zeros((1, 1, 6), "float32"), np.zeros((10, 6), "float32"))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    np.testing.assert_array_equal(array(logits)[0, 0], bias)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_classes_are_a_linear_function_of_the_pooled_vector(rng, close, dtype):
    head = ClassifyHead(3, 6, dropout=0.5, dtype=dtype)
    w = draw(rng, head)
    pooled = rng.normal(size=(4, 6)).astype("float32")
    logits = head(pooled)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    tolerance = "float32" if dtype == "float32" else "bfloat16"
    close(logits, pooled @ w["logits/kernel"] + w["logits/bias"], tolerance)


def test_the_classifier_drops_in_training(rng, array):
    head = ClassifyHead(3, 6, dropout=0.5)
    pooled = rng.normal(size=(4, 6)).astype("float32")
    assert not np.allclose(array(head(pooled)), array(head(pooled, training=True)))


def test_the_mean_skips_padding_and_an_empty_row_is_zero(rng, close):
    hidden = rng.normal(size=(3, 4, 6)).astype("float32")
    segments = np.array([[1, 1, 1, 1], [1, 2, 0, 0], [0, 0, 0, 0]])
    expected = [hidden[0].mean(0), hidden[1, :2].mean(0), np.zeros(6)]
    close(mean_pool(hidden, segments), np.stack(expected))

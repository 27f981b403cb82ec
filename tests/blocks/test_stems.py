import numpy as np
import pytest

from tfattn.blocks.stems import TokenStem
from tfattn.mechanisms.positions import Learned, Sinusoidal

TOKENS = np.array([[3, 1, 4, 1], [5, 9, 2, 0]])
POSITIONS = np.array([[0, 1, 2, 3], [0, 1, 0, 1]])
TYPES = np.array([[0, 0, 1, 1], [1, 0, 2, 0]])


def stem_and_weights(rng, **options):
    stem = TokenStem(10, 6, Learned(4, 6, name="positions"), types=3, epsilon=0.01, **options)
    stem.build()
    stem.set_weights([rng.normal(size=v.shape).astype("float32") for v in stem.weights])
    return stem, {v.path.split("/", 1)[1]: np.asarray(v) for v in stem.weights}


@pytest.mark.parametrize("types", [TYPES, None])
def test_it_is_the_norm_of_the_sum_of_embeddings(rng, close, types):
    stem, w = stem_and_weights(rng)
    x = w["tokens/embeddings"][TOKENS] + w["positions/embeddings"][POSITIONS]
    x = x + w["types/embeddings"][0 if types is None else types]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 0.01)
    close(stem(TOKENS, POSITIONS, types), x * w["norm/gamma"] + w["norm/beta"])


def test_without_types_there_is_no_such_matrix(rng):
    stem = TokenStem(10, 6, Sinusoidal())
    stem.build()
    assert [v.path.split("/", 1)[1] for v in stem.weights] == [
        "tokens/embeddings",
        "norm/gamma",
        "norm/beta",
    ]
    assert stem(TOKENS, POSITIONS).shape == (2, 4, 6)


@pytest.mark.parametrize("types", [0, 3])
def test_embeddings_of_tokens_alone_may_be_scaled(rng, close, types):
    stem = TokenStem(10, 6, Learned(4, 6), types, norm_kind=None, scaled=True)
    stem.build()
    stem.set_weights([rng.normal(size=v.shape).astype("float32") for v in stem.weights])
    tokens, *others = (np.asarray(v) for v in stem.weights)
    x = 6**0.5 * tokens[TOKENS]
    x = x + sum(table[ids] for table, ids in zip(others[::-1], (POSITIONS, TYPES), strict=False))
    close(stem(TOKENS, POSITIONS, TYPES if types else None), x)
    again = TokenStem.from_config(stem.get_config())
    again.build()
    again.set_weights(stem.get_weights())
    close(again(TOKENS, POSITIONS, TYPES if types else None), x)


def test_dropout_acts_in_training_only(rng, array, close):
    stem, _ = stem_and_weights(rng, dropout=0.5)
    close(stem(TOKENS, POSITIONS), stem(TOKENS, POSITIONS, training=False))
    dropped = array(stem(TOKENS, POSITIONS, training=True))
    assert 0.2 < (dropped == 0).mean() < 0.8


def test_the_matrices_start_with_different_numbers(array):
    stem = TokenStem(10, 6, Learned(10, 6), types=10)
    stem.build()
    tables = [stem.tokens, stem.types, stem.position]
    assert len({array(table.embeddings).tobytes() for table in tables}) == 3

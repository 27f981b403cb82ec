"""With what numbers the weights of a new model start."""

from dataclasses import replace

import numpy as np
import pytest

import tfattn
from tfattn.families import preset, t5
from tfattn.models.config import Tokens, TransformerConfig

CUT = 0.8796  # the deviation of a standard normal that is cut at two
SMALL = TransformerConfig(dim=96, depth=1, heads=2, head_dim=64, hidden_dim=256, vocab_size=500)


def deviations(config, *heads):
    """Return the standard deviation of every matrix of a new model, as far as it is large."""
    weights = tfattn.build(config, *heads).weights_by_path()
    arrays = {path: np.asarray(v) for path, v in weights.items()}
    found = {path: x.std() for path, x in arrays.items() if x.ndim > 1 and x.size > 1000}
    assert all(abs(arrays[path].mean()) < 0.1 * std for path, std in found.items())
    return found


def check(found, wanted):
    """Compare those of each kind with what is wanted of it, by the ends of their paths."""
    for end, std in wanted.items():
        own = [value for path, value in found.items() if path.endswith(end)]
        assert own, end
        np.testing.assert_allclose(own, std, rtol=0.05, err_msg=end)


def test_the_kernels_of_a_t5_start_as_released():
    """By their rows, queries also by the width of a head, as products are not scaled."""
    config = preset("t5-tiny").with_fields(vocab_size=600)
    assert (config.dim, config.encoder.head_dim, config.encoder.hidden_dim) == (128, 64, 512)
    found = deviations(config, t5.UNTIED)
    wanted = {
        "query/kernel": (128 * 64) ** -0.5,
        "key/kernel": 128**-0.5,
        "value/kernel": 128**-0.5,
        "output/kernel": (2 * 64) ** -0.5,
        "expand/kernel": 128**-0.5,
        "contract/kernel": 512**-0.5,
        "stem/tokens/embeddings": CUT,
        # Of a table the number of rows says nothing.
        "tokens/embeddings": CUT * np.array([1, 128**-0.5]),
    }
    check(found, wanted)
    assert sum(path.endswith("query/kernel") for path in found) == 2 + 2 * 2


def test_fan_in_is_the_rows_of_each_kernel_and_scaled_products_leave_queries_alone():
    check(
        deviations(replace(SMALL, kernel_std="fan-in")),
        {
            "query/kernel": 96**-0.5,
            "key/kernel": 96**-0.5,
            "value/kernel": 96**-0.5,
            "output/kernel": (2 * 64) ** -0.5,
            "expand/kernel": 96**-0.5,
            "contract/kernel": 256**-0.5,
        },
    )


@pytest.mark.parametrize(("given", "std"), [(0.05, 0.05), (None, 96**-0.5)])
def test_one_deviation_is_that_of_all_kernels(given, std):
    found = deviations(replace(SMALL, kernel_std=given, embedding_std=0.3), Tokens())
    check(found, {"/kernel": CUT * std, "tokens/embeddings": CUT * 0.3})


@pytest.mark.parametrize("given", ["fan-in", 0.05])
def test_kernels_that_write_to_the_stream_start_smaller(given):
    config = replace(SMALL, depth=3, kernel_std=given)
    plain, scaled = (deviations(replace(config, scaled_residual=x)) for x in (False, True))
    for path, std in plain.items():
        writes = path.endswith(("output/kernel", "contract/kernel"))
        np.testing.assert_allclose(scaled[path], std / (6**0.5 if writes else 1), rtol=0.05)

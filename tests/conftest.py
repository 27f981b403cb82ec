"""What all tests share: numbers that repeat, one tolerance per dtype, a gradient on any backend."""

import functools

import keras
import numpy as np
import pytest
from fork_server import ForkServer
from hypothesis import HealthCheck, settings

# Speed belongs into benchmarks: a loaded machine must not fail a test.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}  # absolute, for numbers near 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give a file that has fixtures of its own to one worker, and single tests to any of them.

    `--dist worksteal` makes such a fixture in every worker, and `--dist loadfile` ends with one
    worker that has a long file left; `--dist loadgroup` of xdist 3.8 reads no group in pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    shares = functools.cache(lambda path: 'scope="module"' in (config.rootpath / path).read_text())

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.split("::")[0]
            return path if shares(path) else nodeid

    return Files(config, log)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(7)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def fork_server():
    """Return a process that forks children which have imported TensorFlow already."""
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def array():
    """Return a tensor of any backend and dtype as numpy float32, integers and booleans as is."""

    def convert(x):
        x = keras.ops.convert_to_tensor(x)
        if keras.backend.standardize_dtype(x.dtype) in TOLERANCE:
            x = keras.ops.cast(x, "float32")
        return keras.ops.convert_to_numpy(x)

    return convert


@pytest.fixture(scope="session")
def close(array):
    """Assert that two arrays are equal to the tolerance of a dtype."""

    def check(actual, expected, dtype="float32"):
        tolerance = TOLERANCE[dtype]
        np.testing.assert_allclose(array(actual), array(expected), rtol=tolerance, atol=tolerance)

    return check


@pytest.fixture(scope="session")
def gradient(array):
    """Return the gradient of the sum of `fn(x)` with respect to `x`."""

    def differentiate(fn, x):
        x = keras.ops.convert_to_tensor(x)
        if keras.backend.backend() == "jax":
            import jax

            return array(jax.grad(lambda x: keras.ops.sum(fn(x)))(x))
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            result = keras.ops.sum(fn(x))
        return array(tape.gradient(result, x))

    return differentiate


@pytest.fixture(scope="session")
def compiled():
    """Return a function compiled as the backend does it; `jit` asks TensorFlow for XLA."""

    def compile(fn, jit=False):
        if keras.backend.backend() == "jax":
            import jax

            return jax.jit(fn)
        import tensorflow as tf

        return tf.function(fn, jit_compile=jit, autograph=False)

    return compile

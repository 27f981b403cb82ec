"""Schedules are their formulae at every step; weight decay leaves norms and biases alone."""

import math
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import CONFIG

import tfattn
from pipelines.core.optimize import NO_DECAY, Schedule, build_optimizer
from pipelines.core.train_config import TrainConfig
from tfattn.families import PRESETS
from tfattn.models.config import Classify, Tokens, TransformerConfig
from tfattn.models.vision_config import Pixels, VisionConfig

HEADS = (Tokens(), Classify("next"))

PEAK = 0.5
KINDS = ("linear", "cosine", "inverse-sqrt", "wsd", "constant")


def expected(kind, step, steps, warmup):
    """Return the rate of the update number `step`, counted from 1, in plain Python."""
    if step <= warmup:
        return PEAK * step / warmup
    gone = (step - warmup - 1) / (steps - warmup)  # 0 right after the warmup, 1 after the last
    return (
        PEAK
        * {
            "linear": 1 - gone,
            "cosine": 0.1 + 0.9 * (1 + math.cos(math.pi * gone)) / 2,
            "inverse-sqrt": math.sqrt(max(warmup, 1) / step),
            "wsd": 1 if gone <= 0.8 else (1 - gone) / 0.2,
            "constant": 1,
        }[kind]
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("steps", "warmup"), [(100, 10), (100, 0), (100, 1), (10, 10), (1, 0), (1, 1), (2, 1), (7, 3)]
)
def test_a_schedule_is_its_formula_at_every_step(kind, steps, warmup):
    schedule = Schedule(kind, PEAK, steps, warmup)
    found = [float(schedule(step)) for step in range(steps)]
    wanted = [expected(kind, step, steps, warmup) for step in range(1, steps + 1)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_update_moves_and_none_is_over_the_peak(kind):
    schedule = Schedule(kind, PEAK, 50, 5)
    rates = [float(schedule(step)) for step in range(50)]
    assert min(rates) > 0
    assert max(rates) == rates[4] == PEAK  # the warmup ends at the peak
    assert rates[5:] == sorted(rates[5:], reverse=True)


@pytest.mark.parametrize(("kind", "end"), [("linear", 0), ("cosine", 0.1), ("wsd", 0)])
def test_past_its_end_a_schedule_stays_where_it_ended(kind, end):
    schedule = Schedule(kind, PEAK, 50, 5)
    for step in (50, 51, 1000):
        assert float(schedule(step)) == pytest.approx(PEAK * end, abs=1e-7)


def test_a_schedule_is_rebuilt_from_its_config():
    schedule = Schedule("wsd", PEAK, 50, 5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert isinstance(again, Schedule)
    assert vars(again) == vars(schedule)


def built(**train):
    model = tfattn.build(CONFIG, Tokens(), Classify("next"))
    return model, build_optimizer(TrainConfig(**train), 10, model)


def test_weight_decay_shrinks_kernels_and_embeddings_and_nothing_else():
    model, optimizer = built(weight_decay=0.5, rate=0.1, warmup=0.0, schedule="constant")
    for variable in model.weights:
        if variable.trainable:
            variable.assign(tf.ones(variable.shape))
    optimizer.apply([tf.zeros(v.shape) for v in model.trainable_variables])
    for path, variable in model.weights_by_path().items():
        decayed = path.endswith(("/kernel", "/embeddings"))
        np.testing.assert_allclose(variable.numpy(), 0.95 if decayed else 1.0, err_msg=path)


@pytest.mark.parametrize("name", [name for name in PRESETS if name.endswith("-tiny")])
def test_every_weight_is_a_matrix_that_decays_or_a_norm_or_bias_that_does_not(name):
    config = PRESETS[name]
    if isinstance(config, TransformerConfig):  # with both norms, and a head of every kind
        norms = ("post", "pre")
        models = [tfattn.build(config.with_fields(vocab_size=50, norm=n), *HEADS) for n in norms]
    elif isinstance(config, VisionConfig):
        models = [tfattn.build(replace(config, layer_scale=0.1), Pixels(), HEADS[1])]
    else:
        models = [tfattn.build(config.with_fields(vocab_size=50), Tokens(tied=False))]
    vectors = {"bias", "gamma", "beta", "scale", "class_token", "mask_token"}
    decaying = {"kernel", "embeddings", "recurrent_kernel", "vector"}
    for path, variable in (pair for model in models for pair in model.weights_by_path().items()):
        kind = path.rsplit("/", 1)[-1]
        assert kind in decaying | vectors, path
        assert bool(NO_DECAY.search(variable.path)) == (kind in vectors), path
        assert len(variable.shape) > 1 or kind in vectors, path


def test_paths_are_matched_by_their_last_part_as_a_whole():
    for path in ("a/bias", "bias", "a/b/gamma"):
        assert NO_DECAY.search(path)
    for path in ("bias/kernel", "a/unbias", "a/position_bias/embeddings", "scale/kernel"):
        assert not NO_DECAY.search(path)


def test_the_optimizer_is_adamw_as_its_paper_has_it(rng):
    """Two updates against numpy: decay as in arXiv:1711.05101, algorithm 2, here times the rate.

    Epsilon is added before the correction of the bias (arXiv:1412.6980, end of section 2).
    """
    rate, decay, beta1, beta2, epsilon = 0.1, 0.3, 0.9, 0.95, 1e-6
    model, optimizer = built(
        weight_decay=decay, rate=rate, beta2=beta2, warmup=0.0, schedule="constant"
    )
    index = next(
        i for i, v in enumerate(model.trainable_variables) if v.path.endswith("query/kernel")
    )
    theta = model.trainable_variables[index].numpy().astype("float64")
    m = v = np.zeros_like(theta)
    for t in (1, 2):
        gradients = [rng.normal(size=w.shape).astype("float32") for w in model.trainable_variables]
        optimizer.apply([tf.constant(g) for g in gradients])
        g = gradients[index].astype("float64")
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        theta = theta - rate * decay * theta
        corrected = rate * np.sqrt(1 - beta2**t) / (1 - beta1**t)
        theta = theta - corrected * m / (np.sqrt(v) + epsilon)
    found = model.trainable_variables[index].numpy()
    np.testing.assert_allclose(found, theta, rtol=1e-5, atol=1e-6)


def test_a_proportional_step_is_a_share_of_the_weight(rng):
    """The first step of Adam is the rate, here times the root mean square of each weight."""
    rate = 0.05
    options = {"weight_decay": 0.0, "rate": rate, "warmup": 0.0, "schedule": "constant"}
    model, optimizer = built(**options, proportional=True)
    before = [v.numpy().astype("float64") for v in model.trainable_variables]
    gradients = [rng.normal(size=w.shape).astype("float32") for w in before]
    optimizer.apply([tf.constant(g) for g in gradients])
    some = False
    for variable, old, g in zip(model.trainable_variables, before, gradients, strict=True):
        size = max(np.sqrt(np.mean(old**2)), 1e-3)
        some |= size == 1e-3  # biases start at 0
        share = np.abs(g) / (np.abs(g) + 1e-6 / np.sqrt(1 - 0.98))
        expected = old - rate * size * np.sign(g) * share
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=1e-7)
    assert some

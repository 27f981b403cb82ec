"""Blocks computed again, or in a loop, are the blocks; so are their gradients and dropout."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import tfattn
from tfattn import ways
from tfattn.mechanisms import engines
from tfattn.mechanisms.masks import Causal, Strided
from tfattn.models.depth import period

PRESETS = {
    "post-norm, learned": "bert-tiny",
    "pre-norm, two masks in turn": "gpt3-tiny",
    "rotary, shared heads": "llama-tiny",
    "a memory and one position for all": "t5-tiny",
    "drop path, a scale": "vit-tiny",
}
WAYS = [{"remat": True}, {"scanned": True}, {"remat": True, "scanned": True}]


def deeper(name):
    """Return a preset of two blocks a stack, or of two of each mask, with dropout everywhere."""
    config, drops = tfattn.preset(name), {"dropout": 0.2, "attention_dropout": 0.2}
    drops["depth"] = 4 if name == "gpt3-tiny" else 2
    if name != "vit-tiny":
        drops["vocab_size"] = 100
    if hasattr(config, "encoder"):
        sides = {s: replace(getattr(config, s), **drops) for s in ("encoder", "decoder")}
        return replace(config, **sides)
    if name == "vit-tiny":
        drops |= {"drop_path": 0.2, "layer_scale": 0.5}
    return replace(config, **drops)


def features(config, rng):
    if hasattr(config, "channels"):
        shape = (2, config.height, config.width, config.channels)
        return {"images": rng.normal(size=shape).astype("float32")}
    tokens = rng.integers(1, config.vocab_size, size=(2, 24)).astype("int32")
    tokens[1, 20:] = 0
    made = {"tokens": tokens}
    if hasattr(config, "encoder"):
        made["target_tokens"] = tokens[:, 2:19]
    return made


def step(model, given, how, jit=False):
    """Return what the model gives in training, and the gradients of a loss."""
    if keras.backend.backend() == "jax":
        import jax

        trained = [v.value for v in model.trainable_variables]
        held = [v.value for v in model.non_trainable_variables]

        def loss(trained, held):
            with ways.using(**how):
                result, held = model.stateless_call(trained, held, given, training=True)
            return keras.ops.sum(keras.ops.sin(result)), (result, held)

        found, (result, held) = jax.jit(jax.grad(loss, has_aux=True))(trained, held)
        for variable, value in zip(model.non_trainable_variables, held, strict=True):
            variable.assign(value)
        return [result, *found]
    import tensorflow as tf

    @tf.function(autograph=False, jit_compile=jit)
    def run():
        with ways.using(**how), tf.GradientTape() as tape:
            result = model(given, training=True)
            loss = tf.reduce_sum(tf.sin(result))
        values = [v.value for v in model.trainable_variables]
        zero = tf.UnconnectedGradients.ZERO
        found = tape.gradient(loss, values, unconnected_gradients=zero)
        return [result, *map(tf.convert_to_tensor, found)]

    return run()


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        *((kind, WAYS[-1]) for kind in PRESETS),
        *(("a memory and one position for all", how) for how in WAYS[:-1]),
    ],
    ids=str,
)
def test_numbers_gradients_and_what_is_dropped_stay(kind, how, rng, array, close):
    model = tfattn.build(deeper(PRESETS[kind]))
    state = [array(v) for v in model.variables]
    before = [array(v) for v in model.non_trainable_variables]
    given = features(model.config, rng)
    expected = step(model, given, {})
    moved = [array(v) for v in model.non_trainable_variables]
    for variable, value in zip(model.variables, state, strict=True):
        variable.assign(value)
    found = step(model, given, how)
    for ours, theirs in zip(found, expected, strict=True):
        scale = max(1.0, float(np.abs(array(theirs)).max()))
        close(array(ours) / scale, array(theirs) / scale)
    again = [array(v) for v in model.non_trainable_variables]
    for ours, theirs in zip(again, moved, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert any((a != b).any() for a, b in zip(again, before, strict=True))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="islands are for TensorFlow")
@pytest.mark.parametrize(
    "how", [{"fused": True}, pytest.param({"jit": True}, marks=pytest.mark.release)], ids=str
)
def test_they_are_compiled_as_everything_is(how, rng, array, close, monkeypatch):
    """With blocks of queries within the blocks, and the position of the stack within those.

    Where no position is, which is where a memory is asked, heads have blocks of their own.
    """
    for name in ("BLOCK", "ROW_BLOCK", "LONG"):
        monkeypatch.setattr(engines, name, 1)
    model = tfattn.build(deeper("t5-tiny"))
    given, state = features(model.config, rng), [array(v) for v in model.variables]
    how = dict(how)
    jit = how.pop("jit", False)
    made = []
    for more in ({}, {"remat": True, "scanned": True}):
        for variable, value in zip(model.variables, state, strict=True):
            variable.assign(value)
        made.append(step(model, given, {**how, **more, "attention": "blocked"}, jit))
    for ours, theirs in zip(*made, strict=True):
        scale = max(1.0, float(np.abs(array(theirs)).max()))
        close(array(ours) / scale, array(theirs) / scale)


def blocks(**fields):
    return tfattn.build(replace(tfattn.preset("bert-tiny"), depth=4, **fields)).encoder.blocks


def test_blocks_are_alike_that_compute_the_same():
    assert period(blocks()) == 1
    assert period(blocks(masks=(Causal(), Strided(2)))) == 2
    assert period(blocks(masks=(Causal(), Strided(2), Causal()))) == 4  # c s c c
    assert period(blocks(drop_path=0.1)) == 4
    assert period(blocks()[:1]) == 1

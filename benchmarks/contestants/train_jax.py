"""tfattn on JAX without TensorFlow: one compiled step, whose state is updated in place.

Heads and losses are those that the pipelines train with, which run on TensorFlow alone; the step is
that of Keras' own trainer on JAX. The process needs `KERAS_BACKEND=jax`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np
from jax import numpy as jnp

import tfattn
from benchmarks.work import CLASSES, WORKS, Work, tensors
from tfattn.families import bert, gpt2, t5
from tfattn.models.config import Classify, Head

HEADS: dict[str, Head] = {
    "masked": bert.HEAD,
    "causal": gpt2.HEAD,
    "pairs": t5.HEAD,
    "images": Classify("classify", classes=CLASSES, pool="first", dropout=0.0),
}
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def contestant(work: str, precision: str = "bfloat16") -> Callable[[], float]:
    """Return a function that takes one step and returns its loss."""
    given = WORKS[work]
    model: Any = tfattn.build(given.config, HEADS[given.kind], dtype=POLICIES[precision])
    optimizer: Any = keras.optimizers.AdamW(
        1e-3, weight_decay=0.01, beta_2=0.98, global_clipnorm=1.0
    )
    optimizer.build(model.trainable_variables)
    features, labels = jax.device_put(_batch(given))
    compiled = _step(model, optimizer, given.kind)
    kinds = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
    state = jax.tree.map(lambda variable: variable.value, kinds)

    def step() -> float:
        nonlocal state
        state, loss = compiled(state, features, labels)
        return float(loss)

    return step


def _batch(work: Work) -> tuple[dict[str, Any], Any]:
    """Return what the model reads, and of images their labels; of tokens it reads these too."""
    given = tensors(work.arrays(), np.asarray)
    targets = given.pop("targets")
    if work.kind == "images":
        return given, targets
    features = {"segments": np.ones_like(given["tokens"]), **given}
    if "target_tokens" in given:
        features["target_segments"] = np.ones_like(given["target_tokens"])
    if "places" in given:
        features["predict_positions"] = features.pop("places")
    features |= {"targets": targets, "target_weights": np.ones(targets.shape, "float32")}
    return features, None


def _step(model: Any, optimizer: Any, kind: str) -> Callable[..., Any]:
    """Return what takes and gives back weights, other variables and moments, and the loss."""

    def loss_of(weights, others, features, labels):
        outputs, others = model.stateless_call(weights, others, features, training=True)
        if kind == "images":
            rows = keras.ops.sparse_categorical_crossentropy(labels, outputs, from_logits=True)
            return jnp.mean(rows), others
        total, _ = outputs  # of cross entropy, and of hits
        return total / features["target_weights"].size, others

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, features, labels):
        weights, others, moments = state
        differentiate = jax.value_and_grad(loss_of, has_aux=True)
        (loss, others), gradients = differentiate(weights, others, features, labels)
        weights, moments = optimizer.stateless_apply(moments, gradients, weights)
        return (weights, others, moments), loss

    return step

"""Steps of small models on one device and on four; test_sharding.py runs it and reads its JSON.

A process sees as many devices as it was started with, hence one of its own for all cases.
"""

import contextlib
import functools
import json
import math
import re
import sys

import jax
import keras
import numpy as np

import tfattn
from tfattn import ways
from tfattn.blocks.vocabulary_loss import vocabulary_loss
from tfattn.families import preset, pretraining_head
from tfattn.models.config import Classify
from tfattn.models.vision_config import VisionConfig

ROWS, SOURCE, TARGET, VOCABULARY = 8, 12, 6, 96
SMALL = {"dim": 32, "hidden_dim": 64, "heads": 8, "depth": 2}
SMALL |= {"dropout": 0.1, "attention_dropout": 0.1}
TEXT = SMALL | {"vocab_size": VOCABULARY, "max_length": 16}
CASES = {
    "bert-tiny": TEXT,
    "gpt2-tiny": TEXT | {"vocab_size": VOCABULARY + 1},  # that no shards divide
    "llama-tiny": TEXT | {"kv_heads": 2},  # in four shards each has half a head of keys and values
    "t5-tiny": TEXT | {"head_dim": 4},
    "vit-tiny": SMALL | {"height": 8, "width": 8, "patch": 4},
}
AGAIN = ("bert-tiny", "llama-tiny", "t5-tiny")  # blocks in a loop, made again for the gradient
LAYOUTS = {"one": None, "data": 0, "2x2": 2, "1x4": 4}  # shards; 0 = the batch alone is split


def main():
    found = {name: {} for name in CASES}
    for name, fields in CASES.items():
        config = preset(name).with_fields(**fields)
        images = isinstance(config, VisionConfig)
        head = Classify(classes=3, pool="first") if images else pretraining_head(name)
        for layout, shards in LAYOUTS.items():
            found[name][layout] = trained(config, head, shards)
        if name in AGAIN:
            found[name]["2x2 again"] = trained(config, head, 2, remat=True, scanned=True)
    found = {"steps": found, "dropout": dropped(), "loss in chunks": chunked(), "fit": fitted()}
    json.dump(found, sys.stdout)


def scope(config, head, shards):
    if shards is None:
        return contextlib.nullcontext()
    if shards == 0:
        return keras.distribution.DataParallel().scope()
    return tfattn.model_parallel(config, head, shards=shards).scope()


def trained(config, head, shards, **way):
    """Return the losses of three steps, and where all numbers are."""
    keras.utils.set_random_seed(3)
    with scope(config, head, shards), ways.using(**way):
        model = tfattn.build(config, head)
        optimizer = keras.optimizers.AdamW(1e-2, weight_decay=0.01, global_clipnorm=1.0)
        optimizer.build(model.trainable_variables)
        features = {name: placed(x) for name, x in batch(config).items()}
        kinds = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
        state = jax.tree.map(lambda variable: variable.value, kinds)
        kept = jax.tree.map(lambda x: x.sharding, state)
        step = jax.jit(stepper(model, optimizer), donate_argnums=0, out_shardings=(kept, None))
        compiled = step.lower(state, features).compile()
        losses = []
        for _ in range(3):
            state, loss = compiled(state, features)
            losses.append(float(loss))
    paths = [v.path.split("/", 1)[1] for v in model.trainable_variables]
    weights = dict(zip(paths, state[0], strict=True))
    moments = {v.path: x for v, x in zip(optimizer.variables, state[2], strict=True)}
    return {
        "losses": losses,
        "weights": {path: sizes(x) for path, x in weights.items()},
        "moments": {path: sizes(x) for path, x in moments.items()},
        "features": {name: sizes(x) for name, x in features.items()},
        "bytes": sum(on_one(x) for x in jax.tree.leaves(state)),
        "scores": scored(compiled.as_text(), features),
        "flops": compiled.cost_analysis()["flops"],
        "temporary": compiled.memory_analysis().temp_size_in_bytes,
    }


def stepper(model, optimizer):
    def loss_of(weights, others, features):
        features = dict(features)
        labels = features.pop("labels", None)
        outputs, others = model.stateless_call(weights, others, features, training=True)
        if labels is not None:
            rows = keras.ops.sparse_categorical_crossentropy(labels, outputs, from_logits=True)
            return keras.ops.mean(rows), others
        return outputs[0] / keras.ops.sum(features["target_weights"]), others

    def step(state, features):
        weights, others, moments = state
        differentiate = jax.value_and_grad(loss_of, has_aux=True)
        (loss, others), gradients = differentiate(weights, others, features)
        weights, moments = optimizer.stateless_apply(moments, gradients, weights)
        return (weights, others, moments), loss

    return step


def batch(config):
    rng = np.random.default_rng(5)
    if isinstance(config, VisionConfig):
        images = rng.normal(size=(ROWS, config.height, config.width, config.channels))
        return {"images": images.astype("float32"), "labels": rng.integers(0, 3, ROWS)}

    def tokens(columns):
        return rng.integers(1, VOCABULARY, (ROWS, columns)).astype("int32")

    features = {"tokens": tokens(SOURCE), "segments": np.ones((ROWS, SOURCE), "int32")}
    features["segments"][1::2, -3:] = 0  # padding
    columns = SOURCE
    if hasattr(config, "decoder"):
        columns = TARGET
        features |= {"target_tokens": tokens(columns)}
        features |= {"target_segments": np.ones((ROWS, columns), "int32")}
    weights = (rng.random((ROWS, columns)) < 0.7).astype("float32")
    return features | {"targets": tokens(columns), "target_weights": weights}


def placed(x):
    """Return an array as the distribution of now has a batch."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return jax.numpy.asarray(x)
    return keras.distribution.distribute_tensor(x, distribution.get_data_layout(x.shape))


def scored(text, features):
    """Return the texts and heads of the largest scores (b, h, t, t) that a device multiplies."""
    square = 5 if "images" in features else SOURCE
    found = re.findall(rf"= f32\[(\d+),(\d+),{square},{square}\]\S* dot\(", text)
    return max(([int(n) for n in one] for one in found), default=None)


def sizes(x):
    """Return the shape of the whole, and that of each device's part."""
    return [x.shape, *sorted({shard.data.shape for shard in x.addressable_shards})]


def on_one(x):
    first = x.addressable_shards[0]
    return math.prod(first.data.shape) * first.data.dtype.itemsize


def dropped():
    """Return whether dropout drops the same numbers of an array that is split in both axes."""
    x, answers = np.ones((8, 4, 16), "float32"), []
    mesh = keras.distribution.DeviceMesh((2, 2), ["batch", "model"])
    layout = keras.distribution.TensorLayout(("batch", None, "model"), mesh)
    for given in (x, keras.distribution.distribute_tensor(x, layout)):
        keras.utils.set_random_seed(3)
        answers.append(np.asarray(jax.jit(once)(given)))
    return {"same": bool((answers[0] == answers[1]).all()), "kept": float((answers[0] > 0).mean())}


def once(x):
    layer = tfattn.Dropout(0.5)
    state = [v.value for v in layer.variables]
    return layer.stateless_call([], state, x, training=True)[0]


def chunked():
    """Return how far the loss over a vocabulary is off in chunks of rows that are split.

    And what the largest product of a device is, of chunks of eight rows a device.
    """
    rng, answers, text = np.random.default_rng(5), [], ""
    hidden, matrix = (rng.normal(size=(n, 16)).astype("float32") for n in (96, 24))
    targets, weights = rng.integers(0, 24, 96), rng.random(96).astype("float32")

    bias = rng.normal(size=24).astype("float32")

    def loss(hidden, matrix, bias, *told, training=True):
        return vocabulary_loss(hidden, matrix, bias, *told, training, at_once=24 * 10)[0]

    differentiate = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    evaluate = jax.jit(functools.partial(loss, training=False))
    for shards in (None, 0):
        jax.clear_caches()  # what is traced without a distribution is kept
        with scope(None, None, shards):
            given = placed(hidden), matrix, bias, placed(targets), placed(weights)
            compiled = differentiate.lower(*given).compile()
            value, gradients = compiled(*given)
            answers.append([np.asarray(x) for x in (value, *gradients, evaluate(*given))])
            text = compiled.as_text()
    off = [float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(*answers, strict=True)]
    return {"off": off, "logits": "f32[8,24]" in text, "gathered": "all-gather(" in text}


def fitted():
    """Return the losses of Keras' own training loop."""
    config, head = preset("bert-tiny").with_fields(**TEXT), Classify(classes=3)
    tokens = np.random.default_rng(5).integers(1, VOCABULARY, (16, SOURCE))
    answers = {}
    for layout in ("one", "2x2"):
        shards = LAYOUTS[layout]
        keras.utils.set_random_seed(3)
        with scope(config, head, shards):
            model = tfattn.build(config, head)
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(keras.optimizers.AdamW(1e-2), loss)
            history = model.fit(
                tokens, tokens[:, 0] % 3, batch_size=8, epochs=2, shuffle=False, verbose=0
            )
            query = model.weights_by_path()["encoder/block_0/self/query/kernel"].value
            answers[layout] = {"losses": history.history["loss"], "query": sizes(query)}
    return answers


if __name__ == "__main__":
    main()

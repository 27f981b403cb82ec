"""The contestants of benchmarks/step.py that write a target: ours, and KerasHub's T5Backbone."""

from collections.abc import Callable
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf

import tfattn
from pipelines.data.batches import Batch
from pipelines.objectives.source_to_target import SourceToTarget
from pipelines.recipes import TrainConfig
from pipelines.training.engine import Engine
from pipelines.training.optimize import build_optimizer
from pipelines.training.train import POLICIES
from tfattn.families import t5
from tfattn.models.config import EncoderDecoderConfig


class Written(SourceToTarget):
    """The loss of targets on batches that are there already."""

    def __init__(self):
        self.heads = (t5.HEAD,)
        self.terms = {"loss": "tokens", "accuracy": "tokens"}
        self.losses, self.selects = ("loss",), ("loss", False)


def ours(
    config: EncoderDecoderConfig, batch: Batch, precision: str, mode: str
) -> Callable[[], Any]:
    """Return a function that takes one step of ours."""
    model = tfattn.build(config, t5.HEAD, dtype=POLICIES[precision])
    train: Any = TrainConfig(compile=mode, rate=1e-3)  # pyright: ignore[reportArgumentType]
    engine = Engine(model, Written(), build_optimizer(train, 10_000, model), train)
    return lambda: engine.step(batch)


def theirs(
    config: EncoderDecoderConfig, batch: Batch, precision: str, xla: bool
) -> Callable[[], Any]:
    """Return a function that takes one step of KerasHub's backbone with its tied logits."""
    keras.config.set_dtype_policy(POLICIES[precision])
    side = config.encoder
    backbone = keras_hub.models.T5Backbone(
        vocabulary_size=side.vocab_size,
        num_layers=side.depth,
        num_heads=side.heads,
        hidden_dim=side.dim,
        intermediate_dim=side.hidden_dim,
        key_value_dim=side.head_width(),
        dropout=side.dropout,
        activation="relu",
        use_gated_activation=side.gated,
        layer_norm_epsilon=side.norm_epsilon,
    )
    hidden = backbone(backbone.input)["decoder_sequence_output"]
    logits = backbone.token_embedding(hidden * side.dim**-0.5, reverse=True)
    model = keras.Model(backbone.input, logits)
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.01, beta_2=0.98, global_clipnorm=1.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metrics = [keras.metrics.SparseCategoricalAccuracy()]
    model.compile(optimizer, loss, weighted_metrics=metrics, jit_compile=xla)
    keras.config.set_dtype_policy("float32")
    given = batch["features"]
    features = {
        "encoder_token_ids": given["tokens"],
        "encoder_padding_mask": given["segments"],
        "decoder_token_ids": given["target_tokens"],
        "decoder_padding_mask": given["target_segments"],
    }
    data = (features, batch["targets"]["tokens"], batch["weights"]["tokens"])
    steps = iter(tf.data.Dataset.from_tensors(data).repeat())
    model.make_train_function()
    # The loss is read each step, as our engine reads it.
    return lambda: float(model.train_function(steps)["loss"])


def make_batch(rows: int, length: int, target: int, vocab_size: int) -> Batch:
    """Return a batch of random tokens without padding."""
    draw = np.random.default_rng(0)
    sides = {"": length, "target_": target}
    features = {f"{side}tokens": (rows, width) for side, width in sides.items()}
    features = {n: draw.integers(2, vocab_size, shape) for n, shape in features.items()}
    features |= {f"{side}segments": np.ones((rows, width)) for side, width in sides.items()}
    return {
        "features": {name: tf.constant(f, tf.int32) for name, f in features.items()},
        "targets": {"tokens": tf.constant(draw.integers(2, vocab_size, (rows, target)), tf.int32)},
        "weights": {"tokens": tf.ones((rows, target))},
    }


def flops(config: EncoderDecoderConfig, length: int, target: int) -> float:
    """Return the matrix-product FLOPs of a training step for one row."""
    own = config.encoder.flops_per_token(length) * length
    own += config.decoder.flops_per_token(target, 1.0) * target
    # What a memory costs: its keys and values come from the source, and are asked by the target.
    side, width = config.decoder, config.decoder.heads * config.decoder.head_width()
    more = 2 * side.dim * width * (length - target) + 2 * length * target * width
    return own + 6 * side.depth * more

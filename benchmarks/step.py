"""A training step beside KerasHub's backbone of the same size: BERT's masked tokens, T5's targets.

    python -m benchmarks.step --preset bert-tiny --length 64 --batch 32
    python -m benchmarks.step --preset t5-mini --length 256 --target 64 --batch 16

All contestants take the same batch in turn, A B C A B C ..., so that a machine whose speed drifts
is unfair to none. KerasHub runs as its users run it, by `compile` and Keras' own compiled train
function, in graph mode and by XLA, in both precisions; ours as `pipelines/training` runs it.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf
import tyro
from rich.console import Console
from rich.table import Table

import tfattn
from benchmarks import t5
from benchmarks.rounds import in_turn
from pipelines import recipes
from pipelines.data.batches import Batch
from pipelines.objectives.masked_lm import MaskedLM
from pipelines.recipes import TrainConfig
from pipelines.training.engine import Engine
from pipelines.training.optimize import build_optimizer
from pipelines.training.train import POLICIES
from tfattn.models.config import EncoderDecoderConfig, Tokens, TransformerConfig
from tfattn.models.model_config import changed


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    preset: str = "bert-tiny"  # size of both models
    length: int = 64  # tokens a row, or a source
    target: int = 64  # tokens a target, where one is written
    batch: int = 32  # rows
    vocab_size: int = 8192  # tokens of the vocabulary
    dropout: float = 0.1  # everywhere, in both
    rounds: int = 30  # steps of each contestant
    precisions: tuple[str, ...] = ("float32", "bfloat16")  # of the matrix products
    modes: tuple[str, ...] = ("graph", "fused")  # of ours; xla takes long to compile
    peer_xla: bool = True  # also KerasHub by XLA


class Masked(MaskedLM):
    """The masked-token loss on batches that are masked already."""

    def __init__(self):
        self.spec, self.heads = recipes.MaskedLM(), (Tokens(),)
        self.terms = {"mlm_loss": "mlm", "mlm_accuracy": "mlm"}
        self.losses, self.selects = ("mlm_loss",), ("loss", False)


def ours(config: TransformerConfig, batch: Batch, precision: str, mode: str) -> Callable[[], Any]:
    """Return a function that takes one step of ours."""
    model = tfattn.build(config, Tokens(), dtype=POLICIES[precision])
    train: Any = TrainConfig(compile=mode, rate=1e-3)  # pyright: ignore[reportArgumentType]
    engine = Engine(model, Masked(), build_optimizer(train, 10_000, model), train)  # pyright: ignore
    return lambda: engine.step(batch)


def theirs(config: TransformerConfig, batch: Batch, precision: str, xla: bool) -> Callable[[], Any]:
    """Return a function that takes one step of KerasHub's backbone and masked-LM head."""
    keras.config.set_dtype_policy(POLICIES[precision])
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=config.vocab_size,
        num_layers=config.depth,
        num_heads=config.heads,
        hidden_dim=config.dim,
        intermediate_dim=config.hidden_dim,
        dropout=config.dropout,
        max_sequence_length=config.max_length,
    )
    head = keras_hub.layers.MaskedLMHead(
        token_embedding=backbone.token_embedding, intermediate_activation="gelu"
    )
    places = keras.Input((None,), dtype="int32", name="mask_positions")
    logits = head(backbone(backbone.input)["sequence_output"], mask_positions=places)
    model = keras.Model({**backbone.input, "mask_positions": places}, logits)
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.01, beta_2=0.98, global_clipnorm=1.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metrics = [keras.metrics.SparseCategoricalAccuracy()]
    model.compile(optimizer, loss, weighted_metrics=metrics, jit_compile=xla)
    keras.config.set_dtype_policy("float32")
    features = {
        "token_ids": batch["features"]["tokens"],
        "segment_ids": tf.zeros_like(batch["features"]["tokens"]),
        "padding_mask": batch["features"]["segments"],
        "mask_positions": batch["features"]["predict_positions"],
    }
    data = (features, batch["targets"]["mlm"], batch["weights"]["mlm"])
    steps = iter(tf.data.Dataset.from_tensors(data).repeat())
    model.make_train_function()
    # The loss is read each step, as our engine reads it.
    return lambda: float(model.train_function(steps)["loss"])


def make_batch(setting: Setting) -> Batch:
    """Return a masked batch of random tokens without padding."""
    draw = np.random.default_rng(0)
    shape, count = (setting.batch, setting.length), round(0.15 * setting.length)
    places = np.argsort(draw.random(shape), axis=1)[:, :count]
    features = {
        "tokens": draw.integers(5, setting.vocab_size, shape),
        "segments": np.ones(shape),
        "positions": np.tile(np.arange(setting.length), (setting.batch, 1)),
        "predict_positions": np.sort(places, axis=1),
    }
    targets = draw.integers(5, setting.vocab_size, places.shape)
    return {
        "features": {name: tf.constant(f, tf.int32) for name, f in features.items()},
        "targets": {"mlm": tf.constant(targets, tf.int32)},
        "weights": {"mlm": tf.ones(places.shape)},
    }


def main(setting: Setting) -> None:
    """Measure, and print medians and their ratios to KerasHub in graph mode and float32."""
    config = changed(
        tfattn.preset(setting.preset),
        vocab_size=setting.vocab_size,
        max_length=setting.length,
        dropout=setting.dropout,
        attention_dropout=setting.dropout,
    )
    kind: Any = sys.modules[__name__]
    tokens = setting.batch * setting.length
    if isinstance(config, EncoderDecoderConfig):
        config = changed(config, inner_dropout=setting.dropout)
        kind, sides = t5, (setting.length, setting.target)
        batch = t5.make_batch(setting.batch, *sides, setting.vocab_size)
        flops, tokens = setting.batch * t5.flops(config, *sides), setting.batch * sum(sides)
    else:
        batch = make_batch(setting)
        flops = tokens * config.flops_per_token(setting.length, 0.15)
    contestants: dict[str, Callable[[], Any]] = {}
    for precision in setting.precisions:
        contestants[f"KerasHub graph {precision}"] = kind.theirs(config, batch, precision, False)
        if setting.peer_xla:
            contestants[f"KerasHub xla {precision}"] = kind.theirs(config, batch, precision, True)
        for mode in setting.modes:
            contestants[f"tfattn {mode} {precision}"] = kind.ours(config, batch, precision, mode)
    found = in_turn(contestants, setting.rounds)
    base = found[f"KerasHub graph {setting.precisions[0]}"].median
    table = Table(title=f"{setting.preset}, {setting.batch} x {setting.length} tokens a step")
    for column in ("", "first step s", "median ms", "least ms", "ratio", "tokens/s", "GFLOP/s"):
        table.add_column(column, justify="right" if column else "left")
    for name, times in found.items():
        median = times.median
        table.add_row(
            name,
            f"{times.first:.1f}",
            f"{median * 1e3:.1f}",
            f"{min(times.rounds) * 1e3:.1f}",
            f"{median / base:.2f}",
            f"{tokens / median:,.0f}",
            f"{flops / median / 1e9:.0f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main(tyro.cli(Setting, description=__doc__))

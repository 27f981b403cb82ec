"""A causal training step with the loss in chunks beside the same step with all logits at once.

    python -m benchmarks.loss --preset gpt2-mini --batch 16 --length 128

Steps are taken in turn; memory is the largest that a process of its own had.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tyro
from rich.console import Console
from rich.table import Table

import tfattn
from benchmarks.contestants.train_ours import Next
from benchmarks.rounds import in_turn
from pipelines.core.classification import cross_entropy, hits
from pipelines.core.engine import Engine
from pipelines.core.optimize import build_optimizer
from pipelines.core.train import POLICIES
from pipelines.core.train_config import TrainConfig
from tfattn import backend
from tfattn.families.gpt2 import HEAD


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    preset: str = "gpt2-mini"
    batch: int = 16
    length: int = 128
    precision: str = "float32"
    rounds: int = 7
    only: str | None = None  # a contestant of which one step is taken and the memory told


class Plain(Next):
    """The loss of all logits at once."""

    def measure(self, model, batch, training):
        """Sum cross entropy and hits over the tokens."""
        logits = model(batch["features"], training=training)
        targets, weights = batch["targets"]["tokens"], batch["weights"]["tokens"]
        loss = backend.island(cross_entropy)(logits, targets)
        found = {"loss": loss, "accuracy": hits(logits, targets)}
        return {name: tf.reduce_sum(x * weights) for name, x in found.items()}, None


CONTESTANTS = {"all at once": Plain, "in chunks": Next}


def step_of(setting: Setting, kind: type[Next]) -> Callable[[], Any]:
    """Return a function that takes one training step."""
    keras.utils.set_random_seed(0)
    config = replace(tfattn.preset(setting.preset), max_length=setting.length)
    shape = (setting.batch, setting.length)
    ids = np.random.default_rng(0).integers(0, config.vocab_size, (2, *shape))
    places = np.broadcast_to(np.arange(setting.length), shape)
    features = {"tokens": ids[0], "segments": np.ones(shape), "positions": places}
    batch = {
        "features": {name: tf.constant(x, tf.int32) for name, x in features.items()},
        "targets": {"tokens": tf.constant(ids[1], tf.int32)},
        "weights": {"tokens": tf.ones(shape)},
    }
    model = tfattn.build(config, HEAD, dtype=POLICIES[setting.precision])
    train = TrainConfig(compile="fused", lanes=1)  # the loss alone is compared
    optimizer = build_optimizer(train, 10_000, model)
    engine = Engine(model, kind(), optimizer, train)
    return lambda: engine.step(batch)


def main(setting: Setting) -> None:
    """Measure, and print medians, their ratio and the memory."""
    if setting.only is not None:
        step_of(setting, CONTESTANTS[setting.only])()
        print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))
        return
    memory = {}
    for name in CONTESTANTS:
        words = [sys.executable, "-m", "benchmarks.loss", *sys.argv[1:], "--only", name]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        memory[name] = json.loads(done.stdout.splitlines()[-1])
    found = in_turn({n: step_of(setting, k) for n, k in CONTESTANTS.items()}, setting.rounds)
    table = Table(title=f"{setting.preset}, {setting.batch} x {setting.length}, fused")
    for column in ("loss", "first s", "median ms", "ratio", "GiB"):
        table.add_column(column, justify="left" if column == "loss" else "right")
    base = found["all at once"].median
    for name, times in found.items():
        ratio = f"{times.median / base:.2f}"
        row = (f"{times.first:.1f}", f"{times.median * 1e3:.0f}", ratio, f"{memory[name]:.1f}")
        table.add_row(name, *row)
    Console(width=100).print(table)


if __name__ == "__main__":
    main(tyro.cli(Setting, description=__doc__))

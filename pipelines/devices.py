"""What this machine computes on, and what that means for a run."""

import os

import tensorflow as tf

from pipelines.recipes import TrainConfig
from tfattn.errors import InputError
from tfattn.models.config import Head
from tfattn.models.model_config import ModelConfig


def accelerated() -> bool:
    """Return whether there is a GPU or a TPU."""
    return any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))


def choose_strategy(train: TrainConfig) -> tf.distribute.Strategy:
    """Return the strategy of one device, or of all devices of this machine.

    Raises:
        InputError: a batch that the devices cannot share evenly.
    """
    if train.devices == "default":
        return tf.distribute.get_strategy()
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    names = [device.name for device in tf.config.list_logical_devices(kind)]
    if train.batch % len(names):
        raise InputError(
            f"train.batch: expected a multiple of the {len(names)} devices. "
            f"Received: {train.batch}."
        )
    # The one way of reducing that allows a second strategy in a process (2.21).
    return tf.distribute.MirroredStrategy(names, tf.distribute.ReductionToOneDevice())


def choose_compile(mode: str) -> str:
    """Return what `auto` means on this machine, or `mode`."""
    if mode != "auto":
        return mode
    return "xla" if accelerated() else "fused"


def check_memory(config: ModelConfig, heads: tuple[Head, ...]) -> None:
    """Refuse a model that cannot be trained here before it is allocated, and the process killed."""
    if accelerated():
        return
    count = config.parameter_count(heads)
    needed = 16 * count  # weights, gradients, and two averages of the optimizer, in float32
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > total:
        raise InputError(
            f"model: expected one that trains in the {total / 2**30:,.0f} GiB of this machine. "
            f"Received {count:,} parameters, which take {needed / 2**30:,.0f} GiB."
        )

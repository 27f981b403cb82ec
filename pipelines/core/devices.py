"""What this machine computes on, and what that means for a run."""

import contextlib
import json
import os

import tensorflow as tf

from pipelines.core.length_batches import EVEN
from pipelines.core.train_config import TrainConfig
from tfattn.errors import InputError
from tfattn.models.config import Head
from tfattn.models.model_config import ModelConfig

MOST_LANES = 8  # that are chosen by themselves; what is measured is two


def accelerated() -> bool:
    """Return whether there is a GPU or a TPU."""
    return any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))


def choose_lanes(train: TrainConfig) -> int:
    """Return how many parts of a batch are computed at once (core/microbatches.py).

    By itself one for each core, where the cores divide the rows of a batch and are at most
    MOST_LANES: each lane holds gradients of its own. Else, and where memory is to be saved by
    `remat`, all threads share every product.

    Raises:
        InputError: lanes that are asked for and cannot be.
    """
    whole = train.compile == "xla" or train.devices != "default"
    whole |= any(tf.config.list_physical_devices(kind) for kind in ("GPU", "TPU"))
    if train.lanes is not None and train.lanes > 1 and whole:
        raise InputError(
            "train.lanes: expected none but on one CPU, without --train.compile xla. "
            f"Received: {train.lanes}."
        )
    if whole or train.lanes is not None:
        return train.lanes or 1
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    rows = train.batch if train.batch_tokens is None else EVEN
    fits = cores <= MOST_LANES and rows % cores == 0 and train.remat == "none"
    return cores if fits else 1


def share_rows(train: TrainConfig) -> None:
    """Give each thread of this process, for all that it does, whole operations, if there are lanes.

    Before anything is computed; later the threads stay as they are, which takes longer.

    Raises:
        InputError: lanes that are asked for and cannot be.
    """
    lanes, threads = choose_lanes(train), tf.config.threading
    if lanes > 1:
        with contextlib.suppress(RuntimeError):  # something was computed before
            threads.set_intra_op_parallelism_threads(1)
            threads.set_inter_op_parallelism_threads(lanes)


def choose_strategy(train: TrainConfig) -> tf.distribute.Strategy:
    """Return the strategy of one device, of all of this machine, or of all of a cluster.

    That of a cluster is made before anything else is computed.

    Raises:
        InputError: a batch that the devices cannot share evenly, or no cluster in TF_CONFIG.
    """
    if train.devices == "default":
        return tf.distribute.get_strategy()
    if train.devices == "workers":
        _check_cluster()
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        _check_batch(train.batch, strategy.num_replicas_in_sync)
        return strategy
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    names = [device.name for device in tf.config.list_logical_devices(kind)]
    _check_batch(train.batch, len(names))
    # The one way of reducing that allows a second strategy in a process (2.21).
    return tf.distribute.MirroredStrategy(names, tf.distribute.ReductionToOneDevice())


def _check_batch(batch: int, devices: int) -> None:
    if batch % devices:
        raise InputError(
            f"train.batch: expected a multiple of the {devices} devices. Received: {batch}."
        )


def _check_cluster():
    """Refuse a TF_CONFIG that TensorFlow would take for a run alone, or wait for ever with."""
    given = os.environ.get("TF_CONFIG", "")
    try:
        described = json.loads(given)
        workers, task = described["cluster"]["worker"], described["task"]
        fits = task["type"] == "worker" and 0 <= int(task["index"]) < len(workers)
        fits = fits and set(described["cluster"]) == {"worker"} and isinstance(workers, list)
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise InputError(
            'TF_CONFIG: expected {"cluster": {"worker": ["host:port", ...]}, "task": {"type": '
            f'"worker", "index": 0}}}} for --train.devices workers. Received: {given!r}.'
        )


def choose_compile(mode: str) -> str:
    """Return what `auto` means on this machine, or `mode`."""
    if mode != "auto":
        return mode
    return "xla" if accelerated() else "fused"


def check_memory(config: ModelConfig, heads: tuple[Head, ...], lanes: int = 1) -> None:
    """Refuse a model that cannot be trained here before it is allocated, and the process killed."""
    if accelerated():
        return
    count = config.parameter_count(heads)
    # Weights, gradients of each lane, and two averages of the optimizer, in float32.
    needed = (12 + 4 * lanes) * count
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > total:
        raise InputError(
            f"model: expected one that trains in the {total / 2**30:,.0f} GiB of this machine. "
            f"Received {count:,} parameters, which take {needed / 2**30:,.0f} GiB."
        )

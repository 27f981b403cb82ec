"""What this machine computes on, and what that means for a run."""

import contextlib
import json
import os

import tensorflow as tf

from pipelines.data.length_batches import EVEN
from pipelines.recipes import TrainConfig
from tfattn.errors import InputError
from tfattn.models.config import Head
from tfattn.models.model_config import ModelConfig


def accelerated() -> bool:
    """Return whether there is a GPU or a TPU."""
    return any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))


def share_rows(train: TrainConfig) -> None:
    """Give each thread of this process rows of a batch, and whole operations, where that is asked.

    By itself where all of it is computed on a CPU in graphs, and its cores divide the rows. Before
    anything is computed; later the threads stay as they are.

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
    lanes = train.lanes or _cores()
    rows = train.batch if train.batch_tokens is None else EVEN  # most have
    if whole or lanes == 1 or (train.lanes is None and rows % lanes):
        return
    threads = tf.config.threading
    with contextlib.suppress(RuntimeError):  # something was computed before
        threads.set_intra_op_parallelism_threads(1)
        threads.set_inter_op_parallelism_threads(lanes)


def lanes_of_threads() -> int:
    """Return how many parts of a batch the threads of this process are to compute at once."""
    threads = tf.config.threading
    alone = threads.get_intra_op_parallelism_threads() == 1
    return max(threads.get_inter_op_parallelism_threads(), 1) if alone else 1


def _cores():
    """Return those that this process may use, as TensorFlow counts them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


def _check_batch(batch, devices):
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

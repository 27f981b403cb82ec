"""Where a training run fits and how long it takes, by arithmetic, before anything is bought.

    seconds a step = FLOPs / (devices * rate * utilisation)      days = steps * seconds / 86,400

FLOPs are those of the matrix products (`training_flops` of each config): 6 a parameter and token
(arXiv:2001.08361, section 2.1), and those of attention and logits, which 6 N D leaves out. Blocks
that are made again have a forward pass more, 4/3 of their FLOPs. The utilisation is an assumption:
PaLM reports .462 (arXiv:2204.02311, table 3), and each network and batch has its own. The time in
which devices wait for each other, for data or for checkpoints is in it.

A layout is data replicas x model shards. Weights are shared out by their paths, as
keras.distribution.ModelParallel does: a kernel by its heads or its hidden units, which the number
of shards is to divide. Where the rows of a step do not fit at once, they are gone through one
microbatch after the other. Nothing here imports Keras or TensorFlow.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, NoReturn

from pipelines.experiments.step_memory import How, Memory, memory
from tfattn.errors import InputError
from tfattn.models.model_config import Head, ModelConfig
from tfattn.models.shards import most_shards
from tfattn.models.step import Step

GIB = 2**30
PLACES = 2**19  # tokens a step by default: GPT-3's up to 760M (arXiv:2005.14165, table 2.1)
TOKENS = 20  # of the run for each parameter (arXiv:2203.15556, table 3)


class Device(NamedTuple):
    """A device as its maker has it."""

    flops: float  # a second at most, of dense products in bfloat16
    memory: float  # GiB


# NVIDIA's data sheets of the A100, H100 (SXM) and H200, without sparsity; Google Cloud's
# documentation of TPU v4, v5e and v5p, a chip each. A percent or two of the memory is never free.
DEVICES = {
    "a100-40": Device(312e12, 40),
    "a100-80": Device(312e12, 80),
    "h100": Device(989e12, 80),
    "h200": Device(989e12, 141),
    "tpu-v4": Device(275e12, 32),
    "tpu-v5e": Device(197e12, 16),
    "tpu-v5p": Device(459e12, 95),
}


@dataclass(frozen=True)
class Cluster:
    """What there is to compute on."""

    devices: int
    memory: float  # bytes a device
    flops: float  # a second and device at most
    utilisation: float  # share of them that is had


@dataclass(frozen=True)
class Asked:
    """What of a layout is given; None = it is found."""

    step: Step  # without its rows
    batch: int | None = None  # rows a step
    model_shards: int | None = None
    microbatch: int | None = None  # rows of a data replica at a time
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    remat: Literal["none", "block"] = "none"
    attention: Literal["dense", "blocked"] = "dense"


@dataclass(frozen=True)
class Layout:
    """How a step is shared out."""

    data_replicas: int
    model_shards: int
    microbatch: int  # rows of a data replica at a time
    accumulate: int  # microbatches a step
    memory: Memory  # of a device

    @property
    def batch(self) -> int:
        """Return the rows of a step."""
        return self.data_replicas * self.microbatch * self.accumulate


@dataclass(frozen=True)
class Time:
    """How long it takes."""

    step_flops: float  # of the model, all devices together
    made_again: float  # FLOPs beside them, of blocks that are made again
    step_seconds: float
    steps: int
    days: float


def find_layout(
    name: str, config: ModelConfig, head: Head, cluster: Cluster, asked: Asked
) -> Layout:
    """Return the layout with the fewest model shards, and of these with the largest microbatch.

    Args:
        name: of the model, for what is told.
        config: of the model.
        head: on it.
        cluster: where it is to fit.
        asked: of the layout.

    Raises:
        InputError: nothing fits; names what would.
    """
    _check(name, config, head, cluster, asked)
    found = _fitting(config, head, cluster, asked)
    if found is not None:
        return found
    layouts = _layouts(config, head, cluster, asked)
    least = min(layouts, key=lambda x: (x.memory.total, x.microbatch), default=None)
    if least is None:
        _refuse_batch(config, head, cluster, asked)
    rows = "1 row" if least.microbatch == 1 else f"{least.microbatch} rows"
    shards = "1 model shard" if least.model_shards == 1 else f"{least.model_shards} model shards"
    raise InputError(
        f"memory: expected at least {least.memory.total / GIB:.4g} GiB a device for {name} in "
        f"{shards} with {rows} at a time. Received: {cluster.memory / GIB:.4g}. "
        f"Would fit: {_remedy(config, head, cluster, asked)}."
    )


def _check(name, config, head, cluster, asked):
    if asked.model_shards is not None and not list(_shards(config, head, cluster, asked)):
        free = _shards(config, head, cluster, replace(asked, model_shards=None))
        raise InputError(
            f"model-shards: expected a divisor of the {cluster.devices} devices and of heads and "
            f"hidden units of {name}. Received: {asked.model_shards}. "
            f"Would fit: {', '.join(map(str, free))}."
        )
    if not config.stacks():
        for flag, default in (("remat", "none"), ("attention", "dense")):
            if getattr(asked, flag) != default:
                raise InputError(
                    f"{flag}: expected {default} for {name}, a recurrent model without blocks. "
                    f"Received: {getattr(asked, flag)}."
                )


def _refuse_batch(config, head, cluster, asked) -> NoReturn:
    replicas = cluster.devices // max(_shards(config, head, cluster, asked))
    unit = replicas * (asked.microbatch or 1)
    rows = "1 row" if unit == replicas else f"{asked.microbatch} rows"
    raise InputError(
        f"batch: expected a multiple of {rows} for each of {replicas} data replicas. "
        f"Received: {asked.batch}. Would fit: --batch {unit * math.ceil(asked.batch / unit)}."
    )


def run_time(
    config: ModelConfig, layout: Layout, cluster: Cluster, asked: Asked, tokens: float
) -> Time:
    """Return how long a run over so many tokens (or patches of images) takes."""
    step = replace(asked.step, rows=layout.batch)
    flops = config.training_flops(step)
    blocks = config.training_flops(replace(step, told=0.0, classes=0))
    again = blocks / 3 if asked.remat == "block" else 0.0
    seconds = (flops + again) / (cluster.devices * cluster.flops * cluster.utilisation)
    steps = math.ceil(tokens / (layout.batch * config.places(step)))
    return Time(flops, again, seconds, steps, steps * seconds / 86_400)


def _fitting(config, head, cluster, asked):
    fitting = (
        layout
        for layout in _layouts(config, head, cluster, asked)
        if layout.memory.total <= cluster.memory
    )
    return next(fitting, None)


def _layouts(config, head, cluster, asked) -> Iterator[Layout]:
    """Yield layouts, the fewest model shards first, and of these the largest microbatch."""
    parameters = config.parameter_count((head,))
    for shards in _shards(config, head, cluster, asked):
        replicas = cluster.devices // shards
        places = config.places(asked.step)
        unit = replicas * (asked.microbatch or 1)
        batch = asked.batch or unit * max(1, round(PLACES / places / unit))
        if batch % replicas:
            continue
        each = batch // replicas
        how = How(shards, asked.precision, asked.remat == "block", asked.attention == "blocked")
        for rows in reversed(_divisors(each)):
            if asked.microbatch in (None, rows):
                needed = memory(config, parameters, replace(asked.step, rows=rows), how)
                yield Layout(replicas, shards, rows, each // rows, needed)


def _shards(config, head, cluster, asked):
    """Yield how many model shards there may be."""
    most = most_shards(config, head)
    for shards in _divisors(cluster.devices):
        if asked.model_shards in (None, shards) and most % shards == 0:
            yield shards


def _remedy(config, head, cluster, asked):
    """Return flags with which it would fit: the least change first."""
    given = {n: None for n in ("microbatch", "model_shards") if getattr(asked, n) is not None}
    both: dict[str, Any] = {"remat": "block", "attention": "blocked"}
    both = both if config.stacks() else {}
    both = {name: value for name, value in both.items() if getattr(asked, name) != value}
    for change in (
        ({n: None} for n in given),
        ({n: v} for n, v in both.items()),
        (both, given | both),
    ):
        for one in change:
            found = _fitting(config, head, cluster, replace(asked, **one)) if one else None
            if found is not None:
                return _flags(one, found)
    for change in (given, given | both):
        for devices in _more_devices(config, head, cluster):
            more = replace(cluster, devices=devices)
            found = _fitting(config, head, more, replace(asked, **change))
            if found is not None:
                return f"--devices {devices} {_flags(change, found)}".rstrip()
    least = min(x.memory.total for x in _layouts(config, head, cluster, asked))
    return f"--memory {math.ceil(least / GIB)}"


def _more_devices(config, head, cluster):
    """Return numbers of devices that have other numbers of model shards, the fewest first."""
    found = set()
    for shards in _divisors(most_shards(config, head)):
        first = cluster.devices // shards + 1
        found |= {shards * replicas for replicas in range(first, first + 4)}
    return sorted(found)


def _flags(change, layout):
    """Return a change as flags, with what was found where it sets something free."""
    said = {n: getattr(layout, n) if value is None else value for n, value in change.items()}
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in said.items())


def _divisors(number):
    low = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return sorted({*low, *(number // n for n in low)})

"""How weights are found, and what a run shows, as data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tfattn.errors import InputError
from tfattn.spec import Spec


@dataclass(frozen=True)
class TrainConfig(Spec):
    """How the weights are found."""

    steps: int | None = None  # optimizer steps; none: by epochs
    epochs: float | None = None  # passes over the data, unless steps are given; none: 1
    batch: int = 32  # rows a step and microbatch, over all devices
    # Of pairs: in place of rows, places of the longer side; pairs of like length go together
    # (arXiv:1706.03762, section 5.1).
    batch_tokens: int | None = None
    accumulate: int = 1  # microbatches whose gradients make one step
    # Threads of a CPU that share the rows of a microbatch, each alone with its own, which is
    # quicker than all of them at every product; none: all cores, where they divide the rows.
    lanes: int | None = None
    rate: float = 1e-3  # peak learning rate
    # The rate is a share of each weight's size, as in Adafactor (arXiv:1804.04235, section 8).
    proportional: bool = False
    # What the rate does after its peak.
    schedule: Literal["linear", "cosine", "inverse-sqrt", "wsd", "constant"] = "linear"
    warmup: float = 0.1  # share of the steps in which the rate rises to its peak
    weight_decay: float = 0.01  # of kernels and embeddings; never of norms and biases
    clip: float = 1.0  # largest global norm of the gradients
    beta2: float = 0.98  # memory of the squared gradients
    # Last checkpoints whose weights are averaged at the end (arXiv:1706.03762, section 6.1).
    average: int = 1
    ema: float | None = None  # averages the weights with this memory, such as 0.999; none: not
    precision: Literal["float32", "bfloat16"] = "bfloat16"  # of matrix products; weights in float32
    # By XLA the whole step, the elementwise stretches, or nothing; auto: by the device.
    compile: Literal["auto", "xla", "fused", "graph"] = "auto"
    # What gradients compute again rather than keep in memory: nothing, or each block from its input
    # (arXiv:1604.06174): a third more to compute, and of a block no more memory than its input.
    remat: Literal["none", "block"] = "none"
    scan: bool = False  # blocks that are alike in a loop: a deep model is compiled in seconds
    # Scores of all queries at once, or of some at a time, whose memory is linear in the length;
    # auto: by length. Of windows that are short beside it no others are computed.
    attention: Literal["auto", "dense", "blocked"] = "auto"
    # One device, all of this machine, or those of all workers that TF_CONFIG names.
    devices: Literal["default", "mirrored", "workers"] = "default"
    seed: int = 0  # of weights, order, masks and dropout
    log_every: int = 10  # steps between lines of metrics.jsonl and points of TensorBoard
    evaluate_every: int | None = None  # steps between evaluations; none: a tenth of the run
    evaluate_batches: int = 64  # batches of validation text an evaluation at most
    checkpoint_every: int | None = None  # steps between checkpoints; none: as evaluations
    keep: int = 2  # checkpoints kept
    patience: int | None = None  # evaluations without a new best that end the run; none: no end

    def __post_init__(self):
        super().__post_init__()
        counts = ("steps", "batch", "accumulate", "log_every", "keep", "evaluate_batches")
        counts += ("batch_tokens", "average", "lanes")
        for name in (*counts, "evaluate_every", "checkpoint_every", "patience"):
            self._check(name, "at least 1", lambda value: value >= 1)
        if self.lanes is not None and self.batch_tokens is None and self.batch % self.lanes:
            raise InputError(
                f"train.lanes: expected a divisor of the {self.batch} rows of train.batch. "
                f"Received: {self.lanes}."
            )
        for name in ("epochs", "rate", "clip"):
            self._check(name, "a number over 0", lambda value: value > 0)
        self._check("warmup", "a share from 0 to 1", lambda value: 0 <= value <= 1)
        self._check("weight_decay", "0 or more", lambda value: value >= 0)
        self._check("beta2", "a number from 0 to below 1", lambda value: 0 <= value < 1)
        self._check("ema", "a number between 0 and 1", lambda value: 0 < value < 1)
        self._check("average", f"at most the {self.keep} kept", lambda value: value <= self.keep)
        if self.average > 1 and self.ema is not None:
            raise InputError(f"train.average: expected none beside ema. Received: {self.average}.")
        self._check("seed", "0 to 2**32 - 1", lambda value: 0 <= value < 2**32)

    def _check(self, name: str, expected: str, holds: Callable[[Any], bool]) -> None:
        value = getattr(self, name)
        if value is not None and not holds(value):
            raise InputError(f"train.{name}: expected {expected}. Received: {value}.")


@dataclass(frozen=True)
class MonitorConfig(Spec):
    """What a run shows."""

    attention: bool = True  # attention maps of a fixed probe text at each evaluation
    histograms: bool = True  # of the weights at each evaluation
    samples: int = 8  # sample predictions as text at each evaluation
    # Of the time that all this may take: evaluations come without it, but for the first and the
    # last, until the rest of the run has caught up. 1 = always with it.
    share: float = 0.1
    # A profile from after the first of these steps to after the last, and as a text in TensorBoard
    # where the time of such a step went; none: no profile.
    profile: tuple[int, int] | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.samples < 0:
            raise InputError(f"monitor.samples: expected 0 or more. Received: {self.samples}.")
        if not 0 <= self.share <= 1:
            raise InputError(f"monitor.share: expected a share, 0 to 1. Received: {self.share}.")
        if self.profile is not None and not 1 <= self.profile[0] < self.profile[1]:
            raise InputError(
                "monitor.profile: expected a first step from 1 and a later last one. "
                f"Received: {self.profile[0]} {self.profile[1]}."
            )

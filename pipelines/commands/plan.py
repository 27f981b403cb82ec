"""The command that tells where a run fits and how long it takes, and its flags.

Nothing here imports Keras or TensorFlow: it answers at once.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import tyro

from pipelines.domains import presets
from pipelines.experiments import plan
from pipelines.text.spec import MaskedLM, SpanCorruption
from tfattn.errors import InputError
from tfattn.families import PRESETS, pretraining_head
from tfattn.models.config import Classify
from tfattn.models.model_config import Head, ModelConfig
from tfattn.models.step import Step
from tfattn.spec import unknown

CLASSES = 1000  # of images, as ImageNet has
PARTS = {  # of the memory
    "weights": "weights, and copies",
    "gradients": "gradients",
    "optimizer": "averages of AdamW",
    "activations": "activations",
    "logits": "logits",
}
BAR = 30  # characters of the memory of a device


@dataclass(frozen=True)
class Plan:
    """Tell what a run takes before it begins: memory of a device, layout, FLOPs, days.

    By arithmetic alone, at once. What cannot fit is refused, with flags that would.

    Example: python -m pipelines plan gpt3-6.7b --devices 64 --memory 80

    or: python -m pipelines plan gpt3-175b --devices 768 --device a100-80
    --remat block --batch 1536 --tokens 300e9

    or, on a laptop: python -m pipelines plan bert-mini --memory 16
    --flops 2e11 --length 128 --batch 32 --tokens 40e6
    """

    # Such as gpt3-6.7b; `python -m pipelines presets` lists them. Images are classified.
    preset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PRESET")]
    devices: int = 1  # accelerators, or one machine
    # Of which rate and memory are known: dense bfloat16, as their makers publish them.
    device: Literal["a100-40", "a100-80", "h100", "h200", "tpu-v4", "tpu-v5e", "tpu-v5p"] = "h100"
    memory: float | None = None  # GiB a device; none: that of --device
    flops: float | None = None  # a second and device at most; none: those of --device
    # Share of these that products get, an assumption: PaLM reports .462 (arXiv:2204.02311).
    utilisation: float = 0.4
    # Devices that share the weights of one replica; none: the fewest with which a step fits.
    model_shards: int | None = None
    batch: int | None = None  # rows a step; none: about 2**19 tokens
    microbatch: int | None = None  # rows of a replica at a time; none: as many as fit
    length: int | None = None  # tokens a row, or a source; none: as many as the preset has
    target: int | None = None  # tokens of a target, where one is written; none: by the objective
    # Of the run, such as 300e9; of images patches; none: 20 a parameter (arXiv:2203.15556).
    tokens: float | None = None
    precision: Literal["bfloat16", "float32"] = "bfloat16"  # of products; weights in float32
    # Blocks are made again for their gradient: less memory, 4/3 of their FLOPs.
    remat: Literal["none", "block"] = "none"
    # All scores at once, or by blocks of them in linear memory.
    attention: Literal["dense", "blocked"] = "dense"

    def run(self, base: Any = None) -> dict[str, Any]:
        """Plan, print tables, and return what to print."""
        if self.preset not in PRESETS:
            raise InputError(f"preset: {unknown('preset', self.preset, PRESETS)}")
        self._check()
        config = PRESETS[self.preset]
        images = config.reads == "images"
        head = Classify(classes=CLASSES, pool="first") if images else pretraining_head(self.preset)
        step, cluster = self._step(config), self._cluster()
        asked = plan.Asked(
            step,
            self.batch,
            self.model_shards,
            self.microbatch,
            self.precision,
            self.remat,
            self.attention,
        )
        layout = plan.find_layout(self.preset, config, head, cluster, asked)
        parameters = config.parameter_count((head,))
        tokens = plan.TOKENS * parameters if self.tokens is None else self.tokens
        time = plan.run_time(config, layout, cluster, asked, tokens)
        _print_memory(self.preset, layout.memory, cluster.memory)
        found = self._numbers(config, head, replace(step, rows=layout.batch), layout, time, tokens)
        _print_run(self, found)
        return found

    def _check(self):
        for name in ("devices", "batch", "microbatch", "length", "target", "model_shards"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= 2**32:
                flag = name.replace("_", "-")
                raise InputError(f"{flag}: expected 1 to 2**32. Received: {value}.")
        for name in ("memory", "flops", "tokens"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1e30:
                raise InputError(f"{name}: expected a number over 0. Received: {value:g}.")
        if not 0 < self.utilisation <= 1:
            raise InputError(
                f"utilisation: expected a share over 0, up to 1. Received: {self.utilisation:g}."
            )
        if self.precision == "float32" and self.flops is None:
            raise InputError(
                "flops: expected a rate beside --precision float32, for those of --device are of "
                "bfloat16. Received none."
            )

    def _cluster(self):
        known = plan.DEVICES[self.device]
        memory = known.memory if self.memory is None else self.memory
        flops = known.flops if self.flops is None else self.flops
        return plan.Cluster(self.devices, memory * plan.GIB, flops, self.utilisation)

    def _step(self, config: Any) -> Step:
        """Return what a step reads, without its rows."""
        pair = config.writes == "target"
        if config.reads == "images":
            self._unexpected("length", "images, whose patches are those of the preset")
            self._unexpected("target", "images")
            return Step(1, classes=CLASSES)
        objective = presets()[self.preset].objective
        length = config.max_length if self.length is None else self.length
        if not pair:
            self._unexpected("target", "one stack, that reads and writes the same row")
        if not pair or self.target is not None:
            target = self.target or 0
        elif isinstance(objective, SpanCorruption):  # what is left out, and a sentinel a span
            target = round(length * objective.rate * (1 + 1 / objective.span)) + 1
        else:
            target = length
        limit = config.max_positions()
        for flag, value in (("length", length), ("target", target)):
            if limit is not None and value > limit:
                raise InputError(
                    f"{flag}: expected at most the {limit} positions of {self.preset}. "
                    f"Received: {value}."
                )
        told = objective.rate if isinstance(objective, MaskedLM) else 1.0
        return Step(1, length, target, told)

    def _unexpected(self, flag, what):
        if getattr(self, flag) is not None:
            raise InputError(f"{flag}: expected none for {what}. Received: {getattr(self, flag)}.")

    def _numbers(
        self,
        config: ModelConfig,
        head: Head,
        step: Step,
        layout: plan.Layout,
        time: plan.Time,
        tokens: float,
    ) -> dict[str, Any]:
        parts = {name: value / plan.GIB for name, value in vars(layout.memory).items()}
        return {
            "preset": self.preset,
            "parameters": config.parameter_count((head,)),
            "devices": self.devices,
            "data_replicas": layout.data_replicas,
            "model_shards": layout.model_shards,
            "microbatch": layout.microbatch,
            "accumulate": layout.accumulate,
            "batch": layout.batch,
            "length": step.length or config.places(step),
            "target": step.target,
            "memory_gib": {**parts, "total": layout.memory.total / plan.GIB},
            "step_flops": time.step_flops,
            "step_flops_made_again": time.made_again,
            "utilisation": self.utilisation,
            "step_seconds": time.step_seconds,
            "step_tokens": layout.batch * config.places(step),
            "tokens": tokens,
            "steps": time.steps,
            "days": time.days,
        }


def _print_memory(name, memory, limit):
    from rich.table import Table

    from pipelines.core.progress import console

    shown = Table("memory of a device", "GiB", "", title=name)
    shown.columns[1].justify = "right"
    shown.columns[2].no_wrap = True
    for part, words in PARTS.items():
        value = getattr(memory, part)
        shown.add_row(words, f"{value / plan.GIB:,.2f}", "█" * round(BAR * value / limit))
    share = memory.total / limit
    bar = "█" * round(BAR * share)
    there = f"{bar:░<{BAR}} {share:.0%} of {limit / plan.GIB:,.4g}"
    shown.add_section()
    shown.add_row("together", f"{memory.total / plan.GIB:,.2f}", there)
    console.print(shown)


def _print_run(asked: Plan, found):
    from rich.table import Table

    from pipelines.core.progress import console

    rows = f"{found['batch']:,} rows = {found['step_tokens']:,} tokens"
    layout = f"{found['data_replicas']} x {found['model_shards']}"
    again = f" and {found['step_flops_made_again']:.3g} made again" if asked.remat != "none" else ""
    shown = Table(show_header=False)
    for what, said in (
        ("parameters", f"{found['parameters']:,}"),
        ("data replicas x model shards", layout),
        ("step", rows),
        ("microbatches", f"{found['accumulate']} of {found['microbatch']} a replica"),
        ("FLOPs a step", f"{found['step_flops']:.3g}{again}"),
        ("utilisation", f"{asked.utilisation:g} of the peak, an assumption"),
        ("seconds a step", f"{found['step_seconds']:.3g}"),
        ("tokens of the run", f"{found['tokens']:.3g} in {found['steps']:,} steps"),
        ("days of the run", f"{found['days']:,.3g}"),
    ):
        shown.add_row(what, said)
    console.print(shown)

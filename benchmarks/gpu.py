"""A training step of the published sizes on a GPU: our models on JAX beside torch.

    python -m benchmarks.gpu --jax .venv-jax/bin/python --peers .venv-parity/bin/python
    python -m benchmarks.gpu --work bert-tiny gpt2-tiny t5-tiny vit-tiny --rounds 3     # on a CPU

Told are units (tokens, or patches) a second, and the share of the device's peak that the FLOPs of
the model's products come to (model FLOPs utilisation, appendix B of arXiv:2204.02311): those that
nobody can do without, of logits too, but nothing that is calculated twice. All in bfloat16, on the
same random batch, each contestant a process of its own, in turn.

The figures need a GPU, and environments whose JAX and torch see it (`pip install "jax[cuda12]"`
instead of `jax`). None are reported in docs/measurements.md: none was there. Sizes of `-tiny` run
on a CPU too, which proves that it works and says nothing of a GPU.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.contest import Contestant, in_turn, tell
from benchmarks.work import WORKS

JAX, TORCH = "benchmarks.contestants.train_jax", "benchmarks.contestants.train_torch"
# All contestants are on the device at once; each takes what it needs, and not most of it.
ALONE = {"KERAS_BACKEND": "jax", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
# Dense bfloat16 FLOP/s by their makers' data sheets, by parts of names; the first that fits counts.
PEAKS = {
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H200": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
}


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    # Of benchmarks/work.py.
    work: tuple[str, ...] = tuple(name for name in WORKS if name.endswith("-gpu"))
    rounds: int = 15  # steps of each contestant
    peak: float | None = None  # FLOP/s of the device in bfloat16; none: by its name, if known
    jax: Path = Path(".venv-jax/bin/python")  # interpreter that has JAX and Keras
    peers: Path = Path(".venv-parity/bin/python")  # interpreter that has torch and transformers
    out: Path = Path("runs/benchmarks")  # receives JSON and logs


def device() -> str:
    """Return the name of the first GPU; "" where there is none."""
    words = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return next(iter(done.stdout.splitlines()), "").strip()


def peak_of(name: str) -> float | None:
    """Return the FLOP/s of a device, if it is a known one."""
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def contestants(work: str, setting: Setting) -> dict[str, Contestant]:
    """Return all contestants whose environment is there, the one to compare with first."""
    given = {"work": work, "precision": "bfloat16"}
    rows = {
        "torch eager": Contestant(setting.peers, TORCH, given),
        "torch compile": Contestant(setting.peers, TORCH, {**given, "compiled": True}),
        "tfattn on JAX": Contestant(setting.jax, JAX, given, ALONE),
    }
    return {name: row for name, row in rows.items() if row.python.exists()}


def main(setting: Setting) -> None:
    """Measure each work, and print and write its table."""
    name = device()
    peak = setting.peak or peak_of(name)
    for work in setting.work:
        rows, size = contestants(work, setting), WORKS[work]
        times = in_turn(rows, setting.rounds, setting.out / f"gpu-{work}")
        title = f"{work} in bfloat16: {size.batch} rows a step, on {name or 'a CPU'}"
        out, base = setting.out / f"gpu-{work}.json", next(iter(rows))
        tell(title, times, base, size.units(), size.flops(), out, peak)


if __name__ == "__main__":
    main(tyro.cli(Setting, description=__doc__))

"""Generation beside transformers on torch and KerasHub's compiled `generate`, of the same GPT-2.

    python -m benchmarks.generate --preset gpt2-mini --prompt 32 --tokens 128 --batches 1 8

Every contestant is a process of its own; they take the same prompts in turn. What is told is how
many times as fast as torch each is, or as KerasHub by XLA without `.venv-parity`.
"""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro

from benchmarks.contest import Contestant, in_turn, tell
from benchmarks.work import Writing

OURS, HUB, TORCH = (
    f"benchmarks.contestants.generate_{name}" for name in ("ours", "kerashub", "torch")
)


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    preset: str = "gpt2-mini"  # size of all models
    prompt: int = 32  # tokens before
    tokens: int = 128  # tokens to add
    batches: tuple[int, ...] = (1, 8)  # prompts at once
    context: int = 256  # positions of all models
    rounds: int = 9  # of each contestant
    top_p: float | None = None  # of the probability that is drawn from; none: greedy
    peers: Path = Path(".venv-parity/bin/python")  # interpreter that has torch and transformers
    out: Path = Path("runs/benchmarks")  # receives JSON and logs


def main(setting: Setting) -> None:
    """Measure each number of prompts, and print and write its table."""
    here, how = Path(sys.executable), f"top-p {setting.top_p}" if setting.top_p else "greedy"
    for batch in setting.batches:
        sizes = (setting.preset, batch, setting.prompt, setting.tokens, setting.context)
        work = Writing(*sizes, setting.top_p)
        given = {"work": asdict(work)}
        rows = {
            "torch float32": Contestant(setting.peers, TORCH, given),
            "torch bfloat16": Contestant(setting.peers, TORCH, {**given, "precision": "bfloat16"}),
            "KerasHub xla": Contestant(here, HUB, given),
            "KerasHub graph": Contestant(here, HUB, {**given, "xla": False}),
            "tfattn": Contestant(here, OURS, given),
        }
        rows = {name: contestant for name, contestant in rows.items() if contestant.python.exists()}
        name = f"generate-{setting.preset}-{batch}"
        times = in_turn(rows, setting.rounds, setting.out / name)
        title = f"{setting.preset}, {batch} x ({setting.prompt} + {setting.tokens}) tokens, {how}"
        units = batch * setting.tokens
        tell(title, times, next(iter(rows)), units, work.flops(), setting.out / f"{name}.json")


if __name__ == "__main__":
    main(tyro.cli(Setting, description=__doc__))

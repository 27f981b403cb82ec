"""What bfloat16 costs a pretraining: the same runs in float32 and in bfloat16, from each seed.

    python -m benchmarks.precision                      # on the embedded corpus: no files needed

Both runs of a seed begin with the same weights and take the same batches, masks and dropout, so
that their difference has none of the chance that lies between seeds. Told are, in nats: the last
validation loss of each precision, mean and standard deviation over seeds; the mean of bfloat16
minus float32 and its standard error; the largest such difference along the training loss, a mean
of the last 20 steps, with its step; and the deviation between the seeds of float32 at that step.
Every run is a command of its own: an interrupted comparison goes on where it stopped. The numbers
go to `precision.json`, the curves to `precision.png`.
"""

import itertools
import json
import math
import shlex
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.table import Table

from benchmarks.commands import command, console, spread
from benchmarks.precision_picture import Curves, draw
from pipelines.core.atomic import write_text
from tfattn.errors import InputError

BASE, HALF = PRECISIONS = ("float32", "bfloat16")
WINDOW = 20  # steps that are averaged along the training loss
QUIET = ("--monitor.no-attention", "--monitor.no-histograms", "--monitor.samples", "0")


@dataclass(frozen=True)
class Setting:
    """What is compared."""

    # Of each the name, and flags of `pretrain` for it alone: as it is published, bert-mini has not
    # begun to learn after so few steps.
    presets: tuple[str, ...] = (
        "bert-mini --train.steps 300 --model.norm pre --model.kernel-std none",
        "gpt2-mini --train.steps 200 --train.batch 16 --data.length 256",
    )
    evaluations: int = 8  # after the first, of each run
    seeds: int = 3
    more: str = ""  # flags of all runs, such as --more="--data.files corpus.txt"
    out: Path = Path("runs/precision")  # where all runs go


def trained(setting: Setting, preset: str, precision: str, seed: int) -> dict[str, Any]:
    """Pretrain, or read what came of it; return its numbers and both curves."""
    words = shlex.split(f"{preset} {setting.more}")
    folder = setting.out / f"{words[0]}-{precision}-seed{seed}"
    steps = int(words[words.index("--train.steps") + 1])
    words += ["--train.evaluate-every", str(math.ceil(steps / setting.evaluations))]
    words += ["--train.log-every", "1", "--train.keep", "1", *QUIET]
    words += ["--train.precision", precision, "--train.seed", str(seed), "--out", str(folder)]
    result = command("pretrain", *words)
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return result | curves(map(json.loads, lines))


def curves(lines: Any) -> dict[str, list[tuple[int, float]]]:
    """Return the steps and losses of both splits, those of training smoothed."""
    lines = list(lines)
    found = {
        split: [(line["step"], line["loss"]) for line in lines if line["split"] == split]
        for split in ("train", "validation")
    }
    steps, losses = zip(*found["train"], strict=True)
    window = min(WINDOW, len(losses))
    smooth = np.convolve(losses, np.full(window, 1 / window), "valid").tolist()
    return {**found, "train": list(zip(steps[window - 1 :], smooth, strict=True))}


def compared(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return what the runs of both precisions, a seed each in the same order, say."""
    last = {name: [run["after"]["loss"] for run in of] for name, of in runs.items()}
    differences = [half - full for full, half in zip(last[BASE], last[HALF], strict=True)]
    steps = [step for step, _ in runs[BASE][0]["train"]]
    smooth = {
        name: np.array([[y for _, y in run["train"]] for run in of]) for name, of in runs.items()
    }
    along = smooth[HALF] - smooth[BASE]  # (seeds, steps)
    seed, place = np.unravel_index(np.abs(along).argmax(), along.shape)
    return {
        "last": last,
        "difference": statistics.mean(differences),
        "standard_error": statistics.stdev(differences) / math.sqrt(len(differences)),
        "largest": float(along[seed, place]),
        "largest_step": steps[place],
        "largest_seed": int(seed),
        "between_seeds": statistics.stdev(smooth[BASE][:, place].tolist()),
    }


def tell(found: dict[str, dict[str, Any]]) -> None:
    """Print a row for each model."""
    table = Table(title="loss in nats, ± over seeds", title_justify="left")
    titles = (*PRECISIONS, "difference ± error", "largest along the way", "between seeds there")
    for column in ("", *titles):
        table.add_column(column, justify="right" if column else "left")
    for name, said in found.items():
        cells = [spread(said["last"][precision], 4) for precision in PRECISIONS]
        cells.append(f"{said['difference']:+.4f} ± {said['standard_error']:.4f}")
        cells.append(f"{said['largest']:+.4f} at step {said['largest_step']}")
        table.add_row(name, *cells, f"{said['between_seeds']:.4f}")
    console.print(table)


def main(setting: Setting) -> None:
    """Train, compare, and write the numbers and the picture.

    Raises:
        InputError: one seed, which says nothing of chance.
    """
    if setting.seeds < 2:
        raise InputError(f"seeds: expected 2 or more. Received: {setting.seeds}.")
    presets = {preset.split()[0]: preset for preset in setting.presets}
    runs: Curves = {name: {precision: [] for precision in PRECISIONS} for name in presets}
    turns = itertools.product(range(setting.seeds), presets.items(), PRECISIONS)
    for seed, (name, preset), precision in turns:
        runs[name][precision].append(trained(setting, preset, precision, seed))
    found = {name: compared(of) for name, of in runs.items()}
    tell(found)
    whole = {name: said | {"runs": runs[name]} for name, said in found.items()}
    write_text(setting.out / "precision.json", json.dumps(whole, indent=1) + "\n")
    draw(runs, WINDOW, setting.out / "precision.png")


if __name__ == "__main__":
    main(tyro.cli(Setting, description=__doc__))

"""What a masked autoencoder is worth to a vision Transformer: fine-tuned beside new weights.

    python -m benchmarks.images --images mnist10k.npz --validation mnist10k.npz \
        --pretrain="--model.height 28 --model.width 28 --model.channels 1"

From each seed a model is pretrained on the images without their labels, then fine-tuned on them for
as many steps as the same model with new weights. Each of the two takes the rate which gives it the
most accuracy from the first seed. Fine-tuning is measured once, at its end, so that no checkpoint
is chosen. Every run is a command of its own: an interrupted comparison goes on where it stopped.
The table goes to `images.json`.
"""

import functools
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.table import Table

from benchmarks.commands import command, console, spread
from pipelines.core.atomic import write_text

KINDS = {"masked autoencoder first": False, "new weights": True}  # and whether weights are new


@dataclass(frozen=True)
class Setting:
    """What is compared."""

    images: str  # folders of classes, or an .npz
    validation: str = ""  # the same; none: a share of the images
    preset: str = "vit-tiny"
    data: str = ""  # flags of all runs, as --data="--data.validation-share 0.2"
    pretrain: str = ""  # flags of `pretrain`, such as the shape of the images
    pretrain_steps: int = 2000
    finetune: str = ""  # flags of `finetune`, of both alike
    steps: int = 1000  # of fine-tuning
    rates: tuple[float, ...] = (5e-4, 2e-3)  # of fine-tuning
    seeds: int = 3
    out: str = "runs/images"  # where all runs go


def words(setting: Setting, steps: int, seed: int, folder: Path) -> list[str]:
    """Return the flags that all runs have."""
    found = ["--data.images", setting.images, *shlex.split(setting.data)]
    found += ["--data.validation", setting.validation] if setting.validation else []
    found += ["--train.steps", str(steps), "--train.evaluate-every", str(steps)]
    return [*found, "--train.seed", str(seed), "--out", str(folder)]


@functools.cache  # each run goes on from it, or takes its shape
def pretrained(setting: Setting, seed: int) -> tuple[Path, dict[str, Any]]:
    """Pretrain from a seed, or read what came of it; return the run and its numbers."""
    folder = Path(setting.out) / f"masked-seed{seed}"
    flags = words(setting, setting.pretrain_steps, seed, folder)
    return folder, command("pretrain", setting.preset, *flags, *shlex.split(setting.pretrain))


def finetuned(setting: Setting, kind: str, rate: float, seed: int) -> dict[str, Any]:
    """Fine-tune and measure, or read what came of it."""
    start, before = pretrained(setting, seed)
    name = f"{kind.replace(' ', '-')}-rate{rate:g}-seed{seed}"
    flags = words(setting, setting.steps, seed, Path(setting.out) / name)
    flags += ["--init", str(start), "--train.rate", str(rate), *shlex.split(setting.finetune)]
    result = command(
        "finetune", "image-classification", *flags, *(["--fresh"] if KINDS[kind] else [])
    )
    before_seconds = 0.0 if KINDS[kind] else before["seconds"]
    return {"rate": rate, "pretraining_seconds": before_seconds, **result}


def main(setting: Setting) -> None:
    """Train, measure, and write the table."""
    found: dict[str, list[dict[str, Any]]] = {}
    for kind in KINDS:
        tried = [finetuned(setting, kind, rate, 0) for rate in setting.rates]
        best = max(tried, key=lambda run: run["after"]["accuracy"])
        others = range(1, setting.seeds)
        found[kind] = [best, *(finetuned(setting, kind, best["rate"], seed) for seed in others)]
    table = Table(title=f"{setting.preset}, {setting.images}")
    for column in ("", "rate", "accuracy", "loss", "seconds before", "seconds"):
        table.add_column(column, justify="right" if column else "left")
    for kind, runs in found.items():
        cells = [spread([run["after"][name] for run in runs], 3) for name in ("accuracy", "loss")]
        cells += [
            spread([run[name] for run in runs], 0) for name in ("pretraining_seconds", "seconds")
        ]
        table.add_row(kind, f"{runs[0]['rate']:g}", *cells)
    console.print(table)
    write_text(Path(setting.out) / "images.json", json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Setting, description=__doc__))

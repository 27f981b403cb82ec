"""What pretraining is worth: fine-tuning beside the same model from scratch.

    python -m benchmarks.pretraining --files 'corpus/*.txt' --train train.tsv --validation val.tsv
    python -m benchmarks.pretraining --train embedded:summaries --label summary

A T5 is pretrained by span corruption, then fine-tuned on a table of texts and answers for as many
steps as the same model with new weights and the same vocabulary. Each of the two takes the rate
which gives it the least validation loss from the first seed, and is then trained from the others.
Every run is a command of its own: an interrupted comparison goes on where it stopped. The table
goes to `pretraining.json`.
"""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.table import Table

from benchmarks.commands import command, console, evaluated, spread
from pipelines.core.atomic import write_text

KINDS = {"pretrained": False, "from scratch": True}  # and whether weights are new


@dataclass(frozen=True)
class Setting:
    """What is compared."""

    train: str  # a table to fine-tune on, or embedded:summaries
    validation: str = ""  # the same; measured on; not needed for embedded data
    files: tuple[str, ...] = ()  # to pretrain on; none: the embedded corpus
    text: str = "text"  # its columns
    label: str = "label"
    prefix: str = ""  # of every text
    preset: str = "t5-mini"
    pretrain: str = "--train.steps 2000"  # flags of `pretrain`, as --pretrain="--train.steps 2000"
    finetune: str = "--train.steps 500"  # flags of `finetune`, of both alike
    rates: tuple[float, ...] = (5e-4, 2e-3)  # of fine-tuning
    seeds: int = 3
    beams: int = 4  # of the search
    out: str = "runs/pretraining"  # where all runs go


def finetune(setting: Setting, kind: str, rate: float, seed: int) -> dict[str, Any]:
    """Fine-tune and measure, or read what came of it."""
    out = Path(setting.out)
    folder = out / f"{kind.replace(' ', '-')}-rate{rate:g}-seed{seed}"
    words = ["finetune", "text2text", "--init", str(out / "pretrained"), "--out", str(folder)]
    words += ["--data.train", setting.train]
    words += ["--data.validation", setting.validation] if setting.validation else []
    words += ["--data.text", setting.text, "--data.label", setting.label]
    words += ["--text2text.prefix", setting.prefix, *shlex.split(setting.finetune)]
    words += ["--train.rate", str(rate), "--train.seed", str(seed)]
    trained = command(*words, *(["--fresh"] if KINDS[kind] else []))
    return {"rate": rate, **trained, **evaluated(folder, setting.beams)}


def main(setting: Setting) -> None:
    """Train, measure, and write the table."""
    out = Path(setting.out)
    words = ["pretrain", setting.preset]
    words += ["--data.files", *setting.files] if setting.files else []
    before = command(*words, *shlex.split(setting.pretrain), "--out", str(out / "pretrained"))
    found: dict[str, list[dict[str, Any]]] = {}
    for kind in KINDS:
        tried = [finetune(setting, kind, rate, 0) for rate in setting.rates]
        best = min(tried, key=lambda run: run["after"]["loss"])
        others = range(1, setting.seeds)
        found[kind] = [best, *(finetune(setting, kind, best["rate"], seed) for seed in others)]
    loss = before["after"]["loss"]
    table = Table(title=f"{setting.preset}, {before['steps']:,} steps to a loss of {loss:.3f}")
    for column in ("", "rate", "loss", "BLEU", "chrF", "ROUGE-L"):
        table.add_column(column, justify="right" if column else "left")
    for kind, runs in found.items():
        cells = [spread([run["after"]["loss"] for run in runs], 3)]
        cells += [spread([run[m] for run in runs]) for m in ("bleu", "chrf", "rougel")]
        table.add_row(kind, f"{runs[0]['rate']:g}", *cells)
    console.print(table)
    write_text(out / "pretraining.json", json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Setting, description=__doc__))

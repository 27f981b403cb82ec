"""Translation with and without attention: the same pairs and time, BLEU in all and by length.

    python -m benchmarks.translation --train train.en train.fr --validation val.en val.fr \
        --minutes 4 --out runs/translation

Short runs, which take turns, tell how many steps of each preset fit the minutes; then every preset
is trained from each seed in turn for so many steps, and evaluated by beam search. So the machine
has to be quiet for the short runs alone; `--steps` has what they said on another day. Every run is
a command of its own: an interrupted comparison goes on where it stopped. The table goes to
`translation.json`, BLEU by the words of the source to `translation.png`.
"""

import json
import shlex
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.table import Table

from benchmarks.commands import command, console, evaluated, spread
from pipelines.core.atomic import write_picture, write_text
from pipelines.text.targets import draw_by_length
from tfattn.errors import InputError

CALIBRATION = 60  # steps, of which the second half is timed
ROUNDS = 3  # of such runs; the median counts


@dataclass(frozen=True)
class Setting:
    """What is compared."""

    train: tuple[str, ...]  # pairs, as `pretrain --data.train` takes them
    validation: tuple[str, ...]  # the same; measured on
    # Of each the name, and more flags of `pretrain` for it alone.
    presets: tuple[str, ...] = ("seq2seq-mini", "bahdanau", "transformer-nmt-mini")
    minutes: float = 4.0  # of training, of every run
    steps: tuple[int, ...] = ()  # of each preset, in place of so many as fit the minutes
    seeds: int = 3
    beams: int = 4  # of the search
    more: str = ""  # flags for every `pretrain`, such as --more="--data.vocab-size 4096"
    out: str = "runs/translation"  # where all runs go


def pretrain(setting: Setting, preset: str, folder: Path, steps: int, seed: int) -> dict[str, Any]:
    """Train a preset, or read what came of it."""
    data = ("--data.train", *setting.train, "--data.validation", *setting.validation)
    rest = ("--train.steps", str(steps), "--train.seed", str(seed), "--out", str(folder))
    return command("pretrain", *shlex.split(f"{preset} {setting.more}"), *data, *rest)


def seconds_a_step(setting: Setting, preset: str, folder: Path) -> float:
    """Return how long a step takes, once everything is compiled."""
    pretrain(setting, preset, folder, CALIBRATION, 0)
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    seconds = {line["step"]: line["seconds"] for line in lines if line["split"] == "train"}
    return (seconds[CALIBRATION] - seconds[CALIBRATION // 2]) / (CALIBRATION // 2)


def fitting(setting: Setting, presets: dict[str, str]) -> list[int]:
    """Return how many steps of each preset fit the minutes."""
    took: dict[str, list[float]] = {name: [] for name in presets}
    for number in range(ROUNDS):
        for name, preset in presets.items():
            folder = Path(setting.out) / f"{name}-calibration{number}"
            took[name].append(seconds_a_step(setting, preset, folder))
    return [max(1, round(60 * setting.minutes / statistics.median(t))) for t in took.values()]


def averaged(rows: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the mean over seeds of the measures of each length."""
    return [
        {**same[0], **{m: statistics.mean(row[m] for row in same) for m in ("bleu", "chrf")}}
        for same in zip(*rows, strict=True)
    ]


def main(setting: Setting) -> None:
    """Train, measure, and write the table and the picture."""
    out = Path(setting.out)
    presets = {preset.split()[0]: preset for preset in setting.presets}
    if len(presets) < len(setting.presets):
        raise InputError(
            "presets: expected different ones, for runs are called by their names. "
            f"Received: {', '.join(setting.presets)}."
        )
    if setting.steps and len(setting.steps) != len(presets):
        raise InputError(
            f"steps: expected a number for each of the {len(presets)} presets. "
            f"Received: {len(setting.steps)}."
        )
    steps = dict(zip(presets, setting.steps or fitting(setting, presets), strict=True))
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in presets}
    for seed in range(setting.seeds):
        for name, preset in presets.items():
            folder = out / f"{name}-seed{seed}"
            trained = pretrain(setting, preset, folder, steps[name], seed)
            found[name].append({**trained, **evaluated(folder, setting.beams)})
    time = "" if setting.steps else f"{setting.minutes:g} minutes each, "
    table = Table(title=f"{time}{setting.seeds} seeds")
    for column in ("", "parameters", "steps", "loss", "BLEU", "chrF"):
        table.add_column(column, justify="right" if column else "left")
    for name, runs in found.items():
        loss = statistics.mean(run["after"]["loss"] for run in runs)
        cells = (f"{runs[0]['parameters']:,}", f"{steps[name]:,}", f"{loss:.3f}")
        table.add_row(name, *cells, *(spread([r[m] for r in runs]) for m in ("bleu", "chrf")))
    console.print(table)
    write_text(out / "translation.json", json.dumps(found, indent=1) + "\n")
    lines = {name: averaged([run["by_length"] for run in runs]) for name, runs in found.items()}
    write_picture(out / "translation.png", draw_by_length(lines))


if __name__ == "__main__":
    main(tyro.cli(Setting, description=__doc__))

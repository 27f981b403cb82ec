"""Pairs of number words in two languages, and runs on them, made by the commands."""

import shlex
from pathlib import Path

from finished import QUICK, command

TENS = {"twenty": "vingt", "thirty": "trente", "forty": "quarante", "fifty": "cinquante"}
ONES = {"two": "deux", "three": "trois", "four": "quatre", "five": "cinq", "six": "six"}
ONES |= {"seven": "sept", "eight": "huit", "nine": "neuf"}
PAIRS = [(f"{ten} {one}", f"{dix} {un}") for ten, dix in TENS.items() for one, un in ONES.items()]
PAIRS += [(f"{one} and {ten}", f"{un} et {dix}") for one, un in ONES.items()
          for ten, dix in TENS.items()]  # fmt: skip
SHORT = shlex.split("--train.steps 24 --train.evaluate-every 12 --train.average 2 --train.keep 3")
SHORT += [*shlex.split("--data.length 24 --train.batch-tokens 256 --train.rate 1e-2"), *QUICK]
SIZES = {
    "transformer-nmt-tiny": "--model.dim 32 --model.heads 2 --model.hidden-dim 64 --model.depth 1",
    "bahdanau-tiny": "--model.dim 32 --model.hidden-dim 32 --data.algorithm bpe",
    "seq2seq-tiny": "--model.dim 16 --model.hidden-dim 16 --model.depth 1",
}
T5 = shlex.split("--model.dim 32 --model.heads 2 --model.hidden-dim 64 --model.depth 1")


def write_pairs(path: Path, pairs: list) -> Path:
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
    return path


def words(preset: str, folder: Path, *more) -> list:
    """Return the words of a command that trains a preset on the pairs."""
    size = ["--data.vocab-size", "400", *shlex.split(SIZES[preset])]
    files = ["--data.train", folder / "train.tsv", "--data.validation", folder / "validation.tsv"]
    return ["pretrain", preset, *files, *size, *SHORT, *more]


def trained(preset: str, folder: Path, *more) -> Path:
    """Return a run of a preset in a folder that has the pairs."""
    command(*words(preset, folder, "--out", folder / preset, *more))
    return folder / preset

"""Record what every task computes on every tiny preset, to show that a change moved no bit.

Each case trains 20 steps by the command line, in float32 and in bfloat16 and with dropout, and
records loss and gradient norm of each step, and the metrics of validation. Cases in float32 are
exported too; recorded is the SHA-256 of what the export answers to fixed inputs. Numbers depend on
the processor, so both records are made on one machine:

    python -m benchmarks.equal_bits record before.json     # at the old commit
    python -m benchmarks.equal_bits record after.json      # at the new one
    python -m benchmarks.equal_bits compare before.json after.json
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

STEPS = 20
PRECISIONS = ("float32", "bfloat16")
SHARED = [
    *("--train.steps", str(STEPS), "--train.log-every", "1", "--train.batch", "8"),
    *("--train.evaluate-every", str(STEPS), "--monitor.samples", "0", "--monitor.share", "1"),
    *("--monitor.no-attention", "--monitor.no-histograms"),
]
DROPOUT = ["--model.dropout", "0.1", "--model.attention-dropout", "0.1"]
RECURRENT_DROPOUT = ["--model.dropout", "0.1"]
CORPUS = ["--data.files", "corpus.txt", "--data.length", "32", "--data.vocab-size", "400"]
PAIRS = ["--data.train", "pairs.tsv", "--data.validation", "pairs.tsv", "--data.length", "32"]
PAIRS += ["--data.vocab-size", "400", "--train.batch-tokens", "512"]
CAUSAL = ("gpt1-tiny", "gpt2-tiny", "gpt3-tiny", "gpt-neo-tiny", "llama-tiny")
STACKS = ("bert-tiny", *CAUSAL, "nanogpt-tiny")
PAIRED = ("t5-tiny", "t5-v1.1-tiny", "transformer-nmt-tiny", "seq2seq-tiny", "bahdanau-tiny")
IMAGE_TASK = "image-classification"  # "image" before tasks had a registry
INPUTS = ["ba be do", "kalu mo na pi", "gagi", "fa fe lu la ra ro du"]


def cases() -> dict[str, list[str]]:
    """Return the command of each case by its name; a case starts from those before it."""
    made = {}
    text = ["--data.no-lowercase"]
    made["masked-lm/bert-tiny"] = ["bert-tiny", *CORPUS, *DROPOUT]
    made["masked-lm-words/bert-tiny"] = ["bert-tiny", *CORPUS, *DROPOUT, "--objective.whole-words"]
    made["masked-lm-next/bert-tiny"] = ["bert-tiny", *CORPUS, *text, "--objective.next-sentence"]
    for preset in CAUSAL:
        made[f"causal-lm/{preset}"] = [preset, *CORPUS, *DROPOUT]
    made["causal-lm/nanogpt-tiny"] = ["nanogpt-tiny", *CORPUS[:4], *DROPOUT]
    made["causal-lm-prefix/gpt2-tiny"] = ["gpt2-tiny", *CORPUS, *DROPOUT, "--objective.prefix"]
    for preset in ("t5-tiny", "t5-v1.1-tiny"):
        for task in ("span-corruption", "text-infilling", "prefix-lm"):
            made[f"{task}/{preset}"] = [preset, *CORPUS, *DROPOUT, "--task", task]
    for preset in PAIRED:
        recurrent = preset in ("seq2seq-tiny", "bahdanau-tiny")
        command = [preset, *PAIRS, *(RECURRENT_DROPOUT if recurrent else DROPOUT)]
        made[f"translation/{preset}"] = [*command, *(["--task", "translation"])]
    for task in ("masked-images", "image-classification"):
        made[f"{task}/vit-tiny"] = ["vit-tiny", *DROPOUT, "--task", task]
    made = {name: ["pretrain", *command] for name, command in made.items()}
    for preset in STACKS:
        start = f"{'masked' if preset == 'bert-tiny' else 'causal'}-lm/{preset}"
        for task, table in (("classify", "classes.tsv"), ("regress", "numbers.tsv")):
            made[f"{task}/{preset}"] = _finetune(task, start, table)
        if preset != "bert-tiny":
            made[f"text2text/{preset}"] = _finetune("text2text", start, "answers.tsv")
    for preset in PAIRED:
        made[f"text2text/{preset}"] = _finetune("text2text", f"translation/{preset}", "short.tsv")
    images = ["finetune", IMAGE_TASK, "--init", "masked-images/vit-tiny"]
    made["image-finetune/vit-tiny"] = images
    return made


def _finetune(task, start, table):
    files = ["--data.train", table, "--data.validation", table]
    return ["finetune", task, "--init", start, *files]


def write_data(folder: Path) -> None:
    """Write a corpus and tables of made-up words, the same every time."""
    rng = random.Random(5)
    syllables = [c + v for c in "bdfgklmnpr" for v in "aeiou"]

    def text(least=3, most=20):
        count = rng.randint(least, most)
        return " ".join("".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(count))

    corpus = [". ".join(text() for _ in range(rng.randint(1, 5))) + "." for _ in range(300)]
    (folder / "corpus.txt").write_text("\n\n".join(corpus) + "\n", encoding="utf-8")
    tables = {
        "pairs.tsv": [(text(), text()) for _ in range(120)],
        "classes.tsv": [("text", "label")] + [(text(), rng.choice("abc")) for _ in range(80)],
        "numbers.tsv": [("text", "label")] + [(text(), str(rng.random())) for _ in range(80)],
        "answers.tsv": [("text", "label")] + [(text(), text(1, 4)) for _ in range(80)],
    }
    # Of one width: in the first record other widths did not compile in lanes.
    tables["short.tsv"] = [("text", "label")] + [(text(1, 1), text(1, 1)) for _ in range(80)]
    for name, rows in tables.items():
        lines = "".join("\t".join(row) + "\n" for row in rows)
        (folder / name).write_text(lines, encoding="utf-8")


def record(path: Path, only: str) -> None:
    """Run the cases in a temporary folder, and write what they computed to `path`."""
    from pipelines.__main__ import main

    path, found = path.resolve(), {}
    folder = Path(tempfile.mkdtemp(prefix="equal-bits-"))
    write_data(folder)
    commands = cases()
    wanted = {name for name in commands if re.search(only, name)}
    for name in tuple(wanted):
        if "--init" in commands[name]:
            wanted.add(commands[name][commands[name].index("--init") + 1])
    with contextlib.chdir(folder):
        for number, name in enumerate(sorted(wanted, key=list(commands).index), 1):
            print(f"{number}/{len(wanted)} {name}", file=sys.stderr, flush=True)
            for precision in PRECISIONS:
                out = name if precision == "float32" else f"{name}-{precision}"
                words = [*commands[name], *SHARED, "--train.precision", precision, "--out", out]
                if main(words) != 0:
                    raise SystemExit(f"{name}: the command failed")
                found[f"{name} {precision}"] = _steps(Path(out))
            found[f"{name} served"] = _served(name, main)
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder)


def _steps(run):
    """Return loss and gradient norm of each step, and behind them the metrics of validation."""
    text = (run / "metrics.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    numbers = [[line["loss"], line["grad_norm"]] for line in lines if line["split"] == "train"]
    if len(numbers) != STEPS:
        raise SystemExit(f"{run}: expected {STEPS} steps. Received: {len(numbers)}.")
    return [*numbers, *(line for line in lines if line["split"] == "validation")]


def _served(run, main):
    """Return the SHA-256 of every output of the exported model, or why there is no export."""
    import numpy as np
    import tensorflow as tf

    out = Path(f"{run}-exported")
    if main(["export", run, "--out", str(out)]) != 0:
        return "refused"
    module = tf.saved_model.load(str(out / "1"))
    serve = module.signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]
    if name == "picture":
        rng = np.random.default_rng(3)
        pixels = rng.integers(0, 256, (3, 8, 8, 1), np.uint8)
        inputs = [tf.io.encode_png(image).numpy() for image in pixels]
    else:
        inputs = INPUTS
    answers = serve(**{name: tf.constant(inputs)})
    digest = {}
    for key, value in sorted(answers.items()):
        array = value.numpy()
        raw = b"\0".join(array.ravel()) if array.dtype == object else array.tobytes()
        digest[key] = hashlib.sha256(raw).hexdigest()
    shutil.rmtree(out)
    return digest


def compare(before: Path, after: Path) -> int:
    """Print the cases that differ; return how many."""
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (before, after))
    differing = 0
    for name in old:
        if name not in new:
            print(f"{name}: not recorded in {after}")
        elif old[name] != new[name]:
            print(f"{name}: {_first_difference(old[name], new[name])}")
        else:
            continue
        differing += 1
    print(f"{len(old) - differing} of {len(old)} records are equal bit by bit")
    return differing


def _first_difference(old, new):
    if isinstance(old, list) and isinstance(new, list):
        for step, (a, b) in enumerate(zip(old, new, strict=False), 1):
            if a != b:
                return f"line {step} is {a} and {b}"
    return f"{old} and {new}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("file", type=Path)
    recording.add_argument("--only", default="", help="record cases whose names match this pattern")
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "record":
        record(arguments.file, arguments.only)
    else:
        sys.exit(min(compare(arguments.before, arguments.after), 1))

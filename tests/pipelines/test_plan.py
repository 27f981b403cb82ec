"""The planner: published numbers, what was measured, refusals that say what would fit."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.__main__ import main
from pipelines.experiments.step_memory import AT_ONCE, How, memory
from tfattn.blocks import vocabulary_loss
from tfattn.errors import InputError
from tfattn.families import PRESETS, bert, gpt2, preset, pretraining_head, t5
from tfattn.models.config import Classify
from tfattn.models.recurrent_config import RecurrentConfig
from tfattn.models.step import Step
from tfattn.models.vision_config import VisionConfig

ROOT = Path(__file__).parents[2]
GIB, MIB = 2**30, 2**20


def plan(capsys, *words):
    """Return what `plan` answers."""
    code = main(["plan", *map(str, words)])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out.splitlines()[-1])


def refusal(capsys, *words):
    """Return what `plan` is refused with: one line."""
    assert main(["plan", *map(str, words)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    return err.removeprefix("error: ").strip()


# Table D.1 of arXiv:2005.14165: FLOPs for 300e9 tokens, as 6 a parameter and token.
PUBLISHED = {"gpt3-6.7b": 1.20e22, "gpt3-13b": 2.31e22, "gpt3-175b": 3.14e23}


@pytest.mark.parametrize("name", PUBLISHED)
def test_flops_are_those_that_are_published_and_those_of_attention(name):
    config, length, tokens = preset(name), 2048, 300e9
    flops = config.training_flops(Step(1, length)) * tokens / length
    assert 1.02 < flops / PUBLISHED[name] < 1.085
    pairs = 6 * config.depth * 2 * length * config.dim * tokens  # which 6 N D leaves out
    assert flops - pairs == pytest.approx(PUBLISHED[name], rel=5e-3)


def test_the_state_of_a_model_takes_sixteen_bytes_a_parameter():
    count = preset("gpt3-175b").parameter_count((gpt2.HEAD,))
    how = How(precision="float32")
    found = memory(preset("gpt3-175b"), count, Step(64, 2048), how)
    state = found.weights + found.gradients + found.optimizer
    assert state == 16 * count == pytest.approx(2.8e12, rel=3e-3)


# Peaks of TensorFlow's allocator on a CPU, as the docstring of step_memory.py tells, in MiB.
MEASURED = [
    ("bert-mini", Step(32, 128, told=0.15), bert.HEAD, "bfloat16", 335),
    ("bert-mini", Step(64, 128, told=0.15), bert.HEAD, "bfloat16", 591),
    ("gpt2-mini", Step(16, 256), gpt2.HEAD, "bfloat16", 838),
    ("gpt2-mini", Step(32, 256), gpt2.HEAD, "bfloat16", 1152),
    ("gpt2-mini", Step(32, 256), gpt2.HEAD, "float32", 1610),
    ("gpt2-small", Step(2, 256), gpt2.HEAD, "bfloat16", 1945),
    ("gpt2-small", Step(4, 256), gpt2.HEAD, "bfloat16", 1913),
    ("gpt2-small", Step(4, 512), gpt2.HEAD, "bfloat16", 3016),
    ("t5-mini", Step(32, 256, 64), t5.HEAD, "bfloat16", 1064),
    ("vit-mini", Step(64, classes=10), Classify(classes=10, pool="first"), "bfloat16", 252),
    ("vit-mini", Step(128, classes=10), Classify(classes=10, pool="first"), "bfloat16", 474),
]


@pytest.mark.parametrize(("name", "step", "head", "precision", "measured"), MEASURED)
def test_memory_is_what_was_measured(name, step, head, precision, measured):
    config = preset(name).with_fields(dropout=0.1, attention_dropout=0.1)
    if not isinstance(config, VisionConfig):
        config = config.with_fields(vocab_size=8192, max_length=step.length)
    found = memory(config, config.parameter_count((head,)), step, How(precision=precision))
    assert found.total / MIB == pytest.approx(measured, rel=0.2)


def test_chunks_of_logits_are_those_of_the_loss():
    assert AT_ONCE == vocabulary_loss.AT_ONCE


def test_an_example_by_hand(capsys):
    found = plan(capsys, "gpt3-6.7b", "--devices", 64, "--memory", 80, "--device", "a100-80")
    assert (found["data_replicas"], found["model_shards"]) == (32, 2)
    assert (found["microbatch"], found["accumulate"], found["batch"]) == (1, 8, 256)
    count, part = 6_658_404_352, found["memory_gib"]
    assert found["parameters"] == count
    assert part["weights"] == 6 * count / 2 / GIB and part["gradients"] == 4 * count / 2 / GIB
    d, t, h = 4096, 2048, 32
    stream = 2 * 3 * t * d
    split = 4 * t * d + 3 * h * t * t + 2 * t * 4 * d
    numbers = 32 * (stream + split / 2) + 4 * t * d + 2 * h * t * t / 2
    assert part["activations"] == pytest.approx(2 * numbers / GIB)
    logits = 16 * 2 * (2**24 // 50_257) * 50_257 + t * d * 10
    assert part["logits"] == pytest.approx(logits / GIB)
    flops = 6 * (32 * (12 * d * d + 2 * t * d) + d * (50_257 + d)) * 2**19
    assert found["step_flops"] == pytest.approx(flops)
    assert found["step_seconds"] == pytest.approx(flops / (64 * 312e12 * 0.4))
    assert found["tokens"] == 20 * count and found["steps"] == -(-20 * count // 2**19)
    assert found["days"] == pytest.approx(found["steps"] * found["step_seconds"] / 86_400)


def test_blocks_that_are_made_again_take_a_forward_pass_more(capsys):
    words = ["gpt3-6.7b", "--devices", 64, "--batch", 256]
    plain, again = plan(capsys, *words), plan(capsys, *words, "--remat", "block")
    assert again["step_flops"] == plain["step_flops"]
    share = again["step_seconds"] / plain["step_seconds"]
    assert 1.3 < share < 4 / 3  # logits are not made again
    assert (
        again["model_shards"] * again["accumulate"] <= plain["model_shards"] * plain["accumulate"]
    )


def test_the_largest_microbatch_that_fits_is_taken(capsys):
    words = ["gpt2-small", "--batch", 64, "--memory"]
    found = plan(capsys, *words, 16)
    assert found["microbatch"] * found["accumulate"] == 64 and found["accumulate"] > 1
    message = refusal(capsys, *words, 16, "--microbatch", 2 * found["microbatch"])
    assert re.search(rf"Would fit: --microbatch {found['microbatch']}\.$", message)


def test_tokens_and_rates_are_taken_as_given(capsys):
    words = ["gpt3-175b", "--devices", 768, "--device", "a100-80", "--remat", "block"]
    found = plan(capsys, *words, "--batch", 1536, "--tokens", "300e9", "--utilisation", 0.5)
    assert found["tokens"] == 300e9 and found["batch"] == 1536
    seconds = (found["step_flops"] + found["step_flops_made_again"]) / (768 * 312e12 * 0.5)
    assert found["step_seconds"] == pytest.approx(seconds)
    slow = plan(capsys, "bert-mini", "--flops", "2e11", "--memory", 16, "--precision", "float32")
    assert slow["step_seconds"] == pytest.approx(slow["step_flops"] / (2e11 * 0.4))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("gpt3-6.7", r"preset: unknown preset 'gpt3-6\.7'\. Did you mean 'gpt3-6\.7b'\?.*"),
        (
            "gpt3-175b --devices 64",
            r"memory: expected at least [\d.]+ GiB a device for gpt3-175b in 32 model shards with "
            r"1 row at a time\. Received: 80\. Would fit: --devices 96\.",
        ),
        (
            "gpt3-6.7b --devices 64 --model-shards 1",
            r"memory: .* in 1 model shard with .* Would fit: --model-shards 2\.",
        ),
        ("gpt3-6.7b --devices 2 --memory 40", r"memory: .* in 2 model shards .* Would fit: .+\."),
        ("gpt2-xl --memory 34 --microbatch 1", r".* Would fit: --remat block\."),
        ("bert-tiny --memory 0.01", r"memory: expected at least .* Would fit: --memory 1\."),
        (
            "gpt3-6.7b --devices 64 --model-shards 3",
            r"model-shards: expected a divisor of the 64 devices and of heads and hidden units of "
            r"gpt3-6\.7b\. Received: 3\. Would fit: 1, 2, 4, 8, 16, 32\.",
        ),
        (
            "gpt3-6.7b --devices 64 --model-shards 8 --batch 12",
            r"batch: expected a multiple of 1 row for each of 8 data replicas\. Received: 12\. "
            r"Would fit: --batch 16\.",
        ),
        (
            "bert-mini --devices 2 --model-shards 1 --batch 10 --microbatch 2",
            r"batch: expected a multiple of 2 rows .* Received: 10\. Would fit: --batch 12\.",
        ),
        ("bahdanau --remat block", r"remat: expected none for bahdanau, .* Received: block\."),
        ("bahdanau --devices 2 --model-shards 2", r"model-shards: .* Would fit: 1\."),
        ("gpt2-small --length 1025", r"length: expected at most the 1024 .* Received: 1025\."),
        ("vit-b16 --length 9", r"length: expected none for images, .* Received: 9\."),
        ("gpt2-small --target 9", r"target: expected none for one stack, .* Received: 9\."),
        ("gpt2-small --devices 0", r"devices: expected 1 to 2\*\*32\. Received: 0\."),
        ("gpt2-small --memory -1", r"memory: expected a number over 0\. Received: -1\."),
        ("gpt2-small --tokens nan", r"tokens: expected a number over 0\. Received: nan\."),
        ("gpt2-small --utilisation 2", r"utilisation: expected a share .* Received: 2\."),
        ("gpt2-small --precision float32", r"flops: expected a rate .* Received none\."),
    ],
)
def test_what_cannot_be_is_refused_with_what_could(words, message, capsys):
    assert re.fullmatch(message, refusal(capsys, *words.split()))


@pytest.mark.parametrize(
    "words",
    ["gpt3-175b --devices 64", "gpt3-6.7b --devices 2 --memory 40", "llama2-70b --devices 8"],
)
def test_what_is_said_to_fit_does(words, capsys):
    message = refusal(capsys, *words.split())
    flags = re.search(r"Would fit: (.+)\.$", message)[1]
    kept = [*words.split()[:1], *([] if "--devices" in flags else words.split()[1:])]
    plan(capsys, *kept, *flags.split())


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_planned_or_refused_with_a_sentence(name, capsys):
    code = main(["plan", name, "--devices", "8"])
    out, err = capsys.readouterr()
    if code:
        assert re.fullmatch(r"error: memory: .* Would fit: .+\.\n", err)
        return
    found = json.loads(out)
    assert found["memory_gib"]["total"] <= 80
    assert found["data_replicas"] * found["model_shards"] == 8
    assert found["batch"] == 8 // found["model_shards"] * found["microbatch"] * found["accumulate"]
    assert found["step_flops"] > 0 and found["days"] > 0
    assert all(f"{value:,.2f}" in err for value in found["memory_gib"].values())


LONG = st.integers(1, 4096)
SETTINGS = st.builds(
    How,
    shards=st.integers(1, 64),
    precision=st.sampled_from(["bfloat16", "float32"]),
    remat=st.booleans(),
    blocked=st.booleans(),
)


@given(st.sampled_from(sorted(PRESETS)), st.integers(1, 64), LONG, LONG, SETTINGS)
@settings(deadline=None, max_examples=200)
def test_memory_moves_the_way_it_must(name, rows, length, target, how):
    config, step = PRESETS[name], Step(rows, length, target, classes=10)

    def total(step=step, **other):
        count = config.parameter_count((pretraining_head(name),))
        return memory(config, count, step, replace(how, **other)).total

    def most(total):
        return total * (1 + 1e-12)  # sums of floats

    assert total(shards=how.shards + 1) <= most(total())
    assert total(remat=True) <= most(total(remat=False))
    assert total(precision="bfloat16") <= most(total(precision="float32") * (18 + 4) / (16 + 4))
    assert total() <= most(total(replace(step, rows=rows + 1)))
    assert total() <= most(total(replace(step, length=length + 1)))
    if length > 2:
        assert total(blocked=True) <= most(total(blocked=False))


def test_a_recurrent_model_is_counted_by_its_kernels():
    config, step = preset("bahdanau"), Step(2, 7, 5)
    assert isinstance(config, RecurrentConfig)
    u = d = a = 256
    read = 2 * 3 * u * (d + u) + 2 * u * a
    written = 3 * u * (d + 2 * u + u) + u * a + u * 10_000
    pairs = a + 2 * u
    products = 7 * read + 5 * written + 35 * pairs + u * u
    assert config.training_flops(step) == 6 * 2 * products


def test_it_imports_nothing_heavy():
    code = (
        "import sys; from pipelines.__main__ import main; "
        "main(['plan', 'gpt3-6.7b', '--devices', '64']); "
        "print(sorted({'tensorflow', 'keras', 'jax'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0 and run.stdout.splitlines()[-1] == "[]", run.stderr


def test_an_unknown_preset_has_no_head():
    with pytest.raises(InputError, match="unknown preset"):
        pretraining_head("gpt3-6.7")

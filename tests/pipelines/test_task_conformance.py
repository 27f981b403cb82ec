"""Every task on every tiny preset that can learn it: what any task must do, by existing.

A new task needs nothing here but the data it reads, in `SAMPLES`, where that is of a new kind.
"""

import contextlib
import dataclasses
import io
import shlex
import shutil
import signal
import typing
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from finished import once

import tfattn
from pipelines.__main__ import main
from pipelines.core.engine import Engine
from pipelines.core.finished import open_finished
from pipelines.core.runtimes import runtime_of
from pipelines.core.spec import Recipe
from pipelines.domains import DOMAINS, presets, tasks
from pipelines.images.spec import ImageData
from pipelines.text.sources import PairData, TableData, TextData
from tfattn.errors import InputError
from tfattn.spec import Spec

WORDS = shlex.split("the a cat dog bird sat ran sang on in over mat park hill and while its song")
QUICK = [
    *("--train.compile", "graph", "--train.precision", "float32", "--train.batch", "4"),
    *("--train.steps", "2", "--train.checkpoint-every", "1", "--train.evaluate-every", "2"),
    *("--train.evaluate-batches", "2", "--train.log-every", "1", "--train.lanes", "1"),
    *("--monitor.no-histograms", "--monitor.samples", "0", "--monitor.no-attention"),
]
SMALL = {"dim": 16, "depth": 1, "heads": 2, "hidden_dim": 32}
BAD = (-1, 0, 2, 1.5, 10**9, -1.0, 1e12, "", "a", ("a", "a"), ("",), (), (0, 0), (-1.0,))


class Case(typing.NamedTuple):
    """A task, the preset that learns it, and the preset's task that is learnt before."""

    task: str
    preset: str
    before: str | None  # None: it is pretraining itself


def cases():
    tiny = {name: recipe for name, recipe in presets().items() if name.endswith("-tiny")}
    for task in tasks().values():
        for name, recipe in tiny.items():
            if not isinstance(recipe.model, task.models):
                continue
            if "pretrain" in task.stages and _is_pretrained_by(task, recipe):
                yield Case(task.name, name, None)
            if "finetune" in task.stages and _can_answer(task, recipe):
                yield Case(task.name, name, recipe.objective.name)


def marked():
    """Yield the cases: a preset of each kind of model for each task; the others in test-all."""
    seen = set()
    for case in cases():
        kind = (case.task, case.before is None, type(presets()[case.preset].model))
        yield pytest.param(
            case,
            id="-".join(filter(None, case)),
            marks=[pytest.mark.release] if kind in seen else [],
        )
        seen.add(kind)


def _is_pretrained_by(task, recipe):
    """Return whether the preset's vocabulary suits the task: a GPT has no [MASK]."""
    one_stack = recipe.model.reads == "tokens" and recipe.model.writes != "target"
    return not one_stack or isinstance(recipe.objective, task)


def _can_answer(task, recipe):
    return recipe.model.writes != "nothing" or task.name != "text2text"


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """Return the flags of data of each kind, as files that this makes."""
    folder = tmp_path_factory.mktemp("samples")
    rng = np.random.default_rng(3)

    def text(least=3, most=9):
        return " ".join(rng.choice(WORDS, size=rng.integers(least, most)))

    corpus = folder / "corpus.txt"
    corpus.write_text("\n\n".join(f"{text(8, 30)}. {text()}." for _ in range(60)) + "\n")
    pairs = folder / "pairs.tsv"
    pairs.write_text("".join(f"{text()}\t{text()}\n" for _ in range(16)))
    files = {}
    for name, label in (
        ("classify", lambda i: "ab"[i % 2]),
        ("regress", lambda i: str(i)),
        ("text2text", lambda i: WORDS[i % 5]),
    ):
        files[name] = folder / f"{name}.tsv"
        rows = "".join(f"{text()}\t{label(i)}\n" for i in range(16))
        files[name].write_text(f"text\tlabel\n{rows}")
    size = ["--data.length", "16", "--data.vocab-size", "400"]
    tables = {
        name: ["--data.train", str(path), "--data.validation", str(path)]
        for name, path in files.items()
    }
    split = ["--data.validation-share", "0.2"]
    return {
        TextData: lambda task: ["--data.files", str(corpus), *size, *split],
        PairData: lambda task: [
            *("--data.train", str(pairs), "--data.validation", str(pairs), *size),
            *("--train.batch-tokens", "64"),
        ],
        TableData: lambda task: tables[task],
        ImageData: lambda task: ["--data.images", "embedded:digits"],
    }


def run(*words):
    """Run a command that has to work."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as e:
        code = main([str(word) for word in words])
    assert code == 0, e.getvalue()


def small(preset):
    """Return flags that make a preset smaller, of the fields that it has."""
    config = presets()[preset].model
    kinds = [type(stack) for stack in config.stacks().values()] or [type(config)]
    fields = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    given = {name: value for name, value in SMALL.items() if name in fields}
    if "attention_dim" in fields:
        given["attention_dim"] = 16
    if not config.stacks():
        given.pop("heads", None)
    if config.writes == "target" and config.stacks() and "head_dim" in fields:
        given["head_dim"] = 8
    return [word for n, v in given.items() for word in (f"--model.{n.replace('_', '-')}", str(v))]


@pytest.fixture(scope="session")
def begun(shared, samples):
    """Return the run of a preset on its own task, made when it is first asked for."""

    def get(preset):
        out = shared / f"begun-{preset}"
        data = samples[type(presets()[preset].data)](None)
        words = ("pretrain", preset, *data, *small(preset), *QUICK, "--out", out)
        return once(out, lambda: run(*words))

    return get


def training(case, samples, begun):
    """Return the words of a case's command, without where it writes."""
    data = samples[tasks()[case.task].data](case.task)
    if case.before is None:
        return ["pretrain", case.preset, "--task", case.task, *data, *small(case.preset), *QUICK]
    return ["finetune", case.task, "--init", begun(case.preset), *data, *QUICK]


@pytest.mark.parametrize("case", list(marked()))
def test_a_task_trains_resumes_evaluates_and_is_served(case, samples, begun, tmp_path, monkeypatch):
    words, whole, stopped = training(case, samples, begun), tmp_path / "whole", tmp_path / "stopped"
    run(*words, "--out", whole)

    step = Engine.step

    def interrupted(engine, batch):
        signal.raise_signal(signal.SIGINT)
        return step(engine, batch)

    with monkeypatch.context() as patch, contextlib.redirect_stderr(io.StringIO()):
        patch.setattr(Engine, "step", interrupted)
        assert main([*map(str, words), "--out", str(stopped)]) == 130
    assert [path.name for path in (stopped / "checkpoints").iterdir()][-1:]
    run(*words, "--out", stopped)
    for path, weight in tfattn.read(whole / "model")[2].items():
        np.testing.assert_array_equal(tfattn.read(stopped / "model")[2][path], weight, path)

    run("evaluate", whole)
    _check_served(whole, tmp_path / "served")


def _check_served(folder, out):
    """Compare what the SavedModel answers with the module that was saved, called in Python."""
    done = open_finished(str(folder))
    options = done.task.export_options()
    if hasattr(options, "tokens"):
        options = dataclasses.replace(options, tokens=3)
    try:
        module = runtime_of(done.task).exported(done, options)
    except InputError as error:  # a vocabulary that no text comes back from
        assert "expected a vocabulary" in str(error)
        return
    words = ["--tokens", "3"] if hasattr(options, "tokens") else []
    run("export", folder, "--out", out, *words)
    served = tf.saved_model.load(str(out / "1")).signatures["serving_default"]
    (name,) = served.structured_input_signature[1]
    if name == "picture":
        pixels = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 1), np.uint8)
        given = tf.constant([tf.io.encode_png(image).numpy() for image in pixels])
    else:
        given = tf.constant(["the cat sat", "a dog"])
    found = served(**{name: given})
    expected = module.signatures()["serving_default"](given)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if value.dtype == tf.string:
            np.testing.assert_array_equal(found[key].numpy(), value.numpy())
        else:
            np.testing.assert_allclose(found[key].numpy(), value.numpy(), rtol=1e-5, atol=1e-6)


def bad_fields():
    """Yield each field of each task and its data that refuses some value, and that value."""
    for task in tasks().values():
        for stage in sorted(task.stages):
            group = "objective" if stage == "pretrain" else task.name
            for kind, prefix in ((task, group), (task.data, "data")):
                for flag, value in _refused(kind, prefix):
                    yield pytest.param(stage, task.name, flag, value, id=f"{stage}-{flag}")


def _refused(kind, prefix):
    whole, hints = kind(), typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        current = getattr(whole, field.name)
        flag = f"{prefix}.{field.name.replace('_', '-')}"
        if isinstance(current, Spec):
            if field.name != "head":
                yield from _refused(type(current), flag)
            continue
        for value in BAD:
            if not _spells(current, hints[field.name], value):
                continue
            try:
                dataclasses.replace(whole, **{field.name: value})
            except InputError:
                yield flag, value
                break


def _spells(current, hint, value):
    """Return whether the words of a command can give the flag this value."""
    if isinstance(current, tuple):
        words = isinstance(value, tuple) and all(isinstance(item, str) for item in value)
        return hint == tuple[str, ...] and words and len(value) > 0
    if isinstance(current, bool):
        return False
    if current is None:
        return hint == int | None and isinstance(value, int)
    return isinstance(value, {int: int, float: int | float}.get(type(current), ()))


@pytest.mark.parametrize("stage, task, flag, value", list(bad_fields()))
def test_an_error_names_the_flag_of_the_field(stage, task, flag, value, capsys, tmp_path):
    words = ["finetune", task, "--init", str(tmp_path)]
    if stage == "pretrain":
        preset = next(n for n, r in presets().items() if isinstance(r.model, tasks()[task].models))
        words = ["pretrain", preset, "--task", task]
    spelled = value if isinstance(value, tuple) else (value,)
    assert main([*words, f"--{flag}", *map(str, spelled)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.replace("_", "-").startswith(f"error: {flag}: expected ")
    assert "Received: " in said


def test_the_words_of_tasks_and_presets_are_unique_over_all_domains():
    words = [task.name for domain in DOMAINS for task in domain.tasks]
    names = [name for domain in DOMAINS for name in domain.presets]
    assert len(set(words)) == len(words) and len(set(names)) == len(names)


def test_every_task_has_a_tiny_preset():
    assert {case.task for case in cases()} == set(tasks())


def test_a_resolved_recipe_reads_back_equal(samples, begun):
    for preset in ("bert-tiny", "vit-tiny"):
        folder = Path(begun(preset))
        recipe = Recipe.load(folder / "resolved.json")
        assert Recipe.from_json(recipe.to_json()) == recipe
        shutil.copy(folder / "resolved.json", folder / "copy.json")
        assert Recipe.load(folder / "copy.json") == recipe

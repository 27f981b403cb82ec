"""The SavedModel answers raw strings as the Python model does, without our code or Keras'."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from finished import QUICK, command

from pipelines.__main__ import main
from pipelines.core.finished import open_finished, without_heads
from pipelines.text.data.table_rows import TableRows
from pipelines.text.documents import tokenizer_of
from pipelines.text.encoder_module import TextFeatures

TEXTS = [
    "the cat sat on the mat",
    "",
    " \t ",
    "the " * 500,
    "CAFÉ naïve Ünïcødé 北京 \U0001f600 cat",
    "zero \0 byte [MASK] [SEP] ##ing",
    "x" * 3000,
]
SECONDS = ["a dog ran", "the cat", "", "a bird sang " * 300, "", "while", "the hill " * 9]
KINDS = ("classifier", "pairs", "regression", "pretrained")

# Only what a server has: no path to our code, and nothing of it loaded by the way.
CLIENT = """
import json, sys
import tensorflow as tf
asked, folders = json.load(sys.stdin)
try:
    tf.saved_model.load(folders["classifier"])
    print("null")
except Exception as error:
    print(json.dumps(f"{type(error).__name__}: {error}"))
import tensorflow_text
for name, folder in folders.items():
    model = tf.saved_model.load(folder)
    serve = model.signatures["serving_default"]
    for batch in asked[name]:
        inputs = {key: tf.constant(texts, tf.string) for key, texts in batch.items()}
        found = serve(**inputs)
        print(json.dumps({
            key: [x.decode() if isinstance(x, bytes) else x for x in value.numpy().ravel().tolist()]
            for key, value in found.items()
        } | {"shapes": {key: value.shape.as_list() for key, value in found.items()}}))
print(json.dumps([n for n in sys.modules if n.split(".")[0] in ("tfattn", "pipelines")]))
"""


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    """Export every kind of run by the command."""
    folder = tmp_path_factory.mktemp("exported")
    runs = {kind: getattr(finished, kind) for kind in KINDS}
    said = {kind: command("export", run, "--out", folder / kind) for kind, run in runs.items()}
    assert {kind: about["saved_model"] for kind, about in said.items()} == {
        kind: str(folder / kind / "1") for kind in KINDS
    }
    return folder, said


def batches(kind):
    """Return batches of all texts, of the empty one alone, of three, and of none."""
    for rows in (range(len(TEXTS)), [1], [0, 1, 4], []):
        batch = {"text": [TEXTS[i] for i in rows]}
        yield batch | ({"text_pair": [SECONDS[i] for i in rows]} if kind == "pairs" else {})


@pytest.fixture(scope="module")
def answers(exported, tmp_path_factory):
    """Ask all exports in a fresh process, elsewhere; return the answers to each batch."""
    folders = {kind: str(exported[0] / kind / "1") for kind in KINDS}
    asked = {kind: list(batches(kind)) for kind in KINDS}
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(
        [sys.executable, "-I", "-c", CLIENT], input=json.dumps([asked, folders]), env=env,
        cwd=tmp_path_factory.mktemp("elsewhere"), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    without_text, *found, ours = (json.loads(line) for line in run.stdout.splitlines())
    assert ours == []
    found = iter(found)
    answers = {kind: [next(found) for _ in asked[kind]] for kind in KINDS}
    return answers | {"without tensorflow_text": without_text}


def expected(run, kind, texts, seconds):
    """Return what the Python model gives for rows as training makes them."""
    done = open_finished(str(run))
    pairs = seconds if kind == "pairs" else None
    rows = TableRows(tokenizer_of(done), texts, pairs, np.zeros(len(texts), np.int32), 16)
    features = rows.read(np.arange(len(texts)))
    del features["label"]
    if kind != "pretrained":
        return done.model(features, training=False).numpy(), done.recipe.objective
    hidden = without_heads(done)(features, training=False).numpy()
    real = (features["segments"] != 0)[..., None]
    return (hidden * real).sum(1) / real.sum(1), None


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_process_answers_as_the_python_model_does(kind, finished, answers):
    for batch, answer in zip(batches(kind), answers[kind], strict=True):
        count = len(batch["text"])
        if count == 0:
            continue
        wanted, spec = expected(
            getattr(finished, kind), kind, batch["text"], batch.get("text_pair")
        )
        if kind == "regression":
            wanted = wanted[:, 0] * spec.scale + spec.offset
            np.testing.assert_allclose(answer["value"], wanted, rtol=1e-5, atol=1e-5)
        elif kind == "pretrained":
            found = np.reshape(answer["embedding"], (count, -1))
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
        else:
            shares = tf.nn.softmax(wanted).numpy()
            found = np.reshape(answer["probabilities"], (count, -1))
            np.testing.assert_allclose(found, shares, rtol=1e-5, atol=1e-5)
            assert answer["label"] == [spec.classes[i] for i in wanted.argmax(axis=1)]
            assert answer["classes"] == list(spec.classes) * count


def test_the_models_are_not_all_the_same(answers):
    """Otherwise the tests above would say little."""
    shares = np.reshape(answers["classifier"][0]["probabilities"], (len(TEXTS), -1))
    assert np.ptp(shares[:, 0]) > 1e-3
    assert np.ptp(answers["regression"][0]["value"]) > 1e-3


def test_a_batch_may_be_empty(answers):
    assert answers["classifier"][3]["shapes"] == {
        "classes": [0, 2], "label": [0], "probabilities": [0, 2]
    }  # fmt: skip
    assert answers["regression"][3]["shapes"] == {"value": [0]}
    assert answers["pretrained"][3]["shapes"] == {"embedding": [0, 16]}
    assert answers["pairs"][3]["label"] == []


def test_a_text_is_answered_alike_alone_and_among_longer_ones(answers):
    for kind, name in (("classifier", "probabilities"), ("pairs", "probabilities")):
        among = np.reshape(answers[kind][0][name], (len(TEXTS), -1))
        alone = np.reshape(answers[kind][1][name], (1, -1))
        np.testing.assert_allclose(alone[0], among[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [8, 9, 16, 31])
def test_rows_are_those_of_training_whatever_is_cut(length, finished):
    tokenizer = tokenizer_of(open_finished(str(finished.pretrained)))
    rng = np.random.default_rng(length)
    texts, seconds = (
        [finished.sentence(int(n)) if n else "" for n in rng.integers(0, 45, size=60)]
        for _ in range(2)
    )
    for pairs in (None, seconds):
        rows = TableRows(tokenizer, texts, pairs, np.zeros(60, np.int32), length)
        wanted = rows.read(np.arange(60))
        features = TextFeatures(tokenizer, length)
        found = features(tf.constant(texts), *(() if pairs is None else (tf.constant(pairs),)))
        width = found["tokens"].shape[1]
        assert rows.cut > 0 and width == length
        for name, array in found.items():
            np.testing.assert_array_equal(array, wanted[name], err_msg=name)


def test_the_signature_tells_names_and_types(exported):
    folder, said = exported
    assert said["classifier"]["inputs"] == ["text"]
    assert said["pairs"]["inputs"] == ["text", "text_pair"]
    assert said["classifier"]["outputs"] == ["classes", "label", "probabilities"]
    assert said["regression"]["outputs"] == ["value"]
    assert said["pretrained"]["outputs"] == ["embedding"]
    model = tf.saved_model.load(str(folder / "pairs" / "1"))
    assert list(model.signatures) == ["serving_default"]
    _, inputs = model.signatures["serving_default"].structured_input_signature
    assert {name: (spec.shape.as_list(), spec.dtype) for name, spec in inputs.items()} == {
        "text": ([None], tf.string),
        "text_pair": ([None], tf.string),
    }
    outputs = model.signatures["serving_default"].structured_outputs
    assert {name: spec.dtype for name, spec in outputs.items()} == {
        "classes": tf.string, "label": tf.string, "probabilities": tf.float32,
    }  # fmt: skip


def test_the_folder_is_what_a_server_reads(exported):
    folder, said = exported
    assert [path.name for path in (folder / "classifier").iterdir()] == ["1"]
    held = {path.name for path in (folder / "classifier" / "1").iterdir()}
    assert {"saved_model.pb", "variables"} <= held
    files = (path for path in (folder / "classifier").rglob("*") if path.is_file())
    assert said["classifier"]["bytes"] == sum(path.stat().st_size for path in files)


def test_a_run_in_bfloat16_is_exported_in_float32(finished, tmp_path):
    words = ("--train.steps", "2", *QUICK, "--train.precision", "bfloat16")
    table = finished.labelled()
    init = ("--init", finished.pretrained)
    command("finetune", "classify", *init, *table, "--out", tmp_path / "run", *words)
    command("export", tmp_path / "run", "--out", tmp_path / "out")
    model = tf.saved_model.load(str(tmp_path / "out" / "1"))
    graph = model.signatures["serving_default"].graph.as_graph_def()
    assert "MatMul" in str(graph) and "DT_BFLOAT16" not in str(graph)
    texts = ["the cat sat", "a dog ran in the park"]
    found = model.signatures["serving_default"](text=tf.constant(texts))["probabilities"]
    wanted, _ = expected(tmp_path / "run", "classifier", texts, None)
    np.testing.assert_allclose(found, tf.nn.softmax(wanted), rtol=1e-5, atol=1e-5)


def test_an_export_that_fails_leaves_nothing(finished, tmp_path, monkeypatch):
    def fail(module, folder, **options):
        os.mkdir(folder)
        raise OSError(28, "No space left on device", folder)

    monkeypatch.setattr(tf.saved_model, "save", fail)
    assert main(["export", str(finished.classifier), "--out", str(tmp_path / "a" / "b")]) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_next_export_is_the_next_version(finished, tmp_path, monkeypatch):
    (tmp_path / "9").mkdir()
    words = ["export", str(finished.classifier), "--out", str(tmp_path)]
    assert command(*words)["saved_model"] == str(tmp_path / "10")
    monkeypatch.setattr(tf.saved_model, "save", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "9"]


def test_a_killed_export_is_no_model_and_the_next_one_is(finished, fork_server, tmp_path):
    out = tmp_path / "out"
    words = ["export", str(finished.classifier), "--out", str(out)]
    child = fork_server.start("pipelines.__main__:main", tmp_path / "log", words)
    assert child.wait_until(lambda: (out / ".export.tmp").exists())
    child.kill(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert [path.name for path in out.iterdir()] == [".export.tmp"]
    command(*words)
    assert [path.name for path in out.iterdir()] == ["1"]


def test_without_tensorflow_text_the_missing_operation_is_named(answers):
    said = answers["without tensorflow_text"]
    assert "Op type not registered 'FastBertNormalize'" in said

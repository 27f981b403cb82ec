"""The main job, whole, on a corpus that is read in a moment."""

import csv
import json
import random
import shlex

import pytest
import tensorflow as tf

from pipelines.core import progress
from pipelines.core.engine import Engine
from pipelines.core.evaluate import evaluate
from pipelines.core.spec import Recipe
from pipelines.experiments import demo
from pipelines.text import corpora as sources

WORDS = shlex.split("the value of a list is given to this function when it returns an object")


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Run the job with two steps of pretraining and one seed; return its folder and result."""
    folder = tmp_path_factory.mktemp("job")
    draw = random.Random(3)
    cache = folder / "embedded"
    (cache / "task").mkdir(parents=True)
    for split, count in (("train", 120), ("validation", 40)):
        texts = [" ".join(draw.choices(WORDS, k=20)) + "." for _ in range(count)]
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (cache / f"{split}.jsonl").write_text(lines)
    for split, count in (("train", 40), ("validation", 20), ("test", 30)):
        rows = [_row(draw, number) for number in range(count)]
        text = "label\ttext\n" + "".join(f"{label}\t{text}\n" for label, text in rows)
        (cache / "task" / f"{split}.tsv").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "RATES", (1e-3,))
        for module in (demo, sources):
            patch.setattr(module, "embedded_corpus", lambda: cache)
        with progress.console.capture() as printed:
            result = demo.demo(folder / "run", steps=2, seeds=1)
        patch.setattr(Engine, "step", _no_step)
        again = demo.demo(folder / "run", steps=2, seeds=1)
    return folder / "run", cache / "task", result, printed.get(), again


def _row(draw, number):
    """Return a row of a task that the words of a text give away; two thirds are of one class."""
    label, word = (("shuffled", "object"), ("fluent", "list"), ("fluent", "list"))[number % 3]
    return label, " ".join([*draw.choices(WORDS[:4], k=6), word])


def _no_step(self, batch):
    raise AssertionError("it trains again")


def test_both_kinds_are_fine_tuned_alike_but_for_their_weights(job):
    run = job[0]
    pretrained, scratch = (
        Recipe.load(run / "finetune" / f"{kind}-rate0.001-seed0" / "recipe.json")
        for kind in ("pretrained", "from-scratch")
    )
    assert (pretrained.fresh, scratch.fresh) == (False, True)
    differing = [
        name
        for name in Recipe.__dataclass_fields__
        if getattr(pretrained, name) != getattr(scratch, name)
    ]
    assert differing == ["fresh"]


def test_the_table_holds_what_was_measured_on_the_test_split(job):
    run, task, result, _, _ = job
    found = result["accuracy"]
    with open(task / "test.tsv") as file:
        labels = [row["label"] for row in csv.DictReader(file, delimiter="\t")]
    assert found["majority class"] == [labels.count("fluent") / len(labels)]
    assert found["TF-IDF + logistic regression"] == [1.0]
    for kind in ("pretrained", "from scratch"):
        folder = run / "finetune" / f"{kind.replace(' ', '-')}-rate0.001-seed0"
        assert found[kind] == [evaluate(str(folder), (str(task / "test.tsv"),))["accuracy"]]
    learnt = json.loads((run / "pretrain" / "result.json").read_text())
    assert result["masked_lm"] == {name: learnt[name] for name in ("before", "after")}
    assert json.loads((run / "summary.json").read_text()).keys() == result.keys()


def test_it_tells_what_it_did_and_where_things_are(job):
    run, _, result, printed, _ = job
    for words in (*demo.SENTENCES, *result["accuracy"], "masked-token loss", "tensorboard"):
        assert words in printed
    for folder in (run, run / "exported" / "1"):
        assert str(folder) in printed.replace("\n", "")


def test_the_export_answers_strings(job):
    served = tf.saved_model.load(job[2]["saved_model"])
    answer = served.signatures["serving_default"](text=tf.constant(["the list", "of it"]))
    assert set(answer["label"].numpy()) <= {b"fluent", b"shuffled"}


def test_a_second_call_repeats_no_step_and_gives_the_same(job):
    *_, first, _, again = job
    assert {**again, "seconds": 0} == {**first, "seconds": 0}

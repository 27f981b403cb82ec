"""T5 by the commands: spans of a text, then answers with a prefix; and the other ways to spoil."""

import json

import numpy as np
import pytest
from finished import QUICK, command
from pairs import PAIRS, T5

from pipelines.core.finished import open_finished
from pipelines.text.generation.writer import Writer
from tfattn.models.sampling import Sampling

pytestmark = pytest.mark.usefixtures("uncompiled")
SHORT = ("--data.length", "24", "--train.batch", "8", "--train.rate", "1e-2", *QUICK)
SHORT += ("--train.evaluate-every", "20", "--train.steps")


@pytest.fixture(scope="module")
def pretrained(finished, tmp_path_factory):
    """Return a run of span corruption."""
    out = tmp_path_factory.mktemp("t5") / "run"
    words = ("--data.files", finished.corpus, "--data.vocab-size", "500", *T5, *SHORT, "20")
    command("pretrain", "t5-tiny", *words, "--out", out)
    return out


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("answers") / "pairs.tsv"
    rows = [f"{source}\t{target}" for source, target in PAIRS[:12]]
    path.write_text("\n".join(["text\tanswer", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def answers(pretrained, table, tmp_path_factory):
    """Return a run that answers texts which have a prefix."""
    out = tmp_path_factory.mktemp("answering") / "run"
    files = ("--data.train", table, "--data.validation", table, "--data.label", "answer")
    command(
        "finetune", "text2text", "--init", pretrained, *files, "--out", out,
        "--text2text.prefix", "say: ", *SHORT, "20",
    )  # fmt: skip
    return out


def test_spans_are_learnt_to_be_written(pretrained):
    result = json.loads((pretrained / "result.json").read_text())
    assert result["after"]["loss"] < 0.8 * result["before"]["loss"]
    found = command("evaluate", pretrained)
    assert found["loss"] == pytest.approx(result["after"]["loss"], rel=1e-4)
    assert "bleu" not in found and found["perplexity"] == pytest.approx(np.exp(found["loss"]))


def test_the_weights_are_where_the_fine_tuning_starts(pretrained, answers):
    kept, new = (open_finished(str(run)).model.weights_by_path() for run in (pretrained, answers))
    assert set(kept) == set(new)
    recipe = json.loads((answers / "recipe.json").read_text())
    assert recipe["init"] == str(pretrained) and recipe["objective"]["prefix"] == ["say: "]
    result = json.loads((answers / "result.json").read_text())
    assert result["after"]["loss"] < result["before"]["loss"]


def test_the_prefix_stands_before_every_source_by_itself(answers, table):
    done = open_finished(str(answers))
    writer = Writer(done.model, done.processor, Sampling(beams=2), jit=False)
    sources = [source for source, _ in PAIRS[:3]]
    said, bare = (
        [texts[0].score for texts in writer.write([f"{before}{s}" for s in sources], 6)]
        for before in ("say: ", "")
    )
    words = ("--text", *sources, "--beams", "2", "--tokens", "6")
    found = command("translate", answers, *words)
    assert found["sources"] == sources
    np.testing.assert_allclose(found["scores"], said, rtol=1e-4)
    assert not np.allclose(found["scores"], bare, rtol=1e-4)


def test_answers_are_measured_with_their_prefix(answers, table):
    found = command("evaluate", answers, "--beams", "1")
    result = json.loads((answers / "result.json").read_text())
    assert found["loss"] == pytest.approx(result["after"]["loss"], rel=1e-4)
    assert found["rows"] == 12 and found["beams"] == 1
    sources, wanted = zip(*PAIRS[:12], strict=True)
    words = ("translate", answers, "--text", *sources, "--beams", "1", "--tokens", "24")
    said = command(*words)["texts"]
    assert found["exact"] == 100 * np.mean([a == b for a, b in zip(said, wanted, strict=True)])
    # The prefix is a word of the source.
    assert {(row["from"], row["to"]) for row in found["by_length"]} == {(0, 5)}


@pytest.mark.parametrize("task", ["text-infilling", "prefix-lm"])
def test_texts_are_spoiled_in_other_ways(task, finished, pretrained, tmp_path):
    words = ("--data.files", finished.corpus, "--data.tokenizer", pretrained / "processor")
    found = command(
        "pretrain", "t5-tiny", "--task", task, *words, *T5, *SHORT, "2", "--out", tmp_path / "run",
    )  # fmt: skip
    assert found["steps"] == 2 and 0 < found["after"]["loss"] < 10
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    names = {"text-infilling": "TextInfilling", "prefix-lm": "PrefixLM"}
    assert recipe["objective"]["spec"] == names[task]
    assert recipe["data"]["spec"] == "TextData"


def test_pretraining_goes_on_with_what_the_run_learnt(finished, pretrained, tmp_path):
    words = ("--data.files", finished.corpus, *SHORT, "1", "--out", tmp_path / "run")
    found = command("pretrain", "--init", pretrained, *words)
    first = json.loads((pretrained / "result.json").read_text())
    assert found["before"]["loss"] == pytest.approx(first["after"]["loss"], rel=1e-4)

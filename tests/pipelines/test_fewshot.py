"""In-context learning: scores of candidates, prompts that fit, draws that repeat, the command."""

import json
import random
import re
import shlex
from dataclasses import replace

import numpy as np
import pytest
from finished import QUICK, command

import tfattn
from pipelines.__main__ import main
from pipelines.data.tables import label_ids, read_table
from pipelines.experiments.demonstrations import contexts, draw
from pipelines.experiments.fewshot import draw_accuracy, few_shot, normalizer
from pipelines.experiments.prompts import Prompt, Trials
from pipelines.generation import scoring
from pipelines.generation.scoring import Scorer
from pipelines.inference.finished import open_finished
from pipelines.tokenization.bytepair import train_bytepair
from pipelines.tokenization.characters import Characters
from tfattn.errors import InputError
from tfattn.families import preset
from tfattn.models.config import Tokens

LETTERS = Characters(tuple(" \n:=>abcdefghijklmnopqrstuvwxyz{}"))
CANDIDATES = [(3,), (3, 5), (3, 5, 7), (8, 2), (9,)]


@pytest.fixture(scope="module")
def model():
    """Return a language model of 48 positions with weights large enough to differ."""
    sizes = {"dim": 16, "heads": 2, "hidden_dim": 32, "max_length": 48, "vocab_size": 33}
    config = replace(preset("gpt2-tiny"), **sizes, kernel_std=0.4)
    return tfattn.build(config, Tokens(transform=False, bias=False), dtype="float32")


@pytest.fixture(scope="module")
def copying(tmp_path_factory):
    """Return a run, and its table, in which a label is the last word of its text."""
    folder, chance = tmp_path_factory.mktemp("copying"), random.Random(0)

    def example():
        label = chance.choice(("red", "blue"))
        return f"{chance.choice(('mo', 'ka', 'lu', 'ti'))} {label}", label

    documents = ["\n".join(f"{t} => {n}" for t, n in (example(), example())) for _ in range(1500)]
    (folder / "corpus.txt").write_text("\n\n".join(documents))
    rows = "".join(f"{label}\t{text}\n" for text, label in (example() for _ in range(60)))
    (folder / "task.tsv").write_text("label\ttext\n" + rows)
    flags = shlex.split(
        "--model.dim 32 --model.heads 2 --model.hidden-dim 64 --model.depth 2 "
        "--data.length 32 --data.vocab-size 300 --train.steps 200 --train.rate 1e-2"
    )
    words = ("--data.files", folder / "corpus.txt", *flags, *QUICK)
    command("pretrain", "llama-tiny", *words, "--out", folder / "run")
    return folder / "run", folder / "task.tsv"


def alone(model, context, candidate):
    """Return log P(candidate | context) of one eager pass of one row without padding."""
    logits = np.asarray(model(np.array([[*context, *candidate[:-1]]])), np.float64)[0]
    shares = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
    return sum(shares[len(context) - 1 + j, token] for j, token in enumerate(candidate))


def some_contexts(count, longest=46):
    chance = np.random.default_rng(2)
    return [chance.integers(0, 33, size=n) for n in chance.integers(1, longest + 1, size=count)]


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_scores_are_those_of_each_row_alone(model, mode, monkeypatch):
    monkeypatch.setattr(scoring, "choose_compile", lambda auto: mode)
    score = Scorer(model, CANDIDATES, batch=4)
    given = [*some_contexts(2), some_contexts(1)[0][:1], np.arange(score.room) % 33]
    expected = [[alone(model, context, c) for c in CANDIDATES] for context in given]
    np.testing.assert_allclose(score(given), expected, rtol=0, atol=1e-5)


def test_batches_and_padding_change_no_score(model):
    given = some_contexts(9)
    found = Scorer(model, CANDIDATES, batch=5)(given)
    lone = Scorer(model, CANDIDATES[:2], batch=1)
    for number, context in enumerate(given):
        np.testing.assert_allclose(found[number, :2], lone([context])[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        Scorer(model, CANDIDATES, batch=5)(given[::-1]), found[::-1], rtol=0, atol=1e-5
    )


def test_candidates_that_begin_alike_share_a_pass(model):
    assert Scorer(model, [(1,), (2,), (3,)]).stems == [()]
    assert Scorer(model, CANDIDATES).stems == [(3, 5), (8,)]


def test_nothing_is_compiled_twice_whatever_the_lengths_are(model):
    score = Scorer(model, CANDIDATES, batch=2)
    done = []
    for count in (1, 5, 3):
        score(some_contexts(count), done.append)
    assert done[-1] == 3 and score._score.experimental_get_tracing_count() == 1


def test_candidates_that_leave_no_room_are_refused(model):
    assert Scorer(model, [[1] * 48, [2]]).room == 1
    with pytest.raises(InputError, match="label: expected classes that fit .* 48 .* 49 tokens"):
        Scorer(model, [[1] * 49, [2]])


def test_a_prompt_is_the_examples_and_the_text_as_they_are():
    prompt = Prompt("q: {text}\\na: {label}", "\\n\\n")
    examples = [("{label} {text}", "yes"), ("{0} %s \\1", "no")]
    expected = "q: {label} {text}\na: yes\n\nq: {0} %s \\1\na: no\n\nq: {}\na:"
    assert prompt.context(examples, "{}") == expected
    assert (prompt.lead, prompt.answer_context) == (" ", "a:")
    assert Prompt("{text}\\n{label}").lead == ""


@pytest.mark.parametrize(
    "template", ["", "{text}", "{label}", "{label}{text}", "{text}{text}{label}", "{text}{label}."]
)
def test_a_template_has_a_text_and_then_a_label(template):
    with pytest.raises(InputError, match=r"template: expected \{text\} once, and \{label\} once"):
        Prompt(template)


def test_a_label_has_the_tokens_that_it_has_in_the_whole_text():
    tokenizer = train_bytepair(["a red hat => red\nthe blue sea => blue"] * 9, 300)
    prompt = Prompt()

    def encode(text):
        return tokenizer.encode_batch([text])[0].tolist()

    context = prompt.context([("the sea", "blue")], "a hat")
    for label in ("red", "blue", "hat"):
        parts = encode(context) + encode(prompt.lead + label)
        assert parts == encode(f"{context} {label}")


def test_draws_repeat_and_never_show_the_text_itself():
    pool = ["a", "b", "c", "a", "d", "e"]
    drawn = [[draw(seed, row, 4, pool, pool[row]) for row in range(6)] for seed in range(50)]
    assert drawn == [
        [draw(seed, row, 4, pool, pool[row]) for row in range(6)] for seed in range(50)
    ]
    assert len({str(rows) for rows in drawn}) == 50
    for rows in drawn:
        for row, found in enumerate(rows):
            assert len(set(found)) == 4 and pool[row] not in [pool[i] for i in found]
    assert {i for rows in drawn for i in rows[1]} == {0, 2, 3, 4, 5}  # all the others
    assert draw(3, 0, 2, pool, "a") == draw(3, 0, 4, pool, "a")[:2]


def test_what_does_not_fit_is_dropped_from_the_front():
    prompt, chance = Prompt("{text}:{label}"), random.Random(0)
    texts = ["x" * chance.randint(1, 40) for _ in range(60)]
    examples = [[("y" * chance.randint(1, 9), "b")] * chance.randint(0, 7) for _ in texts]
    read = contexts(LETTERS, prompt, examples, texts, 25)
    for row, (shown, text) in enumerate(zip(examples, texts, strict=True)):
        fits = [n for n in range(len(shown) + 1) if len(text) + 1 + sum(
            len(said) + 3 for said, _ in shown[len(shown) - n :]) <= 25]  # fmt: skip
        count = max(fits, default=0)
        whole = prompt.context(shown[len(shown) - count :], text)
        assert LETTERS.decode(read.ids[row]) == whole[-25:]
        assert (read.shots[row], read.cut[row]) == (count, not fits)
    assert 0 < read.cut.sum() < (read.shots < [len(shown) for shown in examples]).sum() < 60


def test_a_start_token_stays_first_where_a_text_is_cut():
    tokenizer = train_bytepair(["a red hat"] * 9, 257)
    for room in (1, 2, 5):
        (ids,) = contexts(tokenizer, Prompt(), [[]], ["a red hat"], room).ids
        expected = tokenizer.encode_batch(["a red hat =>"])[0].tolist()
        assert ids.tolist() == [tokenizer.start_id, *expected[len(expected) - room + 1 :]]


def test_scores_are_normalized_as_the_equations_say(model):
    score = Scorer(model, CANDIDATES)
    raw = np.array([[-1.0, -2.0, -6.0, -4.0, -3.0]])
    prompt = Prompt("{text} then: {label}")
    assert normalizer(score, LETTERS, prompt, "sum")(raw).tolist() == raw.tolist()
    found = normalizer(score, LETTERS, prompt, "token")(raw)
    np.testing.assert_allclose(found, [[-1.0, -1.0, -2.0, -2.0, -3.0]], rtol=1e-12)
    answer = LETTERS.encode_batch(["then:"])[0]
    without = [alone(model, answer, candidate) for candidate in CANDIDATES]
    found = normalizer(score, LETTERS, prompt, "unconditional")(raw)
    np.testing.assert_allclose(found, raw - without, rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="template: expected words before {label}"):
        normalizer(score, LETTERS, Prompt("{text} {label}"), "unconditional")


def test_a_model_that_has_learnt_to_copy_is_seen_to(copying, capsys):
    run, task = copying
    words = ["fewshot", str(run), "--data.files", str(task), "--shots", "2", "0", "2"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert [result["shots"] for result in found["results"]] == [0, 2]
    assert [result["seeds"] for result in found["results"]] == [1, 3]
    assert found["majority"] < 0.7 and found["chance"] == 0.5 and found["rows"] == 60
    assert all(result["accuracy"] > 0.9 for result in found["results"])
    assert all(0.3 < result["chosen"]["red"] < 0.7 for result in found["results"])
    assert all(f"{result['accuracy']:.4f}" in err for result in found["results"])
    assert "too long" not in err and "retracing" not in err
    assert (run / "fewshot.png").read_bytes().startswith(b"\x89PNG")
    assert not list(run.glob(".fewshot*"))
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == found


def test_accuracy_is_that_of_a_plain_loop(copying):
    done, test = open_finished(str(copying[0])), read_table([str(copying[1])])
    classes, prompt = ("blue", "red"), Prompt("{text} ka {label}")
    trials = Trials(shots=(3,), seeds=2, seed=4, limit=8)
    (result,) = few_shot(done, test, None, trials, prompt, 5)["results"]
    rows = np.random.default_rng(4).permutation(60)[:8]
    labels, accuracies = label_ids(test, classes), []

    def encode(text):
        return done.tokenizer.encode_batch([text])[0].tolist()

    for seed in (4, 5):
        hits = []
        for row in rows:
            drawn = draw(seed, row, 3, test.texts, test.texts[row])
            lines = [f"{test.texts[i]} ka {test.labels[i]}\n" for i in drawn]
            context = [done.tokenizer.start_id, *encode("".join(lines) + test.texts[row] + " ka")]
            found = [encode(" " + label) for label in classes]
            scores = [alone(done.model, context, ids) / len(ids) for ids in found]
            hits.append(np.argmax(scores) == labels[row])
        accuracies.append(np.mean(hits))
    assert result["accuracy"] == pytest.approx(np.mean(accuracies))
    assert result["std"] == pytest.approx(np.std(accuracies, ddof=1))


def test_demonstrations_come_from_other_files_and_long_prompts_are_told(copying, tmp_path, capsys):
    run, task = copying
    (tmp_path / "train.tsv").write_text("label\ttext\n" + "red\tmo mo red\nblue\tka ka blue\n" * 9)
    words = ["--data.files", str(task), "--data.train", str(tmp_path / "train.tsv")]
    words += ["--words", "ti", "lu", "--shots", "12", "--limit", "9", "--seeds", "1"]
    out = tmp_path / "a.png"
    assert main(["fewshot", str(run), *words, "--out", str(out)]) == 0
    said, err = capsys.readouterr()
    (result,) = json.loads(said)["results"]
    assert result["std"] is None and sum(result["chosen"].values()) == pytest.approx(1)
    assert result["prompts"] == result["prompts_shortened"] == 9
    assert 0 < result["shots_left"] < 12 and result["texts_cut"] == 0 and out.exists()
    assert "12 shots: 9 of 9 prompts were too long for the model" in " ".join(err.split())


def test_a_picture_is_written_whole_or_not_at_all(tmp_path):
    result = {"shots": 1, "accuracy": 0.5, "std": None}
    found = {"rows": 9, "majority": 0.5, "chance": 0.5, "results": [result]}
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError):
        draw_accuracy(found, tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


BAD = {
    "--shots -1": "shots: expected numbers from 0. Received: -1",
    "--shots none": "shots: expected numbers from 0. Received: none",
    "--shots 60": r"shots: expected at most \d+, the rows of .*task.tsv with another text .* 60",
    "--seeds 0": "seeds: expected at least 1. Received: 0",
    "--seed -1": "seed: expected at least 0. Received: -1",
    "--limit 0": "limit: expected at least 1. Received: 0",
    "--batch 0": "batch: expected at least 1. Received: 0",
    "--words a": r"words: expected 2, for the classes blue, red. Received: a",
    "--words a a": "words: expected different ones",
    "--template {text}": r"template: expected \{text\} once, and \{label\} once and last",
    "--separator=": "separator: expected a text between two examples",
    "--out {t}/none/a.png": "out: expected a .png in a folder that is there",
    "--out {t}": "out: expected a .png in a folder that is there",
    "--data.files none": "data.files: expected at least one file or glob",
    "--data.files {t}/none.tsv": "data.files: expected at least one file.* none for",
    "--data.train {t}/none.tsv": "data.train: expected at least one file.* none for",
    "--data.label lable": r"task.tsv, header: unknown column 'lable'",
    "--data.files {t}/one.tsv": r"one.tsv: expected at least two classes. Received: 'red'",
    "--data.files {t}/empty.tsv": r"empty.tsv, line 2, label: expected text",
    "--data.train {t}/other.tsv": r"other.tsv, line 3, label: unknown class 'green'",
}
TABLES = {"one": "red\ta\nred\tb", "empty": " \ta\nred\tb", "other": "red\ta\ngreen\tb"}


def test_what_cannot_be_asked_is_told(copying, tmp_path, capsys):
    for name, rows in TABLES.items():
        (tmp_path / f"{name}.tsv").write_text(f"label\ttext\n{rows}\n")
    for flags, message in BAD.items():
        given = flags.replace("{t}", str(tmp_path)).split()
        files = [] if "--data.files" in given else ["--data.files", str(copying[1])]
        assert main(["fewshot", str(copying[0]), *files, *given]) == 2, flags
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and re.search(message, err), err


def test_a_model_or_a_vocabulary_of_another_kind_is_refused(finished, copying, capsys):
    files = ["--data.files", str(finished.folder / "validation.tsv")]
    assert main(["fewshot", str(finished.pretrained), *files]) == 2
    assert "model: expected a language model with causal masks" in capsys.readouterr().err
    done, test = open_finished(str(copying[0])), read_table([str(copying[1])])
    letters = replace(done, tokenizer=Characters(tuple("abcdefghijklmnopqrstuvwxyz ")))
    with pytest.raises(InputError, match=r"template, separator: expected the 27 char.*'\\n' '='"):
        few_shot(letters, test, None, Trials(), Prompt(), 4)
    few = replace(done, tokenizer=Characters(tuple("blured =>\n")))
    with pytest.raises(InputError, match="data.files: expected the .* characters"):
        few_shot(few, test, None, Trials(), Prompt(), 4)

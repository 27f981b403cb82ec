"""Predicting the next token: the objective, and runs over characters and bytes by the commands."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from finished import QUICK, command
from tiny import QUICK as TINY_TRAIN
from tiny import SILENT, engine, plain

import tfattn
from pipelines.__main__ import main
from pipelines.core.batches import Batches
from pipelines.core.engine import Engine
from pipelines.core.finished import open_finished
from pipelines.core.run import Run
from pipelines.core.spec import Recipe
from pipelines.core.train import prepare, train
from pipelines.text.causal_lm import CausalLMObjective, CausalLMRuntime
from pipelines.text.corpora import documents
from pipelines.text.data.causal_rows import CausalRows
from pipelines.text.data.store import Store, write_store
from pipelines.text.data.table_rows import TableRows
from pipelines.text.sources import TextData
from pipelines.text.spec import CausalLM
from pipelines.text.tokenization.characters import train_characters
from tfattn.families.gpt2 import HEAD
from tfattn.models.config import TransformerConfig

TEXTS = ["abcabcabc", "bcabca", "cab", "abc" * 20]
CONFIG = TransformerConfig(
    dim=16, depth=1, heads=2, hidden_dim=32, vocab_size=3, max_length=16, types=0, pad_id=None,
    stem_norm=False, norm="pre", kernel_std=None, dropout=0.0, attention_dropout=0.0,
    masks=(tfattn.Causal(),),
)  # fmt: skip


@pytest.fixture
def batches(tmp_path):
    tokenizer = train_characters(TEXTS, 10)
    store = write_store(tmp_path / "store", TEXTS, tokenizer)
    rows = CausalRows(store, 16, None, None)
    assert store.meta.bytes == len("".join(TEXTS))
    rows.bytes_per_target = store.meta.bytes / rows.targets
    objective = CausalLMObjective(HEAD, tokenizer)
    return objective, Batches(rows, objective.batch, 2, 0)


def losses(logits, targets):
    shares = np.exp(np.asarray(logits, "float64"))
    shares /= shares.sum(-1, keepdims=True)
    return -np.log(np.take_along_axis(shares, targets[..., None], axis=-1)[..., 0])


def test_the_loss_is_that_of_every_next_token(batches):
    objective, data = batches
    batch = data.at(0)
    model = engine(objective, CONFIG).model
    logits, targets = model(batch["features"]).numpy(), batch["targets"]["tokens"].numpy()
    found, outputs = objective.measure(model, batch, False)
    real = batch["features"]["segments"].numpy() != 0
    np.testing.assert_allclose(found["loss"], losses(logits, targets)[real].sum(), rtol=1e-5)
    assert float(found["accuracy"]) == (logits.argmax(-1) == targets)[real].sum() > 0
    assert outputs is None


def test_of_a_prefix_nothing_is_predicted_and_its_tokens_see_each_other(tmp_path):
    tokenizer = train_characters(TEXTS, 10)
    store = write_store(tmp_path / "store", TEXTS * 100, tokenizer)
    rows = CausalRows(store, 16, None, None)
    objective = CausalLMObjective(HEAD, tokenizer, prefix=True)
    batch = plain(Batches(rows, objective.batch, len(rows), 0).at(0))
    segments, positions, order = (
        batch["features"][name] for name in ("segments", "positions", "order")
    )
    lengths = []
    for row in range(len(rows)):
        for text in range(1, segments[row].max() + 1):
            inside = segments[row] == text
            size, places = inside.sum(), positions[row][inside]
            prefix = max(1, (order[row][inside] == 0).sum())
            np.testing.assert_array_equal(order[row][inside], np.where(places < prefix, 0, places))
            weights = batch["weights"]["tokens"][row][inside]
            np.testing.assert_array_equal(weights, places >= prefix - 1)
            if size == 16:
                lengths.append(prefix)
    assert set(lengths) == set(range(1, 17))  # of 300 draws
    assert not batch["weights"]["tokens"][segments == 0].any()


def test_a_prefix_is_read_both_ways_and_what_follows_is_not(tmp_path):
    tokenizer = train_characters(TEXTS, 10)
    store = write_store(tmp_path / "store", ["abcabcabcabcabcab"], tokenizer)
    rows, prefix, seed = CausalRows(store, 16, None, None), 0, 0
    while not 2 < prefix < 14:
        objective = CausalLMObjective(HEAD, tokenizer, prefix=True, seed=seed)
        features = Batches(rows, objective.batch, 1, 0).at(0)["features"]
        prefix, seed = int((features["order"].numpy() == 0).sum()), seed + 1
    model = engine(objective, CONFIG).model
    before = model(features).numpy()[0]
    for changed in (prefix - 1, prefix + 1):
        other = features["tokens"].numpy().copy()
        other[0, changed] = (other[0, changed] + 1) % 3
        moved = np.abs(model({**features, "tokens": tf.constant(other)}).numpy()[0] - before)
        first = 0 if changed < prefix else changed
        assert (moved[first:].max(axis=1) > 0).all() and moved[:first].max(initial=0) == 0


def test_rows_that_overlap_give_every_token_more_context(batches, tmp_path):
    objective, data = batches
    model = engine(objective, CONFIG).model
    store = data.rows.store
    rows = CausalRows(store, 16, None, None, stride=1)
    assert rows.targets == data.rows.targets
    whole = made_up = 0.0
    for start, end in zip(store.offsets[:-1], store.offsets[1:], strict=True):
        ids = store.tokens[start:end].astype("int32")
        for place in range(1, len(ids)):
            given = ids[max(0, place - 16) : place]
            logits = model(given[None]).numpy()[:, -1]
            made_up += losses(logits, ids[place : place + 1])[0]
            whole += 1
    ordered = Batches(rows, objective.batch, 4, 0).in_order()
    found = Engine(model, objective).evaluate(ordered, rows)
    assert found["loss"] == pytest.approx(made_up / whole, rel=1e-5)


def test_texts_of_the_model_are_shown_beside_how_they_went_on(batches, tmp_path):
    objective, data = batches
    made = engine(objective, CONFIG, rate=1e-2)
    for batch in data.stream(0, 60):
        made.step(batch)
    shown = objective.report(made.model, data.at(0), 2, figures=False).table
    assert len(shown) == 2 + 2
    for line in shown[2:]:
        text, rest, said = (part.strip() for part in line.strip("|").split("|"))
        assert text + rest in "abc" * 20 and rest
        assert (text + said) in "abc" * 40 and len(said) == 40  # it has learnt that by heart


def test_perplexity_and_bits_follow_from_the_loss(batches):
    objective, data = batches
    made = engine(objective, CONFIG)
    found = made.evaluate(data.in_order(), data.rows)
    targets = sum(len(text) - 1 for text in TEXTS)
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    bits = found["loss"] * targets / math.log(2) / len("".join(TEXTS))
    assert found["bits_per_byte"] == pytest.approx(bits)
    assert objective.derived({"loss": 1e9}, data.rows)["perplexity"] < math.inf


@pytest.fixture
def unequal(tmp_path):
    """Return a recipe: two bytes a character in training, one in validation, and a seed."""
    for name, text in (("train", "éàü" * 9), ("validation", "abc" * 5)):
        (tmp_path / f"{name}.txt").write_text("\n".join([text] * 6))
    data = TextData(
        files=(str(tmp_path / "train.txt"),),
        validation=(str(tmp_path / "validation.txt"),),
        separator="line",
        algorithm="characters",
        length=16,
    )
    settings = replace(TINY_TRAIN, seed=11, steps=2, evaluate_every=2, batch=2)
    return Recipe(CONFIG, CausalLM(head=HEAD), data, settings, SILENT)


@pytest.mark.parametrize("task", [CausalLM(head=HEAD), CausalLM(head=HEAD, prefix=True)], ids=str)
def test_one_objective_is_made_of_the_recipe_for_both_splits(unequal, task, monkeypatch, tmp_path):
    made, objective = [], CausalLMRuntime.objective

    def counted(self, recipe, tokenizer):
        made.append(objective(self, recipe, tokenizer))
        return made[-1]

    monkeypatch.setattr(CausalLMRuntime, "objective", counted)
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    prepared = prepare(run, replace(unequal, objective=task), None)
    assert made == [prepared.objective]
    assert (prepared.objective.seed, prepared.objective.prefix) == (11, task.prefix)
    for rows, split in ((prepared.train, "train"), (prepared.validation, "validation")):
        assert rows.store.meta == Store.open(run.data / split).meta


def test_bits_per_byte_are_of_the_bytes_of_the_rows_that_were_evaluated(unequal, tmp_path):
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    prepared = prepare(run, unequal, None)
    made = engine(prepared.objective, prepared.config)
    for rows, size in ((prepared.train, 2 * 27 / 26), (prepared.validation, 15 / 14)):
        batches = Batches(rows, prepared.objective.batch, 4, 0)
        found = made.evaluate(batches.in_order(), rows)
        assert found["bits_per_byte"] == pytest.approx(found["loss"] / math.log(2) / size)
    result = train(unequal, tmp_path / "trained")
    for found in (result["before"], result["after"]):
        wanted = found["loss"] / math.log(2) / (15 / 14)
        assert found["bits_per_byte"] == pytest.approx(wanted)


def test_what_repeats_is_learnt(batches):
    objective, data = batches
    made = engine(objective, CONFIG, rate=1e-2)
    losses = [made.step(batch)["loss"] for batch in data.stream(0, 60)]
    assert losses[0] > 0.9 and losses[-1] < 0.1


def test_a_share_of_every_document_may_be_its_end(tmp_path):
    (tmp_path / "a.txt").write_text("0123456789\n\nabcdefghij")
    data = TextData((str(tmp_path / "a.txt"),), validation_share=0.3, split="tail")
    assert list(documents(data, "train")) == ["0123456", "abcdefg"]
    assert list(documents(data, "validation")) == ["789", "hij"]


SMALL = (
    "--model.dim",
    "16",
    "--model.hidden-dim",
    "32",
    "--model.heads",
    "2",
    "--data.length",
    "16",
)
SHORT = ("--train.steps", "3", "--train.evaluate-every", "3", "--train.batch", "4", *QUICK)


@pytest.mark.parametrize(
    "name", ["gpt1-tiny", "gpt2-tiny", "gpt3-tiny", "gpt-neo-tiny", "llama-tiny"]
)
def test_every_family_pretrains_on_text(name, finished, tmp_path):
    words = ("pretrain", name, "--data.files", finished.corpus, "--out", tmp_path / "run")
    result = command(*words, *SMALL, *SHORT, "--data.vocab-size", "300")
    assert result["after"]["bits_per_byte"] > 0 and result["steps"] == 3
    again = command("evaluate", tmp_path / "run")
    assert again["loss"] == pytest.approx(result["after"]["loss"], rel=1e-5)
    other = command("evaluate", tmp_path / "run", "--data.files", finished.corpus)
    assert other["rows"] > again["rows"] and other["perplexity"] > 1


def test_a_run_on_characters_is_gone_on_from(finished, tmp_path):
    words = ("--data.files", finished.corpus, *SHORT)
    small = ("--model.dim", "16", "--model.hidden-dim", "32", "--data.length", "16")
    command("pretrain", "nanogpt-tiny", *words, *small, "--out", tmp_path / "a")
    held = json.loads((tmp_path / "a" / "processor" / "characters.json").read_text())["characters"]
    assert set(held) == set(finished.corpus.read_text().strip())
    init = ("--init", tmp_path / "a", "--from", tmp_path / "a" / "recipe.json")
    more = command("pretrain", *init, *words, "--out", tmp_path / "b")
    first = json.loads((tmp_path / "a" / "result.json").read_text())
    assert more["before"]["loss"] == pytest.approx(first["after"]["loss"], rel=1e-4)


def test_a_run_goes_on_with_its_own_objective_and_rows(finished, tmp_path):
    words = ("--data.files", finished.corpus, *SHORT)
    first = command(
        "pretrain", "gpt2-tiny", *words, *SMALL, "--data.vocab-size", "300", "--out", tmp_path / "a"
    )
    for init in (tmp_path / "a", tmp_path / "a" / "model"):
        out = tmp_path / init.name / "more"
        length = () if init.name == "a" else ("--data.length", "16")
        more = command("pretrain", "--init", init, *words, *length, "--out", out)
        assert more["before"]["loss"] == pytest.approx(first["after"]["loss"], rel=1e-4)
    tfattn.to_huggingface(tfattn.load(tmp_path / "a" / "model"), tmp_path / "gpt2")
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / "gpt2" / name).write_bytes((tmp_path / "a" / "model" / name).read_bytes())
    length = ("--data.length", "16")
    more = command(
        "pretrain", "--init", tmp_path / "gpt2", *words, *length, "--out", tmp_path / "c"
    )
    assert more["before"]["loss"] == pytest.approx(first["after"]["loss"], rel=1e-4)


def test_a_language_model_is_finetuned_and_exported_as_a_classifier(finished, tmp_path):
    words = ("--data.files", finished.corpus, *SHORT)
    command(
        "pretrain",
        "llama-tiny",
        *words,
        *SMALL,
        "--data.vocab-size",
        "300",
        "--out",
        tmp_path / "a",
    )
    words = ("finetune", "classify", "--init", tmp_path / "a", *finished.labelled(), *SHORT)
    result = command(*words, "--out", tmp_path / "b")
    assert 0 <= result["after"]["accuracy"] <= 1
    pooled = json.loads((tmp_path / "b" / "resolved.json").read_text())["objective"]["pool"]
    assert pooled == "last"  # of a causal model, it has read the whole text
    said = command("export", tmp_path / "b", "--out", tmp_path / "x")
    model = tf.saved_model.load(said["saved_model"])
    texts = ["the cat sat on the hill", "", "a dog ran " * 50]
    found = model.signatures["serving_default"](text=tf.constant(texts))["probabilities"].numpy()
    done = open_finished(str(tmp_path / "b"))
    rows = TableRows(done.processor, texts, None, np.zeros(3, np.int32), 16).read(np.arange(3))
    logits = done.model({name: rows[name] for name in ("tokens", "segments", "types")})
    np.testing.assert_allclose(found, tf.nn.softmax(logits), rtol=1e-4, atol=1e-5)


def test_a_prefix_language_model_reads_its_prompt_both_ways(finished, tmp_path, capsys):
    words = ("--data.files", finished.corpus, *SHORT, *SMALL, "--data.vocab-size", "300")
    command("pretrain", "gpt2-tiny", *words, "--objective.prefix", "--out", tmp_path / "a")
    done = open_finished(str(tmp_path / "a"))
    found = command(
        "generate", tmp_path / "a", "--prompt", "the cat sat", "--tokens", "1", "--greedy"
    )
    ids = [done.processor.start_id, *done.processor.encode_batch(["the cat sat"])[0]]
    tokens = np.array([ids], "int32")
    logits = np.asarray(done.model({"tokens": tokens, "order": 0 * tokens}))[0, -1]
    assert found["texts"] == [done.processor.decode([int(logits.argmax())])]
    assert "bits_per_byte" not in command("evaluate", tmp_path / "a")
    again = command("evaluate", tmp_path / "a", "--stride", "4")
    assert again["loss"] > 0
    for words, message in (
        ((tmp_path / "a", "--stride", "17"), "stride: expected 1 to 16, the tokens of a row"),
        ((tmp_path / "a", "--stride", "0"), "stride: expected at least 1"),
        (
            (finished.pretrained, "--stride", "4"),
            "a run of masked-lm, has no use for it. Received: 4",
        ),
        ((finished.classifier, "--stride", "4"), "stride: expected none, for"),
    ):
        assert main(["evaluate", *map(str, words)]) == 2
        assert message in " ".join(capsys.readouterr().err.split())

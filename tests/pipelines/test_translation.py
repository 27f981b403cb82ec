"""From pairs of texts to translations by the commands: trained, measured, written, exported."""

import json
import re

import numpy as np
import pytest
import sacrebleu
import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the tokenizer's operations
from finished import command
from pairs import PAIRS, trained, write_pairs
from safetensors.numpy import load_file

from pipelines.core.evaluate import print_table
from pipelines.core.finished import open_finished
from pipelines.text.documents import tokenizer_of

pytestmark = pytest.mark.usefixtures("uncompiled")
KINDS = ("transformer-nmt-tiny", "bahdanau-tiny")
SOURCES = ["twenty two", "nine and fifty", "forty", "six"]
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder / "train.tsv", PAIRS)
    write_pairs(folder / "validation.tsv", PAIRS[::8])
    return folder


@pytest.fixture(scope="module")
def runs(folder):
    return {preset: trained(preset, folder) for preset in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def run(request, runs):
    return runs[request.param]


def losses(run):
    found = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in found if line["split"] == "validation"]


def test_it_learns(run):
    first, *_, last = losses(run)
    assert last < 0.6 * first
    result = json.loads((run / "result.json").read_text())
    assert result["steps"] == 24 and result["after"]["loss"] < 0.6 * result["before"]["loss"]


def test_the_final_weights_are_the_mean_of_the_last_checkpoints(run):
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == ["step-00000000", "step-00000012", "step-00000024"]
    one, two = (
        load_file(run / "checkpoints" / name / "variables.safetensors") for name in names[1:]
    )
    saved = load_file(run / "model" / "model.safetensors")
    root = "transformer" if "transformer" in run.name else "recurrent"
    for path, weight in saved.items():
        held = [arrays[f"{root}/{path}"].astype("float64") for arrays in (one, two)]
        np.testing.assert_allclose(weight, (held[0] + held[1]) / 2, rtol=1e-6, atol=1e-7)
    assert any((one[f"{root}/{path}"] != two[f"{root}/{path}"]).any() for path in saved)


def test_the_evaluation_is_of_what_the_translation_gives(run, folder, tmp_path, capsys):
    picture = tmp_path / "by-length.png"
    found = command("evaluate", run, "--beams", "2", "--picture", picture)
    sources, wanted = zip(*PAIRS[::8], strict=True)
    said = command("translate", run, "--text", *sources, "--beams", "2")["texts"]
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(said, [list(wanted)]).score)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(said, [list(wanted)]).score)
    assert found["exact"] == 100 * np.mean([a == b for a, b in zip(said, wanted, strict=True)])
    assert found["rows"] == len(wanted) and found["rows_cut"] == 0 and found["beams"] == 2
    assert [row["texts"] for row in found["by_length"]] == [len(wanted)]
    assert found["by_length"][0]["bleu"] == pytest.approx(found["bleu"])
    assert found["loss"] == pytest.approx(json.loads((run / "result.json").read_text())
                                          ["after"]["loss"], rel=1e-4)  # fmt: skip
    assert picture.read_bytes().startswith(PNG)
    print_table("run", found)
    shown = capsys.readouterr().err
    assert "by_length" in shown and "sacrebleu" in shown
    assert re.search(rf"│ 0 +│ 5 +│ {len(wanted)} +│", shown)  # words from, to before, texts


def test_several_translations_have_falling_scores(run, tmp_path):
    (tmp_path / "more.txt").write_text("thirty five\n  three and twenty \n")
    found = command(
        "translate", run, "--text", *SOURCES, "--file", tmp_path / "more.txt",
        "--beams", "4", "--best", "3", "--out", tmp_path / "out.txt",
    )  # fmt: skip
    assert found["sources"] == [*SOURCES, "thirty five", "three and twenty"]
    for text, score, best in zip(found["texts"], found["scores"], found["best"], strict=True):
        assert len(best) == 3 and best[0] == [text, score]
        assert [s for _, s in best] == sorted((s for _, s in best), reverse=True)
    lines = (tmp_path / "out.txt").read_text().splitlines()
    assert lines == [" ".join(text.split()) for text in found["texts"]]


def test_what_is_looked_at_is_drawn_and_kept(run, tmp_path):
    words = ("translate", run, "--text", SOURCES[1], "--attention")
    found = command(*words, tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(PNG)
    assert command(*words, tmp_path / "map.npz") == found
    done = open_finished(str(run))
    tokenizer = tokenizer_of(done)
    ids = tokenizer.encode_batch([SOURCES[1]])[0]
    with np.load(tmp_path / "map.npz") as arrays:
        source, written = arrays["source_tokens"].tolist(), arrays["written_tokens"].tolist()
        end = tokenizer.vocabulary[tokenizer.separator_id]
        assert source == [*(tokenizer.vocabulary[i] for i in ids), end]
        assert written[-1] == end
        names = tokenizer.vocabulary
        assert tokenizer.decode([names.index(name) for name in written[:-1]]) == (found["texts"][0])
        assert arrays["alignment"].shape[-2:] == (len(written), len(source))
        for name in {"alignment", "rollout"} & set(arrays):
            np.testing.assert_allclose(arrays[name].sum(-1), 1.0, atol=1e-5)
        others = {"source", "target", "rollout"} if "transformer" in run.name else set()
        assert set(arrays) == {"alignment", "source_tokens", "written_tokens", *others}


def test_generate_writes_targets_too(run):
    words = ("generate", run, "--prompt", *SOURCES, "--tokens", "9")
    greedy = command(*words, "--greedy")
    assert greedy["prompts"] == SOURCES
    likeliest = command("translate", run, "--text", *SOURCES, "--beams", "1", "--tokens", "9")
    assert greedy["texts"] == likeliest["texts"] and "scores" not in likeliest


def exported(run, folder, *flags):
    said = command("export", run, "--out", folder / "out", "--tokens", "9", *flags)
    return said, tf.saved_model.load(said["saved_model"]).signatures


def decoded(texts):
    return [text.decode() for text in texts.numpy()]


def test_the_export_finds_what_the_translation_finds(runs, tmp_path):
    run = runs[KINDS[0]]
    said, signatures = exported(run, tmp_path)
    assert (said["inputs"], said["outputs"]) == (["text"], ["scores", "text", "texts"])
    assert list(signatures) == ["serving_default"]
    found = signatures["serving_default"](text=tf.constant(SOURCES))
    words = ("translate", run, "--text", *SOURCES, "--tokens", "9", "--best", "4")
    wanted = command(*words)
    assert decoded(found["text"]) == wanted["texts"]
    for row, best in enumerate(wanted["best"]):
        assert decoded(found["texts"][row]) == [text for text, _ in best]
        np.testing.assert_allclose(found["scores"][row], [s for _, s in best], atol=1e-4)


def test_the_export_draws_what_the_generation_draws(runs, tmp_path):
    run = runs[KINDS[1]]
    said, signatures = exported(run, tmp_path, "--temperature", "2")
    assert (said["inputs"], said["outputs"]) == (["text"], ["text"])
    texts = {}
    for seed in (0, 5):
        drawn = signatures["sample"](text=tf.constant(SOURCES), seed=tf.constant(seed, tf.int64))
        texts[seed] = decoded(drawn["text"])
    words = ("generate", run, "--prompt", *SOURCES, "--tokens", "9", "--temperature", "2")
    assert texts[5] == command(*words, "--seed", "5")["texts"] != texts[0]
    assert decoded(signatures["serving_default"](text=tf.constant(SOURCES))["text"]) == texts[0]


def test_the_likeliest_tokens_are_exported(runs, tmp_path):
    run = runs[KINDS[0]]
    _, signatures = exported(run, tmp_path, "--greedy")
    found = signatures["serving_default"](text=tf.constant(SOURCES))["text"]
    words = ("translate", run, "--text", *SOURCES, "--beams", "1", "--tokens", "9")
    assert decoded(found) == command(*words)["texts"]


def test_two_texts_of_a_sentence_a_line_are_the_same_pairs(runs, folder, tmp_path):
    run = runs[KINDS[0]]
    for name, side in (("val.en", 0), ("val.fr", 1)):
        lines = (pair[side] for pair in PAIRS[::8])
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    words = ("evaluate", run, "--beams", "1", "--data.files")
    one = command(*words, tmp_path / "val.en", tmp_path / "val.fr")
    two = command(*words, folder / "validation.tsv")
    assert {**one, "files": None} == {**two, "files": None}

"""What encoder-decoders cannot use is answered by one sentence that names the flag or the file."""

import os
import re
import shutil

import pytest
from finished import QUICK, command
from pairs import PAIRS, T5, trained, words, write_pairs

import pipelines.text.embedded
import pipelines.text.labelled
from pipelines.__main__ import main
from pipelines.commands.table import parsing
from pipelines.core.engine import Engine
from pipelines.text.tokenization.characters import train_characters

NMT = "transformer-nmt-tiny"
STEPS = ("--train.steps", "1", *QUICK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    write_pairs(folder / "train.tsv", PAIRS)
    write_pairs(folder / "validation.tsv", PAIRS[::8])
    (folder / "a.en").write_text("one\ntwo\nthree\n")
    (folder / "a.fr").write_text("un\ndeux\n")
    (folder / "empty.txt").write_text("one\n\ntwo\n")
    write_pairs(folder / "long.tsv", [(f"{a}, {a}, {a}", f"{b}, {b}, {b}") for a, b in PAIRS])
    (folder / "hole.tsv").write_text("one\tun\ntwo\t\n")
    (folder / "bytes.txt").write_bytes(b"a\xff\n")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture(scope="module")
def run(folder):
    """Return a run without attention: nothing of it could be drawn."""
    return trained("seq2seq-tiny", folder, "--train.steps", "2")


@pytest.fixture
def refused(capsys):
    """Run a command that has to be refused; return the sentence."""

    def run(*words):
        assert main([str(word) for word in words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        (said,) = (line for line in err.splitlines() if line.startswith("error: "))
        assert said.endswith("."), err
        return said.removeprefix("error: ")

    return run


def said_by(refused, message, *words):
    found = refused(*words)
    assert re.search(message, found), found


OF_TEXTS = {
    "no sentinels": (
        ("t5-tiny", "--data.algorithm", "bpe", "--data.vocab-size", "300"),
        r"objective: expected a vocabulary with sentinels.*--data.algorithm unigram.*BytePair",
    ),
    "masks in a T5": (
        ("t5-tiny", "--task", "masked-lm"),
        r"model: expected a single stack.* for masked-lm. Received: an encoder and a decoder",
    ),
    "spans in a BERT": (
        ("bert-tiny", "--task", "span-corruption"),
        r"model: expected an encoder and a decoder.* for span-corruption. Received: a single",
    ),
    "an unknown task": (
        ("t5-tiny", "--task", "span-corupption"),
        r"task: unknown task 'span-corupption'. Did you mean 'span-corruption'",
    ),
    "tokens a batch in a BERT": (
        ("bert-tiny", "--train.batch-tokens", "256", "--data.vocab-size", "200"),
        r"train.batch_tokens: expected pairs of texts.* Received: 256 for masked-lm",
    ),
    "more averaged than kept": (
        ("t5-tiny", "--train.average", "4", "--train.keep", "3"),
        r"train.average: expected at most the 3 kept. Received: 4",
    ),
    "lanes that do not divide the rows": (
        ("t5-tiny", "--train.lanes", "3", "--train.batch", "8"),
        r"train.lanes: expected a divisor of the 8 rows of train.batch. Received: 3",
    ),
    "spans too short": (
        ("t5-tiny", "--objective.span", "0.5"),
        r"objective.span: expected 1 to 100 tokens. Received: 0.5",
    ),
    "nearly all of a text left out": (
        ("t5-tiny", "--objective.rate", "0.99"),
        r"objective.rate: expected a share over 0 and up to 0.9. Received: 0.99",
    ),
    "masks without a token between them": (
        ("t5-tiny", "--task", "text-infilling", "--objective.rate", "0.8"),
        r"objective.rate: expected at most 0.75 for spans of 3, between .* Received: 0.8",
    ),
    "a small vocabulary": (
        ("t5-tiny", "--data.vocab-size", "20"),
        r"data.vocab_size: expected at least \d+. Received: 20",
    ),
    "two averages": (
        ("t5-tiny", "--train.average", "2", "--train.ema", "0.9"),
        r"train.average: expected none beside ema. Received: 2",
    ),
}


@pytest.mark.parametrize("name", OF_TEXTS)
def test_pretraining_on_texts_that_cannot_be(name, finished, refused, tmp_path):
    given, message = OF_TEXTS[name]
    size = T5 if given[0] == "t5-tiny" else ()
    files = ("--data.files", finished.corpus, "--data.length", "24")
    out = ("--out", tmp_path / "out")
    said_by(refused, message, "pretrain", *given, *size, *files, *STEPS, *out)
    assert not (tmp_path / "out").exists()


OF_PAIRS = {
    "a BERT that is to translate": (
        ("bert-tiny", "--task", "translation", "--data.train", "{f}/train.tsv",
         "--data.validation", "{f}/train.tsv"),
        r"model: expected an encoder and a decoder.* for translation. Received: a single",
    ),
    "sides of unequal length": (
        (NMT, "--data.train", "{f}/a.en", "{f}/a.fr", "--data.validation", "{f}/train.tsv"),
        r"a\.fr: expected the 3 lines of .*a\.en. Received: 2",
    ),
    "an empty target": (
        (NMT, "--data.train", "{f}/hole.tsv", "--data.validation", "{f}/train.tsv"),
        r"hole\.tsv, line 2, target: expected text. Received: none",
    ),
    "no validation": (
        (NMT, "--data.train", "{f}/train.tsv"),
        r"data.validation: expected at least one file or glob. Received none",
    ),
    "one language": (
        (NMT, "--data.train", "embedded:en"),
        r"data.train: expected two languages, as in embedded:en-fr. Received: embedded:en",
    ),
    "a language that nobody speaks": (
        (NMT, "--data.train", "embedded:en-xx"), r"expected .*CLDR.* Received: '?xx"
    ),
    "batches smaller than a pair": (
        (NMT, "--data.train", "{f}/train.tsv", "--data.validation", "{f}/train.tsv",
         "--train.batch-tokens", "4", "--data.vocab-size", "400"),
        r"train.batch_tokens: expected at least the \d+ places of the longest pair. Received: 4",
    ),
    "heads of a recurrent network": (
        ("bahdanau-tiny", "--model.heads", "4", "--data.train", "embedded:en-fr"),
        r"^model.heads: expected none, for a RecurrentConfig has no such field. Received: 4",
    ),
    "a bad value beside the flags of pairs": (
        (NMT, "--data.train", "{f}/train.tsv", "--train.batch", "0"),
        r"train.batch: expected at least 1. Received: 0",
    ),
    "one column for both": (
        (NMT, "--data.train", "{f}/train.tsv", "--data.validation", "{f}/train.tsv",
         "--data.source", "en", "--data.target", "en"),
        r"data.source: expected another column than that of the target. Received: en for both",
    ),
    "no pair that is short enough": (
        (NMT, "--data.train", "{f}/long.tsv", "--data.validation", "{f}/train.tsv",
         "--data.length", "8", "--data.vocab-size", "300", "--data.algorithm", "bpe"),
        r"data.train: expected pairs of at most 8 tokens a side. Received: none",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_PAIRS)
def test_pretraining_on_pairs_that_cannot_be(name, folder, refused, tmp_path):
    given, message = OF_PAIRS[name]
    given = [word.format(f=folder) for word in given]
    said_by(refused, message, "pretrain", *given, *STEPS, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


OF_RUNS = {
    "no file to look at": ("--attention {t}/map.jpg", r"attention: expected a .png or an .npz"),
    "no attention": (
        "--attention {t}/map.png",
        r"attention: expected a model that has some. Received: .*seq2seq-tiny",
    ),
    "no folder to draw in": (
        "--attention {t}/none/map.png",
        r"attention: expected a file that can be written. Received: .*map\.png: No such file",
    ),
    "no folder to write in": (
        "--out {t}/none/out.txt",
        r"out: expected a file that can be written. Received: .*out\.txt: No such file",
    ),
    "more than there are beams": (
        "--best 3 --beams 2", r"best: expected 1 to the 2 beams. Received: 3"
    ),
    "none of the best": ("--best 0", r"best: expected 1 to the 4 beams. Received: 0"),
    "a penalty without beams": (
        "--beams 1 --length-penalty 2",
        r"length_penalty: expected none beside beams of 1.* Received: 2.0",
    ),
    "a penalty of no number": ("--beams 1 --coverage-penalty nan", r"coverage_penalty: .* nan"),
    "a penalty over all measure": (
        "--length-penalty 1e30", r"length_penalty: expected 0 to 10. Received: 1e\+30"
    ),
    "a folder to draw in": (
        "--attention {f}/folder.png",
        r"attention: expected a file that can be written. Received: .*\.png: a folder",
    ),
    "a folder to write in": (
        "--out {f}/folder.png", r"out: expected a file that can be written. Received: .*: a folder"
    ),
    "a pipe to write to": (
        "--out {f}/pipe",
        r"out: expected a file that can be written. Received: .*pipe: no regular file",
    ),
    "nothing to write in": (
        "--out=", r"out: expected a file that can be written. Received: \.: a folder"
    ),
    "the sources to write over": (
        "--file {f}/a.en --out {f}/a.en", r"out: expected another file than file. Received: .*a\.en"
    ),
    "a picture to write over": (
        "--attention {t}/a.png --out {t}/a.png",
        r"out: expected another file than attention. Received: .*a\.png",
    ),
    "bytes that are not UTF-8": ("--file {f}/bytes.txt", r"byte 0xff at offset 1\.$"),
    "no tokens": ("--tokens 0", r"tokens: expected 1 to 2\*\*14. Received: 0"),
    "a penalty that one beam does not read": (
        "--beams 1 --coverage-penalty 0.2",
        r"coverage_penalty: expected none beside beams of 1.* Received: 0.2",
    ),
    "no beams": ("--beams 0", r"beams: expected 1 to 1,024. Received: 0"),
    "a line of nothing": ("--file {f}/empty.txt", r"text: expected text. Received none in source"),
    "no such file": ("--file {f}/none.txt", r"none\.txt: "),
}  # fmt: skip


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("name", OF_RUNS)
def test_a_translation_that_cannot_be(name, run, folder, refused, tmp_path):
    flags, message = OF_RUNS[name]
    flags = [word.format(f=folder, t=tmp_path) for word in flags.split()]
    said_by(refused, message, "translate", run, "--text", "two", *flags)
    assert list(tmp_path.iterdir()) == []


def test_a_source_has_to_be_there(run, refused):
    said_by(refused, r"text: expected at least one --text, or a --file. Rec", "translate", run)
    words = ("translate", run, "--text", "two", " \t")
    said_by(refused, r"text: expected text. Received none in source 2", *words)


def test_a_single_stack_does_not_translate(finished, refused):
    message = r"pretrained: expected a model of a source and a target.*`generate` continues texts"
    said_by(refused, message, "translate", finished.pretrained, "--text", "the cat")


@pytest.fixture
def unmeasured(monkeypatch):
    """Fail where something is measured, which takes long, before it is refused."""
    monkeypatch.setattr(Engine, "evaluate", lambda *_: pytest.fail("it was measured"))


def test_what_writes_no_targets_has_no_lengths_to_draw(finished, refused, tmp_path, request):
    words = ("evaluate", finished.classifier, "--picture", tmp_path / "a.png")
    request.getfixturevalue("unmeasured")  # now that there is a classifier
    message = r"picture: expected none, for .*classifier, a run of classify, has no use .*a\.png"
    said_by(refused, message, *words)


@pytest.mark.parametrize("name", ["none/a.png", "folder.png"])
def test_a_picture_has_to_be_written_somewhere(name, run, folder, refused):
    words = ("evaluate", run, "--picture", folder / name)
    said_by(refused, rf"picture: expected a picture that can be written. Rec.*{name}", *words)


def test_a_picture_of_bleu_is_a_png(run, refused, tmp_path):
    words = ("evaluate", run, "--picture", tmp_path / "a.jpg")
    said_by(refused, r"picture: expected a \.png. Received: .*a\.jpg", *words)


@pytest.mark.parametrize("tokens", ["0", "-1", "100000000"])
def test_an_export_writes_some_tokens(tokens, run, refused, tmp_path):
    words = ("export", run, "--out", tmp_path / "out", f"--tokens={tokens}")
    said_by(refused, rf"tokens: expected 1 to 2\*\*14. Received: {tokens}", *words)
    assert not (tmp_path / "out").exists()


def test_a_vocabulary_of_another_model_is_refused(run, refused, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    train_characters(map(chr, range(1000, 1900)), 900).save(tmp_path / "run" / "model")
    message = r"run/model: expected a vocabulary of at most the \d+ tokens .* Received: 90\d"
    said_by(refused, message, "translate", tmp_path / "run", "--text", "two")


def test_prefixes_are_counted_before_documentation_is_read(run, refused, monkeypatch, tmp_path):
    monkeypatch.setattr(pipelines.text.labelled, "embedded_table", None)
    words = ("finetune", "text2text", "--init", run, "--data.train", "embedded:summaries")
    words += ("--text2text.prefix", "a: ", "b: ", "--out", tmp_path / "out")
    said_by(refused, r"text2text.prefix: expected one .* the 1 of --data.train. Rec.* 2", *words)


def test_a_model_of_pairs_continues_no_demonstrations(run, finished, refused, tmp_path):
    table = finished.labelled()[1]
    words = ("fewshot", run, "--data.files", table, "--out", tmp_path / "a.png")
    said_by(refused, r"seq2seq-tiny: expected a language model that continues texts", *words)


@pytest.mark.parametrize("presets", ["t5-tiny", "t5-tiny t5-mini", "seq2seq-tiny bert-tiny"])
def test_no_laws_are_fitted_to_models_of_pairs(presets, refused, tmp_path):
    words = ("scaling", "--presets", *presets.split(), "--out", tmp_path / "out")
    message = rf"presets: expected a single stack.* Received: {presets.split()[0]}, a model"
    said_by(refused, message, *words)


def test_what_goes_on_from_a_run_of_pairs_reads_pairs(run, folder, refused, tmp_path):
    words = ("pretrain", "--init", run, "--data.train", folder / "hole.tsv", "--out")
    words += (tmp_path / "out", "--data.validation", folder / "train.tsv")
    said_by(refused, r"hole\.tsv, line 2, target: expected text. Received: none", *words)


@pytest.mark.parametrize("preset", [NMT, "seq2seq-tiny"])
def test_a_model_for_pairs_learns_from_text_without_more_flags(preset):
    found = parsing("pretrain", [preset, "--task", "span-corruption"]).default
    assert (found.data.algorithm, found.train.batch_tokens) == ("unigram", None)


def test_a_recurrent_model_fills_no_mask(run, refused):
    said_by(refused, r"expected a WordPiece vocabulary", "fill", run, "--text", "a [MASK]")


@pytest.mark.usefixtures("uncompiled")
def test_embedded_pairs_are_measured_on_what_was_not_trained_on(run, folder, monkeypatch):
    asked = []

    class Split:
        train, validation = folder / "none.tsv", folder / "header.tsv"

    def write(where, *codes, progress):
        asked.append(codes)
        return Split

    (folder / "header.tsv").write_text("en\tfr\n" + (folder / "validation.tsv").read_text())
    monkeypatch.setattr(pipelines.text.embedded, "write_phrases", write)
    words = ("evaluate", run, "--beams", "1", "--data.files")
    found = command(*words, "embedded:en-fr")
    assert asked == [("en", "fr")] and found["rows"] == len(PAIRS[::8])
    assert found["loss"] == command(*words, folder / "validation.tsv")["loss"]


@pytest.mark.usefixtures("uncompiled")
def test_learned_positions_are_as_many_as_there_are(folder, tmp_path):
    more = ("--model.position", "learned", "--data.length", "19", "--train.steps", "2")
    out = ("--out", tmp_path / "run", "--monitor.samples", "2")
    command(*words(NMT, folder, *more, *out))
    run = tmp_path / "run"
    found = command("translate", run, "--text", "two " * 2, "--tokens", "99", "--beams", "1")
    assert len(found["texts"]) == 1
    assert command("evaluate", run, "--beams", "1")["rows"] == len(PAIRS[::8])

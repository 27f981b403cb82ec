"""What is before and behind a text in training is there in `generate` and in the export too."""

import pytest
import tensorflow as tf
from finished import QUICK, command

from pipelines.core.finished import open_finished
from pipelines.text.causal_module import CausalLMModule
from pipelines.text.documents import tokenizer_of
from pipelines.text.generation.generator import Generator, text_added
from tfattn.models.sampling import Sampling

TEXTS = ["the cat sat", "a dog ran in"]
READ = ["say: the cat sat =>", "say: a dog ran in =>"]
TOKENS, GREEDY = 6, Sampling(greedy=True)
SMALL = ("--model.dim", "32", "--model.hidden-dim", "64", "--model.heads", "2", "--data.length")


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    """Return a decoder-only run that was fine-tuned with a prefix and a delimiter."""
    folder = tmp_path_factory.mktemp("prefixed")
    table = folder / "table.tsv"
    rows = [f"{text}\t{text.split()[-1]}" for text in TEXTS]
    table.write_text("\n".join(["text\tlabel", *rows]) + "\n")
    files = ("--data.files", finished.corpus, *SMALL, "32", "--data.vocab-size", "300")
    steps = ("--train.rate", "1e-2", *QUICK, "--train.steps")
    command("pretrain", "gpt2-tiny", *files, *steps, "20", "--out", folder / "gpt")
    command(
        "finetune", "text2text", "--init", folder / "gpt", "--data.train", table,
        "--data.validation", table, "--text2text.prefix", "say: ", "--text2text.delimiter", " =>",
        *steps, "10", "--out", folder / "run",
    )  # fmt: skip
    return folder / "run"


@pytest.fixture(scope="module")
def raw(run):
    """Return what follows whole prompts, that of no format of the run is made."""
    done = open_finished(str(run))
    generator, tokenizer = Generator(done.model, tokenizer_of(done), GREEDY), tokenizer_of(done)
    ids = [generator.encode(prompt) for prompt in READ]
    *_, added = generator.stream(ids, TOKENS, 0)
    return [text_added(tokenizer, *both) for both in zip(ids, added, strict=True)]


def test_generate_reads_the_text_between_prefix_and_delimiter(run, raw, monkeypatch):
    encode, seen = Generator.encode, []
    monkeypatch.setattr(Generator, "encode", lambda self, x: seen.append(x) or encode(self, x))
    words = ("--prompt", *TEXTS, "--tokens", str(TOKENS), "--greedy")
    found = command("generate", run, *words)
    assert seen == READ
    assert (found["prompts"], found["texts"]) == (TEXTS, raw)


def test_the_export_reads_the_text_between_prefix_and_delimiter(run, raw, tmp_path, monkeypatch):
    words = ("--tokens", str(TOKENS), "--greedy", "--out", tmp_path / "out")
    said = command("export", run, *words)
    serve = tf.saved_model.load(said["saved_model"]).signatures["serving_default"]
    found = serve(text=tf.constant(TEXTS))["text"].numpy()
    assert [text.decode() for text in found] == raw


def test_the_tokenizer_of_the_export_is_given_the_whole_prompt(run, monkeypatch):
    module = CausalLMModule(open_finished(str(run)), TOKENS, GREEDY)
    tokenize, seen = module.inner.tokenize, []
    monkeypatch.setattr(module.inner, "tokenize", lambda x: seen.append(x) or tokenize(x))
    monkeypatch.setattr(module, "serve", module._serve)  # without a graph
    module.serve(tf.constant(TEXTS))
    assert [text.decode() for text in seen[0].numpy()] == READ


def test_a_search_for_targets_is_refused_where_none_are_written(run, capsys):
    from pipelines.__main__ import main

    assert main(["evaluate", str(run), "--beams", "2"]) == 2
    said = f"beams: expected none, for {run} writes no targets. Received: 2."
    assert said in capsys.readouterr().err

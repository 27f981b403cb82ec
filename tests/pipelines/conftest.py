"""A tiny corpus, its vocabulary and its token store, made once."""

import functools
import os
import random
import shlex

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from finished import QUICK, Finished, command, once
from tiny import CONFIG, words

import pipelines.text.targets
from pipelines.text.data.store import write_store
from pipelines.text.generation.writer import BATCH, Writer
from pipelines.text.tokenization.wordpiece import train_wordpiece


@pytest.fixture(scope="session")
def texts():
    """Return sixty documents of three to thirty words."""
    rng = np.random.default_rng(1)
    return [" ".join(words(rng, rng.integers(3, 30))) for _ in range(60)]


@pytest.fixture(scope="session")
def corpus(texts, tmp_path_factory):
    """Return a text file of the documents."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tokenizer(texts):
    return train_wordpiece(texts, CONFIG.vocab_size)


@pytest.fixture(scope="session")
def vocabulary(tokenizer, tmp_path_factory):
    """Return the folder of the vocabulary."""
    folder = tmp_path_factory.mktemp("vocabulary")
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="session")
def store(texts, tokenizer, tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("stores") / "store", texts, tokenizer)


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """Return a folder which all workers of the session have in common."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def finished(shared):
    """Return runs that were made by the commands, each when it is first asked for."""
    return Finished(shared / "finished")


@pytest.fixture(scope="session")
def copying(shared):
    """Return a run, and its table, in which a label is the last word of its text."""
    folder = once(shared / "copying", lambda: copy_words(shared / "copying"))
    return folder / "run", folder / "task.tsv"


def copy_words(folder):
    """Train a model to write the last word of a text."""
    folder.mkdir()
    chance = random.Random(0)

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


@pytest.fixture
def uncompiled(monkeypatch):
    """Let targets be written without XLA, which compiles longer than a test writes."""
    small = functools.partial(Writer, batch=BATCH // 4, jit=False)
    monkeypatch.setattr(pipelines.text.targets, "Writer", small)

"""A tiny corpus, its vocabulary, and recipes that train in seconds."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
from dataclasses import replace

import numpy as np
import pytest

from pipelines import recipes
from pipelines.data.store import write_store
from pipelines.data.tokenizers import WordPiece, train_wordpiece
from pipelines.recipes import MonitorConfig, Recipe, TableData, TextData, TrainConfig
from tfattn.models.config import TransformerConfig

CONFIG = TransformerConfig(
    dim=16, depth=1, heads=2, hidden_dim=32, vocab_size=150, max_length=16, kernel_std=None
)
SILENT = MonitorConfig(attention=False, histograms=False, samples=0)
QUICK = TrainConfig(
    steps=6, batch=4, rate=1e-2, precision="float32", compile="graph", log_every=1, evaluate_every=3
)


def words(rng, count):
    """Return words of some twenty syllables: a vocabulary of pieces and whole words."""
    syllables = "ba be bi do du fa fe ga gi ka ko la lu ma mo na ne pi po ra".split()
    return ["".join(rng.choice(syllables, size=rng.integers(1, 4))) for _ in range(count)]


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
def tokenizer(texts) -> WordPiece:
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
def pretraining(corpus, vocabulary):
    """Return a recipe on the corpus; keywords replace fields of its TrainConfig."""

    def make(**train):
        data = TextData(
            files=(str(corpus),), validation_share=0.2, tokenizer=str(vocabulary), length=16
        )
        return Recipe(CONFIG, recipes.MaskedLM(), data, replace(QUICK, **train), SILENT)

    return make


def numbers_of(run, split="train"):
    """Return the lines of metrics.jsonl without what depends on the clock."""
    clocks = ("tokens_per_second", "seconds")
    lines = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    found = (line for line in lines if split in (None, line["split"]))
    return [{k: v for k, v in line.items() if k not in clocks} for line in found]

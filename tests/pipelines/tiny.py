"""What trains in seconds: a model, a corpus of made-up words, recipes and their parts."""

import json
from dataclasses import replace

import keras
import numpy as np

import tfattn
from pipelines.core.batches import Batches
from pipelines.core.engine import Engine
from pipelines.core.optimize import build_optimizer
from pipelines.core.spec import Recipe
from pipelines.core.train_config import MonitorConfig, TrainConfig
from pipelines.text.data.packing import PackedRows, PairRows
from pipelines.text.masked_lm import MaskedLMObjective
from pipelines.text.sources import TextData
from pipelines.text.spec import MaskedLM
from tfattn.models.config import TransformerConfig

LENGTH = 16
CONFIG = TransformerConfig(
    dim=16, depth=1, heads=2, hidden_dim=32, vocab_size=150, max_length=LENGTH, kernel_std=None
)
STILL = replace(CONFIG, dropout=0.0, attention_dropout=0.0)
SILENT = MonitorConfig(attention=False, histograms=False, samples=0)
QUICK = TrainConfig(
    steps=6, batch=4, rate=1e-3, precision="float32", compile="graph", log_every=1, evaluate_every=3
)
SYLLABLES = [
    "ba",
    "be",
    "bi",
    "do",
    "du",
    "fa",
    "fe",
    "ga",
    "gi",
    "ka",
    "ko",
    "la",
    "lu",
    "ma",
    "mo",
    "na",
    "ne",
    "pi",
    "po",
    "ra",
]


def words(rng, count):
    """Return words of one to three syllables: some are whole in the vocabulary, some in pieces."""
    return ["".join(rng.choice(SYLLABLES, size=rng.integers(1, 4))) for _ in range(count)]


def pretraining(corpus, vocabulary, **train):
    """Return a recipe on a text file; keywords replace fields of its TrainConfig."""
    data = TextData(
        files=(str(corpus),), validation_share=0.2, tokenizer=str(vocabulary), length=LENGTH
    )
    return Recipe(CONFIG, MaskedLM(), data, replace(QUICK, **train), SILENT)


def masked(store, tokenizer, size, *, pack=True, seed=0, **spec):
    """Return the masked language model on a store, and its batches."""
    objective = MaskedLMObjective(MaskedLM(**spec), tokenizer, LENGTH, seed)
    ids = (tokenizer.start_id, tokenizer.separator_id, tokenizer.pad_id)
    if objective.task.next_sentence:
        rows = PairRows(store, LENGTH, *ids, seed=seed)
    else:
        rows = PackedRows(store, LENGTH, *ids, pack=pack)
    return objective, Batches(rows, objective.batch, size, seed, objective.row_independent)


def engine(objective, config=STILL, strategy=None, optimizer=None, **train):
    """Return an engine on a new model; the same weights every time."""
    keras.utils.set_random_seed(3)
    settings = replace(QUICK, **train)
    model = tfattn.build(config, *objective.heads)
    optimizer = optimizer or build_optimizer(settings, 100, model)
    return Engine(model, objective, optimizer, settings, strategy)


def weights(model):
    return [v.numpy() for v in model.weights]


def lines(run, split=None):
    """Return metrics.jsonl without what depends on the clock."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    clocks = ("tokens_per_second", "seconds", "waiting")
    return [
        {name: number for name, number in line.items() if name not in clocks}
        for line in found
        if split in (None, line["split"])
    ]


def plain(batch):
    """Return a batch as nested dicts of numpy arrays."""
    if isinstance(batch, dict):
        return {name: plain(value) for name, value in batch.items()}
    return np.asarray(batch)

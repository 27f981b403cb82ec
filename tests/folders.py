"""Folders of small models for the tests of checkpoints, and ways to damage them."""

import json

import numpy as np
from safetensors.numpy import load_file, save_file

import tfattn
from tfattn.models.config import TransformerConfig
from tfattn.weights import CONFIG, WEIGHTS

CONFIG_OF_MODEL = TransformerConfig(
    dim=12, depth=2, heads=3, hidden_dim=20, vocab_size=30, max_length=8
)


def randomized(*heads, config=CONFIG_OF_MODEL):
    model = tfattn.build(config, *heads)
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=v.shape).astype("float32") for v in model.weights])
    return model


def arrays(model):
    return {path: np.asarray(v) for path, v in model.weights_by_path().items()}


def assert_same(model, weights):
    found = arrays(model)
    assert set(found) == set(weights)
    for path, weight in weights.items():
        assert found[path].dtype == weight.dtype
        np.testing.assert_array_equal(found[path], weight, err_msg=path)


def edit_config(folder, **fields):
    described = json.loads((folder / CONFIG).read_text()) | fields
    (folder / CONFIG).write_text(json.dumps(described))


def edit_weights(folder, change):
    weights = load_file(folder / WEIGHTS)
    save_file(change(dict(weights)), folder / WEIGHTS)

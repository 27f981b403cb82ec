"""The half of tfattn/checkpoints.py that reads and writes published checkpoints."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from folders import CONFIG_OF_MODEL, arrays, assert_same, edit_config, edit_weights, randomized
from safetensors.numpy import load_file, save_file

import tfattn
from tfattn.errors import InputError
from tfattn.models.config import Classify, Pool, Tokens
from tfattn.weights import CONFIG, INDEX, WEIGHTS

ARCHITECTURES = {
    "BertModel": (Pool(),),
    "BertForMaskedLM": (Tokens(),),
    "BertForPreTraining": (Tokens(), Classify("next", dropout=0.0)),
    "BertForNextSentencePrediction": (Classify("next", dropout=0.0),),
    "BertForSequenceClassification": (Classify("classify", classes=3),),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Write the folder once."""
    folder = tmp_path_factory.mktemp("written")
    tfattn.to_huggingface(randomized(Tokens()), folder)
    return folder


@pytest.fixture
def theirs(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "theirs"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_round_trip_through_their_format_keeps_every_byte(architecture, tmp_path):
    model = randomized(*ARCHITECTURES[architecture])
    tfattn.to_huggingface(model, tmp_path / "a")
    described = json.loads((tmp_path / "a" / CONFIG).read_text())
    assert described["architectures"] == [architecture] and described["model_type"] == "bert"
    heads = (Pool(),) if architecture == "BertModel" else None
    again = tfattn.from_huggingface(tmp_path / "a", heads)
    assert (again.config, again.heads) == (model.config, model.heads)
    assert_same(again, arrays(model))
    tfattn.to_huggingface(again, tmp_path / "b")
    assert (tmp_path / "a" / WEIGHTS).read_bytes() == (tmp_path / "b" / WEIGHTS).read_bytes()
    assert (tmp_path / "a" / CONFIG).read_text() == (tmp_path / "b" / CONFIG).read_text()


def test_the_bare_model_is_written_without_its_prefix(tmp_path):
    tfattn.to_huggingface(randomized(Pool()), tmp_path)
    names = load_file(tmp_path / WEIGHTS)
    assert "embeddings.word_embeddings.weight" in names and "pooler.dense.bias" in names
    assert not any(name.startswith("bert.") for name in names)


def test_heads_of_a_file_may_be_left_out_or_come_later(tmp_path):
    model = randomized(Tokens(), Classify("next", dropout=0.0))
    tfattn.to_huggingface(model, tmp_path)
    weights = arrays(model)
    bare = tfattn.from_huggingface(tmp_path, heads=())
    assert_same(bare, {p: w for p, w in weights.items() if p.startswith(("stem", "encoder"))})
    pooled = tfattn.from_huggingface(tmp_path, heads=[Pool()])
    np.testing.assert_array_equal(arrays(pooled)["pooler/kernel"], weights["pooler/kernel"])
    with pytest.raises(InputError, match="missing: classify/logits/kernel"):
        tfattn.from_huggingface(tmp_path, heads=[Classify()])


def test_read_tells_ours_from_theirs(tmp_path, theirs):
    tfattn.save(randomized(Classify()), tmp_path / "ours")
    config, heads, weights = tfattn.read(tmp_path / "ours")
    assert (config, heads) == (CONFIG_OF_MODEL, (Classify(),))
    assert set(weights) == set(randomized(*heads).weights_by_path())
    config, heads, weights = tfattn.read(theirs)
    assert (config, heads) == (CONFIG_OF_MODEL, (Tokens(),))
    assert set(weights) == set(randomized(*heads).weights_by_path())


def test_shards_are_read_through_their_index(theirs):
    model = tfattn.from_huggingface(theirs)
    weights = load_file(theirs / WEIGHTS)
    names = sorted(weights)
    shards = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for shard, part in shards.items():
        save_file({name: weights[name] for name in part}, theirs / shard)
    (theirs / WEIGHTS).unlink()
    places = {name: shard for shard, part in shards.items() for name in part}
    (theirs / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert_same(tfattn.from_huggingface(theirs), arrays(model))
    (theirs / "two.safetensors").unlink()
    with pytest.raises(InputError, match=r"two\.safetensors: expected .*No such file"):
        tfattn.from_huggingface(theirs)


@pytest.mark.parametrize(
    "places",
    [
        {"a": "../outside/model.safetensors"},
        {"a": "/etc/passwd"},
        {"a": "sub/model.safetensors"},
        {"a": "./model.safetensors"},
        {"a": ".."},
        {"a": ""},
        {"a": 3},
        {"a": None},
        {},
        [],
        None,
        "model.safetensors",
    ],
)
def test_an_index_names_files_beside_it_only(theirs, places):
    shutil.copytree(theirs, theirs.parent / "outside")
    (theirs / INDEX).write_text(json.dumps({"weight_map": places}))
    with pytest.raises(InputError, match=f"{theirs}"):
        tfattn.from_huggingface(theirs)


def test_names_of_the_first_published_files_are_understood(theirs):
    model = tfattn.from_huggingface(theirs)

    def legacy(name):
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        return name.replace("LayerNorm.bias", "LayerNorm.beta")

    edit_weights(theirs, lambda weights: {legacy(n): w for n, w in weights.items()})
    assert_same(tfattn.from_huggingface(theirs), arrays(model))


def test_tied_copies_and_buffers_are_dropped(theirs):
    model = tfattn.from_huggingface(theirs)

    def more(weights):
        words = weights["bert.embeddings.word_embeddings.weight"]
        return weights | {
            "cls.predictions.decoder.weight": words,
            "cls.predictions.decoder.bias": weights["cls.predictions.bias"],
            "bert.embeddings.position_ids": np.arange(8)[None],
        }

    edit_weights(theirs, more)
    assert_same(tfattn.from_huggingface(theirs), arrays(model))


def test_a_bare_file_with_a_buffer(tmp_path):
    model = randomized(Pool())
    tfattn.to_huggingface(model, tmp_path)
    edit_weights(tmp_path, lambda w: w | {"embeddings.position_ids": np.arange(8)[None]})
    assert_same(tfattn.from_huggingface(tmp_path, [Pool()]), arrays(model))


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float64"])
def test_other_precisions_are_read_as_float32(theirs, dtype):
    exact = arrays(tfattn.from_huggingface(theirs))
    edit_weights(theirs, lambda weights: {n: w.astype(dtype) for n, w in weights.items()})
    rounded = {path: w.astype(dtype).astype("float32") for path, w in exact.items()}
    assert_same(tfattn.from_huggingface(theirs), rounded)
    assert {weight.dtype for weight in tfattn.read(theirs)[2].values()} == {np.dtype("float32")}


def test_a_pickle_is_never_read(theirs):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    (theirs / WEIGHTS).unlink()
    (theirs / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match=r"model\.safetensors: expected .*No such file"):
        tfattn.from_huggingface(theirs)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model_type": "bart"},
            r"config\.json: model_type: unknown type 'bart'\. Did you .*'bert'",
        ),
        ({"model_type": None}, r"model_type: unknown type 'None'"),
        ({"model_type": []}, r"model_type: unknown type"),
        (
            {"position_embedding_type": "relative_key"},
            r"position_embedding_type: expected 'absolute'",
        ),
        ({"is_decoder": True}, r"config\.json: is_decoder: expected False\. Received: True"),
        ({"hidden_act": "swish"}, r"config\.json: TransformerConfig\.activation: unknown value"),
        ({"num_attention_heads": 5}, r"config\.json: .*dim: expected a multiple of heads"),
        ({"hidden_size": "12"}, r"config\.json: TransformerConfig\.dim: expected int"),
        (
            {"hidden_size": 24},
            r"of another shape: .*stem/tokens/embeddings is \(30, 12\) for \(30, 24\)",
        ),
        ({"num_hidden_layers": 1}, r"unused: bert\.encoder\.layer\.1\.attention"),
        ({"num_hidden_layers": 3}, r"missing: encoder/block_2/self/query/kernel"),
    ],
)
def test_a_wrong_config_of_theirs_is_named(theirs, fields, message):
    edit_config(theirs, **fields)
    with pytest.raises(InputError, match=message):
        tfattn.from_huggingface(theirs)


@pytest.mark.parametrize("shape", [(), (0,), (7, 12), (2, 3, 4)])
@pytest.mark.parametrize(
    "name",
    [
        "bert.encoder.layer.0.attention.self.query.weight",
        "bert.encoder.layer.0.attention.self.query.bias",
        "bert.encoder.layer.0.attention.output.dense.weight",
        "bert.encoder.layer.0.intermediate.dense.weight",
        "bert.embeddings.word_embeddings.weight",
    ],
)
def test_a_weight_of_any_wrong_shape_is_named(theirs, name, shape):
    edit_weights(theirs, lambda weights: weights | {name: np.zeros(shape, "float32")})
    with pytest.raises(InputError, match="Received of another shape: "):
        tfattn.from_huggingface(theirs)


def test_a_head_without_a_shape_is_named(theirs):
    edit_weights(theirs, lambda weights: weights | {"classifier.weight": np.zeros(())})
    with pytest.raises(InputError, match="unused: classify/logits/kernel"):
        tfattn.from_huggingface(theirs)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"norm": "pre"}, r"TransformerConfig\.norm: expected 'post'.* Received: 'pre'"),
        ({"position": "sinusoidal"}, r"TransformerConfig\.position: expected 'learned'"),
        ({"masks": (tfattn.Causal(),)}, r"TransformerConfig\.masks: expected \(Everything\(\),\)"),
        ({"layout": ("feedforward", "self")}, r"TransformerConfig\.layout: expected"),
        ({"types": 0}, r"model: expected the weights that .*stem/types/embeddings"),
    ],
)
def test_a_model_that_their_format_cannot_say_is_not_written(tmp_path, fields, message):
    model = tfattn.build(replace(CONFIG_OF_MODEL, **fields), Tokens())
    with pytest.raises(InputError, match=message):
        tfattn.to_huggingface(model, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize(
    "heads",
    [
        (Classify("mine"),),
        (Classify(pool="mean"),),
        (Tokens(transform=False),),
        (Tokens(), Classify()),
    ],
)
def test_heads_that_their_format_cannot_say_are_not_written(tmp_path, heads):
    with pytest.raises(InputError, match="heads: expected one of|model: expected the weights"):
        tfattn.to_huggingface(tfattn.build(CONFIG_OF_MODEL, *heads), tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_the_order_of_heads_does_not_matter(tmp_path):
    model = randomized(Classify("next", dropout=0.0), Tokens())
    tfattn.to_huggingface(model, tmp_path)
    described = json.loads((tmp_path / CONFIG).read_text())
    assert described["architectures"] == ["BertForPreTraining"]
    assert_same(tfattn.from_huggingface(tmp_path), arrays(model))

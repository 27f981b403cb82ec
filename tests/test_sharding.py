"""Weights and batches that are split: by paths and sizes, and in steps on four devices."""

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import tfattn
from tfattn.families import PRESETS, preset, pretraining_head
from tfattn.models.config import Tokens
from tfattn.models.recurrent_config import RecurrentConfig
from tfattn.models.shards import check_shards, divides_vocabulary, most_shards
from tfattn.models.vision_config import Pixels
from tfattn.sharding import COLUMNS, ROWS, TOKENS, rules

ROOT = Path(__file__).parents[1]
SHARDS = {"one": 1, "data": 1, "2x2": 2, "1x4": 4}
REPLICAS = {"one": 1, "data": 4, "2x2": 2, "1x4": 1}
TINY = [n for n, c in PRESETS.items() if n.endswith("-tiny") and not isinstance(c, RecurrentConfig)]

on_jax = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="keras.distribution splits arrays on JAX alone"
)


def matched(path, vocabulary=96, shards=4):
    config = preset("gpt2-tiny").with_fields(vocab_size=vocabulary)
    table = rules(config, shards)
    return [axes for pattern, axes in table.items() if re.fullmatch(pattern, path)]


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="TensorFlow has the same paths")
@pytest.mark.parametrize("name", TINY)
def test_each_path_has_one_rule_at_most_and_each_kernel_of_blocks_one(name):
    head = pretraining_head(name)
    small = {} if isinstance(head, Pixels) else {"vocab_size": 96}
    heads = [head] + ([Tokens(tied=False)] if isinstance(head, Tokens) else [])
    for head in heads:
        for weight in tfattn.build(preset(name).with_fields(**small), head).weights:
            found = matched(weight.path)
            assert len(found) <= 1, weight.path
            assert all(len(axes) == len(weight.shape) for axes in found), weight.path
            in_block = "/block_" in weight.path and weight.path.endswith("kernel")
            is_matrix = weight.path.endswith("tokens/embeddings")
            assert bool(found) >= (in_block or is_matrix), weight.path
            if re.search("norm|positions|output/bias|contract/bias|pooler|transform/", weight.path):
                assert not found, weight.path


@pytest.mark.parametrize("name", PRESETS)
def test_every_published_model_divides_by_some_numbers_of_shards_and_by_no_others(name):
    config, head = preset(name), pretraining_head(name)
    most = most_shards(config, head)
    for shards in range(1, 17):
        if most % shards == 0:
            check_shards(config, head, shards=shards)
        else:
            with pytest.raises(tfattn.InputError, match=rf"expected .*{shards}|expected 1 "):
                check_shards(config, head, shards=shards)


def test_how_many_shards_there_may_be():
    assert most_shards(preset("gpt3-175b")) == 96
    assert most_shards(preset("llama2-70b")) == 64  # of keys and values there are 8 heads
    assert most_shards(preset("gpt2-xl")) == 25
    assert most_shards(preset("bahdanau-tiny")) == 1
    assert most_shards(preset("vit-b16"), Pixels(heads=2)) == 2


def test_embeddings_are_split_by_the_vocabulary_where_it_divides_and_else_by_the_width():
    assert rules(preset("llama-7b"), 4)[TOKENS] == ROWS  # 32,000
    assert rules(preset("gpt2-medium"), 4)[TOKENS] == COLUMNS  # 50,257
    two = preset("t5-tiny").with_fields(vocab_size=96)
    assert divides_vocabulary(two, 4)
    two = replace(two, shared=False, encoder=replace(two.encoder, vocab_size=97))
    assert not divides_vocabulary(two, 4)


@pytest.mark.parametrize(
    ("name", "heads", "shards", "message"),
    [
        ("gpt2-xl", (), 2, r"TransformerConfig\.heads: .* multiple of the 2 shards\. .*: 25\."),
        ("gpt2-small", (), 0, r"shards: expected at least 1\. Received: 0\."),
        ("vit-b16", (Pixels(),), 4, r"Pixels\.heads: .* multiple of the 4 shards\. Received: 2\."),
        ("bahdanau-tiny", (), 2, r"shards: expected 1 for a recurrent model, .* Received: 2\."),
        (
            "t5-small",
            (),
            16,
            r"EncoderDecoderConfig\.encoder\.heads: .* multiple of the 16 shards\. Received: 8\.",
        ),
    ],
)
def test_what_does_not_divide_is_refused(name, heads, shards, message):
    with pytest.raises(tfattn.InputError, match=message):
        check_shards(preset(name), *heads, shards=shards)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"hidden_dim": 6}, "hidden_dim"),
        ({"kv_heads": 1, "head_dim": 2}, "kv_heads times head_dim"),
        ({"dim": 6, "head_dim": 4}, "dim"),
    ],
)
def test_the_field_that_does_not_divide_is_named(fields, field):
    config = preset("gpt2-tiny").with_fields(**{"dim": 16, "heads": 4, "hidden_dim": 64, **fields})
    with pytest.raises(tfattn.InputError, match=rf"^TransformerConfig\.{field}: expected a multip"):
        check_shards(config, shards=4)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="is refused on TensorFlow")
def test_on_tensorflow_it_is_refused_in_one_sentence():
    with pytest.raises(tfattn.InputError, match=r"KERAS_BACKEND: expected jax, .*: tensorflow\."):
        tfattn.model_parallel(preset("bert-tiny"), shards=1)


@on_jax
def test_shards_that_do_not_divide_the_devices_are_refused():
    expected = r"shards: expected a divisor of the 3 devices\. Received: 2\."
    with pytest.raises(tfattn.InputError, match=expected):
        tfattn.model_parallel(preset("bert-tiny"), shards=2, devices=["cpu:0"] * 3)


@pytest.fixture(scope="module")
def found():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-m", "tests.sharded_steps"],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@on_jax
def test_losses_are_those_of_one_device_whatever_is_split(found):
    assert len(found["steps"]) == 5
    assert sum("2x2 again" in layouts for layouts in found["steps"].values()) == 3
    for name, layouts in found["steps"].items():
        assert len(layouts) >= 4
        one = layouts["one"]["losses"]
        assert one[0] > one[1] > one[2]
        for layout, step in layouts.items():
            np.testing.assert_allclose(step["losses"], one, rtol=1e-5, err_msg=f"{name} {layout}")
    fit = found["fit"]
    np.testing.assert_allclose(fit["2x2"]["losses"], fit["one"]["losses"], rtol=1e-5)
    assert fit["2x2"]["query"] == [[32, 32], [32, 16]]


@on_jax
def test_each_device_has_the_scores_of_its_texts_and_heads(found):
    for name, layouts in found["steps"].items():
        for layout, replicas in REPLICAS.items():
            heads, texts = 8 // SHARDS[layout], 8 // replicas
            if layout != "one":
                assert [texts, heads] == layouts[layout]["scores"], (name, layout)


@on_jax
def test_dropout_drops_the_same_however_its_input_is_split(found):
    assert found["dropout"]["same"] and 0.3 < found["dropout"]["kept"] < 0.7


@on_jax
def test_the_loss_over_a_vocabulary_in_chunks_is_the_same_of_rows_that_are_split(found):
    chunked = found["loss in chunks"]
    assert max(chunked["off"]) < 1e-5
    assert chunked["logits"] and not chunked["gathered"]  # each device has those of its rows


@on_jax
@pytest.mark.parametrize("layout", REPLICAS)
def test_weights_and_moments_are_split_by_their_paths_and_batches_by_rows(found, layout):
    shards, replicas = SHARDS[layout], REPLICAS[layout]
    for name, layouts in found["steps"].items():
        step = layouts[layout]
        moments = dict(step["moments"])
        for path, (whole, part) in step["weights"].items():
            assert part == split(path, whole, shards, name), (name, path)
            for kind in ("momentum", "velocity"):  # of Adam
                (own,) = (p for p in moments if p.endswith(f"{path.replace('/', '_')}_{kind}"))
                assert moments.pop(own) == [whole, part], (name, path)
        assert all(whole == [] for whole, _ in moments.values())  # how many steps there were
        for feature, (whole, part) in step["features"].items():
            assert part == [whole[0] // replicas, *whole[1:]], (name, feature)


@on_jax
def test_bytes_of_kernels_on_a_device_fall_by_the_number_of_shards(found):
    for layouts in found["steps"].values():
        for layout, shards in SHARDS.items():
            step = layouts[layout]
            sizes = {p: s for p, s in step["weights"].items() if matched(p)}
            whole, part = (sum(math.prod(s[i]) for s in sizes.values()) for i in (0, 1))
            assert whole == shards * part
            # Of all numbers, those that are split thrice: a weight and its two moments.
            less = layouts["one"]["bytes"] - step["bytes"]
            assert less == 3 * 4 * (whole - part)


def split(path, whole, shards, name):
    (axes,) = matched(path, 97 if name == "gpt2-tiny" else 96) or [(None,) * len(whole)]
    return [n // (shards if axis else 1) for n, axis in zip(whole, axes, strict=True)]

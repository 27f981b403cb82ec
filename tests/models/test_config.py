import json
from dataclasses import replace

import pytest

from tfattn.errors import InputError
from tfattn.families import preset
from tfattn.mechanisms.masks import Causal, Global, Window
from tfattn.models.config import Classify, Head, Pool, Tokens, TransformerConfig
from tfattn.models.model_config import ModelConfig
from tfattn.spec import differences

CONFIGS = [
    TransformerConfig(),
    TransformerConfig(dim=12, heads=3, kernel_std=None, norm="pre", position="sinusoidal"),
    TransformerConfig(masks=(Causal(), Window(2, 0) | Global(1)), layout=("feedforward",)),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_survives_json(config):
    assert TransformerConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize("head", [Tokens(), Tokens(transform=False), Classify("next"), Pool()])
def test_a_head_survives_json(head):
    again = Head.from_json(json.loads(json.dumps(head.to_json())))
    assert again == head and type(again) is type(head)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dim": 0}, r"TransformerConfig\.dim: expected at least 1\. Received: 0"),
        ({"depth": -1}, r"TransformerConfig\.depth: expected at least 1"),
        ({"vocab_size": 0}, r"TransformerConfig\.vocab_size: expected at least 1"),
        ({"dim": 10, "heads": 3}, r"dim: expected a multiple of heads\. Received: dim=10, heads=3"),
        ({"dropout": 1.0}, r"TransformerConfig\.dropout: expected a share from 0 to below 1"),
        ({"attention_dropout": -0.1}, r"TransformerConfig\.attention_dropout: expected a share"),
        ({"masks": ()}, r"TransformerConfig\.masks: expected at least one"),
        ({"layout": ()}, r"TransformerConfig\.layout: expected at least one"),
        ({"layout": ("self", "self")}, r"TransformerConfig\.layout: expected different names"),
        ({"layout": ("self", "convolution")}, r"layout\[1\]: unknown value 'convolution'"),
        ({"types": -1}, r"TransformerConfig\.types: expected 0 or more"),
        (
            {"norm": "posst"},
            r"TransformerConfig\.norm: unknown value 'posst'\. Did you mean 'post'",
        ),
        ({"dim": 12.5}, r"TransformerConfig\.dim: expected int\. Received: 12\.5"),
        ({"dim": True}, r"TransformerConfig\.dim: expected int\. Received: True"),
        ({"masks": (1,)}, r"TransformerConfig\.masks\[0\]: expected Mask\. Received: 1"),
    ],
)
def test_a_wrong_field_is_named(fields, message):
    with pytest.raises(InputError, match=message):
        TransformerConfig(**fields)


def test_wrong_heads_are_named():
    with pytest.raises(InputError, match=r"Classify\.classes: expected at least 1"):
        Classify(classes=0)
    with pytest.raises(InputError, match=r"Classify\.dropout: expected a share"):
        Classify(dropout=1.0)


def test_lists_become_tuples_so_that_a_config_hashes():
    config = TransformerConfig(masks=[Causal()], layout=["self"])
    assert config.masks == (Causal(),) and config.layout == ("self",)
    assert hash(config) == hash(TransformerConfig(masks=(Causal(),), layout=("self",)))


def test_fields_are_changed_in_both_sides_of_a_pair():
    pair = preset("t5-tiny")
    found = pair.with_fields(dim=64, dropout=0.3)
    for side in ("encoder", "decoder"):
        before, after = getattr(pair, side), getattr(found, side)
        assert after == replace(before, dim=64, dropout=0.3) != before
    assert pair.with_fields() == pair


def test_a_family_is_kept_and_changes_nothing():
    for name in ("t5-tiny", "bert-tiny", "vit-tiny", "seq2seq-tiny"):
        config = preset(name)
        found = config.with_fields(dropout=0.3)
        assert found.family == config.family is not None
        other = config.with_fields(family="mine")
        assert other == config and hash(other) == hash(config) and other.family == "mine"
        assert other.to_json() != config.to_json() and not differences(other, config)
        again = ModelConfig.from_json(json.loads(json.dumps(other.to_json())))
        assert again == config and again.family == "mine" and type(again) is type(config)
        old = {k: v for k, v in config.to_json().items() if k != "family"}  # before there was one
        assert ModelConfig.from_json(old) == config


def test_what_each_kind_writes_and_attends_to():
    found = {
        name: (preset(name).writes, preset(name).attends, preset(name).max_positions())
        for name in ("bert-tiny", "gpt2-tiny", "llama-tiny", "t5-tiny", "vit-tiny", "seq2seq-tiny")
    }
    assert found == {
        "bert-tiny": ("nothing", True, 512),
        "gpt2-tiny": ("continuation", True, 256),
        "llama-tiny": ("continuation", True, None),
        "t5-tiny": ("target", True, None),
        "vit-tiny": ("nothing", True, 65),
        "seq2seq-tiny": ("target", False, None),
    }


@pytest.mark.parametrize("name", ["bert-tiny", "seq2seq-tiny"])
def test_fields_of_one_stack_are_changed(name):
    config = preset(name)
    assert config.with_fields(vocab_size=99) == replace(config, vocab_size=99) != config


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("bahdanau-tiny", {"heads": 4}, r"RecurrentConfig\.heads: expected none, .*Received: 4\."),
        ("bert-tiny", {"cell": "gru"}, r"TransformerConfig\.cell: expected none, .*: 'gru'\."),
        ("t5-tiny", {"cell": "gru"}, r"TransformerConfig\.cell: expected none"),
        ("t5-tiny", {"heads": 0}, r"TransformerConfig\.heads: expected at least 1"),
    ],
)
def test_a_field_that_a_kind_does_not_have_is_named(name, fields, message):
    with pytest.raises(InputError, match=message):
        preset(name).with_fields(**fields)


def test_the_pooler_is_there_for_those_who_read_it():
    assert Classify().needs_pooler and Pool().needs_pooler
    assert not Tokens().needs_pooler and not Classify(pool="mean").needs_pooler


def test_flops_are_counted_by_the_matrix_products():
    config = TransformerConfig(dim=8, depth=3, heads=2, hidden_dim=32, vocab_size=100)
    length = 16
    projections = 4 * (length * 8 * 8)
    scores_and_sums = 2 * (length * length * 8)
    feedforward = 2 * (length * 8 * 32)
    forward = 2 * 3 * (projections + scores_and_sums + feedforward) / length
    assert config.flops_per_token(length) == 3 * forward
    head = 2 * 0.25 * (8 * 8 + 8 * 100)
    assert config.flops_per_token(length, predictions=0.25) == 3 * (forward + head)


def test_flops_are_six_a_parameter_for_long_models_and_short_rows():
    config = TransformerConfig(dim=1024, depth=24, heads=16, hidden_dim=4096)
    blocks = config.parameter_count() - (30_522 + 512 + 2) * 1024
    assert config.flops_per_token(1) == pytest.approx(6 * blocks, rel=1e-2)


def test_the_size_of_a_model_without_its_embeddings_is_that_of_its_blocks_and_norms():
    depth, dim = 12, 768
    kernels = 12 * depth * dim**2  # the N of arXiv:2001.08361, table 1
    biases_and_norms = depth * (4 * dim + 4 * dim + dim + 4 * dim) + 2 * dim
    small = preset("gpt2-small")
    assert small.non_embedding_count() == kernels + biases_and_norms == 85_056_000
    wider = replace(small, vocab_size=99, max_length=7, types=3, position="sinusoidal")
    assert wider.non_embedding_count() == small.non_embedding_count()

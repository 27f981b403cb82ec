"""Kinds of models and heads that are defined outside tfattn, here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import keras
import numpy as np
import pytest
from keras import ops

import tfattn
from tfattn.errors import InputError
from tfattn.models.described import DescribedModel
from tfattn.models.model_config import Head, HeadInputs, ModelConfig
from tfattn.models.step import Step

VOCABULARY = 23


@dataclass(frozen=True)
class Tags(Head):
    """One row of logits per token."""

    builder: ClassVar[str | None] = f"{__name__}:tags"

    tags: int = field(kw_only=True)  # a class is asked whether it fits: no default is needed
    name: str = "tags"

    @classmethod
    def fits(cls, config):
        return config.vocabularies() == (VOCABULARY,)  # the errors of other tests do not name it

    def parameter_count(self, config):
        return (config.output_dim() + 1) * self.tags

    def answer(self, layer, hidden, context, training):
        return layer(hidden)


def tags(config: Any, head: Tags, **kw: Any) -> keras.layers.Layer:
    return keras.layers.Dense(head.tags, **kw)


@dataclass(frozen=True)
class BagConfig(ModelConfig):
    """Embeddings of tokens, each with the mean of its row."""

    builder: ClassVar[str] = f"{__name__}:build_bag"
    summary: ClassVar[str] = "a bag of words"

    dim: int = 8
    vocab_size: int = VOCABULARY

    def stacks(self) -> Mapping[str, Any]:
        return {}

    def vocabularies(self):
        return (self.vocab_size,)

    def output_dim(self):
        return 2 * self.dim

    def is_causal(self):
        return False

    @property
    def attends(self):
        return False

    def max_positions(self):
        return None

    def parameter_count(self, heads=()):
        return self.vocab_size * self.dim + sum(head.parameter_count(self) for head in heads)

    def places(self, step: Step):
        return step.length


@keras.saving.register_keras_serializable(package="tests")
class Bag(DescribedModel):
    kind = BagConfig

    def __init__(self, config, heads, tokens, head_layers, **kwargs):
        super().__init__(config, heads, **kwargs)
        self.tokens, self.head_layers = tokens, head_layers

    def build(self, *shapes):
        self.tokens.build()
        self.build_heads()
        self.built = True

    def call(self, tokens, training=None):
        x = self.tokens(tokens)
        mean = ops.broadcast_to(ops.mean(x, axis=1, keepdims=True), ops.shape(x))
        hidden = ops.concatenate([x, mean], axis=-1)
        return self.answers(hidden, HeadInputs({"tokens": tokens}), training)


def build_bag(config, heads, policy):
    from tfattn.models.builder import build_head_layers

    tokens = keras.layers.Embedding(config.vocab_size, config.dim, dtype=policy, name="tokens")
    layers = build_head_layers(config, heads, policy)
    return Bag(config, heads, tokens, layers, dtype=policy, name="bag")


@pytest.fixture
def tokens(rng):
    return rng.integers(1, 20, (2, 5))


def test_a_model_and_a_head_of_our_own_are_built_and_saved(tmp_path, tokens, array):
    config, head = BagConfig(dim=6, family="bags"), Tags(tags=3)
    model = tfattn.build(config, head)
    assert sorted(model.weights_by_path()) == ["tags/bias", "tags/kernel", "tokens/embeddings"]
    assert model.count_params() == config.parameter_count((head,))
    assert tuple(model(tokens).shape) == (2, 5, 3)
    tfattn.save(model, tmp_path)
    again = tfattn.load(tmp_path)
    assert again.config == config and again.heads == (head,) and again.config.family == "bags"
    np.testing.assert_array_equal(array(again(tokens)), array(model(tokens)))
    copy = Bag.from_config(model.get_config())
    assert copy.config == config and copy.heads == (head,)
    assert tuple(tfattn.build(config)(tokens).shape) == (2, 5, 12)


def test_a_head_of_our_own_sits_on_a_transformer(tokens):
    config = tfattn.TransformerConfig(vocab_size=VOCABULARY, max_length=9)
    heads = Tags(tags=3), tfattn.Pool()
    model = tfattn.build(config, *heads)
    assert model.count_params() == config.parameter_count(heads)
    outputs = model(tokens)
    assert tuple(outputs["tags"].shape) == (2, 5, 3) and tuple(outputs["pooler"].shape) == (2, 128)


def test_what_does_not_fit_is_refused_with_what_would():
    with pytest.raises(
        InputError, match=r"heads: expected Tokens\(\), .*Tags\(\), Pool\(\)\. .*: Pix"
    ):
        tfattn.build(BagConfig(), tfattn.Pixels())
    with pytest.raises(InputError, match=r"heads: expected Classify\(\), Pixels\(\), Pool\(\)\."):
        tfattn.build(tfattn.preset("vit-tiny"), tfattn.Tokens())
    with pytest.raises(InputError, match=r"heads: expected .* Received: Head\(name='head'\)"):
        tfattn.build(BagConfig(), Head())
    with pytest.raises(InputError, match=r"BagConfig\.heads: expected none, for a BagConfig has"):
        BagConfig().with_fields(heads=3)
    with pytest.raises(InputError, match="ModelConfig: expected a kind of it"):
        ModelConfig()

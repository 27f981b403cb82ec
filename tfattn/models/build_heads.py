"""The layers of heads that sit on transformers, from the config of the model."""

from typing import Any

from tfattn.blocks.heads import ClassifyHead, TokensHead
from tfattn.models.heads import Classify, Tokens
from tfattn.models.parts import kernel, table


def tokens(config: Any, head: Tokens, **kw: Any) -> TokensHead:
    """Return the layer of a head over the vocabulary.

    Args:
        config: of a transformer with a vocabulary; of an encoder-decoder that of its decoder.
        head: what it is.
        **kw: `dtype` and `name` of the layer.
    """
    return TokensHead(
        vocab_size=config.vocab_size,
        dim=config.dim,
        transform=head.transform,
        activation=config.activation,
        epsilon=config.norm_epsilon,
        initializer=table(config),
        norm_kind=config.norm_kind,
        use_bias=head.bias,
        tied=head.tied,
        scaled=head.scaled,
        smoothing=head.smoothing,
        **kw,
    )


def classify(config: Any, head: Classify, **kw: Any) -> ClassifyHead:
    """Return the layer of a classifier.

    Args:
        config: of a transformer.
        head: what it is.
        **kw: `dtype` and `name` of the layer.
    """
    return ClassifyHead(
        classes=head.classes,
        dim=config.dim,
        dropout=head.dropout,
        initializer=kernel(config),
        **kw,
    )

"""Recurrent encoder-decoders from their config."""

from typing import Any

import keras

from tfattn.blocks.heads import TokensHead
from tfattn.blocks.recurrent import InitialStates, RecurrentEncoder
from tfattn.blocks.recurrent_decoder import RecurrentDecoder
from tfattn.blocks.stems import TokenStem
from tfattn.mechanisms.attention import Attention
from tfattn.mechanisms.positions import Position
from tfattn.mechanisms.scores import Additive, ScaledDotProduct
from tfattn.models.model_config import Head
from tfattn.models.pair import check_heads
from tfattn.models.recurrent import RecurrentEncoderDecoder
from tfattn.models.recurrent_config import RecurrentConfig

SCORES = {
    "additive": lambda config, **kw: Additive(
        query_dim=config.hidden_dim,
        key_dim=config.memory_dim(),
        dim=config.attention_dim,
        initializer=_kernel(config),
        **kw,
    ),
    "scaled-dot": lambda config, **kw: ScaledDotProduct(**kw),
}


def build_recurrent(
    config: RecurrentConfig, heads: tuple[Head, ...], policy: Any
) -> RecurrentEncoderDecoder:
    """Return the model that `config` describes, before its weights are created."""
    check_heads(heads)
    own = {"dtype": policy}
    stem = _stem(config, config.source_vocabulary(), name="stem", **own)
    directions = ("backward",) if config.reversed_source else ("forward",)
    return RecurrentEncoderDecoder(
        config,
        heads,
        stem=stem,
        encoder=RecurrentEncoder(
            dim=config.dim,
            hidden_dim=config.hidden_dim,
            depth=config.depth,
            cell=config.cell,
            directions=("forward", "backward") if config.bidirectional else directions,
            dropout=config.dropout,
            initializer=_kernel(config),
            name="encoder",
            **own,
        ),
        initial=InitialStates(
            hidden_dim=config.hidden_dim,
            count=config.states(),
            initializer=_kernel(config),
            name="initial",
            **own,
        )
        if config.bidirectional
        else None,
        target_stem=stem
        if config.shared
        else _stem(config, config.vocab_size, name="target_stem", **own),
        decoder=_decoder(config, name="decoder", **own),
        head_layers={head.name: _head(config, head, name=head.name, **own) for head in heads},
        name="recurrent",
        **own,
    )


def _stem(config, vocab_size, **kw):
    return TokenStem(
        vocab_size=vocab_size,
        dim=config.dim,
        position=Position(dtype=kw["dtype"], name="positions"),
        dropout=config.dropout,
        initializer=keras.initializers.TruncatedNormal(stddev=config.embedding_std),
        norm_kind=None,
        **kw,
    )


def _decoder(config, **kw):
    own, attention = {"dtype": kw["dtype"]}, None
    if config.attention is not None:
        score = SCORES[config.attention](config, name="score", **own)
        attention = Attention(score, name="attention", **own)
    return RecurrentDecoder(
        dim=config.dim,
        hidden_dim=config.hidden_dim,
        depth=config.depth,
        cell=config.cell,
        context_dim=config.context_dim(),
        attention=attention,
        attention_dim=config.attention_dim if config.attention == "scaled-dot" else None,
        maxout=config.readout == "maxout",
        dropout=config.dropout,
        initializer=_kernel(config),
        **kw,
    )


def _head(config, head, **kw):
    return TokensHead(
        vocab_size=config.vocab_size,
        dim=config.output_dim(),
        transform=head.transform,
        initializer=_table(config),
        use_bias=head.bias,
        tied=head.tied,
        scaled=head.scaled,
        smoothing=head.smoothing,
        **kw,
    )


def _table(config):
    """Return the start of the head's matrix: its number of rows says nothing of its inputs."""
    std = config.output_dim() ** -0.5 if config.kernel_std is None else config.kernel_std
    return keras.initializers.TruncatedNormal(stddev=std)


def _kernel(config):
    if config.kernel_std is None:
        return keras.initializers.GlorotUniform()
    return keras.initializers.TruncatedNormal(stddev=config.kernel_std)

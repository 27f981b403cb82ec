"""From a `RecurrentConfig` to the layers of its model; `tfattn.build` asks here."""

from typing import Any

import keras

from tfattn.blocks.heads import TokensHead
from tfattn.blocks.recurrent import InitialStates, RecurrentEncoder
from tfattn.blocks.recurrent_decoder import RecurrentDecoder
from tfattn.blocks.stems import TokenStem
from tfattn.mechanisms.attention import Attention
from tfattn.mechanisms.positions import Position
from tfattn.mechanisms.scores import Additive, ScaledDotProduct
from tfattn.models.config import Head, Tokens
from tfattn.models.recurrent import RecurrentEncoderDecoder
from tfattn.models.recurrent_config import RecurrentConfig

SCORES = {
    "additive": lambda config, **kw: Additive(
        config.hidden_dim, config.memory_dim(), config.attention_dim, _kernel(config), **kw
    ),
    "scaled-dot": lambda config, **kw: ScaledDotProduct(**kw),
}


def build_recurrent(
    config: RecurrentConfig, heads: tuple[Head, ...], policy: Any, name: str
) -> RecurrentEncoderDecoder:
    """Return the model that `config` describes, before its weights are created."""
    own = {"dtype": policy}
    stem = _stem(config, config.source_vocabulary(), name="stem", **own)
    directions = ("backward",) if config.reversed_source else ("forward",)
    return RecurrentEncoderDecoder(
        config,
        heads,
        stem=stem,
        encoder=RecurrentEncoder(
            config.dim,
            config.hidden_dim,
            config.depth,
            config.cell,
            ("forward", "backward") if config.bidirectional else directions,
            config.dropout,
            _kernel(config),
            name="encoder",
            **own,
        ),
        initial=InitialStates(
            config.hidden_dim, config.states(), _kernel(config), name="initial", **own
        )
        if config.bidirectional
        else None,
        target_stem=stem
        if config.shared
        else _stem(config, config.vocab_size, name="target_stem", **own),
        decoder=_decoder(config, name="decoder", **own),
        head_layers={
            head.name: _head(config, head, name=head.name, **own)
            for head in heads
            if isinstance(head, Tokens)
        },
        name=name,
        **own,
    )


def _stem(config, vocab_size, **kw):
    return TokenStem(
        vocab_size,
        config.dim,
        Position(dtype=kw["dtype"], name="positions"),
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
        config.dim,
        config.hidden_dim,
        config.depth,
        config.cell,
        config.context_dim(),
        attention,
        config.attention_dim if config.attention == "scaled-dot" else None,
        config.readout == "maxout",
        config.dropout,
        _kernel(config),
        **kw,
    )


def _head(config, head, **kw):
    return TokensHead(
        config.vocab_size,
        config.output_dim(),
        head.transform,
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

"""Every kind of model as data, and changes that all kinds understand."""

from dataclasses import replace
from typing import Any, TypeVar

from tfattn.errors import InputError
from tfattn.models.config import EncoderDecoderConfig, TransformerConfig
from tfattn.models.recurrent_config import RecurrentConfig
from tfattn.models.vision_config import VisionConfig

ModelConfig = TransformerConfig | EncoderDecoderConfig | RecurrentConfig | VisionConfig
Config = TypeVar("Config", bound=ModelConfig)


def changed(config: Config, **fields: Any) -> Config:
    """Return `config` with other values of these fields, of both sides where it has two.

    A `vocab_size` is that of both sides of a recurrent model too.

    Raises:
        InputError: a field that this kind does not have.
    """
    if isinstance(config, EncoderDecoderConfig):
        sides = (changed(side, **fields) for side in (config.encoder, config.decoder))
        return replace(config, **dict(zip(("encoder", "decoder"), sides, strict=True)))
    kind = type(config).__name__
    for name, value in fields.items():
        if name not in config.__dataclass_fields__:
            raise InputError(
                f"{kind}.{name}: expected none, for a {kind} has no such field. "
                f"Received: {value!r}."
            )
    if isinstance(config, RecurrentConfig) and "vocab_size" in fields:
        fields = {"source_vocab_size": None, **fields}
    return replace(config, **fields)


def attends(config: ModelConfig) -> bool:
    """Return whether there is attention in a model: in all but recurrent ones without."""
    return not isinstance(config, RecurrentConfig) or config.attention is not None


def position_limit(config: ModelConfig) -> int | None:
    """Return how many positions a model has learnt, or None where any number will do."""
    return config.max_length if config.position == "learned" else None

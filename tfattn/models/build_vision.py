"""Vision Transformers from their config, and the layer of their masked autoencoder."""

from typing import Any

from tfattn.blocks.patches import PatchStem
from tfattn.blocks.pixels import PixelsHead
from tfattn.mechanisms.positions import Learned, Sinusoidal2D
from tfattn.models.builder import build_head_layers
from tfattn.models.model_config import Head
from tfattn.models.parts import embedding, kernel, pooler, stack
from tfattn.models.vision import VisionTransformer
from tfattn.models.vision_config import Pixels, VisionConfig

POSITIONS = {
    "learned": lambda config, **kw: Learned(config.places(), config.dim, embedding(config), **kw),
    "sinusoidal-2d": lambda config, **kw: Sinusoidal2D(
        config.grid()[1], int(config.class_token), **kw
    ),
}


def pixels(config: VisionConfig, head: Pixels, **kw: Any) -> PixelsHead:
    """Return the layer of a head that predicts pixels.

    Args:
        config: of the model.
        head: what it is.
        **kw: `dtype` and `name` of the layer.
    """
    decoder = head.stack()
    return PixelsHead(
        source_dim=config.dim,
        dim=head.dim,
        columns=config.grid()[1],
        places=config.places() - config.class_token,
        patch_size=config.patch_size(),
        decoder=stack(decoder, kw["dtype"], "decoder"),
        leading=config.class_token,
        initializer=kernel(decoder),
        **kw,
    )


def build_vision(config: VisionConfig, heads: tuple[Head, ...], policy: Any) -> VisionTransformer:
    """Return the model that `config` describes, before its weights are created."""
    return VisionTransformer(
        config,
        heads,
        stem=PatchStem(
            height=config.height,
            width=config.width,
            channels=config.channels,
            patch=config.patch,
            dim=config.dim,
            position=POSITIONS[config.position](config, dtype=policy, name="positions"),
            class_token=config.class_token,
            dropout=config.dropout,
            initializer=kernel(config),
            dtype=policy,
            name="stem",
        ),
        encoder=stack(config, policy, "encoder"),
        pooler=pooler(config, heads, policy),
        head_layers=build_head_layers(config, heads, policy),
        dtype=policy,
        name="vision",
    )

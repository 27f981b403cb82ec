"""Vision Transformers from their config."""

from typing import Any

from tfattn.blocks.heads import ClassifyHead
from tfattn.blocks.patches import PatchStem
from tfattn.blocks.pixels import PixelsHead
from tfattn.mechanisms.positions import Learned, Sinusoidal2D
from tfattn.models.config import Classify, Head
from tfattn.models.parts import embedding, kernel, pooler, stack
from tfattn.models.vision import VisionTransformer
from tfattn.models.vision_config import Pixels, VisionConfig

POSITIONS = {
    "learned": lambda config, **kw: Learned(config.places(), config.dim, embedding(config), **kw),
    "sinusoidal-2d": lambda config, **kw: Sinusoidal2D(
        config.grid()[1], int(config.class_token), **kw
    ),
}
HEADS = {
    Classify: lambda config, head, **kw: ClassifyHead(
        head.classes, config.dim, head.dropout, kernel(config), **kw
    ),
    Pixels: lambda config, head, **kw: PixelsHead(
        config.dim,
        head.dim,
        config.grid()[1],
        config.places() - config.class_token,
        config.patch_size(),
        stack(head.stack(), kw["dtype"], "decoder"),
        config.class_token,
        kernel(head.stack()),
        **kw,
    ),
}


def build_vision(
    config: VisionConfig, heads: tuple[Head, ...], policy: Any, name: str
) -> VisionTransformer:
    """Return the model without its weights."""
    return VisionTransformer(
        config,
        heads,
        stem=PatchStem(
            config.height,
            config.width,
            config.channels,
            config.patch,
            config.dim,
            POSITIONS[config.position](config, dtype=policy, name="positions"),
            config.class_token,
            config.dropout,
            kernel(config),
            dtype=policy,
            name="stem",
        ),
        encoder=stack(config, policy, "encoder"),
        pooler=pooler(config, heads, policy),
        head_layers={
            head.name: HEADS[type(head)](config, head, dtype=policy, name=head.name)
            for head in heads
            if type(head) in HEADS
        },
        dtype=policy,
        name=name,
    )

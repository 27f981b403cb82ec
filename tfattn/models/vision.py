"""`VisionTransformer`: patches, blocks, heads (D2L section 11.8)."""

from typing import Any

import keras
from keras import ops

from tfattn.blocks.heads import POOLS
from tfattn.errors import InputError
from tfattn.models.config import Classify, Head
from tfattn.models.described import DescribedModel
from tfattn.models.stack import Stack
from tfattn.models.vision_config import Pixels, VisionConfig
from tfattn.spec import unknown

Tensor = Any
INPUTS = ("images", "keep")


@keras.saving.register_keras_serializable(package="tfattn")
class VisionTransformer(DescribedModel):
    """A stem of patches, a stack of blocks and any number of heads; `tfattn.build` makes one.

    Called with images (b, y, x, c), or with a dict of features:

        images (b, y, x, c)       numbers, as the recipe scales them
        keep (b, k)               numbers of the patches that are seen; default all

    It returns the hidden states (b, t, d), the class token first, without heads, one head's output
    alone, and a dict by head name where there are several.

    Args:
        config: what the model is.
        heads: what sits on it.
        stem: images to hidden states.
        encoder: the stack.
        pooler: a tanh layer on the class token, where a head needs it.
        head_layers: the layer of each head that has one, by name.

    Raises:
        InputError: a head on the class token of a model that has none.
    """

    kind = VisionConfig
    config: VisionConfig

    def __init__(
        self,
        config: VisionConfig,
        heads: tuple[Head, ...],
        stem: keras.layers.Layer,
        encoder: Stack,
        pooler: keras.layers.Layer | None,
        head_layers: dict[str, keras.layers.Layer],
        **kwargs,
    ):
        super().__init__(config, heads, **kwargs)
        for head in heads:
            if getattr(head, "pool", "pooler") in ("pooler", "first") and not (
                config.class_token or isinstance(head, Pixels)
            ):
                raise InputError(
                    "heads: expected mean pooling, for the model has no class token. "
                    f"Received: {head}."
                )
        self.stem, self.encoder, self.pooler = stem, encoder, pooler
        self.head_layers = head_layers

    def build(self, *shapes):
        """Create every weight; no data is needed."""
        self.stem.build()
        self.encoder.build()
        if self.pooler is not None:
            self.pooler.build((None, self.config.dim))
        for layer in self.head_layers.values():
            layer.build()
        self.built = True

    def call(
        self,
        features: dict[str, Tensor] | Tensor,
        training: bool | None = None,
        return_weights: bool = False,
    ) -> Any:
        """Return the output of the heads, and if asked for the attention weights of each block."""
        given = features if isinstance(features, dict) else {"images": features}
        images, keep = self._read(given)
        hidden = self.stem(images, keep, training=training)
        hidden = self.encoder(hidden, training=training, return_weights=return_weights)
        hidden, weights = hidden if return_weights else (hidden, None)
        answers = self._answers(hidden, keep, training)
        return (answers, weights) if return_weights else answers

    def _read(self, given):
        for name in given:
            if name not in INPUTS:
                raise InputError(f"features: {unknown('feature', name, INPUTS)}")
        if "images" not in given:
            raise InputError(f"features: expected images. Received: {', '.join(given)}.")
        shape = (self.config.height, self.config.width, self.config.channels)
        if tuple(given["images"].shape[1:]) != shape:
            raise InputError(
                f"images: expected {shape[0]} x {shape[1]} of {shape[2]} channels. "
                f"Received: {tuple(given['images'].shape[1:])}."
            )
        return given["images"], given.get("keep")

    def _answers(self, hidden, keep, training):
        # Of the places the class token is none that is averaged.
        place = ops.arange(ops.shape(hidden)[1])[None]
        patches = ops.cast(place >= int(self.config.class_token), "int32")
        patches = ops.broadcast_to(patches, ops.shape(hidden)[:2])
        pooled = self.pooler(hidden[:, 0]) if self.pooler is not None else None  # (b, d)
        answers = {}
        for head in self.heads:
            if isinstance(head, Pixels):
                answer = self.head_layers[head.name](hidden, keep, training=training)
            elif isinstance(head, Classify) and head.pool in POOLS:
                answer = POOLS[head.pool](hidden, patches)
            else:
                answer = pooled
            if isinstance(head, Classify):
                answer = self.head_layers[head.name](answer, training=training)
            answers[head.name] = answer
        if not answers:
            return hidden
        return answers if len(answers) > 1 else next(iter(answers.values()))

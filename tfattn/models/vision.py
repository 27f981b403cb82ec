"""`VisionTransformer`: patches, blocks, heads (D2L section 11.8)."""

from typing import Any

import keras
from keras import ops

from tfattn.errors import InputError
from tfattn.models.described import StackModel
from tfattn.models.model_config import Head, HeadInputs
from tfattn.models.vision_config import VisionConfig
from tfattn.spec import unknown
from tfattn.types import Tensor

INPUTS = ("images", "keep")


@keras.saving.register_keras_serializable(package="tfattn")
class VisionTransformer(StackModel):
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

    def __init__(self, config: VisionConfig, heads: tuple[Head, ...], **layers):
        super().__init__(config, heads, **layers)
        for head in heads:
            if head.pooling in ("pooler", "first") and not config.class_token:
                raise InputError(
                    "heads: expected mean pooling, for the model has no class token. "
                    f"Received: {head}."
                )

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
        answers = self.answers(hidden, self._context(hidden, given), training)
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

    def _context(self, hidden, given):
        # The class token is none of those that a mean is taken of.
        place = ops.arange(ops.shape(hidden)[1])[None]
        patches = ops.cast(place >= int(self.config.class_token), "int32")
        patches = ops.broadcast_to(patches, ops.shape(hidden)[:2])
        return HeadInputs(given, patches, self.pooled(hidden))

"""Patches: an image as a sequence (ViT, arXiv:2010.11929, section 3.1; D2L section 11.8.2)."""

from typing import Any

import keras
from keras import ops

from tfattn.mechanisms import nested
from tfattn.mechanisms.dropout import Dropout
from tfattn.mechanisms.positions import Position
from tfattn.mechanisms.projection import Projection
from tfattn.types import Tensor


def patches(images: Tensor, size: int) -> Tensor:
    """Return images (b, y, x, c) as their patches (b, n, size size c), row by row."""
    height, width, channels = images.shape[1:]
    rows, columns = height // size, width // size
    cut = ops.reshape(images, (-1, rows, size, columns, size, channels))
    cut = ops.transpose(cut, (0, 1, 3, 2, 4, 5))  # (b, rows, columns, size, size, c)
    return ops.reshape(cut, (-1, rows * columns, size * size * channels))


def joined(pieces: Tensor, columns: int, size: int) -> Tensor:
    """Return the images (b, y, x, c) that were cut into patches (b, n, size size c)."""
    count, numbers = pieces.shape[1:]
    shape = (-1, count // columns, columns, size, size, numbers // size**2)
    whole = ops.transpose(ops.reshape(pieces, shape), (0, 1, 3, 2, 4, 5))
    return ops.reshape(whole, (-1, count // columns * size, columns * size, shape[-1]))


@keras.saving.register_keras_serializable(package="tfattn")
class PatchStem(keras.layers.Layer):
    """`dropout([class token; patches W + b] + positions)` (arXiv:2010.11929, equation 1).

    W is the kernel of a convolution whose windows do not overlap, kept as the matrix that it is.

    Args:
        height: y of the images, a multiple of `patch`.
        width: x of the images, likewise.
        channels: c of the images.
        patch: size of a patch on either side.
        dim: width d.
        position: what is added for where a patch stands; the class token is at 0, where it is.
        class_token: whether a trained token comes before the patches.
        dropout: of the sum.
        initializer: of W.
    """

    def __init__(
        self,
        height: int,
        width: int,
        channels: int,
        patch: int,
        dim: int,
        position: Position,
        class_token: bool = True,
        dropout: float = 0.0,
        initializer: Any = "glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.height, self.width, self.channels = height, width, channels
        self.patch, self.dim, self.position = patch, dim, position
        self.has_class_token, self.class_token = class_token, None
        self.initializer = keras.initializers.get(initializer)
        self.patches = Projection(
            (patch * patch * channels,),
            (dim,),
            self.initializer.clone(),
            dtype=self.dtype_policy,
            name="patches",
        )
        self.dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, *shapes):
        """Create W, b, the class token and the positions."""
        self.patches.build()
        if self.has_class_token:
            self.class_token = self.add_weight(
                name="class_token",
                shape=(self.dim,),
                initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            )
        self.position.build()
        self.built = True

    def call(self, images: Tensor, keep: Tensor | None = None, training=None) -> Tensor:
        """Map images (b, y, x, c) to (b, t, d), the class token first.

        Args:
            images: (b, y, x, c).
            keep: (b, k), the numbers of the patches that are seen; default all.
            training: whether there is dropout.
        """
        x = self.patches(patches(images, self.patch))  # (b, n, d)
        if self.class_token is not None:
            first = ops.cast(self.class_token, x.dtype)
            first = ops.broadcast_to(first, (ops.shape(x)[0], 1, self.dim))
            x = ops.concatenate([first, x], axis=1)
        x = self.position.embed(x, ops.arange(x.shape[1])[None])
        if keep is not None:
            lead = int(self.has_class_token)
            seen = ops.take_along_axis(x[:, lead:], keep[..., None], axis=1)
            x = ops.concatenate([x[:, :lead], seen], axis=1)
        return self.dropout(x, training=training)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {
            **super().get_config(),
            "height": self.height,
            "width": self.width,
            "channels": self.channels,
            "patch": self.patch,
            "dim": self.dim,
            "position": nested.to_config(self.position),
            "class_token": self.has_class_token,
            "dropout": self.dropout.rate,
            "initializer": keras.initializers.serialize(self.initializer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PatchStem":
        """Rebuild the layer."""
        position = keras.saving.deserialize_keras_object(config["position"])
        return cls(**{**config, "position": position})

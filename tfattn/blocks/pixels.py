"""The decoder of a masked autoencoder (He et al., arXiv:2111.06377, section 3)."""

from typing import Any

import keras
from keras import ops

from tfattn.mechanisms import nested
from tfattn.mechanisms.positions import Sinusoidal2D
from tfattn.mechanisms.projection import Projection
from tfattn.types import Tensor


@keras.saving.register_keras_serializable(package="tfattn")
class PixelsHead(keras.layers.Layer):
    """Pixels of all patches from the hidden states of those that are seen.

    The states are mapped to the decoder's width, the trained mask token stands for each hidden
    patch, waves of row and column are added, and after the blocks each place becomes its pixels.

    Args:
        source_dim: width d of the hidden states.
        dim: width of the decoder.
        columns: patches across.
        places: patches in all, n.
        patch_size: numbers of a patch.
        decoder: the stack.
        leading: whether the states begin with a class token.
        initializer: of both kernels.
    """

    def __init__(
        self,
        source_dim: int,
        dim: int,
        columns: int,
        places: int,
        patch_size: int,
        decoder: keras.layers.Layer,
        leading: bool = True,
        initializer: Any = "glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.source_dim, self.dim, self.columns = source_dim, dim, columns
        self.places, self.patch_size, self.leading = places, patch_size, leading
        self.decoder = decoder
        self.initializer = keras.initializers.get(initializer)
        self.position = Sinusoidal2D(
            columns, int(leading), dtype=self.dtype_policy, name="positions"
        )
        self.enter, self.leave = (
            Projection(
                (source,),
                (target,),
                self.initializer.clone(),
                dtype=self.dtype_policy,
                name=name,
            )
            for source, target, name in ((source_dim, dim, "enter"), (dim, patch_size, "leave"))
        )

    def build(self, *shapes):
        """Create both maps, the mask token and the decoder."""
        self.enter.build()
        self.leave.build()
        self.mask_token = self.add_weight(
            name="mask_token",
            shape=(self.dim,),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        )
        self.decoder.build()
        self.built = True

    def call(self, hidden: Tensor, keep: Tensor | None = None, training=None) -> Tensor:
        """Return the pixels (b, n, patch_size) of all patches.

        Args:
            hidden: (b, t, d), the class token first, where there is one.
            keep: (b, k), the numbers of the patches that were seen; default all of them.
            training: whether there is dropout.
        """
        lead = int(self.leading)
        x = self.enter(hidden)
        if keep is not None:
            seen = ops.one_hot(keep, self.places, dtype=x.dtype)  # (b, k, n)
            there = ops.sum(seen, axis=1)[..., None]  # (b, n, 1)
            spread = ops.matmul(ops.transpose(seen, (0, 2, 1)), x[:, lead:])
            patches = spread + (1 - there) * ops.cast(self.mask_token, x.dtype)
            x = ops.concatenate([x[:, :lead], patches], axis=1)
        x = self.position.embed(x, ops.arange(self.places + lead)[None])
        x = self.decoder(x, training=training)[:, lead:]
        return ops.cast(self.leave(x), "float32")

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {
            **super().get_config(),
            "source_dim": self.source_dim,
            "dim": self.dim,
            "columns": self.columns,
            "places": self.places,
            "patch_size": self.patch_size,
            "decoder": nested.to_config(self.decoder),
            "leading": self.leading,
            "initializer": keras.initializers.serialize(self.initializer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PixelsHead":
        """Rebuild the layer."""
        decoder = keras.saving.deserialize_keras_object(config["decoder"])
        return cls(**{**config, "decoder": decoder})

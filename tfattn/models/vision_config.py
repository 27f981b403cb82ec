"""What a vision Transformer is, as data, and the head by which it learns without labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tfattn.errors import InputError
from tfattn.models.model_config import Head, HeadInputs, ModelConfig, pooler_count
from tfattn.models.stack_config import StackConfig
from tfattn.models.step import Step
from tfattn.types import Tensor


@dataclass(frozen=True)
class Pixels(Head):
    """The hidden patches of an image from those that are seen (MAE, arXiv:2111.06377, section 3).

    A small decoder: the states of what is seen, and one trained token for each hidden patch, with
    positions, through blocks of its own.
    """

    builder: ClassVar[str | None] = "tfattn.models.build_vision:pixels"

    name: str = "pixels"
    dim: int = 64  # width of the decoder
    depth: int = 1  # its blocks
    heads: int = 2  # attention heads of a block

    def __post_init__(self):
        super().__post_init__()
        for field in ("dim", "depth", "heads"):
            if getattr(self, field) < 1:
                raise InputError(
                    f"Pixels.{field}: expected at least 1. Received: {getattr(self, field)}."
                )
        if self.dim % self.heads or self.dim % 4:
            raise InputError(
                "Pixels.dim: expected a multiple of heads, and of 4 for waves of rows and columns. "
                f"Received: dim={self.dim}, heads={self.heads}."
            )

    @classmethod
    def fits(cls, config: ModelConfig) -> bool:
        """Return whether the model reads images."""
        return config.reads == "images"

    def parameter_count(self, config: Any) -> int:
        """Return the exact number of parameters of its layer."""
        total = (config.dim + 1) * self.dim + self.dim + self.stack().stack_count()
        return total + (self.dim + 1) * config.patch_size()

    def answer(
        self, layer: Any, hidden: Tensor, context: HeadInputs, training: bool | None
    ) -> Tensor:
        """Return the pixels (b, n, patch_size) of all patches."""
        return layer(hidden, context.features.get("keep"), training=training)

    def stacks(self) -> Mapping[str, StackConfig]:
        """Return the decoder."""
        return {"decoder": self.stack()}

    def stack(self) -> StackConfig:
        """Return the decoder's stack."""
        return StackConfig(
            dim=self.dim,
            depth=self.depth,
            heads=self.heads,
            hidden_dim=4 * self.dim,
            position="sinusoidal-2d",
            norm="pre",
            norm_epsilon=1e-6,
            dropout=0.0,
            attention_dropout=0.0,
            kernel_std=None,
        )


@dataclass(frozen=True)
class VisionConfig(StackConfig, ModelConfig):
    """A stack of transformer blocks on the patches of an image (ViT, arXiv:2010.11929)."""

    builder: ClassVar[str] = "tfattn.models.build_vision:build_vision"
    summary: ClassVar[str] = "a model of images, such as a ViT"
    reads: ClassVar[str] = "images"

    height: int = 224  # of the images
    width: int = 224  # of the images
    channels: int = 3  # of the images
    patch: int = 16  # size of a patch on either side
    class_token: bool = True  # a trained token before the patches
    position: Literal["learned", "sinusoidal-2d"] = "learned"  # of the patches
    norm: Literal["post", "pre"] = "pre"  # after the residual sum, or before the sublayer
    norm_epsilon: float = 1e-6  # added to the variance
    dropout: float = 0.0  # after the stem and after each sublayer
    attention_dropout: float = 0.0  # on the attention weights

    def __post_init__(self):
        super().__post_init__()
        self._check_sizes("height", "width", "channels", "patch")
        for field in ("height", "width"):
            if getattr(self, field) % self.patch:
                self._refuse(field, f"a multiple of the patches of {self.patch}")
        if self.position == "sinusoidal-2d" and self.dim % 4:
            self._refuse("dim", "a multiple of 4 for waves of rows and columns")

    def stacks(self) -> Mapping[str, StackConfig]:
        """Return its one stack."""
        return {"": self}

    def output_dim(self) -> int:
        """Return the width of what heads read."""
        return self.dim

    def max_positions(self) -> int | None:
        """Return how many learned positions it has: as many as an image takes."""
        return self.places() if self.position == "learned" else None

    def grid(self) -> tuple[int, int]:
        """Return how many patches an image has, down and across."""
        return self.height // self.patch, self.width // self.patch

    def places(self, step: Step | None = None) -> int:
        """Return how many places a row has: the class token, if any, and the patches."""
        rows, columns = self.grid()
        return rows * columns + self.class_token

    def patch_size(self) -> int:
        """Return how many numbers a patch has."""
        return self.patch**2 * self.channels

    def parameter_count(self, heads: tuple[Head, ...] = ()) -> int:
        """Return the exact number of parameters without allocating any."""
        d = self.dim
        total = self.stack_count() + (self.patch_size() + 1 + self.class_token) * d
        total += self.places() * d if self.position == "learned" else 0
        total += pooler_count(heads, d)
        return total + sum(head.parameter_count(self) for head in heads)

    def stack_lengths(self, step: Step) -> Mapping[str, tuple[int, int]]:
        """Return the patches of an image, and its class token; there is no encoder output."""
        return {"": (self.places(), 0)}

    def input_bytes(self) -> int:
        """Return the bytes of an image in float32."""
        return 4 * self.height * self.width * self.channels

    def training_flops(self, step: Step) -> float:
        """Return the matrix-product FLOPs of a training step on images with labels.

        Two FLOPs a multiplication, backward twice the forward (arXiv:2001.08361, section 2.1).
        """
        places, (rows, columns) = self.places(), self.grid()
        products = self.products_per_place(places) * places
        products += rows * columns * self.patch_size() * self.dim + self.dim * step.classes
        return 6 * step.rows * products

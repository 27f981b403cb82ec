"""What a vision Transformer is, as data, and the head by which it learns without labels."""

from dataclasses import dataclass
from typing import Literal

from tfattn.errors import InputError
from tfattn.models.config import Classify, Head, needs_pooler
from tfattn.models.stack_config import StackConfig
from tfattn.models.step import Step


@dataclass(frozen=True)
class Pixels(Head):
    """The hidden patches of an image from those that are seen (MAE, arXiv:2111.06377, section 3).

    A small decoder: the states of what is seen, and one trained token for each hidden patch, with
    positions, through blocks of its own.
    """

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
class VisionConfig(StackConfig):
    """A stack of transformer blocks on the patches of an image (ViT, arXiv:2010.11929)."""

    height: int = 224  # of the images
    width: int = 224  # of the images
    channels: int = 3  # of the images
    patch: int = 16  # size of a patch on either side
    class_token: bool = True  # a trained token before the patches
    position: Literal["learned", "sinusoidal-2d"] = "learned"
    norm: Literal["post", "pre"] = "pre"
    norm_epsilon: float = 1e-6
    dropout: float = 0.0  # after the stem and after each sublayer
    attention_dropout: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        self._check_sizes("height", "width", "channels", "patch")
        for field in ("height", "width"):
            if getattr(self, field) % self.patch:
                self._refuse(field, f"a multiple of the patches of {self.patch}")
        if self.position == "sinusoidal-2d" and self.dim % 4:
            self._refuse("dim", "a multiple of 4 for waves of rows and columns")

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
        total += d * d + d if needs_pooler(heads) else 0
        for head in heads:
            if isinstance(head, Classify):
                total += (d + 1) * head.classes
            if isinstance(head, Pixels):
                total += (d + 1) * head.dim + head.dim + head.stack().stack_count()
                total += (head.dim + 1) * self.patch_size()
        return total

    def training_flops(self, step: Step) -> float:
        """Return the matrix-product FLOPs of a training step on images with labels.

        Two FLOPs a multiplication, backward twice the forward (arXiv:2001.08361, section 2.1).
        """
        places, (rows, columns) = self.places(), self.grid()
        products = self.products_per_place(places) * places
        products += rows * columns * self.patch_size() * self.dim + self.dim * step.classes
        return 6 * step.rows * products

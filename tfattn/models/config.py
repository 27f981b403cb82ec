"""Transformers on text as data: one stack, or an encoder and a decoder."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

from tfattn.errors import InputError
from tfattn.models.heads import Classify, Pool, Tokens
from tfattn.models.model_config import Head, ModelConfig, pooler_count
from tfattn.models.stack_config import StackConfig
from tfattn.models.step import Step

__all__ = ["Classify", "EncoderDecoderConfig", "Head", "Pool", "Tokens", "TransformerConfig"]


@dataclass(frozen=True)
class TransformerConfig(StackConfig, ModelConfig):
    """A stack of transformer blocks on tokens; every family of text is some rows of this."""

    builder: ClassVar[str] = "tfattn.models.build_transformer:build_transformer"
    summary: ClassVar[str] = "a single stack, such as a BERT or a GPT"

    vocab_size: int = 30_522  # rows of the embedding matrix
    max_length: int = 512  # positions that have an embedding
    types: int = 2  # token types (sentence A, sentence B); 0 = none
    pad_id: int | None = 0  # token taken as padding where no segments are given; None = none
    stem_norm: bool = True  # norm of the embeddings
    stem_scale: bool = False  # embeddings of tokens times sqrt(dim) (arXiv:1706.03762, section 3.4)

    def __post_init__(self):
        super().__post_init__()
        self._check_sizes("vocab_size", "max_length")
        if self.types < 0:
            self._refuse("types", "0 or more")
        if self.position == "sinusoidal-2d":
            self._refuse("position", "one of a line, for text is no grid")

    def stacks(self) -> Mapping[str, StackConfig]:
        """Return its one stack."""
        return {"": self}

    def vocabularies(self) -> tuple[int, ...]:
        """Return the size of the vocabulary."""
        return (self.vocab_size,)

    def output_dim(self) -> int:
        """Return the width of what heads read."""
        return self.dim

    @property
    def writes(self) -> Literal["nothing", "continuation"]:
        """Return whether it can continue a text: only if it is causal."""
        return "continuation" if self.is_causal() else "nothing"

    def max_positions(self) -> int | None:
        """Return how many learned positions it has, or None where any number will do."""
        return self.max_length if self.position == "learned" else None

    def parameter_count(self, heads: tuple[Head, ...] = ()) -> int:
        """Return the exact number of parameters without allocating any."""
        total = self.stem_count() + self.stack_count() + pooler_count(heads, self.dim)
        return total + sum(head.parameter_count(self) for head in heads)

    def stem_count(self) -> int:
        """Return the exact number of parameters of the stem."""
        rows = self.vocab_size + self.types
        rows += self.max_length if self.position == "learned" else 0
        return rows * self.dim + (self.norm_count() if self.stem_norm else 0)

    def non_embedding_count(self) -> int:
        """Return the exact number of parameters of the blocks, and of the norms around them.

        The size N of arXiv:2001.08361, section 2.1: without the matrices of tokens, positions and
        types, and without heads. 12 depth dim^2 of it are kernels, where hidden_dim is 4 dim.
        """
        positions = self.max_length if self.position == "learned" else 0
        return self.parameter_count() - (self.vocab_size + self.types + positions) * self.dim

    def flops_per_token(self, length: int, predictions: float = 0.0) -> float:
        """Return the matrix-product FLOPs of one training step per token of the input.

        Two FLOPs a multiplication, backward twice the forward (arXiv:2001.08361, section 2.1).

        Args:
            length: tokens a row, which every token attends to.
            predictions: share of the tokens for which a Tokens head gives logits.
        """
        forward = self.products_per_place(length)
        return 6 * (forward + predictions * self.dim * (self.vocab_size + self.dim))

    def places(self, step: Step) -> int:
        """Return how many tokens a row has."""
        return step.length

    def stack_lengths(self, step: Step) -> Mapping[str, tuple[int, int]]:
        """Return the tokens of a row; there is no encoder output."""
        return {"": (step.length, 0)}

    def training_flops(self, step: Step) -> float:
        """Return the matrix-product FLOPs of a training step; see `flops_per_token`."""
        return step.rows * step.length * self.flops_per_token(step.length, step.told)


@dataclass(frozen=True)
class EncoderDecoderConfig(ModelConfig):
    """Two stacks: one reads a source, the other writes a target and attends to the first."""

    builder: ClassVar[str] = "tfattn.models.build_transformer:build_encoder_decoder"
    summary: ClassVar[str] = "an encoder and a decoder, such as T5"

    encoder: TransformerConfig
    decoder: TransformerConfig  # with "cross" in its layout
    shared: bool = True  # one stem for source and target

    def __post_init__(self):
        super().__post_init__()
        if "cross" in self.encoder.layout or "cross" not in self.decoder.layout:
            raise InputError(
                "EncoderDecoderConfig: expected 'cross' in the layout of the decoder alone. "
                f"Received: {self.encoder.layout} and {self.decoder.layout}."
            )
        for field in ("dim", *(("vocab_size", "position", "max_length") if self.shared else ())):
            ours, theirs = getattr(self.encoder, field), getattr(self.decoder, field)
            if ours != theirs:
                raise InputError(
                    f"EncoderDecoderConfig: expected one {field} of encoder and decoder. "
                    f"Received: {ours} and {theirs}."
                )

    def with_fields(self, **fields: Any) -> Self:
        """Return the config with other values of these fields of both sides.

        Raises:
            InputError: a field that they do not have.
        """
        outer = {name: fields.pop(name) for name in ("family",) if name in fields}
        sides = {name: side.with_fields(**fields) for name, side in self._sides().items()}
        return replace(self, **sides, **outer)

    def _sides(self):
        return {"encoder": self.encoder, "decoder": self.decoder}

    def stacks(self) -> Mapping[str, StackConfig]:
        """Return both stacks."""
        return self._sides()

    def vocabularies(self) -> tuple[int, ...]:
        """Return the sizes of both vocabularies."""
        return self.encoder.vocab_size, self.decoder.vocab_size

    def output_dim(self) -> int:
        """Return the width of what heads read."""
        return self.decoder.dim

    def norm_count(self) -> int:
        """Return the number of parameters of a norm of the decoder."""
        return self.decoder.norm_count()

    @property
    def writes(self) -> Literal["target"]:
        """Return that it writes a target of a source."""
        return "target"

    def max_positions(self) -> int | None:
        """Return how many learned positions both sides have, or None where any number will do."""
        return self.max_length if self.position == "learned" else None

    @property
    def vocab_size(self) -> int:
        """Return the size of the vocabulary that is written in."""
        return self.decoder.vocab_size

    @property
    def max_length(self) -> int:
        """Return the most tokens of a text on either side."""
        return min(self.encoder.max_length, self.decoder.max_length)

    @property
    def position(self) -> str:
        """Return the kind of position of the decoder."""
        return self.decoder.position

    @property
    def depth(self) -> int:
        """Return the number of blocks of both."""
        return self.encoder.depth + self.decoder.depth

    @property
    def dim(self) -> int:
        """Return the width of both."""
        return self.decoder.dim

    @property
    def heads(self) -> int:
        """Return the attention heads of a block of the decoder."""
        return self.decoder.heads

    def is_causal(self) -> bool:
        """Return whether no token of the target sees what follows it."""
        return self.decoder.is_causal()

    def parameter_count(self, heads: tuple[Head, ...] = ()) -> int:
        """Return the exact number of parameters without allocating any."""
        total = self.encoder.parameter_count() + self.decoder.parameter_count(heads)
        return total - self.shared * self.decoder.stem_count()

    def places(self, step: Step) -> int:
        """Return how many tokens a row has on both sides."""
        return step.length + step.target

    def stack_lengths(self, step: Step) -> Mapping[str, tuple[int, int]]:
        """Return the tokens of source and target; the decoder attends to the source too."""
        return {"encoder": (step.length, 0), "decoder": (step.target, step.length)}

    def training_flops(self, step: Step) -> float:
        """Return the matrix-product FLOPs of a training step.

        A memory's keys and values are made of the s tokens of the source, and asked by the t of the
        target: per block of the decoder 2 d w (s - t) more products than if it were its own source,
        and 2 s t w of pairs, where w is the width of all heads together.
        """
        side, source, target = self.decoder, step.length, step.target
        width = side.heads * side.head_width()
        memory = 2 * side.dim * width * (source - target) + 2 * source * target * width
        own = self.encoder.flops_per_token(source) * source
        own += side.flops_per_token(target, step.told) * target
        return step.rows * (own + 6 * side.depth * memory)

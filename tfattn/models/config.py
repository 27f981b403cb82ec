"""What a model is, as data: `TransformerConfig` and the heads that may sit on it.

Neither Keras nor a backend is imported here, so that presets can be listed, counted and checked at
once. `tfattn.models.build` turns a config into a model.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tfattn.errors import InputError
from tfattn.models.stack_config import StackConfig
from tfattn.models.step import Step
from tfattn.spec import Spec


@dataclass(frozen=True)
class Head(Spec):
    """What turns hidden states into the answer to a task; `name` is its output and weight path."""

    name: str = "head"


@dataclass(frozen=True)
class Tokens(Head):
    """Logits over the vocabulary: of masked tokens, or of the token that follows."""

    name: str = "tokens"
    transform: bool = True  # dense + activation + norm before the matrix, as BERT has
    bias: bool = True  # added to the logits
    tied: bool = True  # the matrix is that of the embeddings
    scaled: bool = False  # hidden states over sqrt(dim) before the matrix (T5)
    smoothing: float = 0.0  # in training: of a target's probability, the share of all tokens alike


@dataclass(frozen=True)
class Classify(Head):
    """One row of logits per text (or one number, for regression) from the pooled hidden states."""

    name: str = "classify"
    classes: int = 2  # 1 for regression
    # What is classified: BERT's tanh layer on [CLS], the mean, the last token or the first
    # (arXiv:1810.04805; Radford et al. 2018, section 3.2; arXiv:2010.11929, equation 4).
    pool: Literal["pooler", "mean", "last", "first"] = "pooler"
    dropout: float = 0.1  # on the pooled vector

    def __post_init__(self):
        super().__post_init__()
        if self.classes < 1:
            raise InputError(f"Classify.classes: expected at least 1. Received: {self.classes}.")
        if not 0 <= self.dropout < 1:
            raise InputError(
                f"Classify.dropout: expected a share from 0 to below 1. Received: {self.dropout}."
            )


@dataclass(frozen=True)
class Pool(Head):
    """BERT's pooler alone: tanh(W h_[CLS] + b)."""

    name: str = "pooler"


@dataclass(frozen=True)
class TransformerConfig(StackConfig):
    """A stack of transformer blocks on tokens; every family of text is some rows of this."""

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

    def parameter_count(self, heads: tuple[Head, ...] = ()) -> int:
        """Return the exact number of parameters without allocating any."""
        d, total = self.dim, self.stem_count() + self.stack_count()
        if needs_pooler(heads):
            total += d * d + d
        for head in heads:
            if isinstance(head, Tokens):
                total += self.vocab_size if head.bias else 0
                total += 0 if head.tied else self.vocab_size * d
                total += d * d + d + self.norm_count() if head.transform else 0
            elif isinstance(head, Classify):
                total += d * head.classes + head.classes
        return total

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

    def training_flops(self, step: Step) -> float:
        """Return the matrix-product FLOPs of a training step; see `flops_per_token`."""
        return step.rows * step.length * self.flops_per_token(step.length, step.told)


@dataclass(frozen=True)
class EncoderDecoderConfig(Spec):
    """Two stacks: one reads a source, the other writes a target and asks the first."""

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


def needs_pooler(heads: Iterable[Head]) -> bool:
    """Return whether any head reads BERT's pooler."""
    return any(isinstance(h, Pool) or isinstance(h, Classify) and h.pool == "pooler" for h in heads)

"""What a model is, as data: `TransformerConfig` and the heads that may sit on it.

Neither Keras nor a backend is imported here, so that presets can be listed, counted and checked at
once. `tfattn.models.build` turns a config into a model.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tfattn.errors import InputError
from tfattn.mechanisms.masks import Everything, Mask, is_causal
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
    # What is classified: BERT's tanh layer on [CLS], the mean, or the last token (arXiv:1810.04805;
    # Radford et al. 2018, section 3.2).
    pool: Literal["pooler", "mean", "last"] = "pooler"
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
class TransformerConfig(Spec):
    """A stack of transformer blocks on a stem; every family is some rows of this."""

    dim: int = 128  # width d of the model
    depth: int = 2  # blocks
    heads: int = 2  # attention heads a block
    head_dim: int | None = None  # width of a head; None = dim / heads
    kv_heads: int | None = None  # heads of keys and values, shared by the others; None = heads
    hidden_dim: int = 512  # width f of the feed-forward network
    vocab_size: int = 30_522  # rows of the embedding matrix
    max_length: int = 512  # positions that have an embedding
    types: int = 2  # token types (sentence A, sentence B); 0 = none
    pad_id: int | None = 0  # token taken as padding where no segments are given; None = none
    # Added to the embeddings (of the waves those of sines may come first, then those of cosines, as
    # Marian has them), turning queries and keys, added to the scores, or vectors of distances.
    position: Literal[
        "learned", "sinusoidal", "sinusoidal-halves", "rotary", "buckets", "alibi", "shaw"
    ] = "learned"
    rotary_base: float = 10_000.0  # the longest wave of rotary positions is 2 pi times this
    buckets: int = 32  # of distances, where positions are such
    bucket_distance: int = 128  # from which on all share a bucket, or a vector of Shaw's
    stem_norm: bool = True  # norm of the embeddings
    stem_scale: bool = False  # embeddings of tokens times sqrt(dim) (arXiv:1706.03762, section 3.4)
    norm: Literal["post", "pre"] = "post"  # after the residual sum, or before the sublayer
    norm_kind: Literal["layer", "layer-no-bias", "rms"] = "layer"
    norm_epsilon: float = 1e-12  # added to the variance
    # Of the feed-forward network; gelu by erf, or by its tanh approximation.
    activation: Literal["gelu", "gelu-tanh", "relu", "silu"] = "gelu"
    gated: bool = False  # feed-forward with a gate beside the activation
    bias: bool = True  # of the projections and the feed-forward network
    qkv_bias: bool | None = None  # of queries, keys and values; None = as bias
    score_scale: float | None = None  # of the dot products; None = 1 / sqrt(head_dim)
    dropout: float = 0.1  # after the stem and after each sublayer
    attention_dropout: float = 0.1  # on the attention weights
    # Within the feed-forward network, and of the last hidden states (arXiv:1910.10683, 2.1).
    inner_dropout: float = 0.0
    embedding_std: float = 0.02  # of new embeddings: normal, cut at two standard deviations
    # Of new kernels, likewise; None = 1 / sqrt(dim), fan-in = 1 / sqrt(rows of the kernel), and of
    # queries whose products are not scaled 1 / sqrt(head_dim) of that (T5, as released).
    kernel_std: float | Literal["fan-in"] | None = 0.02
    scaled_residual: bool = False  # kernels that write to the stream: over sqrt(2 depth)
    masks: tuple[Mask, ...] = (Everything(),)  # tiled over the depth
    # Of a block; "cross" asks what the encoder read.
    layout: tuple[Literal["self", "cross", "feedforward"], ...] = ("self", "feedforward")

    def __post_init__(self):
        super().__post_init__()
        for field in ("dim", "depth", "heads", "hidden_dim", "vocab_size", "max_length"):
            if getattr(self, field) < 1:
                self._refuse(field, "at least 1")
        if self.kv_heads is not None and (self.kv_heads < 1 or self.heads % self.kv_heads):
            self._refuse("kv_heads", f"a divisor of the {self.heads} heads")
        if self.head_dim is None and self.dim % self.heads:
            raise InputError(
                "TransformerConfig.dim: expected a multiple of heads. "
                f"Received: dim={self.dim}, heads={self.heads}."
            )
        if self.position == "rotary" and self.head_width() % 2:
            self._refuse("heads", "an even width of a head for rotary positions")
        if self.position == "buckets" and not 4 <= self.buckets <= 2 * self.bucket_distance:
            self._refuse("buckets", "4 to twice the bucket_distance")
        for field in ("dropout", "attention_dropout", "inner_dropout"):
            if not 0 <= getattr(self, field) < 1:
                self._refuse(field, "a share from 0 to below 1")
        for field in ("masks", "layout"):
            if not getattr(self, field):
                self._refuse(field, "at least one")
        if len(set(self.layout)) < len(self.layout):
            self._refuse("layout", "different names")  # a name is the path of the weights
        if self.head_dim is not None and self.head_dim < 1:
            self._refuse("head_dim", "at least 1")
        for field in ("types", "embedding_std", "kernel_std"):
            value = getattr(self, field)
            if isinstance(value, int | float) and value < 0:
                self._refuse(field, "0 or more")

    def _refuse(self, field, expected):
        received = getattr(self, field)
        raise InputError(f"TransformerConfig.{field}: expected {expected}. Received: {received!r}.")

    def parameter_count(self, heads: tuple[Head, ...] = ()) -> int:
        """Return the exact number of parameters without allocating any."""
        d, norm = self.dim, self._norm_count()
        block = sum(sum(self._sublayer(name)) + norm for name in self.layout)
        total = self.stem_count() + self.depth * block + (norm if self.norm == "pre" else 0)
        if self.position == "buckets":
            total += self.buckets * self.heads
        if self.position == "shaw":
            total += self.depth * 2 * (2 * self.bucket_distance + 1) * self.head_width()
        if needs_pooler(heads):
            total += d * d + d
        for head in heads:
            if isinstance(head, Tokens):
                total += self.vocab_size if head.bias else 0
                total += 0 if head.tied else self.vocab_size * d
                total += d * d + d + norm if head.transform else 0
            elif isinstance(head, Classify):
                total += d * head.classes + head.classes
        return total

    def stem_count(self) -> int:
        """Return the exact number of parameters of the stem."""
        rows = self.vocab_size + self.types
        rows += self.max_length if self.position == "learned" else 0
        return rows * self.dim + (self._norm_count() if self.stem_norm else 0)

    def _norm_count(self):
        return self.dim * (2 if self.norm_kind == "layer" else 1)

    def non_embedding_count(self) -> int:
        """Return the exact number of parameters of the blocks, and of the norms around them.

        The size N of arXiv:2001.08361, section 2.1: without the matrices of tokens, positions and
        types, and without heads. 12 depth dim^2 of it are kernels, where hidden_dim is 4 dim.
        """
        positions = self.max_length if self.position == "learned" else 0
        return self.parameter_count() - (self.vocab_size + self.types + positions) * self.dim

    def is_causal(self) -> bool:
        """Return whether no token sees what follows it, so that text can be written."""
        return all(map(is_causal, self.masks))

    def head_width(self) -> int:
        """Return the width of a head."""
        return self.head_dim or self.dim // self.heads

    def has_qkv_bias(self) -> bool:
        """Return whether queries, keys and values have biases."""
        return self.bias if self.qkv_bias is None else self.qkv_bias

    def _sublayer(self, name):
        """Return the numbers of a sublayer's kernels, and those of its biases."""
        d = self.dim
        if name in ("self", "cross"):
            rows = self.heads * self.head_width()
            columns = rows + 2 * self.head_width() * (self.kv_heads or self.heads)  # of q, k and v
            return d * columns + rows * d, columns * self.has_qkv_bias() + d * self.bias
        columns = self.hidden_dim * (2 if self.gated else 1)
        return d * columns + self.hidden_dim * d, (columns + d) * self.bias

    def flops_per_token(self, length: int, predictions: float = 0.0) -> float:
        """Return the matrix-product FLOPs of one training step per token of the input.

        Two FLOPs a multiplication, backward twice the forward (arXiv:2001.08361, section 2.1).

        Args:
            length: tokens a row, which every token attends to.
            predictions: share of the tokens for which a Tokens head gives logits.
        """
        forward = self.depth * sum(self._sublayer(name)[0] for name in self.layout)
        forward += (
            self.layout.count("self") * self.depth * 2 * length * self.heads * self.head_width()
        )
        forward += predictions * self.dim * (self.vocab_size + self.dim)
        return 3 * 2 * forward


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


def needs_pooler(heads: Iterable[Head]) -> bool:
    """Return whether any head reads BERT's pooler."""
    return any(isinstance(h, Pool) or isinstance(h, Classify) and h.pool == "pooler" for h in heads)

"""What a model is, as data: `TransformerConfig` and the heads that may sit on it.

Neither Keras nor a backend is imported here, so that presets can be listed, counted and checked at
once. `tfattn.models.build` turns a config into a model.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tfattn.errors import InputError
from tfattn.mechanisms.masks import Everything, Mask
from tfattn.spec import Spec


@dataclass(frozen=True)
class Head(Spec):
    """What turns hidden states into the answer to a task; `name` is its output and weight path."""

    name: str = "head"


@dataclass(frozen=True)
class Tokens(Head):
    """Logits over the vocabulary through the tied embedding matrix (masked language modelling)."""

    name: str = "tokens"
    transform: bool = True  # dense + activation + norm before the embedding matrix, as BERT has


@dataclass(frozen=True)
class Classify(Head):
    """One row of logits per text (or one number, for regression) from the pooled hidden states."""

    name: str = "classify"
    classes: int = 2  # 1 for regression
    pool: Literal["pooler", "mean"] = "pooler"  # BERT's tanh layer on [CLS], or the mean
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
    heads: int = 2  # attention heads a block, each dim / heads wide
    hidden_dim: int = 512  # width f of the feed-forward network
    vocab_size: int = 30_522  # rows of the embedding matrix
    max_length: int = 512  # positions that have an embedding
    types: int = 2  # token types (sentence A, sentence B); 0 = none
    pad_id: int = 0  # token taken as padding where no segments are given
    position: Literal["learned", "sinusoidal"] = "learned"  # added to the embeddings
    norm: Literal["post", "pre"] = "post"  # after the residual sum, or before the sublayer
    norm_epsilon: float = 1e-12  # added to the variance
    activation: Literal["gelu", "relu"] = "gelu"  # of the feed-forward network; gelu by erf
    dropout: float = 0.1  # after the stem and after each sublayer
    attention_dropout: float = 0.1  # on the attention weights
    embedding_std: float = 0.02  # of new embeddings: normal, cut at two standard deviations
    kernel_std: float | None = 0.02  # of new kernels, likewise; None = 1 / sqrt(dim)
    masks: tuple[Mask, ...] = (Everything(),)  # tiled over the depth
    layout: tuple[Literal["self", "feedforward"], ...] = ("self", "feedforward")  # of a block

    def __post_init__(self):
        super().__post_init__()
        for field in ("dim", "depth", "heads", "hidden_dim", "vocab_size", "max_length"):
            if getattr(self, field) < 1:
                self._refuse(field, "at least 1")
        if self.dim % self.heads:
            raise InputError(
                "TransformerConfig.dim: expected a multiple of heads. "
                f"Received: dim={self.dim}, heads={self.heads}."
            )
        for field in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, field) < 1:
                self._refuse(field, "a share from 0 to below 1")
        for field in ("masks", "layout"):
            if not getattr(self, field):
                self._refuse(field, "at least one")
        if len(set(self.layout)) < len(self.layout):
            self._refuse("layout", "different names")  # a name is the path of the weights
        for field in ("types", "embedding_std", "kernel_std"):
            if (getattr(self, field) or 0) < 0:
                self._refuse(field, "0 or more")

    def _refuse(self, field, expected):
        received = getattr(self, field)
        raise InputError(f"TransformerConfig.{field}: expected {expected}. Received: {received!r}.")

    def parameter_count(self, heads: tuple[Head, ...] = ()) -> int:
        """Return the exact number of parameters without allocating any."""
        d, norm = self.dim, 2 * self.dim
        embeddings = (self.vocab_size + self.types) * d + norm
        if self.position == "learned":
            embeddings += self.max_length * d
        sublayer = {
            "self": 4 * (d * d + d),
            "feedforward": 2 * d * self.hidden_dim + self.hidden_dim + d,
        }
        block = sum(sublayer[name] + norm for name in self.layout)
        total = embeddings + self.depth * block + (norm if self.norm == "pre" else 0)
        if needs_pooler(heads):
            total += d * d + d
        for head in heads:
            if isinstance(head, Tokens):
                total += self.vocab_size + (d * d + d + norm if head.transform else 0)
            elif isinstance(head, Classify):
                total += d * head.classes + head.classes
        return total

    def flops_per_token(self, length: int, predictions: float = 0.0) -> float:
        """Return the matrix-product FLOPs of one training step per token of the input.

        Two FLOPs a multiplication, backward twice the forward (arXiv:2001.08361, section 2.1).

        Args:
            length: tokens a row, which every token attends to.
            predictions: share of the tokens for which a Tokens head gives logits.
        """
        sublayer = {
            "self": 4 * self.dim**2 + 2 * length * self.dim,
            "feedforward": 2 * self.dim * self.hidden_dim,
        }
        forward = self.depth * sum(sublayer[name] for name in self.layout)
        forward += predictions * self.dim * (self.vocab_size + self.dim)
        return 3 * 2 * forward


def needs_pooler(heads: Iterable[Head]) -> bool:
    """Return whether any head reads BERT's pooler."""
    return any(isinstance(h, Pool) or isinstance(h, Classify) and h.pool == "pooler" for h in heads)

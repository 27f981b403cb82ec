"""The heads of every family: logits over the vocabulary, classes, and BERT's pooler."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tfattn.errors import InputError
from tfattn.models.model_config import Head, HeadInputs, ModelConfig
from tfattn.types import Tensor


@dataclass(frozen=True)
class Tokens(Head):
    """Logits over the vocabulary: of masked tokens, or of the token that follows."""

    builder: ClassVar[str | None] = "tfattn.models.build_heads:tokens"
    predicts_tokens: ClassVar[bool] = True

    name: str = "tokens"
    transform: bool = True  # dense + activation + norm before the matrix, as BERT has
    bias: bool = True  # added to the logits
    tied: bool = True  # the matrix is that of the embeddings
    scaled: bool = False  # hidden states over sqrt(dim) before the matrix (T5)
    smoothing: float = 0.0  # in training: of a target's probability, the share of all tokens alike

    @classmethod
    def fits(cls, config: ModelConfig) -> bool:
        """Return whether the model has a vocabulary."""
        return bool(config.vocabularies())

    @property
    def is_tied(self) -> bool:
        """Return whether its matrix is that of the token embeddings."""
        return self.tied

    def parameter_count(self, config: Any) -> int:
        """Return the exact number of parameters of its layer."""
        d = config.output_dim()
        total = config.vocab_size if self.bias else 0
        total += 0 if self.tied else config.vocab_size * d
        return total + (d * d + d + config.norm_count() if self.transform else 0)

    def answer(
        self, layer: Any, hidden: Tensor, context: HeadInputs, training: bool | None
    ) -> Tensor:
        """Return logits (b, t or p, v), or sums of the loss and of hits where targets are given."""
        matrix = context.embeddings() if self.tied and context.embeddings is not None else None
        columns = context.features.get("predict_positions")
        return layer(hidden, matrix, columns, context.targets, training=training)


@dataclass(frozen=True)
class Classify(Head):
    """One row of logits per text (or one number, for regression) from the pooled hidden states."""

    builder: ClassVar[str | None] = "tfattn.models.build_heads:classify"

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

    @property
    def pooling(self) -> str:
        """Return what of a row is classified."""
        return self.pool

    @property
    def labels(self) -> int:
        """Return the number of classes."""
        return self.classes

    def parameter_count(self, config: ModelConfig) -> int:
        """Return the exact number of parameters of its layer."""
        return (config.output_dim() + 1) * self.classes

    def answer(
        self, layer: Any, hidden: Tensor, context: HeadInputs, training: bool | None
    ) -> Tensor:
        """Return logits (b, classes)."""
        if self.pool == "pooler":
            return layer(context.pooled, training=training)
        from tfattn.blocks.heads import POOLS  # here, for configs are read without Keras

        return layer(POOLS[self.pool](hidden, context.segments), training=training)


@dataclass(frozen=True)
class Pool(Head):
    """BERT's pooler alone: tanh(W h_[CLS] + b)."""

    name: str = "pooler"

    @property
    def pooling(self) -> str:
        """Return that it is the pooler's output."""
        return "pooler"

    def parameter_count(self, config: ModelConfig) -> int:
        """Return 0: the pooler is a layer of the model."""
        return 0

    def answer(
        self, layer: Any, hidden: Tensor, context: HeadInputs, training: bool | None
    ) -> Tensor:
        """Return the pooled vector (b, d)."""
        return context.pooled

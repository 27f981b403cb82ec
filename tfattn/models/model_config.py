"""`ModelConfig` and `Head`: what a model is and what sits on it, as data.

A new kind of model subclasses `ModelConfig` and names the function that builds it; a new head
subclasses `Head` and names the function that makes its layer. Both may live outside tfattn. Neither
Keras nor a backend is imported here, so that presets can be listed, counted and checked at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self

from tfattn.errors import InputError
from tfattn.models.stack_config import StackConfig
from tfattn.models.step import Step
from tfattn.spec import Spec
from tfattn.types import Tensor

DEFAULT = "TransformerConfig"  # the class of a config whose JSON does not name one


class HeadInputs(NamedTuple):
    """What a head may read beside the hidden states."""

    features: Mapping[str, Tensor]  # what the model was called with
    segments: Tensor | None = None  # (b, t); 0 where a mean leaves a hidden state out
    pooled: Tensor | None = None  # (b, d) of BERT's pooler, where the model has one
    embeddings: Callable[[], Tensor] | None = None  # the token matrix (v, d)

    @property
    def targets(self) -> tuple[Tensor, Tensor] | None:
        """Return targets and their weights, where they are given."""
        if "targets" not in self.features:
            return None
        return self.features["targets"], self.features["target_weights"]


@dataclass(frozen=True)
class Head(Spec):
    """What turns hidden states into the answer to a task; `name` is its output and weight path."""

    # "module:function" of what makes its layer, imported when it is built; called with the config
    # of the model, the head, and `dtype` and `name` of the layer. None: it has no layer.
    builder: ClassVar[str | None] = None
    predicts_tokens: ClassVar[bool] = False  # whether it gives logits over the vocabulary

    name: str = "head"

    @classmethod
    def fits(cls, config: "ModelConfig") -> bool:
        """Return whether heads of this class can sit on such a model."""
        return cls is not Head

    def parameter_count(self, config: "ModelConfig") -> int:
        """Return the exact number of parameters of its layer on such a model."""
        raise NotImplementedError

    def answer(
        self, layer: Any, hidden: Tensor, context: HeadInputs, training: bool | None
    ) -> Tensor:
        """Return its output.

        Args:
            layer: what its builder made; None without a builder.
            hidden: (b, t, d), what the model gives.
            context: what else the model knows.
            training: whether there is dropout.
        """
        raise NotImplementedError

    def stacks(self) -> Mapping[str, StackConfig]:
        """Return the stacks of blocks within its layer by their name."""
        return {}

    @property
    def pooling(self) -> str | None:
        """Return what of a row it reads: "pooler", "mean", "last" or "first"; None = all."""
        return None

    @property
    def needs_pooler(self) -> bool:
        """Return whether it reads BERT's pooler."""
        return self.pooling == "pooler"

    @property
    def is_tied(self) -> bool:
        """Return whether its matrix is that of the token embeddings."""
        return False

    @property
    def labels(self) -> int | None:
        """Return the columns of its logits, if it classifies."""
        return None


@dataclass(frozen=True)
class ModelConfig(Spec):
    """Base of what every kind of model is built from."""

    # "module:function" of what makes the model, imported when it is built; called with the config,
    # the heads and a dtype policy, it returns the model before its weights are created.
    builder: ClassVar[str]
    summary: ClassVar[str]  # what it is, in errors
    reads: ClassVar[str] = "tokens"  # "tokens" or "images"

    # The family of rows that it comes from, such as "t5". It changes no computation, and configs
    # are equal whatever it is.
    family: str | None = field(default=None, kw_only=True, compare=False)

    def __post_init__(self):
        super().__post_init__()
        if type(self) is ModelConfig:
            raise InputError(f"ModelConfig: expected a kind of it, such as {DEFAULT}.")

    @classmethod
    def from_json(cls, data: dict[str, Any], where: str = "") -> Self:
        """Read what `to_json` wrote; where no class is named, a `TransformerConfig`."""
        if cls is ModelConfig and isinstance(data, dict):
            data = {"spec": DEFAULT, **data}
        return super().from_json(data, where)

    @classmethod
    def expected(cls) -> str:
        """Return what errors call a value of this class: for the base, every kind of model."""
        kinds = [kind.__name__ for kind in cls.__subclasses__()]
        return " or ".join(kinds) if cls is ModelConfig else cls.__name__

    def with_fields(self, **fields: Any) -> Self:
        """Return the config with other values of these fields, of both sides where it has two.

        Raises:
            InputError: a field that this kind does not have.
        """
        check_fields(self, fields)
        return replace(self, **fields)

    def stacks(self) -> Mapping[str, StackConfig]:
        """Return its stacks of blocks: one called "", "encoder" and "decoder", or none."""
        raise NotImplementedError

    def vocabularies(self) -> tuple[int, ...]:
        """Return the rows of each stack's token embeddings; none where no tokens are read."""
        return ()

    def output_dim(self) -> int:
        """Return the width of what heads read."""
        raise NotImplementedError

    def is_causal(self) -> bool:
        """Return whether no token sees what follows it, so that text can be written."""
        raise NotImplementedError

    @property
    def writes(self) -> Literal["nothing", "continuation", "target"]:
        """Return what it can write: nothing, what follows a text, or a target of a source."""
        return "nothing"

    @property
    def attends(self) -> bool:
        """Return whether it has any attention."""
        return True

    def max_positions(self) -> int | None:
        """Return how many learned positions it has, or None where any number will do."""
        raise NotImplementedError

    def parameter_count(self, heads: tuple[Head, ...] = ()) -> int:
        """Return the exact number of parameters without allocating any."""
        raise NotImplementedError

    def places(self, step: Step) -> int:
        """Return how many tokens, on both sides together, or patches a row has."""
        raise NotImplementedError

    def training_flops(self, step: Step) -> float:
        """Return the matrix-product FLOPs of a training step."""
        raise NotImplementedError

    def stack_lengths(self, step: Step) -> Mapping[str, tuple[int, int]]:
        """Return by stack the length of its rows, and of the encoder output it attends to."""
        raise NotImplementedError

    def predicted_tokens(self, step: Step) -> int:
        """Return the tokens a row for which a head may give logits."""
        return step.target if self.writes == "target" else step.length

    def input_bytes(self) -> int:
        """Return the bytes that a row keeps of its input for the gradient."""
        return 0

    def numbers_outside_stacks(self, step: Step) -> int:
        """Return the numbers that a row keeps for the gradient of layers outside the stacks."""
        return 0


def check_fields(config: ModelConfig, values: Mapping[str, Any]) -> None:
    """Raise an InputError where the config has no field of such a name."""
    kind, names = type(config).__name__, {f.name for f in fields(config)}
    for name, value in values.items():
        if name not in names:
            raise InputError(
                f"{kind}.{name}: expected none, for a {kind} has no such field. "
                f"Received: {value!r}."
            )


def pooler_count(heads: tuple[Head, ...], dim: int) -> int:
    """Return the number of parameters of BERT's pooler, where a head reads it."""
    return dim * dim + dim if any(head.needs_pooler for head in heads) else 0

"""What a recurrent encoder-decoder is, as data (D2L 10.7 and 11.4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from tfattn.errors import InputError
from tfattn.models.model_config import Head, ModelConfig
from tfattn.models.stack_config import StackConfig
from tfattn.models.step import Step

GATES = {"gru": 3, "lstm": 4}  # kernels of a cell
BIASES = {"gru": 6, "lstm": 4}  # the GRU has some of the input and some of the state
STATES = {"gru": 1, "lstm": 2}


@dataclass(frozen=True)
class RecurrentConfig(ModelConfig):
    """One recurrent network reads a source, another writes a target and may attend to the first."""

    builder: ClassVar[str] = "tfattn.models.build_recurrent:build_recurrent"
    summary: ClassVar[str] = "a recurrent encoder and decoder"

    dim: int = 256  # width d of the embeddings
    hidden_dim: int = 256  # width u of the states, in each direction
    depth: int = 1  # layers of the encoder, and of the decoder
    cell: Literal["gru", "lstm"] = "gru"  # of every layer
    # Two directions in every layer of the encoder; the decoder then begins with tanh(W s) of the
    # backward states (arXiv:1409.0473, A.2.2), else with the encoder's as they are.
    bidirectional: bool = False
    attention: Literal["additive", "scaled-dot"] | None = "additive"  # of the decoder
    # In which states and memory are compared; None = they are as they are (scaled-dot alone).
    attention_dim: int | None = 256
    # Without attention: whether every step reads what the encoder ended with (arXiv:1406.1078).
    repeat_context: bool = False
    # What the head reads: the state, or the maxout of arXiv:1409.0473, A.2.2, of half the width.
    readout: Literal["state", "maxout"] = "state"
    reversed_source: bool = False  # read from its end (arXiv:1409.3215, section 3.3)
    vocab_size: int = 10_000  # of the target, and of the source unless it has its own
    source_vocab_size: int | None = None  # None = that of the target
    shared: bool = False  # one matrix of embeddings for both
    max_length: int = 64  # tokens of a side at most where no data says; the model has no limit
    pad_id: int | None = 0  # token taken as padding where no segments are given; None = none
    dropout: float = 0.0  # of embeddings, between layers, of what the head reads (arXiv:1409.2329)
    # Of new embeddings: normal, cut at two standard deviations. Where it is small gates hardly
    # open, and learning begins hundreds of steps later.
    embedding_std: float = 1.0
    kernel_std: float | None = None  # of new kernels, likewise; None = Glorot's rule

    def __post_init__(self):
        super().__post_init__()
        sizes = ["dim", "hidden_dim", "depth", "vocab_size", "max_length"]
        sizes += [f for f in ("attention_dim", "source_vocab_size") if getattr(self, f) is not None]
        for field in sizes:
            if getattr(self, field) < 1:
                self._refuse(field, "at least 1")
        if not 0 <= self.dropout < 1:
            self._refuse("dropout", "a share from 0 to below 1")
        for field in ("embedding_std", "kernel_std"):
            if (getattr(self, field) or 0) < 0:
                self._refuse(field, "0 or more")
        if self.shared and self.source_vocab_size not in (None, self.vocab_size):
            self._refuse("source_vocab_size", "that of the target where embeddings are shared")
        if self.reversed_source and self.bidirectional:
            self._refuse("reversed_source", "one direction, or a source as it is")
        if self.repeat_context and self.attention is not None:
            self._refuse("repeat_context", "no attention beside it")
        if self.readout == "maxout" and self.hidden_dim % 2:
            self._refuse("hidden_dim", "an even width for a readout by maxout")
        if self.attention is not None and self.attention_dim is None:
            if self.attention == "additive":
                self._refuse("attention_dim", "a width for additive attention")
            if self.bidirectional:
                self._refuse("attention_dim", "a width where the memory has two directions")

    def _refuse(self, field, expected):
        received = getattr(self, field)
        raise InputError(f"RecurrentConfig.{field}: expected {expected}. Received: {received!r}.")

    def with_fields(self, **fields: Any) -> Self:
        """Return the config with other values of these fields; `vocab_size` is that of both sides.

        Raises:
            InputError: a field that it does not have.
        """
        if "vocab_size" in fields:
            fields = {"source_vocab_size": None, **fields}
        return super().with_fields(**fields)

    def stacks(self) -> Mapping[str, StackConfig]:
        """Return none: its layers are no blocks."""
        return {}

    def vocabularies(self) -> tuple[int, ...]:
        """Return the size of the vocabulary that is written in."""
        return (self.vocab_size,)

    def is_causal(self) -> bool:
        """Return whether no token of the target sees what follows it, as always here."""
        return True

    @property
    def writes(self) -> Literal["target"]:
        """Return that it writes a target of a source."""
        return "target"

    @property
    def attends(self) -> bool:
        """Return whether the decoder attends to the source."""
        return self.attention is not None

    def max_positions(self) -> None:
        """Return None: any number of tokens will do."""
        return None

    @property
    def position(self) -> None:
        """Return the kind of position: none, for the order of steps tells."""
        return None

    def source_vocabulary(self) -> int:
        """Return the rows of the embeddings of the source."""
        return self.vocab_size if self.source_vocab_size is None else self.source_vocab_size

    def memory_dim(self) -> int:
        """Return the width m of what the encoder gives for a token."""
        return self.hidden_dim * (2 if self.bidirectional else 1)

    def context_dim(self) -> int:
        """Return the width of the context that the decoder reads at each step; 0 = none."""
        there = self.attention is not None or self.repeat_context
        return self.memory_dim() if there else 0

    def output_dim(self) -> int:
        """Return the width of what the head reads."""
        return self.hidden_dim // 2 if self.readout == "maxout" else self.hidden_dim

    def norm_count(self) -> int:
        """Return the number of parameters of a norm of what the head reads."""
        return 2 * self.output_dim()

    def states(self) -> int:
        """Return how many states (b, u) a decoder has."""
        return self.depth * STATES[self.cell]

    def parameter_count(self, heads: tuple[Head, ...] = ()) -> int:
        """Return the exact number of parameters without allocating any."""
        u, above = self.hidden_dim, self.depth - 1
        memory, context = self.memory_dim(), self.context_dim()
        total = self._embeddings()
        total += memory // u * (self._cell(self.dim) + above * self._cell(memory))
        total += self._cell(self.dim + context) + above * self._cell(u)
        if self.bidirectional:
            total += self.states() * (u * u + u)
        if self.attention is not None and self.attention_dim is not None:
            total += (u + memory) * self.attention_dim
            total += self.attention_dim if self.attention == "additive" else 0
        if self.readout == "maxout":
            total += (u + self.dim + context) * u + u
        return total + sum(head.parameter_count(self) for head in heads)

    def non_embedding_count(self) -> int:
        """Return the exact number of parameters without embeddings and heads."""
        return self.parameter_count() - self._embeddings()

    def places(self, step: Step) -> int:
        """Return how many tokens a row has on both sides."""
        return step.length + step.target

    def stack_lengths(self, step: Step) -> Mapping[str, tuple[int, int]]:
        """Return none: its layers are no blocks."""
        return {}

    def numbers_outside_stacks(self, step: Step) -> int:
        """Return what a row keeps: gates twice, states, and of each pair what is compared."""
        source, target = step.length, step.target
        cell = (2 * GATES[self.cell] + 2) * self.hidden_dim
        sides = self.memory_dim() // self.hidden_dim * source + target
        numbers = sides * (self.depth * cell + 2 * self.dim) + target * self.context_dim()
        if self.attention is not None:
            compared = (self.attention_dim or 0) if self.attention == "additive" else 0
            numbers += source * target * (2 * compared + 3)
            numbers += 2 * source * self.memory_dim()
        return numbers

    def training_flops(self, step: Step) -> float:
        """Return the matrix-product FLOPs of a training step.

        Every kernel is read once a token, forward; an attention reads the memory once for its keys,
        and for each pair of a source's and a target's token there are the score and the sum. Two
        FLOPs a multiplication, backward twice the forward (arXiv:2001.08361, section 2.1).
        """
        u, above, gates = self.hidden_dim, self.depth - 1, GATES[self.cell]
        memory, context, compared = self.memory_dim(), self.context_dim(), self.attention_dim or 0
        read = memory * gates * (self.dim + u + above * (memory + u))
        written = gates * u * (self.dim + context + u + above * 2 * u)
        pairs = 0
        if self.attention is not None:
            read += memory * compared
            written += u * compared
            pairs = (compared or u) + memory
        if self.readout == "maxout":
            written += (u + self.dim + context) * u
        written += step.told * self.output_dim() * self.vocab_size
        first = u * u * self.states() if self.bidirectional else 0  # of the decoder's states
        source, target = step.length, step.target
        products = source * read + target * written + source * target * pairs + first
        return 6 * step.rows * products

    def _embeddings(self):
        rows = self.vocab_size + (0 if self.shared else self.source_vocabulary())
        return rows * self.dim

    def _cell(self, width):
        """Return the parameters of a cell that reads so many columns."""
        u = self.hidden_dim
        return GATES[self.cell] * u * (width + u) + BIASES[self.cell] * u

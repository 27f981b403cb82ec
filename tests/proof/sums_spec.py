"""A domain that the product knows nothing of, as data: tables of numbers, and what they add up to.

Its model, head, data and task are its own; `launcher.py` registers it by the public call.
"""

from dataclasses import dataclass
from typing import ClassVar

from pipelines.core.records import check_files
from pipelines.core.spec import Data, Domain, Recipe, Stage, Task
from pipelines.core.train_config import TrainConfig
from tfattn.errors import InputError
from tfattn.models.model_config import Head, ModelConfig


@dataclass(frozen=True)
class TableConfig(ModelConfig):
    """A dense network on the columns of a table."""

    builder: ClassVar[str] = "sums_model:build_table_model"
    summary: ClassVar[str] = "a network on tables of numbers"
    reads: ClassVar[str] = "numbers"

    columns: int = 3  # numbers of a row
    dim: int = 64  # width of the hidden layer
    dropout: float = 0.0  # on the hidden layer

    def stacks(self):
        return {}

    def output_dim(self):
        return self.dim

    def max_positions(self):
        return None

    def is_causal(self):
        return False

    def parameter_count(self, heads=()):
        own = (self.columns + 1) * self.dim
        return own + sum(head.parameter_count(self) for head in heads)

    def places(self, step):
        return self.columns


@dataclass(frozen=True)
class Digits(Head):
    """Logits (b, places, 11) of the digits of a number; the eleventh ends it."""

    builder: ClassVar[str] = "sums_model:digits_layer"

    name: str = "digits"
    places: int = 4  # digits of a number at most, with its end

    @classmethod
    def fits(cls, config):
        return isinstance(config, TableConfig)

    def parameter_count(self, config):
        return (config.output_dim() + 1) * self.places * 11

    def answer(self, layer, hidden, context, training):
        return layer(hidden)


@dataclass(frozen=True)
class NumberData(Data):
    """Tables of numbers, of which the last column is their sum."""

    files: tuple[str, ...] = ()  # globs of .csv without a header
    share: float = 0.2  # of the rows, for validation

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.share < 1:
            self.refuse("share", "a share between 0 and 1")

    def check_sources(self):
        if not self.files:
            raise InputError("data.files: expected at least one file. Received none.")
        check_files("files", self.files)


@dataclass(frozen=True)
class SumDigits(Task):
    """Write the number that a row adds up to, digit by digit."""

    name: ClassVar[str] = "sum-digits"
    stages: ClassVar[frozenset[Stage]] = frozenset({"pretrain"})
    data: ClassVar[type[NumberData]] = NumberData
    models: ClassVar[tuple[type[ModelConfig], ...]] = (TableConfig,)
    supervised: ClassVar[bool] = True
    runtime: ClassVar[str] = "sums_task:SumDigitsRuntime"

    places: int = 4  # digits of a number at most, with its end
    end_weight: float = 1.0  # of the end in the loss

    def __post_init__(self):
        super().__post_init__()
        if self.places < 2:
            self.refuse("places", "at least 2")
        if self.end_weight <= 0:
            self.refuse("end_weight", "a number over 0")

    def is_answered_by(self, heads):
        return any(isinstance(head, Digits) and head.places == self.places for head in heads)


_TRAIN = TrainConfig(steps=300, rate=1e-2, batch=16, compile="graph", precision="float32")
PRESETS = {
    "sums-tiny": Recipe(TableConfig(), SumDigits(), NumberData(), _TRAIN),
}
DOMAIN = Domain("sums", (SumDigits,), PRESETS)

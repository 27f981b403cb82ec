"""Recipes: a whole run as data: model, objective, data, training.

Nothing here imports Keras or TensorFlow: the command line reads these classes for its flags (the
comment behind a field is its help), and a run directory keeps its recipe as JSON.
"""

from dataclasses import dataclass
from typing import Literal

from pipelines.recipes.data import (
    EMBEDDED,
    Data,
    PairData,
    TableData,
    TextData,
    held_out,
    is_embedded,
)
from pipelines.recipes.images import Augment, ImageClassification, ImageData, MaskedImages
from pipelines.recipes.objectives import (
    CausalLM,
    Classification,
    MaskedLM,
    Objective,
    PrefixLM,
    Regression,
    SpanCorruption,
    TextInfilling,
    TextToText,
    Translation,
    unescaped,
)
from pipelines.recipes.train import MonitorConfig, TrainConfig
from tfattn.errors import InputError
from tfattn.models.config import Tokens
from tfattn.models.model_config import ModelConfig, changed
from tfattn.spec import Spec

__all__ = [
    "Augment",
    "CausalLM",
    "Classification",
    "Data",
    "EMBEDDED",
    "ImageClassification",
    "ImageData",
    "LABELLED",
    "MaskedImages",
    "MaskedLM",
    "ModelOverrides",
    "MonitorConfig",
    "Objective",
    "PairData",
    "PrefixLM",
    "Recipe",
    "Regression",
    "SpanCorruption",
    "TableData",
    "TextData",
    "TextInfilling",
    "TextToText",
    "TrainConfig",
    "Translation",
    "held_out",
    "is_embedded",
    "unescaped",
]


DATA: dict[type[Objective], type[Data]] = {  # what each objective is learnt from
    MaskedLM: TextData,
    CausalLM: TextData,
    SpanCorruption: TextData,
    TextInfilling: TextData,
    PrefixLM: TextData,
    Classification: TableData,
    Regression: TableData,
    TextToText: TableData,
    Translation: PairData,
    ImageClassification: ImageData,
    MaskedImages: ImageData,
}
# Of whose data the best weights are kept, for it is small enough to be learnt by heart.
LABELLED = (Classification, Regression, TextToText, ImageClassification)


@dataclass(frozen=True)
class Recipe(Spec):
    """A whole run."""

    model: ModelConfig | None  # None: that of `init`
    objective: Objective
    data: Data
    train: TrainConfig = TrainConfig()
    monitor: MonitorConfig = MonitorConfig()
    init: str | None = None  # a run, a saved model, or a published checkpoint to start from
    fresh: bool = False  # take only shape and vocabulary from `init`, and new weights
    head: Tokens | None = None  # over the vocabulary; None: that of `init`, or of the objective

    def __post_init__(self):
        super().__post_init__()
        if self.fresh and self.init is None:
            raise InputError("fresh: expected an init, of which to take the shape. Received none.")
        fitting = DATA.get(type(self.objective))
        if fitting is None:
            raise InputError(f"Recipe.objective: expected a task. Received: {self.objective}.")
        pair = getattr(self.data, "text_pair", None)
        if isinstance(self.objective, TextToText) and pair is not None:
            raise InputError(
                f"data.text_pair: expected none, for text2text reads one text. Received: {pair!r}."
            )
        if isinstance(self.data, ImageData) and self.data.size and self.init is None:
            raise InputError(
                "data.size: expected none without --init, for --model.height and --model.width say "
                f"it of a new model. Received: {self.data.size}."
            )
        if self.train.average > 1 and isinstance(self.objective, LABELLED):
            raise InputError(
                "train.average: expected 1, for of labelled data the best weights are kept. "
                f"Received: {self.train.average}."
            )
        if not isinstance(self.data, fitting):
            raise InputError(
                f"Recipe.data: expected {fitting.__name__} for {type(self.objective).__name__}. "
                f"Received: {type(self.data).__name__}."
            )


@dataclass(frozen=True)
class ModelOverrides:
    """Fields of the preset to change; none: as it has them."""

    dim: int | None = None  # width of the model; heads and hidden-dim stay those of the preset
    depth: int | None = None  # blocks
    heads: int | None = None  # attention heads a block
    hidden_dim: int | None = None  # width of the feed-forward network
    max_length: int | None = None  # positions; none: the length of a row
    # Kind of position.
    position: (
        Literal[
            "learned", "sinusoidal", "rotary", "buckets", "alibi", "shaw", "none", "sinusoidal-2d"
        ]
        | None
    ) = None
    height: int | None = None  # of images
    width: int | None = None  # of images
    channels: int | None = None  # of images: 1 (gray) or 3 (colours)
    patch: int | None = None  # of images: size of a patch on either side
    norm: Literal["post", "pre"] | None = None  # placement of the norms
    dropout: float | None = None  # after the stem and each sublayer
    attention_dropout: float | None = None  # on the attention weights
    inner_dropout: float | None = None  # within the feed-forward network, and of the last states
    kernel_std: float | None = None  # standard deviation of new kernels

    def apply(self, config: ModelConfig) -> ModelConfig:
        """Return `config` with the given fields changed, of both sides where it has two."""
        return changed(config, **{k: v for k, v in vars(self).items() if v is not None})

"""Recipes: a whole run as data: model, objective, data, training.

Nothing here imports Keras or TensorFlow: the command line reads these classes for its flags (the
comment behind a field is its help), and a run directory keeps its recipe as JSON.
"""

from dataclasses import dataclass, replace
from typing import Literal

from tfattn.errors import InputError
from tfattn.models.config import TransformerConfig
from tfattn.spec import Spec

EMBEDDED = "embedded"  # in place of files: the documentation of this Python environment


@dataclass(frozen=True)
class Objective(Spec):
    """What the model is trained to do."""


@dataclass(frozen=True)
class MaskedLM(Objective):
    """Predict masked tokens (BERT, arXiv:1810.04805, section 3.1)."""

    rate: float = 0.15  # share of the tokens that are predicted (80% [MASK], 10% random, 10% kept)
    whole_words: bool = False  # mask all pieces of a word or none
    next_sentence: bool = False  # also tell whether sentence B follows sentence A

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.rate < 1:
            raise InputError(
                f"objective.rate: expected a share between 0 and 1. Received: {self.rate}."
            )


@dataclass(frozen=True)
class CausalLM(Objective):
    """Predict the next token (Radford et al. 2018, section 3.1)."""

    # Read a beginning of each text, of any length, in both directions, and predict the rest
    # (arXiv:1910.10683, section 3.2.1).
    prefix: bool = False


@dataclass(frozen=True)
class Classification(Objective):
    """Tell the class of a text, or of a pair of texts."""

    classes: tuple[str, ...] = ()  # labels in the order of the probabilities; none: from the data
    # What is classified: the mean of the hidden states, BERT's layer on [CLS], or the last token;
    # none: the last token of a causal model, the mean of another.
    pool: Literal["mean", "pooler", "last"] | None = None
    dropout: float = 0.1  # on the pooled vector
    metric: Literal["accuracy", "macro_f1", "matthews"] = "accuracy"  # chooses the best checkpoint

    def __post_init__(self):
        super().__post_init__()
        if not all(map(str.strip, self.classes)):
            raise InputError(
                f"classify.classes: expected none that is empty. Received: {self.classes}."
            )
        if len(set(self.classes)) < len(self.classes) or len(self.classes) == 1:
            raise InputError(
                f"classify.classes: expected two or more different ones. Received: {self.classes}."
            )
        _check_share("classify.dropout", self.dropout)


@dataclass(frozen=True)
class Regression(Objective):
    """Give a text, or a pair of texts, a number."""

    # What is rated: the mean of the hidden states, BERT's layer on [CLS], or the last token; none:
    # the last token of a causal model, the mean of another.
    pool: Literal["mean", "pooler", "last"] | None = None
    dropout: float = 0.1  # on the pooled vector
    metric: Literal["pearson", "spearman"] = "pearson"  # chooses the best checkpoint
    offset: float = 0.0  # the model gives (number - offset) / scale
    scale: float = 0.0  # 0: offset and scale are mean and deviation of the training labels

    def __post_init__(self):
        super().__post_init__()
        _check_share("regress.dropout", self.dropout)
        if self.scale < 0:
            raise InputError(f"regress.scale: expected 0 or more. Received: {self.scale}.")


@dataclass(frozen=True)
class TextToText(Objective):
    """Write the answer to a text: the label column, of which alone the loss is taken."""

    delimiter: str = "\\n"  # between a text and its answer; a backslash and n are a line break


def unescaped(text: str) -> str:
    """Return the text with line breaks and tabs for a backslash and n or t, as flags have them."""
    return text.replace("\\n", "\n").replace("\\t", "\t")


@dataclass(frozen=True)
class Data(Spec):
    """Where examples come from."""


@dataclass(frozen=True)
class TextData(Data):
    """Documents for pretraining."""

    files: tuple[str, ...] = (EMBEDDED,)  # globs of .txt .jsonl .csv .tsv (.gz), or tfds:NAME/SPLIT
    validation: tuple[str, ...] = ()  # the same for validation; none: a share of the files
    validation_share: float = 0.02  # of the documents, where no validation files are given
    column: str = "text"  # of tables and JSON lines
    separator: Literal["blank-line", "line", "file"] = "blank-line"  # between documents of a .txt
    encoding_errors: Literal["strict", "replace"] = "strict"  # bytes that are not UTF-8
    split: Literal["documents", "tail"] = "documents"  # the share: whole documents, or their ends
    tokenizer: str | None = None  # folder with its files; none: a new vocabulary is trained
    # Of a new vocabulary: BERT's, GPT-2's byte-level one, T5's, or every character of the text.
    algorithm: Literal["wordpiece", "bpe", "unigram", "characters"] = "wordpiece"
    vocab_size: int = 8192  # tokens of a new vocabulary
    lowercase: bool = True  # of a new WordPiece vocabulary: fold case and strip accents
    length: int = 128  # tokens a row
    pack: bool = True  # several short documents in one row, kept apart by segments

    def __post_init__(self):
        super().__post_init__()
        if not self.files:
            raise InputError("data.files: expected at least one file or glob. Received none.")
        _check_length(self.length)
        # Five special tokens and one letter with ## and without; and what a trainer allocates.
        if not 7 <= self.vocab_size <= 10**7:
            raise InputError(f"data.vocab_size: expected 7 to 10**7. Received: {self.vocab_size}.")
        if not 0 < self.validation_share < 1:
            raise InputError(
                "data.validation_share: expected a share between 0 and 1. "
                f"Received: {self.validation_share}."
            )


@dataclass(frozen=True)
class TableData(Data):
    """Labelled texts for fine-tuning."""

    train: tuple[str, ...] = ()  # required: .tsv, .csv or .jsonl (.gz) with a header
    validation: tuple[str, ...] = ()  # required: the same; chooses the best checkpoint
    text: str = "text"  # column of the text
    text_pair: str | None = None  # column of a second text
    label: str = "label"  # column of the label
    encoding_errors: Literal["strict", "replace"] = "strict"  # bytes that are not UTF-8
    length: int | None = None  # tokens a row at most; none: the positions that the model has

    def __post_init__(self):
        super().__post_init__()
        _check_length(self.length)


@dataclass(frozen=True)
class TrainConfig(Spec):
    """How the weights are found."""

    steps: int | None = None  # optimizer steps; none: by epochs
    epochs: float | None = None  # passes over the data, unless steps are given; none: 1
    batch: int = 32  # rows a step and microbatch, over all devices
    accumulate: int = 1  # microbatches whose gradients make one step
    rate: float = 1e-3  # peak learning rate
    # What the rate does after its peak.
    schedule: Literal["linear", "cosine", "inverse-sqrt", "wsd", "constant"] = "linear"
    warmup: float = 0.1  # share of the steps in which the rate rises to its peak
    weight_decay: float = 0.01  # of kernels and embeddings; never of norms and biases
    clip: float = 1.0  # largest global norm of the gradients
    beta2: float = 0.98  # memory of the squared gradients
    ema: float | None = None  # averages the weights with this memory, such as 0.999; none: not
    precision: Literal["float32", "bfloat16"] = "bfloat16"  # of matrix products; weights in float32
    # By XLA the whole step, the elementwise stretches, or nothing; auto: by the device.
    compile: Literal["auto", "xla", "fused", "graph"] = "auto"
    devices: Literal["default", "mirrored"] = "default"  # one device, or all of this machine
    seed: int = 0  # of weights, order, masks and dropout
    log_every: int = 10  # steps between lines of metrics.jsonl and points of TensorBoard
    evaluate_every: int | None = None  # steps between evaluations; none: a tenth of the run
    evaluate_batches: int = 64  # batches of validation text an evaluation at most
    checkpoint_every: int | None = None  # steps between checkpoints; none: as evaluations
    keep: int = 2  # checkpoints kept
    patience: int | None = None  # evaluations without a new best that end the run; none: no end

    def __post_init__(self):
        super().__post_init__()
        counts = ("steps", "batch", "accumulate", "log_every", "keep", "evaluate_batches")
        for name in (*counts, "evaluate_every", "checkpoint_every", "patience"):
            self._check(name, "at least 1", lambda value: value >= 1)
        for name in ("epochs", "rate", "clip"):
            self._check(name, "a number over 0", lambda value: value > 0)
        self._check("warmup", "a share from 0 to 1", lambda value: 0 <= value <= 1)
        self._check("weight_decay", "0 or more", lambda value: value >= 0)
        self._check("beta2", "a number from 0 to below 1", lambda value: 0 <= value < 1)
        self._check("ema", "a number between 0 and 1", lambda value: 0 < value < 1)
        self._check("seed", "0 to 2**32 - 1", lambda value: 0 <= value < 2**32)

    def _check(self, name, expected, holds):
        value = getattr(self, name)
        if value is not None and not holds(value):
            raise InputError(f"train.{name}: expected {expected}. Received: {value}.")


@dataclass(frozen=True)
class MonitorConfig(Spec):
    """What a run shows."""

    attention: bool = True  # attention maps of a fixed probe text at each evaluation
    histograms: bool = True  # of the weights at each evaluation
    samples: int = 8  # sample predictions as text at each evaluation
    # First and last step of a TensorBoard profile; none: no profile.
    profile: tuple[int, int] | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.samples < 0:
            raise InputError(f"monitor.samples: expected 0 or more. Received: {self.samples}.")
        if self.profile is not None and not 1 <= self.profile[0] < self.profile[1]:
            raise InputError(
                "monitor.profile: expected a first step from 1 and a later last one. "
                f"Received: {self.profile[0]} {self.profile[1]}."
            )


@dataclass(frozen=True)
class Recipe(Spec):
    """A whole run."""

    model: TransformerConfig | None  # None: that of `init`
    objective: Objective
    data: Data
    train: TrainConfig = TrainConfig()
    monitor: MonitorConfig = MonitorConfig()
    init: str | None = None  # a run, a saved model, or a published checkpoint to start from
    fresh: bool = False  # take only shape and vocabulary from `init`, and new weights

    def __post_init__(self):
        super().__post_init__()
        if self.fresh and self.init is None:
            raise InputError("fresh: expected an init, of which to take the shape. Received none.")
        fitting = TextData if isinstance(self.objective, MaskedLM | CausalLM) else TableData
        kinds = MaskedLM | CausalLM | Classification | Regression | TextToText
        if not isinstance(self.objective, kinds):
            raise InputError(f"Recipe.objective: expected a task. Received: {self.objective}.")
        pair = getattr(self.data, "text_pair", None)
        if isinstance(self.objective, TextToText) and pair is not None:
            raise InputError(
                f"data.text_pair: expected none, for text2text reads one text. Received: {pair!r}."
            )
        if not isinstance(self.data, fitting):
            raise InputError(
                f"Recipe.data: expected {fitting.__name__} for {type(self.objective).__name__}. "
                f"Received: {type(self.data).__name__}."
            )


def _check_share(name, value):
    if not 0 <= value < 1:
        raise InputError(f"{name}: expected a share from 0 to below 1. Received: {value}.")


def _check_length(value):
    if value is not None and not 8 <= value <= 2**20:
        raise InputError(f"data.length: expected 8 to 2**20 tokens. Received: {value}.")


@dataclass(frozen=True)
class ModelOverrides:
    """Fields of the preset to change; none: as it has them."""

    dim: int | None = None  # width of the model; heads and hidden-dim stay those of the preset
    depth: int | None = None  # blocks
    heads: int | None = None  # attention heads a block
    hidden_dim: int | None = None  # width of the feed-forward network
    max_length: int | None = None  # positions; none: the length of a row
    position: Literal["learned", "sinusoidal", "rotary"] | None = None  # kind of position
    norm: Literal["post", "pre"] | None = None  # placement of the norms
    dropout: float | None = None  # after the stem and each sublayer
    attention_dropout: float | None = None  # on the attention weights
    kernel_std: float | None = None  # standard deviation of new kernels

    def apply(self, config: TransformerConfig) -> TransformerConfig:
        """Return `config` with the given fields changed."""
        return replace(config, **{k: v for k, v in vars(self).items() if v is not None})

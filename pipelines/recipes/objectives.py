"""What a model is trained to do, as data."""

from dataclasses import dataclass
from typing import Literal

from tfattn.errors import InputError
from tfattn.spec import Spec


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
class SpanCorruption(Objective):
    """Write the spans that are left out of a text (T5, arXiv:1910.10683, section 3.1.4)."""

    rate: float = 0.15  # share of the tokens that are left out
    span: float = 3.0  # mean number of tokens left out together

    def __post_init__(self):
        super().__post_init__()
        _check_spans(self)


@dataclass(frozen=True)
class TextInfilling(Objective):
    """Write the text that was before spans of it became a mask (BART, arXiv:1910.13461, 2.2)."""

    rate: float = 0.3  # share of the tokens that are left out
    span: float = 3.0  # mean number of tokens that one mask stands for, by Poisson; 0 is possible
    permute: bool = True  # the sentences of a text come in another order

    def __post_init__(self):
        super().__post_init__()
        _check_spans(self)
        if self.rate * (1 + self.span) > self.span:  # a token is left between two spans
            raise InputError(
                f"objective.rate: expected at most {self.span / (1 + self.span):.3g} for spans of "
                f"{self.span:g}, between which tokens are left. Received: {self.rate}."
            )


@dataclass(frozen=True)
class PrefixLM(Objective):
    """Read the beginning of a text, of any length, and write the rest (arXiv:1910.10683, 3.1.4)."""


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

    # Between a text and its answer, where one stack reads both; a backslash and n are a line break.
    delimiter: str = "\\n"
    # Before each text, such as "summarize: ": one for all files, or one for each of --data.train in
    # their order (arXiv:1910.10683, section 2.4).
    prefix: tuple[str, ...] = ()
    smoothing: float = 0.0  # share of a target's probability that all tokens have alike in training

    def __post_init__(self):
        super().__post_init__()
        _check_share("text2text.smoothing", self.smoothing)


@dataclass(frozen=True)
class Translation(Objective):
    """Write the target of a source (arXiv:1706.03762)."""

    # Share of a target's probability that all tokens have alike in training (section 5.4 there).
    smoothing: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        _check_share("objective.smoothing", self.smoothing)


def unescaped(text: str) -> str:
    """Return the text with line breaks and tabs for a backslash and n or t, as flags have them."""
    return text.replace("\\n", "\n").replace("\\t", "\t")


def _check_spans(spec):
    if not 0 < spec.rate <= 0.9:  # over it rows of what is left are of very long texts
        raise InputError(
            f"objective.rate: expected a share over 0 and up to 0.9. Received: {spec.rate}."
        )
    if not 1 <= spec.span <= 100:
        raise InputError(f"objective.span: expected 1 to 100 tokens. Received: {spec.span}.")


def _check_share(name, value):
    if not 0 <= value < 1:
        raise InputError(f"{name}: expected a share from 0 to below 1. Received: {value}.")

"""The tasks of text as data: what a model is trained to do, and the flags of it."""

from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal, Self

import tyro

from pipelines.core.spec import Options, Recipe, Stage, Task
from pipelines.core.train_config import TrainConfig
from pipelines.text.options import PromptFormat, RowOptions, TargetOptions, WritingOptions
from pipelines.text.sources import PairData, TableData, TextData
from tfattn.errors import InputError
from tfattn.models.config import (
    Classify,
    EncoderDecoderConfig,
    Head,
    Tokens,
    TransformerConfig,
)
from tfattn.models.model_config import ModelConfig
from tfattn.models.recurrent_config import RecurrentConfig
from tfattn.spec import Spec

PRETRAIN: frozenset[Stage] = frozenset({"pretrain"})
FINETUNE: frozenset[Stage] = frozenset({"finetune"})
SINGLE_STACK = (TransformerConfig,)
WITH_DECODER = (EncoderDecoderConfig, RecurrentConfig)
# arXiv:1810.04805, A.3, has 2e-5 to 5e-5 for base; miniatures want more.
FINETUNING = TrainConfig(epochs=3, rate=1e-4, beta2=0.999)
# T5's rates are shares of each weight's size. Fine-tuning has 1e-3 in arXiv:1910.10683, over many
# more steps than miniatures get: in 200 of them t5-mini came to 3.18 by 1e-2 and to 2.93 by 3e-2
# (captions to French, one seed); 1e-2 lies between.
T5 = TrainConfig(proportional=True, weight_decay=0.0, rate=1e-2)
T5_FINETUNING = replace(FINETUNING, proportional=True, weight_decay=0.0, rate=1e-2)

# Over the vocabulary, as the preset or what a run starts from has it; no flag.
LanguageHead = Annotated[Tokens | None, tyro.conf.Suppress]
Pooling = Literal["mean", "pooler", "last"] | None


@dataclass(frozen=True)
class TextTask(Task):
    """A task of text: what a model with a vocabulary learns."""

    def prompt_format(self) -> PromptFormat:
        """Return how a text becomes what the model was trained to read."""
        return PromptFormat()

    def with_head(self, head: Tokens | None) -> Self:
        """Return the task with this head over the vocabulary, where it has one."""
        return self


@dataclass(frozen=True)
class LanguageModeling(TextTask):
    """A task whose head is over the vocabulary."""

    export_options: ClassVar[type[Options]] = WritingOptions

    head: LanguageHead = field(default=None, kw_only=True)

    def with_head(self, head: Tokens | None) -> Self:
        """Return the task with this head over the vocabulary."""
        return replace(self, head=head)

    def for_preset(self, preset: Recipe) -> Self:
        """Return this task with the head of the preset's own."""
        return self.with_head(getattr(preset.objective, "head", None))

    def is_answered_by(self, heads: tuple[Head, ...]) -> bool:
        """Return whether one of the heads is over the vocabulary."""
        return any(isinstance(head, Tokens) for head in heads)


@dataclass(frozen=True)
class MaskedLM(TextTask):
    """Predict masked tokens (BERT, arXiv:1810.04805, section 3.1)."""

    name: ClassVar[str] = "masked-lm"
    stages: ClassVar[frozenset[Stage]] = PRETRAIN
    data: ClassVar[type[TextData]] = TextData
    models: ClassVar[tuple[type[ModelConfig], ...]] = SINGLE_STACK
    runtime: ClassVar[str] = "pipelines.text.masked_lm:MaskedLMRuntime"

    rate: float = 0.15  # share of the tokens that are predicted (80% [MASK], 10% random, 10% kept)
    whole_words: bool = False  # mask all pieces of a word or none
    next_sentence: bool = False  # also tell whether sentence B follows sentence A

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.rate < 1:
            self.refuse("rate", "a share between 0 and 1")

    @classmethod
    def continues(cls, config: ModelConfig, heads: tuple[Head, ...]) -> bool:
        """Return whether the model is a single stack without the head of a causal one."""
        return isinstance(config, cls.models) and not CausalLM.continues(config, heads)

    def is_answered_by(self, heads: tuple[Head, ...]) -> bool:
        """Return whether one of the heads is over the vocabulary."""
        return any(isinstance(head, Tokens) for head in heads)


@dataclass(frozen=True)
class CausalLM(LanguageModeling):
    """Predict the next token (Radford et al. 2018, section 3.1)."""

    name: ClassVar[str] = "causal-lm"
    stages: ClassVar[frozenset[Stage]] = PRETRAIN
    data: ClassVar[type[TextData]] = TextData
    models: ClassVar[tuple[type[ModelConfig], ...]] = SINGLE_STACK
    runtime: ClassVar[str] = "pipelines.text.causal_lm:CausalLMRuntime"
    evaluate_options: ClassVar[type[Options]] = RowOptions

    # Read a beginning of each text, of any length, in both directions, and predict the rest
    # (arXiv:1910.10683, section 3.2.1).
    prefix: bool = False

    @classmethod
    def continues(cls, config: ModelConfig, heads: tuple[Head, ...]) -> bool:
        """Return whether the model has the head of a causal one, without a transform."""
        plain = any(isinstance(head, Tokens) and not head.transform for head in heads)
        return isinstance(config, cls.models) and plain

    def prompt_format(self) -> PromptFormat:
        """Return that a prefix language model reads prompts in both directions."""
        return PromptFormat(is_bidirectional=self.prefix)


@dataclass(frozen=True)
class Denoising(LanguageModeling):
    """A task in which a text is restored from what a corruption left of it."""

    stages: ClassVar[frozenset[Stage]] = PRETRAIN
    data: ClassVar[type[TextData]] = TextData
    models: ClassVar[tuple[type[ModelConfig], ...]] = WITH_DECODER
    family_defaults: ClassVar[dict[str, TrainConfig]] = {"t5": T5}

    def _check_spans(self, rate: float, span: float) -> None:
        if not 0 < rate <= 0.9:  # over it rows of what is left are of very long texts
            self.refuse("rate", "a share over 0 and up to 0.9")
        if not 1 <= span <= 100:
            self.refuse("span", "1 to 100 tokens")


@dataclass(frozen=True)
class SpanCorruption(Denoising):
    """Write the spans that are left out of a text (T5, arXiv:1910.10683, section 3.1.4)."""

    name: ClassVar[str] = "span-corruption"
    runtime: ClassVar[str] = "pipelines.text.denoising:SpanCorruptionRuntime"

    rate: float = 0.15  # share of the tokens that are left out
    span: float = 3.0  # mean number of tokens left out together

    def __post_init__(self):
        super().__post_init__()
        self._check_spans(self.rate, self.span)

    @classmethod
    def continues(cls, config: ModelConfig, heads: tuple[Head, ...]) -> bool:
        """Return whether the model has an encoder and a decoder of blocks."""
        return isinstance(config, EncoderDecoderConfig)


@dataclass(frozen=True)
class TextInfilling(Denoising):
    """Write the text that was before spans of it became a mask (BART, arXiv:1910.13461, 2.2)."""

    name: ClassVar[str] = "text-infilling"
    runtime: ClassVar[str] = "pipelines.text.denoising:TextInfillingRuntime"

    rate: float = 0.3  # share of the tokens that are left out
    span: float = 3.0  # mean number of tokens that one mask stands for, by Poisson; 0 is possible
    permute: bool = True  # the sentences of a text come in another order

    def __post_init__(self):
        super().__post_init__()
        self._check_spans(self.rate, self.span)
        if self.rate * (1 + self.span) > self.span:  # a token is left between two spans
            self.refuse(
                "rate",
                f"at most {self.span / (1 + self.span):.3g} for spans of {self.span:g}, between "
                "which tokens are left",
            )


@dataclass(frozen=True)
class PrefixLM(Denoising):
    """Read the beginning of a text, of any length, and write the rest (arXiv:1910.10683, 3.1.4)."""

    name: ClassVar[str] = "prefix-lm"
    runtime: ClassVar[str] = "pipelines.text.denoising:PrefixLMRuntime"


@dataclass(frozen=True)
class Translation(LanguageModeling):
    """Write the target of a source (arXiv:1706.03762)."""

    name: ClassVar[str] = "translation"
    stages: ClassVar[frozenset[Stage]] = PRETRAIN
    data: ClassVar[type[PairData]] = PairData
    models: ClassVar[tuple[type[ModelConfig], ...]] = WITH_DECODER
    family_defaults: ClassVar[dict[str, TrainConfig]] = {"t5": T5}
    runtime: ClassVar[str] = "pipelines.text.translation:TranslationRuntime"
    evaluate_options: ClassVar[type[Options]] = TargetOptions

    # Share of a target's probability that all tokens have alike in training (section 5.4 there).
    smoothing: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        _check_share(self, "smoothing")


@dataclass(frozen=True)
class Classification(TextTask):
    """Tell the class of a text, or of a pair of texts."""

    name: ClassVar[str] = "classify"
    stages: ClassVar[frozenset[Stage]] = FINETUNE
    data: ClassVar[type[TableData]] = TableData
    models: ClassVar[tuple[type[ModelConfig], ...]] = SINGLE_STACK
    supervised: ClassVar[bool] = True
    defaults: ClassVar[TrainConfig] = FINETUNING
    runtime: ClassVar[str] = "pipelines.text.classify:ClassificationRuntime"

    classes: tuple[str, ...] = ()  # labels in the order of the probabilities; none: from the data
    # What is classified: the mean of the hidden states, BERT's layer on [CLS], or the last token;
    # none: the last token of a causal model, the mean of another.
    pool: Pooling = None
    dropout: float = 0.1  # on the pooled vector
    metric: Literal["accuracy", "macro_f1", "matthews"] = "accuracy"  # chooses the best checkpoint

    def __post_init__(self):
        super().__post_init__()
        if not all(map(str.strip, self.classes)):
            self.refuse("classes", "none that is empty")
        if len(set(self.classes)) < len(self.classes) or len(self.classes) == 1:
            self.refuse("classes", "two or more different ones")
        _check_share(self, "dropout")

    def is_answered_by(self, heads: tuple[Head, ...]) -> bool:
        """Return whether one of the heads has as many classes."""
        return _has_classes(heads, len(self.classes))


@dataclass(frozen=True)
class Regression(TextTask):
    """Give a text, or a pair of texts, a number."""

    name: ClassVar[str] = "regress"
    stages: ClassVar[frozenset[Stage]] = FINETUNE
    data: ClassVar[type[TableData]] = TableData
    models: ClassVar[tuple[type[ModelConfig], ...]] = SINGLE_STACK
    supervised: ClassVar[bool] = True
    defaults: ClassVar[TrainConfig] = FINETUNING
    runtime: ClassVar[str] = "pipelines.text.regress:RegressionRuntime"

    # What is rated: the mean of the hidden states, BERT's layer on [CLS], or the last token; none:
    # the last token of a causal model, the mean of another.
    pool: Pooling = None
    dropout: float = 0.1  # on the pooled vector
    metric: Literal["pearson", "spearman"] = "pearson"  # chooses the best checkpoint
    offset: float = 0.0  # the model gives (number - offset) / scale
    scale: float = 0.0  # 0: offset and scale are mean and deviation of the training labels

    def __post_init__(self):
        super().__post_init__()
        _check_share(self, "dropout")
        if self.scale < 0:
            self.refuse("scale", "0 or more")

    def is_answered_by(self, heads: tuple[Head, ...]) -> bool:
        """Return whether one of the heads gives a number."""
        return _has_classes(heads, 1)


@dataclass(frozen=True)
class TextToText(LanguageModeling):
    """Write the answer to a text: the label column, of which alone the loss is taken."""

    name: ClassVar[str] = "text2text"
    stages: ClassVar[frozenset[Stage]] = FINETUNE
    data: ClassVar[type[TableData]] = TableData
    models: ClassVar[tuple[type[ModelConfig], ...]] = (*SINGLE_STACK, *WITH_DECODER)
    supervised: ClassVar[bool] = True
    defaults: ClassVar[TrainConfig] = FINETUNING
    family_defaults: ClassVar[dict[str, TrainConfig]] = {"t5": T5_FINETUNING}
    runtime: ClassVar[str] = "pipelines.text.text2text:TextToTextRuntime"
    evaluate_options: ClassVar[type[Options]] = TargetOptions

    # Between a text and its answer, where one stack reads both; a backslash and n are a line break.
    delimiter: str = "\\n"
    # Before each text, such as "summarize: ": one for all files, or one for each of --data.train in
    # their order (arXiv:1910.10683, section 2.4).
    prefix: tuple[str, ...] = ()
    smoothing: float = 0.0  # share of a target's probability that all tokens have alike in training

    def __post_init__(self):
        super().__post_init__()
        _check_share(self, "smoothing")

    def check(self, recipe: Recipe) -> None:
        """Refuse a second text: this task reads one."""
        pair = getattr(recipe.data, "text_pair", None)
        if pair is not None:
            raise InputError(
                f"data.text_pair: expected none, for text2text reads one text. Received: {pair!r}."
            )

    def prompt_format(self) -> PromptFormat:
        """Return the delimiter, and the prefix where there is one for all texts."""
        prefix = self.prefix[0] if len(self.prefix) == 1 else ""
        return PromptFormat(unescape(prefix), unescape(self.delimiter))


TASKS = (
    *(MaskedLM, CausalLM, SpanCorruption, TextInfilling, PrefixLM, Translation),
    *(Classification, Regression, TextToText),
)


def unescape(text: str) -> str:
    """Return the text with line breaks and tabs for a backslash and n or t, as flags have them."""
    return text.replace("\\n", "\n").replace("\\t", "\t")


def _has_classes(heads: tuple[Head, ...], count: int) -> bool:
    return any(isinstance(head, Classify) and head.classes == count for head in heads)


def _check_share(spec: Spec, name: str) -> None:
    if not 0 <= getattr(spec, name) < 1:
        spec.refuse(name, "a share from 0 to below 1")

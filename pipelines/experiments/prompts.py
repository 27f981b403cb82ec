"""Prompts of in-context learning: demonstrations and a question as one text.

Brown et al. (arXiv:2005.14165), section 2 and figure 2.1: examples of a task are shown in the
context, and the last one lacks its answer. Neither Keras nor TensorFlow is imported here: the
command line reads the class for its flags.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.text.spec import unescape
from tfattn.errors import InputError
from tfattn.spec import Spec

FIELDS = TEXT, LABEL = "{text}", "{label}"


@dataclass(frozen=True)
class Prompt(Spec):
    """How examples are written; a backslash and n are read as a line break.

    One line break is the separator because a blank line parts documents (`--data.separator`): a
    model may not have seen any within one.
    """

    template: str = "{text} => {label}"  # of an example, with its label last
    separator: str = "\\n"  # between two examples

    def __post_init__(self):
        super().__post_init__()
        template = self.template
        if not (template.endswith(LABEL) and template.count(TEXT) == template.count(LABEL) == 1):
            raise InputError(
                f"template: expected {TEXT} once, and {LABEL} once and last. "
                f"Received: {template!r}."
            )
        others = [field for field in re.findall(r"\{\w[^{}\s]*\}", template) if field not in FIELDS]
        if others:
            raise InputError(
                f"template: expected no field but {TEXT} and {LABEL}. "
                f"Received: {', '.join(others)}."
            )
        if not self.separator:
            raise InputError("separator: expected a text between two examples. Received none.")

    @property
    def answer_context(self) -> str:
        """Return what stands between a text and its label, without blanks around."""
        return self._parts[1].removesuffix(" ").lstrip()

    @property
    def lead(self) -> str:
        """Return the blank before a label, which is read as the label's first character.

        In GPT-2's vocabulary a word owns the blank before it, so that a context that ends in one
        is what the model has not seen; `generate` is given its prompts without it too.
        """
        return " " if self._parts[1].endswith(" ") else ""

    def context(self, examples: Sequence[tuple[str, str]], text: str) -> str:
        """Return the text before `lead` and the label that is asked for.

        Args:
            examples: texts and their labels, the demonstrations in order.
            text: in question.
        """
        before, between = self._parts
        shown = [f"{before}{said}{between}{label}" for said, label in examples]
        asked = f"{before}{text}{between.removesuffix(' ')}"
        return unescape(self.separator).join([*shown, asked])

    @property
    def _parts(self):
        """Return what stands before the text, and between it and the label."""
        return unescape(self.template).removesuffix(LABEL).split(TEXT)


@dataclass(frozen=True)
class Trials(Spec):
    """What is asked of a model, how often, and how candidates are compared.

    The score of a candidate c after a context, by which the largest wins (section 2.4):

        sum             log P(c | context)
        token           log P(c | context) / tokens of c
        unconditional   log P(c | context) - log P(c | answer context)

    The answer context is what stands between text and label in the template. Per token is the
    default, as it was for most tasks there: a sum would favour the classes with short names.
    """

    shots: tuple[int, ...] = (0, 1, 5)  # numbers of demonstrations before each text
    seeds: int = 3  # draws of the demonstrations: accuracy has a mean and a spread over them
    seed: int = 0  # the first of them; the same one gives the same prompts
    limit: int | None = None  # rows to try at most, chosen by the seed; none: all
    # What is read for each class, in the order of the classes, which are sorted as in the JSON;
    # none: the labels.
    words: tuple[str, ...] = ()
    # By the log-probability per token, its sum, or against that without a text.
    normalize: Literal["token", "sum", "unconditional"] = "token"

    def __post_init__(self):
        super().__post_init__()
        if not self.shots or min(self.shots) < 0:
            received = " ".join(map(str, self.shots)) or "none"
            raise InputError(f"shots: expected numbers from 0. Received: {received}.")
        for name, least in (("seeds", 1), ("seed", 0), ("limit", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name}: expected at least {least}. Received: {value}.")
        if not all(map(str.strip, self.words)):
            raise InputError(f"words: expected none that is empty. Received: {self.words}.")
        if len(set(self.words)) < len(self.words):
            raise InputError(f"words: expected different ones. Received: {self.words}.")

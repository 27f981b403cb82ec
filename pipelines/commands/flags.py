"""From the words of a command line to a command, by tyro: types are flags, comments the help.

Two things are ours. A flag that may be left unset reads as `INT` and `none`. And the preset, or the
recipe of `--from`, decides on the defaults of all other flags; so the words are read twice.
"""

import contextlib
import dataclasses
import io
import sys
import types
import typing
from typing import Any

import tyro
from tyro import constructors

from pipelines import recipes
from pipelines.data.records import data_flag, expand
from pipelines.data.tfds import TFDS
from tfattn.errors import InputError

# What the classes of a recipe are called among the flags.
GROUPS = {
    "TransformerConfig": "model.",
    "TextData": "data.",
    "TableData": "data.",
    "PairData": "data.",
    "ImageData": "data.",
    "ImagePreprocessing": "data.",
    "Augment": "data.augment.",
    "MaskedLM": "objective.",
    "CausalLM": "objective.",
    "SpanCorruption": "objective.",
    "TextInfilling": "objective.",
    "Translation": "objective.",
    "MaskedImages": "objective.",
    "EncoderDecoderConfig": "model.",
    "RecurrentConfig": "model.",
    "VisionConfig": "model.",
    "Classification": "classify.",
    "Regression": "regress.",
    "TextToText": "text2text.",
    "ImageClassification": "image.",
    "TrainConfig": "train.",
    "MonitorConfig": "monitor.",
    "Sampling": "",
    "Trials": "",
    "Prompt": "",
}
NONE = "none"


def parse(kind: type, words: list[str], prog: str, default: Any = None) -> Any:
    """Return the command of a class that the words spell.

    Raises:
        InputError: a value that its class refuses.
        SystemExit: help was asked for and printed (0), or the words are no command (2).
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint), registry():
            return tyro.cli(kind, args=words, default=default, prog=prog)
    except SystemExit as stop:
        cause: BaseException | None = stop
        while cause is not None:  # tyro puts a box around what our classes say
            if isinstance(cause, InputError):
                raise InputError(as_flag(str(cause))) from None
            cause = cause.__context__
        sys.stderr.write(complaint.getvalue())
        raise


def glance(kind: type, words: list[str]) -> Any:
    """Return the command as its class has the defaults, or None where the words are no command.

    Flags that it does not know are passed over: they may be those of the preset's objective. Where
    a flag of a group has a bad value, all of these are: it is told in the second reading.
    """
    silent = io.StringIO()
    asked = [word for word in words if word not in ("-h", "--help")]
    for given in (asked, _without_groups(asked)):
        with (
            contextlib.suppress(SystemExit, InputError),
            contextlib.redirect_stderr(silent),
            contextlib.redirect_stdout(silent),
            registry(),
        ):
            return tyro.cli(kind, args=given, prog="", return_unknown_args=True)[0]
    return None


def is_given(words: list[str], flag: str) -> bool:
    """Return whether the words set this flag."""
    return any(word.partition("=")[0].replace("_", "-") == flag for word in words)


def as_flag(message: str) -> str:
    """Name the flag where a message names the field of a class."""
    name, dot, rest = message.partition(".")
    return f"{GROUPS[name]}{rest}" if dot and name in GROUPS else message


def registry() -> constructors.ConstructorRegistry:
    """Return tyro's rules, but that `none` is what may be unset or has no members."""
    rules = constructors.ConstructorRegistry()

    @rules.primitive_rule
    def may_be_none(info: constructors.PrimitiveTypeInfo) -> Any:
        members = typing.get_args(info.type)
        if info.type_origin in (typing.Union, types.UnionType) and type(None) in members:
            (kind,) = (member for member in members if member is not type(None))
            empty, convert, back = None, _same, _same
        elif info.type_origin is tuple and members[1:] == (Ellipsis,):
            kind, empty, convert, back = list[members[0]], (), tuple, list
        else:
            return None
        inner = constructors.PrimitiveTypeInfo.make(kind, info.markers)
        spec: Any = constructors.ConstructorRegistry.get_primitive_spec(inner)
        return dataclasses.replace(
            spec,
            choices=None if spec.choices is None else (*spec.choices, NONE),
            instance_from_str=lambda said: (
                empty if said == [NONE] else convert(spec.instance_from_str(said))
            ),
            is_instance=lambda value: value == empty or spec.is_instance(back(value)),
            str_from_instance=lambda value: (
                [NONE] if value == empty else spec.str_from_instance(back(value))
            ),
        )

    return rules


def _same(value: Any) -> Any:
    return value


def _without_groups(words: list[str]) -> list[str]:
    """Return the words without flags such as --train.steps, and without what follows them."""
    kept, grouped = [], False
    for word in words:
        if word.startswith("--"):
            grouped = "." in word.partition("=")[0]
        if not grouped:
            kept.append(word)
    return kept


def check_files(flag: str, files: tuple[str, ...]) -> None:
    """Complain at once of files that are not there, before anything slow."""
    with data_flag(flag):
        if not recipes.is_embedded(files):
            expand([name for name in files if not name.startswith(TFDS)])

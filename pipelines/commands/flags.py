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

from tfattn.errors import InputError
from tfattn.models.model_config import ModelConfig

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
                raise InputError(as_flag(str(cause), prefixes(kind, default))) from None
            cause = cause.__context__
        sys.stderr.write(complaint.getvalue())
        raise


def parse_leniently(kind: type, words: list[str]) -> Any:
    """Return the command as its class has the defaults, or None where the words are no command.

    Flags that it does not know are passed over: they may be those of the preset's objective. Where
    a flag of a group has a bad value, all of these are: it is told in the second reading.
    """
    silent = io.StringIO()
    asking = [word for word in words if word not in ("-h", "--help")]
    for given in (asking, _without_groups(asking)):
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


def prefixes(kind: type, command: Any = None) -> dict[str, str]:
    """Return what flags of each Spec of a command begin with, by the name of its class.

    Args:
        kind: class of the command.
        command: with the values of its fields; None = their defaults.
    """
    found = dict.fromkeys(_names_below(ModelConfig), "model.")
    _collect(kind, command, "", found)
    return found


def _collect(kind: type, instance: Any, prefix: str, found: dict[str, str]) -> None:
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        value = field.default if instance is None else getattr(instance, field.name)
        if isinstance(value, type) or not dataclasses.is_dataclass(value):
            continue
        markers = typing.get_args(hints[field.name])[1:]
        own = "" if tyro.conf.OmitArgPrefixes in markers else f"{field.name.replace('_', '-')}."
        found[type(value).__name__] = prefix + own
        _collect(type(value), value, prefix + own, found)


def _names_below(kind: type) -> list[str]:
    below = kind.__subclasses__()
    return [kind.__name__, *(name for each in below for name in _names_below(each))]


def as_flag(message: str, prefixes: dict[str, str]) -> str:
    """Name the flag where a message names the field of a class.

    Args:
        message: of an InputError.
        prefixes: of the command, by the name of each class.
    """
    name, dot, rest = message.partition(".")
    if not dot or name not in prefixes:
        return message
    field, colon, said = rest.partition(":")
    return f"{prefixes[name]}{field}{colon}{said}"


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
        if not isinstance(spec, constructors.PrimitiveConstructorSpec):
            return None  # a group of flags
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

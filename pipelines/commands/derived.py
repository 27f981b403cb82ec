"""Commands and flags that are made of the registry and of configs, with the help of their fields.

tyro takes the help of a flag from the comment at its field, which it finds in the source of a
class. Classes that are made at run time have none, so the comments are read here.
"""

import dataclasses
import functools
import inspect
import re
import typing
from typing import Annotated, Any

import tyro


def derived(base: type, fields: dict[str, tuple[Any, Any]]) -> Any:
    """Return a frozen dataclass like `base`, with other or further fields.

    Args:
        base: a dataclass.
        fields: type and default of each, by name; a type may carry help of its own.
    """
    hints = typing.get_type_hints(base, include_extras=True)
    own = [
        (name, with_help(hints[name], comment(base, name)))
        for name in (field.name for field in dataclasses.fields(base))
        if name not in fields
    ]
    given = [
        (name, annotation, dataclasses.field(default=default))
        for name, (annotation, default) in fields.items()
    ]
    kept = [(name, hint, _default(base, name)) for name, hint in own]
    made = dataclasses.make_dataclass(base.__name__, kept + given, bases=(base,), frozen=True)
    made.__doc__ = base.__doc__
    return made


def with_help(annotation: Any, text: str) -> Any:
    """Return the type of a flag with its help, beside what it says of the flag already."""
    marks = typing.get_args(annotation)[1:] if typing.get_origin(annotation) is Annotated else ()
    plain = typing.get_args(annotation)[0] if marks else annotation
    named = [mark for mark in marks if hasattr(mark, "metavar")]
    others = [mark for mark in marks if not hasattr(mark, "metavar")]
    if not text:
        return annotation
    arg = dataclasses.replace(named[0], help=text) if named else tyro.conf.arg(help=text)
    for mark in (*others, arg):
        plain = Annotated[plain, mark]
    return plain


def comment(kind: type, name: str) -> str:
    """Return the comment of a field: behind it, or in the lines before it."""
    for owner in kind.__mro__:
        if name not in owner.__dict__.get("__annotations__", {}):
            continue
        lines = _lines(owner)
        number = next(i for i, line in enumerate(lines) if re.match(rf"    {name}: ", line))
        behind = lines[number].partition("  # ")[2]
        before: list[str] = []
        while lines[number - 1].startswith("    # "):
            number -= 1
            before.insert(0, lines[number].removeprefix("    # "))
        return behind or " ".join(before)
    return ""


@functools.cache
def _lines(kind: type) -> list[str]:
    """Return the source of a class, which takes Python some ten milliseconds to find."""
    return inspect.getsource(kind).splitlines()


def _default(base: type, name: str) -> Any:
    field = base.__dataclass_fields__[name]
    if field.default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=field.default_factory)
    if field.default is not dataclasses.MISSING:
        return dataclasses.field(default=field.default)
    return dataclasses.field()

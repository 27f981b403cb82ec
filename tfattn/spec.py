"""`Spec`: everything declarative is a frozen dataclass with JSON both ways.

Masks, model configurations, heads, objectives and whole recipes are Specs: plain Python, compared
by value, hashable, and free of Keras and TensorFlow, so that reading one costs nothing.
"""

import contextlib
import dataclasses
import difflib
import functools
import json
import re
import sys
import types
import typing
from pathlib import Path
from typing import Any, Self

from tfattn.errors import InputError

# Halves of characters, but for those by which Python spells file names that are not UTF-8.
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")


@dataclasses.dataclass(frozen=True)
class Spec:
    """Base of frozen dataclasses that are written to and read from JSON.

    A Spec in JSON is an object of its fields and `"spec"`, the name of its class, so that a field
    declared as a base class (`Mask`, `Objective`) can hold any of its kind.
    """

    def __post_init__(self):
        """Check and normalise every field against its annotation."""
        for name, annotation in _annotations(type(self)).items():
            value = _convert(getattr(self, name), annotation, f"{type(self).__name__}.{name}")
            object.__setattr__(self, name, value)

    def refuse(self, field: str, expected: str) -> typing.NoReturn:
        """Raise what is wrong with a field.

        Args:
            field: its name.
            expected: what it should be, as in "a share from 0 to 1".

        Raises:
            InputError: always.
        """
        received = getattr(self, field)
        shown = received if isinstance(received, int | float) else repr(received)
        raise InputError(f"{type(self).__name__}.{field}: expected {expected}. Received: {shown}.")

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers."""
        fields = {name: _plain(getattr(self, name)) for name in _annotations(type(self))}
        return {"spec": type(self).__name__, **fields}

    @classmethod
    def from_json(cls, data: dict[str, Any], where: str = "") -> Self:
        """Read what `to_json` wrote.

        Raises:
            InputError: an unknown class or field, or a value of the wrong type.
        """
        where = where or cls.__name__
        if not isinstance(data, dict):
            raise InputError(f"{where}: expected an object of fields. Received: {data!r}.")
        name = str(data.get("spec", cls.__name__))
        kind = _kinds(cls).get(name)
        if kind is None:
            raise InputError(f"{where}: {unknown('spec', name, _kinds(cls))}")
        annotations = _annotations(kind)
        given = {key: value for key, value in data.items() if key != "spec"}
        for key in given:
            if key not in annotations:
                raise InputError(f"{where}: {unknown('field', key, annotations)}")
        missing = [f.name for f in dataclasses.fields(kind) if _required(f) and f.name not in given]
        if missing:
            received = ", ".join(given) or "nothing"
            raise InputError(f"{where}: missing {', '.join(missing)}. Received: {received}.")
        given = {k: _convert(v, annotations[k], f"{where}.{k}") for k, v in given.items()}
        try:
            return kind(**given)
        except InputError as error:  # fields that do not fit each other
            own = str(error)
            for said in (kind.__name__, where.rpartition(".")[2]):
                own = own.removeprefix(f"{said}.")
            raise InputError(f"{where}.{own}") from None

    @classmethod
    def expected(cls) -> str:
        """Return what errors call a value of this class, where another was received."""
        return cls.__name__

    def save(self, path: str | Path) -> None:
        """Write the JSON to `path`, readable and with a final newline."""
        Path(path).write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read the JSON at `path`.

        Raises:
            InputError: no such file, not JSON, or not a Spec of this kind; the file is named.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls.from_json(data, where=f"{path}: {cls.__name__}")
        except InputError:
            raise
        except FileNotFoundError:
            raise InputError(f"{path}: expected a {cls.__name__} in JSON. No such file.") from None
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: expected a {cls.__name__} in JSON. {error}.") from None


@dataclasses.dataclass(frozen=True)
class Difference:
    """A field in which two Specs differ."""

    name: str
    here: object = dataclasses.field(compare=False)
    there: object = dataclasses.field(compare=False)


def differences(here: Spec, there: Spec, prefix: str = "") -> list[Difference]:
    """Return the fields in which two Specs differ, such as `train.steps`."""
    found = []
    for name in (field.name for field in dataclasses.fields(here) if field.compare):
        a, b = getattr(here, name), getattr(there, name, None)
        if isinstance(a, Spec) and isinstance(b, Spec) and type(a) is type(b):
            found += differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append(Difference(prefix + name, a, b))
    return found


def unknown(what: str, name: str, known: typing.Iterable[str]) -> str:
    """One sentence about a name that is not known, with the nearest that is."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {name!r}.{hint} Expected one of: {', '.join(known)}."


Kind = typing.TypeVar("Kind", bound=Spec)


def _kinds(cls: type[Kind]) -> dict[str, type[Kind]]:
    """Return `cls` and all below it by name; two families may use one name for different things."""
    found = {cls.__name__: cls}
    for below in cls.__subclasses__():
        found |= _kinds(below)
    return found


def _required(field: dataclasses.Field) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


@functools.cache
def _annotations(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _plain(value: Any) -> Any:
    if isinstance(value, Spec):
        return value.to_json()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _is_spec(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Spec)


def _convert(value: Any, annotation: Any, where: str) -> Any:
    """Return `value` as `annotation` asks (lists become tuples), or say what was expected."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        specs = [choice for choice in arguments if _is_spec(choice)]
        if specs and isinstance(value, dict):  # says what is wrong with the kind that it names
            name = str(value.get("spec"))
            kind = next((choice for choice in specs if name in _kinds(choice)), specs[0])
            return kind.from_json(value, where)
        for choice in arguments:
            with contextlib.suppress(InputError):
                return _convert(value, choice, where)
    elif origin is typing.Literal:
        if value in arguments:
            return value
        if isinstance(value, str):
            raise InputError(f"{where}: {unknown('value', value, map(str, arguments))}")
    elif origin is tuple:
        if isinstance(value, list | tuple):
            if len(arguments) == 2 and arguments[1] is Ellipsis:
                return tuple(
                    _convert(v, arguments[0], f"{where}[{i}]") for i, v in enumerate(value)
                )
            if len(arguments) == len(value):
                return tuple(
                    _convert(v, a, f"{where}[{i}]")
                    for i, (v, a) in enumerate(zip(value, arguments, strict=True))
                )
    elif _is_spec(annotation):
        if isinstance(value, annotation):
            return value
        if isinstance(value, dict):
            return annotation.from_json(value, where)
    elif annotation is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            if not abs(value) <= sys.float_info.max:  # NaN is not, nor a huge integer
                raise InputError(f"{where}: expected a finite number. Received: {value!r}.")
            return float(value)
    elif annotation is int:
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
            return value
    elif annotation is str:
        if isinstance(value, str):
            if "\0" in value or _HALF.search(value):  # no file can be called so
                raise InputError(f"{where}: expected Unicode without NUL. Received: {value!r}.")
            return value
    elif value is None if annotation is type(None) else isinstance(value, annotation):
        return value
    raise InputError(f"{where}: expected {_called(annotation)}. Received: {value!r}.")


def _called(annotation: Any) -> str:
    """Return what people call a type."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " or ".join(map(_called, typing.get_args(annotation)))
    if annotation is type(None):
        return "None"
    if _is_spec(annotation):
        return annotation.expected()
    plain = typing.get_origin(annotation) is None
    return getattr(annotation, "__name__", str(annotation)) if plain else str(annotation)

"""`Spec`: everything declarative is a frozen dataclass with JSON both ways.

Masks, model configurations, heads, objectives and whole recipes are Specs: plain Python, compared
by value, hashable, and free of Keras and TensorFlow, so that reading one costs nothing.
"""

import dataclasses
import difflib
import functools
import json
import types
import typing
from pathlib import Path
from typing import Any, ClassVar, Self

from tfattn.errors import InputError


@dataclasses.dataclass(frozen=True)
class Spec:
    """Base of frozen dataclasses that are written to and read from JSON.

    A Spec in JSON is an object of its fields and `"spec"`, the name of its class, so that a field
    declared as a base class (`Mask`, `Objective`) can hold any of its kind.
    """

    _kinds: ClassVar[dict[str, type["Spec"]]] = {}

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        Spec._kinds[cls.__name__] = cls

    def __post_init__(self):
        """Check and normalise every field against its annotation."""
        for name, annotation in _annotations(type(self)).items():
            value = _convert(getattr(self, name), annotation, f"{type(self).__name__}.{name}")
            object.__setattr__(self, name, value)

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
        name = data.get("spec", cls.__name__)
        kind = Spec._kinds.get(name)
        if kind is None or not issubclass(kind, cls):
            known = [n for n, k in Spec._kinds.items() if issubclass(k, cls)]
            raise InputError(f"{where}: expected one of {sorted(known)}. Received: spec={name!r}.")
        fields = _annotations(kind)
        for key in data:
            if key != "spec" and key not in fields:
                raise InputError(f"{where}: {unknown('field', key, fields)}")
        given = {k: v for k, v in data.items() if k != "spec"}
        try:
            return kind(**{k: _convert(v, fields[k], f"{where}.{k}") for k, v in given.items()})
        except TypeError as error:  # a field without a default is missing
            raise InputError(f"{where}: {error}.") from None

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
        except FileNotFoundError:
            raise InputError(f"{path}: expected a {cls.__name__} in JSON. No such file.") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: expected a {cls.__name__} in JSON. {error}.") from None
        return cls.from_json(data, where=str(path))


def unknown(what: str, name: str, known: typing.Iterable[str]) -> str:
    """One sentence about a name that is not known, with the nearest that is."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {name!r}.{hint} Expected one of: {', '.join(known)}."


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


def _convert(value: Any, annotation: Any, where: str) -> Any:
    """Return `value` as `annotation` asks (lists become tuples), or say what was expected."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return value
    if origin is typing.Annotated:
        return _convert(value, arguments[0], where)
    if origin in (typing.Union, types.UnionType):
        problems = []
        for choice in arguments:
            try:
                return _convert(value, choice, where)
            except InputError as error:
                problems.append(error)
        if isinstance(value, dict):  # the Spec's own complaint says more than a list of types
            raise problems[0]
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
                return tuple(_convert(v, a, where) for v, a in zip(value, arguments, strict=True))
    elif isinstance(annotation, type) and issubclass(annotation, Spec):
        if isinstance(value, annotation):
            return value
        if isinstance(value, dict):
            return annotation.from_json(value, where)
    elif annotation is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif annotation is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif value is None if annotation is type(None) else isinstance(value, annotation):
        return value
    wanted = getattr(annotation, "__name__", None) if not origin else None
    raise InputError(f"{where}: expected {wanted or annotation}. Received: {value!r}.")

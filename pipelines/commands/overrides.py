"""The fields of a preset that flags may change, derived from its config."""

import dataclasses
import functools
import types
import typing
from typing import Any

from pipelines.commands.derived import comment, derived, with_help
from tfattn.models.model_config import ModelConfig

PLAIN = (bool, int, float, str)
NOT_FLAGS = ("vocab_size", "family")  # the first follows from the data


@dataclasses.dataclass(frozen=True)
class ModelOverrides:
    """Fields of the preset to change; none: as it has them."""

    def given(self) -> dict[str, Any]:
        """Return the fields that are set."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def apply(self, config: ModelConfig) -> ModelConfig:
        """Return `config` with the given fields changed, of both sides where it has two."""
        return config.with_fields(**self.given())


def overrides_of(config: ModelConfig) -> ModelOverrides:
    """Return overrides with a field for each plain field of a config, all of them unset."""
    return _overrides(_flags_from(config))


def field_names(config: ModelConfig) -> set[str]:
    """Return the fields of a config that flags may change."""
    return {field.name for field in dataclasses.fields(overrides_of(config))}


def _flags_from(config: ModelConfig) -> type:
    """Return the class whose fields are the flags: of both sides alike where it has two."""
    (kind,) = {type(stack) for stack in config.stacks().values()} or {type(config)}
    return kind


@functools.cache
def _overrides(kind: type) -> ModelOverrides:
    hints, flags = typing.get_type_hints(kind), {}
    for field in dataclasses.fields(kind):
        plain = _plain(hints[field.name])
        if plain is not None and field.name not in NOT_FLAGS:
            flags[field.name] = with_help(plain | None, comment(kind, field.name)), None
    return derived(ModelOverrides, flags)()


def _plain(annotation: Any) -> Any:
    """Return the type of a flag, or None for a field that no flag can spell."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [m for m in typing.get_args(annotation) if m is not type(None)]
        return _plain(members[0])
    return annotation if annotation in PLAIN or _is_literal(annotation) else None


def _is_literal(annotation: Any) -> bool:
    return typing.get_origin(annotation) is typing.Literal

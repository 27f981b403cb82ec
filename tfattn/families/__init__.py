"""Every family is some rows of data; this module finds a row by the name of its preset."""

from dataclasses import replace
from typing import Any

from tfattn.errors import InputError
from tfattn.families import bert, gpt1, gpt2, gpt3, llama, recurrent, t5, transformer, vit
from tfattn.families.format import Format
from tfattn.models.model_config import Head, ModelConfig
from tfattn.spec import unknown

FAMILIES = {
    "bert": bert,
    "gpt1": gpt1,
    "gpt2": gpt2,
    "gpt3": gpt3,
    "llama": llama,
    "recurrent": recurrent,
    "t5": t5,
    "transformer": transformer,
    "vit": vit,
}
PRESETS: dict[str, ModelConfig] = {
    name: replace(config, family=family)
    for family, rows in FAMILIES.items()
    for name, config in rows.PRESETS.items()
}
FORMATS: dict[str, Format] = {
    kind.model_type: replace(kind, base=replace(kind.base, family=family))
    for family, rows in FAMILIES.items()
    for kind in rows.FORMATS
}


def preset(name: str) -> ModelConfig:
    """Return the configuration called `name`, such as "bert-base-uncased".

    It is a `TransformerConfig`, or what another kind of model is built from.

    Raises:
        InputError: no such preset; the nearest one is named.
    """
    if name not in PRESETS:
        raise InputError(f"model: {unknown('preset', name, PRESETS)}")
    return PRESETS[name]


def pretraining_head(name: str) -> Head:
    """Return the head that the preset called `name` is pretrained with.

    Raises:
        InputError: no such preset; the nearest one is named.
    """
    preset(name)
    family: Any = next(family for family in FAMILIES.values() if name in family.PRESETS)
    return family.head(name) if hasattr(family, "head") else family.HEAD

"""Every family is some rows of data; this module finds a row by the name of its preset."""

from tfattn.errors import InputError
from tfattn.families import bert
from tfattn.models.config import TransformerConfig
from tfattn.spec import unknown

FAMILIES = {"bert": bert}
PRESETS: dict[str, TransformerConfig] = {
    name: config for family in FAMILIES.values() for name, config in family.PRESETS.items()
}


def preset(name: str) -> TransformerConfig:
    """Return the configuration called `name`, such as "bert-base-uncased".

    Raises:
        InputError: no such preset; the nearest one is named.
    """
    if name not in PRESETS:
        raise InputError(f"model: {unknown('preset', name, PRESETS)}")
    return PRESETS[name]

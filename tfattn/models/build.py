"""`build(config, *heads)`: from a row of data to a model."""

from typing import Any

from tfattn.models.builder import build_model
from tfattn.models.described import DescribedModel as Model
from tfattn.models.model_config import Head, ModelConfig

__all__ = ["Model", "build"]


def build(config: ModelConfig, *heads: Head, dtype: Any = None) -> Model:
    """Return the model that `config` describes, with its weights created.

    Args:
        config: from `tfattn.preset("bert-base-uncased")` or your own.
        *heads: what sits on it, such as `Tokens()` or `Classify(classes=3)`; none = hidden states.
        dtype: a Keras dtype policy, such as "mixed_bfloat16"; default the global one.

    Raises:
        InputError: what is not a head, or two parts of the model of one name.
    """
    return build_model(config, heads, dtype)

"""From a config to a model with weights, by the builders that config and heads name.

No builder is imported before it is needed, so that models can be rebuilt from here without a cycle
of imports, and classes outside tfattn can bring builders of their own.
"""

import importlib
from typing import Any

import keras

from tfattn.errors import InputError
from tfattn.models.model_config import Head, ModelConfig

PARTS = ("stem", "encoder", "pooler", "target_stem", "decoder")  # of models, beside their heads


def resolve(name: str) -> Any:
    """Return what "module:name" names, importing the module."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def build_model(config: ModelConfig, heads: tuple[Head, ...], dtype: Any) -> Any:
    """Return the model that `config` describes, with its weights created; see `tfattn.build`."""
    _check(config, heads)
    policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
    model = resolve(config.builder)(config, heads, policy)
    model.build()
    return model


def build_head_layers(
    config: ModelConfig, heads: tuple[Head, ...], policy: Any
) -> dict[str, keras.layers.Layer]:
    """Return the layer of each head that has one, by the name of the head."""
    return {
        head.name: resolve(head.builder)(config, head, dtype=policy, name=head.name)
        for head in heads
        if head.builder is not None
    }


def _check(config, heads):
    for head in heads:
        if not (isinstance(head, Head) and head.fits(config)):
            fitting = sorted(_fitting(Head, config), key=lambda kind: kind.builder is None)
            kinds = ", ".join(f"{kind.__name__}()" for kind in fitting)
            raise InputError(f"heads: expected {kinds}. Received: {head!r}.")
    names = [head.name for head in heads]
    paths = [*PARTS, *(head.name for head in heads if head.builder is not None)]
    if len(set(names)) < len(names) or len(set(paths)) < len(paths):
        raise InputError(
            "heads: expected different names, none of them 'stem', 'encoder' or 'pooler'. "
            f"Received: {names}."
        )


def _fitting(kind, config):
    """Return `kind` and the classes below it, as far as they can sit on such a model."""
    below = [head for subclass in kind.__subclasses__() for head in _fitting(subclass, config)]
    return [kind, *below] if kind.fits(config) else below

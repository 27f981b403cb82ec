"""What all models share: a config and heads that rebuild them, and paths of their weights."""

from typing import Any, ClassVar, Self

import keras

from tfattn.models.config import Head
from tfattn.spec import Spec


class DescribedModel(keras.Model):
    """A model that a config and its heads describe.

    Args:
        config: what the model is.
        heads: what sits on it.
    """

    kind: ClassVar[type[Spec]]  # of config

    def __init__(self, config: Spec, heads: tuple[Head, ...], **kwargs):
        super().__init__(**kwargs)
        self.config, self.heads = config, tuple(heads)

    def weights_by_path(self) -> dict[str, keras.Variable]:
        """Return every weight by its path without the model's own name.

        Paths such as `encoder/block_3/self/query/kernel` are API: checkpoints, conversion tables,
        weight decay and sharding rules match on them.
        """
        return {v.path.removeprefix(f"{self.name}/"): v for v in self.weights}

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the model."""
        heads = [head.to_json() for head in self.heads]
        return {"config": self.config.to_json(), "heads": heads, "dtype": self.dtype_policy.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Rebuild the model."""
        from tfattn.models.build import build  # the assembler knows the parts, not the reverse

        described: Any = cls.kind.from_json(config["config"])
        heads = (Head.from_json(head) for head in config["heads"])
        model: Any = build(described, *heads, dtype=config["dtype"])
        return model

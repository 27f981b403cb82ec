"""What all models share: a config and heads that rebuild them, and paths of their weights."""

from typing import Any, ClassVar, Self

import keras

from tfattn.models.builder import build_model
from tfattn.models.model_config import Head, HeadInputs, ModelConfig
from tfattn.models.stack import Stack
from tfattn.types import Tensor


class DescribedModel(keras.Model):
    """A model that a config and its heads describe.

    Args:
        config: what the model is.
        heads: what sits on it.
    """

    kind: ClassVar[type[ModelConfig]]  # of config
    head_layers: dict[str, keras.layers.Layer]  # the layer of each head that has one, by name

    def __init__(self, config: ModelConfig, heads: tuple[Head, ...], **kwargs):
        super().__init__(**kwargs)
        self.config, self.heads = config, tuple(heads)

    def weights_by_path(self) -> dict[str, keras.Variable]:
        """Return every weight by its path without the model's own name.

        Paths such as `encoder/block_3/self/query/kernel` are API: checkpoints, conversion tables,
        weight decay and sharding rules match on them.
        """
        return {v.path.removeprefix(f"{self.name}/"): v for v in self.weights}

    def build_heads(self) -> None:
        """Create the weights of the heads' layers, which read hidden states (b, t, d)."""
        for layer in self.head_layers.values():
            layer.build((None, None, self.config.output_dim()))

    def answers(self, hidden: Tensor, context: HeadInputs, training: bool | None) -> Any:
        """Return the output of the one head, outputs by name, or `hidden` without heads."""
        outputs = {
            head.name: head.answer(self.head_layers.get(head.name), hidden, context, training)
            for head in self.heads
        }
        if not outputs:
            return hidden
        return outputs if len(outputs) > 1 else next(iter(outputs.values()))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the model."""
        heads = [head.to_json() for head in self.heads]
        return {"config": self.config.to_json(), "heads": heads, "dtype": self.dtype_policy.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Rebuild the model."""
        described = cls.kind.from_json(config["config"])
        heads = tuple(Head.from_json(head) for head in config["heads"])
        return build_model(described, heads, config["dtype"])


class StackModel(DescribedModel):
    """A stem, one stack of blocks and any number of heads.

    Args:
        config: what the model is.
        heads: what sits on it.
        stem: features to hidden states.
        encoder: the stack.
        pooler: BERT's tanh layer on the first hidden state, where a head needs it.
        head_layers: the layer of each head that has one, by name.
    """

    def __init__(
        self,
        config: ModelConfig,
        heads: tuple[Head, ...],
        stem: keras.layers.Layer,
        encoder: Stack,
        pooler: keras.layers.Layer | None,
        head_layers: dict[str, keras.layers.Layer],
        **kwargs,
    ):
        super().__init__(config, heads, **kwargs)
        self.stem, self.encoder, self.pooler = stem, encoder, pooler
        self.head_layers = head_layers

    def build(self, *shapes):
        """Create every weight; no data is needed."""
        self.stem.build()
        self.encoder.build()
        if self.pooler is not None:
            self.pooler.build((None, self.config.dim))
        self.build_heads()
        self.built = True

    def pooled(self, hidden: Tensor) -> Tensor | None:
        """Return the pooler's output (b, d), where there is a pooler."""
        return None if self.pooler is None else self.pooler(hidden[:, 0])

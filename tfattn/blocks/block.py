"""The residual connection and the one transformer block (D2L sections 11.7.3 and 11.7.4)."""

from dataclasses import replace
from typing import Any

import keras
from keras import ops

from tfattn.blocks.inputs import BlockInputs
from tfattn.blocks.norm import NORMS
from tfattn.mechanisms import nested
from tfattn.mechanisms.dropout import Dropout
from tfattn.types import Tensor


@keras.saving.register_keras_serializable(package="tfattn")
class Residual(keras.layers.Layer):
    """A skip connection around a sublayer, with its norm and dropout.

        post-norm: y = norm(x + dropout(sublayer(x)))      (arXiv:1706.03762, section 3.1)
        pre-norm:  y = x + dropout(sublayer(norm(x)))      (arXiv:2002.04745, figure 1)

    What the sublayer returned may be scaled by trained numbers (arXiv:2103.17239), and
    in training left out for some rows as a whole (arXiv:1603.09382, section 3). `enter` gives what
    the sublayer reads, `leave` merges what it returned.

    Args:
        norm: "post" or "pre".
        dropout: share of the sublayer's outputs dropped in training.
        epsilon: added to the variance.
        norm_kind: "layer", "layer-no-bias" or "rms".
        drop_path: share of the rows for which the sublayer is left out in training.
        scale: start of the trained scale (d,); None = there is none.

    Raises:
        ValueError: another `norm`.
    """

    def __init__(
        self,
        norm: str = "post",
        dropout: float = 0.0,
        epsilon: float = 1e-12,
        norm_kind: str = "layer",
        drop_path: float = 0.0,
        scale: float | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if norm not in ("post", "pre"):
            raise ValueError(f"norm must be 'post' or 'pre'. Received: norm={norm!r}.")
        self.pre = norm == "pre"
        self.epsilon, self.norm_kind = epsilon, norm_kind
        self.norm = NORMS[norm_kind](epsilon, dtype=self.dtype_policy, name="norm")
        self.dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.drop_path = None
        if drop_path:
            self.drop_path = Dropout(
                drop_path, rows=True, dtype=self.dtype_policy, name="drop_path"
            )
        self.start, self.scale = scale, None

    def build(self, shape):
        """Create the norm for inputs of `shape` (b, t, d), and the scale."""
        self.norm.build(shape)
        if self.start is not None:
            self.scale = self.add_weight(
                name="scale",
                shape=(shape[-1],),
                initializer=keras.initializers.Constant(self.start),
            )
        self.built = True

    def enter(self, x: Tensor) -> Tensor:
        """Return the sublayer's input."""
        return self.norm(x) if self.pre else x

    def leave(self, x: Tensor, y: Tensor, training: bool | None = None) -> Tensor:
        """Merge the residual stream `x` and the sublayer's output `y`, both (b, t, d)."""
        y = y if self.scale is None else y * ops.cast(self.scale, y.dtype)
        if self.drop_path is not None:
            y = self.drop_path(self.dropout(y, training=training), training=training)
            return x + y if self.pre else self.norm(x, y)
        if self.pre:  # a sum alone is no island
            drops = self.dropout.drops(training)
            return self.dropout.within(ops.add, x, y, training=True) if drops else x + y
        rest = self.norm.parameters()
        return self.dropout.within(self.norm.function, x, y, *rest, training=training)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        norm = "pre" if self.pre else "post"
        own = {"norm": norm, "dropout": self.dropout.rate, "epsilon": self.epsilon}
        rate = 0.0 if self.drop_path is None else self.drop_path.rate
        rest = {"norm_kind": self.norm_kind, "drop_path": rate, "scale": self.start}
        return {**super().get_config(), **own, **rest}


@keras.saving.register_keras_serializable(package="tfattn")
class TransformerBlock(keras.layers.Layer):
    """Sublayers in the order of a layout, each in a residual connection.

    `{"self": MultiHeadAttention(...), "feedforward": FeedForward(...)}` is the encoder's block, and
    with a causal mask that of GPT; "cross" between them makes it the decoder's. A sublayer's name
    is its path in the checkpoint.

    Args:
        sublayers: name of each sublayer to the layer, in order; "self" attends to the residual
            stream itself and "cross" to a memory.
        dim: width d of the residual stream.
        norm: placement of the norms, "post" or "pre".
        dropout: after each sublayer.
        epsilon: of the norms.
        norm_kind: of the norms: "layer", "layer-no-bias" or "rms".
        drop_path: share of the rows for which a sublayer is left out in training.
        scale: start of the trained scale of each sublayer; None = there is none.
    """

    def __init__(
        self,
        sublayers: dict[str, keras.layers.Layer],
        dim: int,
        norm: str = "post",
        dropout: float = 0.0,
        epsilon: float = 1e-12,
        norm_kind: str = "layer",
        drop_path: float = 0.0,
        scale: float | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.dim, self.sublayers = dim, sublayers
        self.residual = {
            "norm": norm,
            "dropout": dropout,
            "epsilon": epsilon,
            "norm_kind": norm_kind,
            "drop_path": drop_path,
            "scale": scale,
        }
        self.residuals = {
            name: Residual(**self.residual, dtype=self.dtype_policy, name=f"{name}_residual")
            for name in sublayers
        }

    def build(self, *shapes):
        """Create every sublayer and norm."""
        for name, sublayer in self.sublayers.items():
            sublayer.build((None, None, self.dim))
            self.residuals[name].build((None, None, self.dim))
        self.built = True

    def call(
        self,
        x: Tensor,
        *,
        inputs: BlockInputs | None = None,
        training: bool | None = None,
        return_weights: bool = False,
        **fields: Any,
    ) -> Any:
        """Map (b, t, d) to (b, t, d).

        Returned with it: the keys and values that a given cache holds now; and the attention
        weights (b, h, t, t) if requested, a tuple with those of "cross" (b, h, t, s) where there is
        one, or beside a cache those of "cross" alone.

        Args:
            x: (b, t, d), the residual stream.
            inputs: what the attention reads beside it.
            training: whether anything is dropped.
            return_weights: whether to return the attention weights.
            fields: those of `BlockInputs`, which replace the ones of `inputs`.
        """
        inputs = replace(inputs or BlockInputs(), **fields)
        extra, weights = [], []
        for name, sublayer in self.sublayers.items():
            residual = self.residuals[name]
            y = residual.enter(x)
            if name == "self":
                with_weights = return_weights and inputs.cache is None
                options = {**inputs.of_self(), "return_weights": with_weights}
            elif name == "cross":
                options = {**inputs.of_cross(), "return_weights": return_weights}
            else:
                options = {}
            result = sublayer(y, **options, training=training)
            y, *more = result if isinstance(result, tuple) else (result,)
            if name == "self" and inputs.cache is not None:
                extra += more  # keys and values
            else:
                weights += more
            x = residual.leave(x, y, training=training)
        if return_weights:
            extra.append(weights[0] if len(weights) == 1 else tuple(weights))
        return (x, *extra) if extra else x

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        sublayers = {name: nested.to_config(layer) for name, layer in self.sublayers.items()}
        own = {"sublayers": sublayers, "dim": self.dim}
        return {**super().get_config(), **own, **self.residual}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TransformerBlock":
        """Rebuild the layer."""
        sublayers = {
            name: keras.saving.deserialize_keras_object(sublayer)
            for name, sublayer in config["sublayers"].items()
        }
        return cls(**{**config, "sublayers": sublayers})

"""What reads a source recurrently (D2L 10.6 and 10.7), and what of it a decoder begins with."""

from typing import Any

import keras
from keras import ops

from tfattn.blocks.cells import bound, cell_of, present, run, zeros
from tfattn.mechanisms.dropout import Dropout
from tfattn.types import Tensor

States = tuple[Tensor, ...]


@keras.saving.register_keras_serializable(package="tfattn")
class RecurrentEncoder(keras.layers.Layer):
    """Recurrent layers one after the other, each read forwards, backwards, or in both directions.

    Where there are two directions, their outputs stand side by side (arXiv:1409.0473, section
    3.2). Backwards alone, it reads a reversed source (arXiv:1409.3215, section 3.3), and its
    outputs stand where their tokens do.

    Args:
        dim: width d of the input.
        hidden_dim: width u of a direction.
        depth: layers.
        cell: "gru" or "lstm".
        directions: "forward", "backward", or both.
        dropout: between layers (arXiv:1409.2329).
        initializer: of the kernels of the input; recurrent ones start orthogonal.
    """

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        depth: int = 1,
        cell: str = "gru",
        directions: tuple[str, ...] = ("forward",),
        dropout: float = 0.0,
        initializer: Any = "glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.dim, self.hidden_dim, self.depth, self.cell = dim, hidden_dim, depth, cell
        self.directions = tuple(directions)
        self.initializer = keras.initializers.get(initializer)
        self.cells = [
            cell_of(
                cell,
                hidden_dim,
                self.initializer.clone(),
                self.dtype_policy,
                f"{direction}_{index}",
            )
            for index in range(depth)
            for direction in self.directions
        ]
        self.dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, *shapes):
        """Create every cell."""
        both = len(self.directions)
        for index, cell in enumerate(self.cells):
            cell.build((None, self.dim if index < both else both * self.hidden_dim))
        self.built = True

    def call(
        self, x: Tensor, segments: Tensor | None = None, training: bool | None = None
    ) -> tuple[Tensor, States]:
        """Map (b, s, d) to the outputs of the last layer (b, s, u), or (b, s, 2 u).

        Returned with them: the states (b, u) behind the last token that was read, of the first
        layer's first direction, of its second, of the second layer, and so on.

        Args:
            x: (b, s, d).
            segments: (b, s), 0 = padding; default all 1.
            training: whether there is dropout.
        """
        there = present(x, segments)
        start = zeros(self.cell, ops.shape(x)[0], self.hidden_dim, x.dtype)
        x, states, cells = ops.transpose(x, (1, 0, 2)), (), iter(self.cells)
        for index in range(self.depth):
            x = self.dropout(x, training=training) if index else x
            made = []
            for direction in self.directions:
                cell = bound(self.cell, next(cells), self.compute_dtype)
                y, end = run(cell, x, start, there, reverse=direction == "backward")
                made.append(y)
                states += end
            x = ops.concatenate(made, axis=-1)
        return ops.transpose(x, (1, 0, 2)), states

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {
            **super().get_config(),
            "dim": self.dim,
            "hidden_dim": self.hidden_dim,
            "depth": self.depth,
            "cell": self.cell,
            "directions": self.directions,
            "dropout": self.dropout.rate,
            "initializer": keras.initializers.serialize(self.initializer),
        }


@keras.saving.register_keras_serializable(package="tfattn")
class InitialStates(keras.layers.Layer):
    """`tanh(W s + b)`: from states of an encoder to those with which a decoder begins.

    In arXiv:1409.0473, A.2.2, s is the state of the backward direction. Each state has its own W.

    Args:
        hidden_dim: width u of the states.
        count: of the states: layers, twice as many of LSTMs.
        initializer: of the kernels.
    """

    def __init__(self, hidden_dim: int, count: int, initializer: Any = "glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim, self.count = hidden_dim, count
        self.initializer = keras.initializers.get(initializer)
        self.maps = [
            keras.layers.Dense(
                hidden_dim,
                "tanh",
                kernel_initializer=self.initializer.clone(),
                dtype=self.dtype_policy,
                name=f"state_{index}",
            )
            for index in range(count)
        ]

    def build(self, *shapes):
        """Create every W."""
        for dense in self.maps:
            dense.build((None, self.hidden_dim))
        self.built = True

    def call(self, states: States) -> States:
        """Map each state (b, u) to one (b, u)."""
        return tuple(dense(state) for dense, state in zip(self.maps, states, strict=True))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "count": self.count,
            "initializer": keras.initializers.serialize(self.initializer),
        }

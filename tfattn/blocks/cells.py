"""Recurrent cells over whole sequences, the input's share of all steps in one product (D2L 10).

GRU (Cho et al., arXiv:1406.1078, section 2.3, with the reset gate behind the product, as in its
first version and on GPUs):

    z = sigma(Wz x + Uz h)    r = sigma(Wr x + Ur h)    n = tanh(Wn x + r * (Un h))
    h' = z h + (1 - z) n

LSTM (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000):

    i, f, o = sigma(W x + U h)    n = tanh(Wn x + Un h)    c' = f c + i n    h' = o tanh(c')

Weights, their order and their starts are those of keras.layers.GRUCell and LSTMCell.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from tfattn import backend
from tfattn.types import Tensor

States = tuple[Tensor, ...]


@backend.island
def _gru(x, inner, h, there):
    """Return h' (b, u) of the shares of x and h (b, 3 u), where `there` (b, 1), else h."""
    (xz, xr, xn), (hz, hr, hn) = ops.split(x, 3, axis=-1), ops.split(inner, 3, axis=-1)
    update, reset = ops.sigmoid(xz + hz), ops.sigmoid(xr + hr)
    new = update * h + (1 - update) * ops.tanh(xn + reset * hn)
    return ops.where(there, new, h)


@backend.island
def _lstm(x, inner, h, c, there):
    """Return h' and c' side by side, (b, 2 u), of the shares of x and h (b, 4 u), as `_gru`."""
    i, f, n, o = ops.split(x + inner, 4, axis=-1)
    cell = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(n)
    both = ops.concatenate([ops.sigmoid(o) * ops.tanh(cell), cell], axis=-1)
    return ops.where(there, both, ops.concatenate([h, c], axis=-1))


def _move_gru(x, states, there, recurrent, bias):
    (h,) = states
    return (_gru(x, ops.matmul(h, recurrent) + bias[1], h, there),)


def _move_lstm(x, states, there, recurrent, bias):
    h, c = states
    return tuple(ops.split(_lstm(x, ops.matmul(h, recurrent), h, c, there), 2, axis=-1))


class Kind(NamedTuple):
    """A kind of cell."""

    layer: Callable[..., keras.layers.Layer]  # has the weights
    states: int  # the first of which is the output
    move: Callable[..., States]


CELLS = {
    "gru": Kind(keras.layers.GRUCell, 1, _move_gru),
    "lstm": Kind(keras.layers.LSTMCell, 2, _move_lstm),
}


def cell_of(kind: str, width: int, initializer: Any, dtype: Any, name: str) -> keras.layers.Layer:
    """Return a cell of Keras' whose recurrent kernel starts orthogonal."""
    return CELLS[kind].layer(
        width,
        kernel_initializer=initializer,
        recurrent_initializer=_orthogonal,
        dtype=dtype,
        name=name,
    )


def _orthogonal(shape, dtype=None):
    """Draw in float32: no backend orthogonalizes bfloat16."""
    return ops.cast(keras.initializers.Orthogonal()(shape, "float32"), dtype or "float32")


class Bound(NamedTuple):
    """A cell with its weights as values, so that a loop reads each of them once."""

    kind: Kind
    kernel: Tensor  # (d, gates u)
    recurrent: Tensor  # (u, gates u)
    bias: Tensor  # (biases, gates u)

    def share(self, x: Tensor, first: int = 0, biased: bool = True) -> Tensor:
        """Return what inputs (..., d) give to the gates, (..., gates u).

        Args:
            x: (..., d), or some columns of the whole input.
            first: of those columns.
            biased: whether the bias is added, which is to be so once.
        """
        rows = self.kernel[first : first + x.shape[-1]]
        flat = ops.matmul(ops.reshape(x, (-1, x.shape[-1])), rows)
        flat = flat + self.bias[0] if biased else flat
        return ops.reshape(flat, (*ops.shape(x)[:-1], rows.shape[-1]))

    def move(self, share: Tensor, states: States, there: Tensor) -> States:
        """Return the states (b, u) after one step, or as they are where `there` (b, 1) is false."""
        return self.kind.move(share, states, there, self.recurrent, self.bias)


def bound(kind: str, cell: keras.layers.Layer, dtype: str) -> Bound:
    """Return a cell of Keras' with its weights as values of a type."""
    kernel, recurrent, bias = (
        ops.cast(ops.convert_to_tensor(weight), dtype)
        for weight in (cell.kernel, cell.recurrent_kernel, cell.bias)
    )
    return Bound(CELLS[kind], kernel, recurrent, bias if len(bias.shape) > 1 else bias[None])


def zeros(kind: str, batch: Any, width: int, dtype: str) -> States:
    """Return the states (b, u) before the first step."""
    return tuple(ops.zeros((batch, width), dtype) for _ in range(CELLS[kind].states))


def present(x: Tensor, segments: Tensor | None) -> Tensor:
    """Return where there are tokens, (t, b, 1) bool, of x (b, t, d) and its segments (b, t)."""
    if segments is None:
        return ops.ones((ops.shape(x)[1], ops.shape(x)[0], 1), "bool")
    return ops.transpose(segments != 0)[..., None]


def run(
    cell: Bound, x: Tensor, states: States, there: Tensor, reverse: bool = False
) -> tuple[Tensor, States]:
    """Return the outputs (s, b, u) for inputs (s, b, d), and the states behind them.

    Args:
        cell: whose.
        x: (s, b, d).
        states: (b, u) before the first step.
        there: (s, b, 1) bool; where it is false the states stay.
        reverse: whether the last input is read first. Padding moves no states, wherever it stands.
    """

    def step(states, now):
        states = cell.move(now[0], states, now[1])
        return states, states[:1]

    states, made = backend.scan(step, states, (cell.share(x), there), [x.dtype], reverse)
    return made[0], states

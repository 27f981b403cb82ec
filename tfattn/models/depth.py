"""Ways through a stack of blocks that save memory, or the time to compile; numbers stay the same.

    recomputed   the gradient of a block runs its forward pass again: of a block no more than its
                 input is kept (arXiv:1604.06174, section 4.1)
    scanned      blocks that are alike are traced and compiled once, and run in a loop over their
                 weights, stacked

In both a block is a pure function of its variables, whose values go in, and come out where they
change: the seeds of dropout, by which it draws what it would have drawn anyway.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tfattn import backend, ways
from tfattn.mechanisms import nested

Tensor = Any


class Pure:
    """Blocks, one after the other, as a function of the values of their variables.

    Args:
        blocks: called in order, `block(x, **given)`.
        shared: layers that are not theirs and that they read, such as the position of a stack.
    """

    def __init__(self, blocks: Sequence[keras.layers.Layer], shared: Sequence[keras.layers.Layer]):
        self.blocks = blocks
        self.own = [v for layer in blocks for v in layer.variables]
        self.shared = [v for layer in shared for v in layer.variables]
        kept = {id(v) for layer in blocks for v in layer.weights}
        self.moving = [i for i, v in enumerate(self.own) if id(v) not in kept]  # seeds

    def values(self) -> list[Tensor]:
        """Return those of the blocks' variables now."""
        return [v.value for v in self.own]

    def run(self, x: Tensor, values: Sequence[Tensor], given: dict[str, Any]) -> list[Tensor]:
        """Return what the last block makes of `x`, and what moved of the variables.

        Args:
            x: (b, t, d).
            values: of the blocks' variables.
            given: further arguments, tensors or not.
        """
        shared = [v.value for v in self.shared]
        names = [name for name, value in given.items() if ops.is_tensor(value)]
        ends = len(values), len(values) + len(shared)

        def made(x, *rest):
            now = [*zip(self.own, rest, strict=False)]
            now += zip(self.shared, rest[ends[0] : ends[1]], strict=True)
            tensors = dict(zip(names, rest[ends[1] :], strict=True))
            with keras.StatelessScope(now) as scope:
                for block in self.blocks:
                    x = block(x, **{**given, **tensors})
            return [x, *(scope.get_current_value(self.own[i]) for i in self.moving)]

        run = backend.recomputed(made) if ways.current().remat else made
        return run(x, *values, *shared, *(given[name] for name in names))

    def move(self, values: Sequence[Tensor]) -> None:
        """Give the variables that move their values."""
        for index, value in zip(self.moving, values, strict=True):
            self.own[index].assign(value)


def through(
    blocks: Sequence[keras.layers.Layer],
    shared: Sequence[keras.layers.Layer],
    x: Tensor,
    **given: Any,
) -> Tensor:
    """Return what the last of the blocks makes of `x`, in the ways of now.

    Args:
        blocks: in order.
        shared: layers that are not theirs and that they read.
        x: (b, t, d).
        given: further arguments of every block.
    """
    count = period(blocks) if ways.current().scanned else len(blocks)
    if count == len(blocks):
        for block in blocks:
            pure = Pure([block], shared)
            x, *moved = pure.run(x, pure.values(), given)
            pure.move(moved)
        return x
    groups = [Pure(blocks[i : i + count], shared) for i in range(0, len(blocks), count)]
    rows = [ops.stack(same) for same in zip(*(g.values() for g in groups), strict=True)]

    def step(carried, now):
        x, *moved = groups[0].run(carried[0], now, given)
        return (x,), tuple(moved)

    types = [rows[i].dtype for i in groups[0].moving]
    (x,), moved = backend.scan(step, (x,), tuple(rows), types)
    for index, group in enumerate(groups):
        group.move([values[index] for values in moved])
    return x


def period(blocks: Sequence[keras.layers.Layer]) -> int:
    """Return after how many blocks the same come again; all, where they do not."""
    told = [_told(nested.to_config(block)) for block in blocks]
    for count in range(1, len(blocks)):
        if len(blocks) % count == 0 and told == told[:count] * (len(blocks) // count):
            return count
    return len(blocks)


def _told(config):
    """Return a config without names and seeds, which tell blocks apart that compute the same."""
    if isinstance(config, dict):
        return {k: _told(v) for k, v in config.items() if k not in ("name", "seed")}
    return [_told(x) for x in config] if isinstance(config, (list, tuple)) else config

"""Stacks of blocks run so as to save memory, or the time to compile; results stay the same.

    remat        the gradient of a block recomputes its forward pass: of a block no more than its
                 input is stored (activation checkpointing, arXiv:1604.06174, section 4.1)
    scanned      blocks that are alike are traced and compiled once, and run in a loop over their
                 weights, stacked

In both a block is a pure function of its variables, whose values go in, and come out where they
change: the seeds of dropout, which give the random numbers that they would have given anyway.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
from keras import ops

from tfattn import backend, ways
from tfattn.blocks.inputs import BlockInputs
from tfattn.mechanisms import nested
from tfattn.types import Tensor


class FunctionalBlocks:
    """Blocks, one after the other, as a function of the values of their variables.

    Args:
        blocks: called in order, `block(x, inputs=inputs, training=training)`.
        shared: layers that are not theirs and that they read, such as the position of a stack.
    """

    def __init__(self, blocks: Sequence[keras.layers.Layer], shared: Sequence[keras.layers.Layer]):
        self.blocks = blocks
        self.own = [v for layer in blocks for v in layer.variables]
        self.shared = [v for layer in shared for v in layer.variables]
        weights = {id(v) for layer in blocks for v in layer.weights}
        self.state = [i for i, v in enumerate(self.own) if id(v) not in weights]  # seeds

    def values(self) -> list[Tensor]:
        """Return the values of the blocks' variables now."""
        return [v.value for v in self.own]

    def run(
        self, x: Tensor, values: Sequence[Tensor], inputs: BlockInputs, training: bool | None
    ) -> list[Tensor]:
        """Return the result of the last block, and the new values of the state.

        Args:
            x: (b, t, d).
            values: of the blocks' variables.
            inputs: of every block.
            training: whether anything is dropped.
        """
        groups = (values, [v.value for v in self.shared], inputs.tensors())
        names = list(groups[2])
        first, second = len(groups[0]), len(groups[0]) + len(groups[1])

        def apply(x, *flat):
            variables = [*zip(self.own, flat[:first], strict=True)]
            variables += zip(self.shared, flat[first:second], strict=True)
            tensors = dict(zip(names, flat[second:], strict=True))
            with keras.StatelessScope(variables) as scope:
                for block in self.blocks:
                    x = block(x, inputs=replace(inputs, **tensors), training=training)
            return [x, *(scope.get_current_value(self.own[i]) for i in self.state)]

        run = backend.recomputed(apply) if ways.current().remat else apply
        return run(x, *groups[0], *groups[1], *groups[2].values())

    def assign_state(self, values: Sequence[Tensor]) -> None:
        """Assign the new values of the state."""
        for index, value in zip(self.state, values, strict=True):
            self.own[index].assign(value)


def apply_blocks(
    blocks: Sequence[keras.layers.Layer],
    shared: Sequence[keras.layers.Layer],
    x: Tensor,
    inputs: BlockInputs,
    training: bool | None,
) -> Tensor:
    """Return the result of the last block, by the execution options `remat` and `scanned`.

    Args:
        blocks: in order.
        shared: layers that are not theirs and that they read.
        x: (b, t, d).
        inputs: of every block.
        training: whether anything is dropped.
    """
    count = period(blocks) if ways.current().scanned else len(blocks)
    if count == len(blocks):
        for block in blocks:
            functional = FunctionalBlocks([block], shared)
            x, *state = functional.run(x, functional.values(), inputs, training)
            functional.assign_state(state)
        return x
    groups = [FunctionalBlocks(blocks[i : i + count], shared) for i in range(0, len(blocks), count)]
    stacked = [ops.stack(same) for same in zip(*(g.values() for g in groups), strict=True)]

    def step(carried, values):
        x, *state = groups[0].run(carried[0], values, inputs, training)
        return (x,), tuple(state)

    types = [stacked[i].dtype for i in groups[0].state]
    (x,), states = backend.scan(step, (x,), tuple(stacked), types)
    for index, group in enumerate(groups):
        group.assign_state([values[index] for values in states])
    return x


def period(blocks: Sequence[keras.layers.Layer]) -> int:
    """Return after how many blocks they repeat; the number of all, if they do not."""
    configs = [_strip_names(nested.to_config(block)) for block in blocks]
    for count in range(1, len(blocks)):
        if len(blocks) % count == 0 and configs == configs[:count] * (len(blocks) // count):
            return count
    return len(blocks)


def _strip_names(config: Any) -> Any:
    """Return a config without names and seeds, in which blocks differ that compute the same."""
    if isinstance(config, dict):
        return {k: _strip_names(v) for k, v in config.items() if k not in ("name", "seed")}
    return [_strip_names(x) for x in config] if isinstance(config, (list, tuple)) else config

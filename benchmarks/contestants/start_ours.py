"""tfattn as its pipelines train, loaded as the commands load it."""

from collections.abc import Callable
from typing import Any

from pipelines.commands.quiet import import_tensorflow


def contestant(**given: Any) -> Callable[[], Any]:
    """Return a function that takes one step; arguments as of `train_ours`."""
    import_tensorflow()  # first, for the rest imports TensorFlow in its own way
    from benchmarks.contestants import train_ours

    return train_ours.contestant(**given)

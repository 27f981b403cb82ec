"""How a model computes what it is: choices that change time and memory, not results.

They are of a trace, not of a model: the same weights are trained in one way and served in another.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Ways:
    """Ways of computing; results agree to rounding."""

    fused: bool = False  # islands are compiled by XLA, each alone (tfattn/backend)
    remat: bool = False  # the gradient of a block computes its forward pass again, and stores none
    scanned: bool = False  # blocks that are alike are traced once, and run in a loop
    # The scores of all queries at once, of some at a time, or near the diagonal alone; auto: by
    # mask and length (tfattn/mechanisms/engines.py).
    attention: Literal["auto", "dense", "blocked", "local"] = "auto"
    # Number of the part of a batch that is computed here, where others, of as many rows, are
    # elsewhere: dropout draws for its rows what it draws for them in the whole batch.
    part: Any = 0
    lanes: int = 1  # such parts that are computed at once, in the memory of this machine


PLAIN = Ways()
_current = contextvars.ContextVar("ways", default=PLAIN)


def current() -> Ways:
    """Return the ways of the innermost `using` block."""
    return _current.get()


@contextlib.contextmanager
def using(**changes: Any) -> Iterator[None]:
    """Compute so in this block, which traces a step or runs one: `using(fused=True)`."""
    token = _current.set(replace(_current.get(), **changes))
    try:
        yield
    finally:
        _current.reset(token)

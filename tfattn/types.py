"""The type of a tensor: each backend has its own, and Keras has no better name."""

from typing import Any

Tensor = Any

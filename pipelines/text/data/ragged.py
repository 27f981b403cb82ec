"""Texts of unlike length as one array of ids, as tokenizers give them."""

from typing import Any

import numpy as np


class Ragged:
    """The ids of each text.

    Args:
        flat: of all texts, one after the other.
        lengths: of each text.
    """

    def __init__(self, flat: np.ndarray, lengths: np.ndarray):
        self.flat, self.lengths = flat, lengths
        self.ends = np.cumsum(lengths)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Return the ids of one text."""
        return self.flat[self.ends[index] - self.lengths[index] : self.ends[index]]

"""What reports on a few rows of a batch share."""

import tensorflow as tf

from pipelines.core.api import Batch


def first_rows(batch: Batch, count: int) -> Batch:
    """Return the first rows of a batch."""
    return tf.nest.map_structure(lambda x: x[:count], batch)


def cell(text: str) -> str:
    """Return the text as a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")

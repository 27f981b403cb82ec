"""Examples of TensorFlow Datasets, where the user has that package."""

from collections.abc import Iterator
from typing import Any

from tfattn.errors import InputError

TFDS = "tfds:"  # begins what is no file


def examples(entry: str) -> Iterator[dict[str, Any]]:
    """Return the examples of `tfds:NAME/SPLIT` as numpy, in the order of its files.

    Raises:
        InputError: no such data set or split, or no package that could load it.
    """
    name, _, split = entry.removeprefix(TFDS).rpartition("/")
    if not name or not split:
        raise InputError(f"files: expected tfds:NAME/SPLIT. Received: {entry!r}.")
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise InputError(
            f"files: {entry!r} takes tensorflow_datasets; `pip install tensorflow-datasets`."
        ) from None
    try:
        return iter(tfds.as_numpy(tfds.load(name, split=split, shuffle_files=False)))
    except (ValueError, OSError) as error:  # no such data set or split, no network
        raise InputError(f"{entry}: expected a data set that can be loaded. {error}.") from None

"""TensorFlow, loaded without a word, once the user's input has been looked at."""

import contextlib
import faulthandler
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from tfattn.errors import InputError

# Keras, which TensorFlow loads, loads these for wrappers and pictures that nothing here asks for.
# They take as long as all of Keras; what needs them loads them later.
UNASKED = ("sklearn", "matplotlib.pyplot", "IPython")


@contextlib.contextmanager
def absent(names: tuple[str, ...]) -> Iterator[None]:
    """Have imports of some modules fail in this block, but for those that are loaded already."""
    hidden = [name for name in names if name not in sys.modules]
    absentees: dict[str, Any] = dict.fromkeys(hidden)  # None is Python's word for no module
    sys.modules.update(absentees)
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def import_tensorflow() -> None:
    """Import TensorFlow with the error stream aside: its notes on itself say nothing to a user.

    Some heed no setting. Where the import fails they are shown after all.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if os.environ.setdefault("KERAS_BACKEND", "tensorflow") != "tensorflow":
        raise InputError(
            "KERAS_BACKEND: expected tensorflow, on which the pipelines run. "
            f"Received: {os.environ['KERAS_BACKEND']}."
        )
    if "tensorflow" in sys.modules:
        return
    sys.stderr.flush()
    screen = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        faulthandler.enable(screen)  # a crash would take the notes with it
        try:
            with absent(UNASKED):
                import tensorflow as tf

            # The first use of devices writes too; a cluster is to be joined before it.
            if "TF_CONFIG" not in os.environ:
                tf.config.list_logical_devices()
        except Exception as error:
            notes.seek(0)
            os.write(screen, notes.read())
            raise InputError(
                "tensorflow: expected the packages of requirements.txt to be installed. "
                f"Received: {type(error).__name__}: {error}."
            ) from error
        finally:
            faulthandler.disable()
            os.dup2(screen, 2)
            os.close(screen)

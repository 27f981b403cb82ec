"""TensorFlow, loaded without a word, once the user's input has been looked at."""

import faulthandler
import os
import sys
import tempfile

from tfattn.errors import InputError


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

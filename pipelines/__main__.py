"""`python -m pipelines COMMAND`: pretrain, finetune, evaluate, export, fill, presets, demo."""

import errno
import faulthandler
import os
import re
import sys
import tempfile
import warnings

import tyro

from pipelines import flags
from pipelines.commands import COMMANDS, Presets, as_json, defaults
from pipelines.runs import Interrupted
from tfattn.errors import InputError
from tfattn.spec import unknown

PROGRAM = "python -m pipelines"
USAGE, STOPPED = 2, 130
# The disk or its owner says no: nobody needs a traceback for that.
DENIED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def main(words: list[str]) -> int:
    """Run one command; return its exit code."""
    try:
        command, base = _command(words)
        if not isinstance(command, Presets):
            _quiet_import()
        result = command.run(base)
    except KeyboardInterrupt:
        return STOPPED
    except Interrupted as error:
        print(f"\n{error}", file=sys.stderr)
        return STOPPED
    except Exception as error:
        said = _sentence(error)
        if said is None:  # a fault of ours
            raise
        print(f"error: {said}", file=sys.stderr)
        return USAGE
    print(as_json(result))
    return 0


def _command(words):
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        raise InputError(unknown("command", words[0], COMMANDS))
    if not words or words[0] not in COMMANDS:  # prints help or what is missing, and exits
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, args=words, prog=PROGRAM, description=__doc__
        )
    name, words = words[0], words[1:]
    found, base = defaults(name, words)
    return flags.parse(COMMANDS[name], words, f"{PROGRAM} {name}", found), base


def _sentence(error):
    """Return what to tell of an error that is not ours, or None."""
    if isinstance(error, InputError):
        return flags.as_flag(str(error))
    if isinstance(error, OSError) and error.errno in DENIED:
        return f"{error.filename or 'disk'}: {error.strerror}."
    tensorflow = sys.modules.get("tensorflow")
    exhausted = (MemoryError, tensorflow.errors.ResourceExhaustedError) if tensorflow else ()
    if isinstance(error, exhausted):
        tensor = re.search(r"tensor with shape ?[(\[].*?[)\]]", str(error))
        return (
            "memory: expected a model and batches that fit; try a smaller --train.batch "
            f"with a larger --train.accumulate. Received: {tensor[0] if tensor else error}."
        )
    return None


def _quiet_import() -> None:
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

            tf.config.list_logical_devices()  # the first use of devices writes too
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


if __name__ == "__main__":
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    sys.exit(main(sys.argv[1:]))

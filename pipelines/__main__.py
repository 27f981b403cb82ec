"""`python -m pipelines COMMAND`: pretrain, finetune, evaluate, export, fill, presets, demo."""

import os
import sys

import tyro

from pipelines.commands import COMMANDS, Presets, as_json, defaults
from pipelines.runs import Interrupted
from tfattn.errors import InputError

USAGE, STOPPED = 2, 130


def main(words: list[str]) -> int:
    """Run one command; return its exit code."""
    # TensorFlow's notes on its own start say nothing to a user, and would break the bars.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        name = words[0] if words and words[0] in COMMANDS else None
        found, base = defaults(name, words[1:]) if name else (None, None)
        if name is None:
            command = tyro.extras.subcommand_cli_from_dict(
                COMMANDS, args=words, prog="python -m pipelines", description=__doc__
            )
        else:
            command = tyro.cli(
                COMMANDS[name], args=words[1:], default=found, prog=f"python -m pipelines {name}"
            )
        if not isinstance(command, Presets):
            _quiet_import()
        result = command.run(base)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return STOPPED
    except Interrupted as error:
        print(f"\n{error}", file=sys.stderr)
        return STOPPED
    print(as_json(result))
    return 0


def _quiet_import() -> None:
    """Import TensorFlow with the error stream closed: some of its notes heed no setting."""
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        import tensorflow as tf

        tf.config.list_logical_devices()  # the first use of devices writes too
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

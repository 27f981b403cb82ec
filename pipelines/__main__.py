"""`python -m pipelines COMMAND`: pretrain, finetune, evaluate, generate, export and others."""

import errno
import os
import re
import sys
import warnings
from typing import Any

import tyro

from pipelines.commands import flags
from pipelines.commands.table import as_json, commands, parsing
from pipelines.core.run import Interrupted
from pipelines.core.spec import Recipe
from tfattn.errors import InputError
from tfattn.spec import unknown

PROGRAM = "python -m pipelines"
USAGE, STOPPED = 2, 130
# The disk or its owner says no, or a name cannot be one: nobody needs a traceback for that.
DENIED = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR),
)


def main(words: list[str]) -> int:
    """Run one command; return its exit code."""
    prefixes: dict[str, str] = {}
    try:
        command, base = _command(words)
        prefixes = flags.prefixes(type(command), command)
        result = command.run(base)
    except KeyboardInterrupt:
        print("\nstopped. The same command begins again where it can.", file=sys.stderr)
        return STOPPED
    except Interrupted as error:
        print(f"\n{error}", file=sys.stderr)
        return STOPPED
    except Exception as error:
        said = _sentence(error, prefixes)
        if said is None:  # a fault of ours
            raise
        print(f"error: {said}", file=sys.stderr)
        return USAGE
    print(as_json(result))
    return 0


def _command(words: list[str]) -> tuple[Any, Recipe | None]:
    """Return the command that the words spell, and the recipe that it repeats."""
    known = commands()
    if words and not words[0].startswith("-") and words[0] not in known:
        raise InputError(unknown("command", words[0], known))
    if not words or words[0] not in known:  # prints help or what is missing, and exits
        tyro.extras.subcommand_cli_from_dict(known, args=words, prog=PROGRAM, description=__doc__)
    name, words = words[0], words[1:]
    found = parsing(name, words)
    return flags.parse(found.kind, words, f"{PROGRAM} {name}", found.default), found.base


def _sentence(error: Exception, prefixes: dict[str, str]) -> str | None:
    """Return what to tell of an error that is not ours, or None."""
    if isinstance(error, InputError):
        return flags.as_flag(str(error), prefixes)
    if isinstance(error, OSError) and error.errno in DENIED:
        return f"{error.filename or 'disk'}: {error.strerror}."
    tensorflow = sys.modules.get("tensorflow")
    exhausted = (MemoryError, tensorflow.errors.ResourceExhaustedError) if tensorflow else ()
    if isinstance(error, exhausted):
        tensor = re.search(r"tensor with shape ?[(\[].*?[)\]]", str(error))
        return (
            "memory: expected a model and batches that fit; try smaller batches (in training with "
            "a larger --train.accumulate), or fewer beams or tokens. "
            f"Received: {tensor[0] if tensor else error}."
        )
    return None


if __name__ == "__main__":
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        try:
            code = main(sys.argv[1:])
        finally:
            sys.stdout.flush()  # the help too, of which `exit` is told by an exception
    except BrokenPipeError:  # who reads it, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)

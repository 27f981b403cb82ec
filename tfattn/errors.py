"""The one error that is the caller's doing rather than ours."""


class InputError(ValueError):
    """What was given cannot be used.

    The message is one sentence that names the file, row or field, what was expected and what was
    received, so that a command can print it as it is and stop with exit code 2.
    """

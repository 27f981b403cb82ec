"""Export: a SavedModel that takes raw input, with its processor inside."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from pipelines.core.atomic import sync_and_rename
from pipelines.core.evaluate import options_of
from pipelines.core.finished import open_finished
from pipelines.core.run import claim, release, user_path
from pipelines.core.runtimes import runtime_of

PARTIAL = ".export.tmp"  # while it is written


def export(folder: str, out: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Write the model of a run as a SavedModel in `out`/1, whole or not at all.

    Where `out` holds versions already, it is the next one: a server takes the highest.

    Args:
        folder: of a finished run.
        out: receives the version.
        options: of the task, by name, such as `tokens` and `sampling`.

    Returns:
        `saved_model`, its folder, the `inputs` and `outputs` of its signature, and `bytes`.

    Raises:
        InputError: no finished run, an option that the task does not have, or an output folder
            that cannot be written or holds other things than versions.
    """
    done = open_finished(folder)
    where = f"{folder}, a run of {done.task.name},"
    chosen = options_of(done.task.export_options, options or {}, where)
    target = user_path(out)
    made = claim(target, PARTIAL, beside=_is_version)
    try:
        module: Any = runtime_of(done.task).exported(done, chosen)
        signatures = module.signatures()
        tf.saved_model.save(module, str(target / PARTIAL), signatures=signatures)
        last = max((int(p.name) for p in target.iterdir() if _is_version(p.name)), default=0)
        version = target / str(last + 1)
        sync_and_rename(target / PARTIAL, version)
    except BaseException:
        release(target, made, beside=_is_version)
        raise
    serve: Any = signatures["serving_default"]
    inputs = [spec.name for spec in serve.input_signature]
    outputs = sorted(serve.get_concrete_function().structured_outputs)
    size = sum(p.stat().st_size for p in version.rglob("*") if p.is_file())
    about = {"saved_model": str(version), "inputs": inputs, "outputs": outputs}
    return {**about, "bytes": size}


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit()

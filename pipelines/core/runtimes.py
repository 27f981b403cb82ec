"""From a task's spec to its runtime, which is imported when it is needed."""

import functools
import importlib

from pipelines.core.api import TaskRuntime
from pipelines.core.spec import Task


def runtime_of(task: Task) -> TaskRuntime:
    """Return the runtime that the task names."""
    return _runtime(task.runtime)


@functools.cache
def _runtime(name: str) -> TaskRuntime:
    module, _, kind = name.partition(":")
    return getattr(importlib.import_module(module), kind)()

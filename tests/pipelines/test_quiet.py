"""What Keras would load unasked is absent while it is imported, and there afterwards."""

import importlib
import subprocess
import sys

import pytest

from pipelines.commands.quiet import UNASKED, absent


def test_a_module_is_absent_in_the_block_and_not_behind_it():
    name = "colorsys"  # of the standard library, and loaded by nothing here
    sys.modules.pop(name, None)
    with absent((name,)), pytest.raises(ImportError):
        importlib.import_module(name)
    assert importlib.import_module(name).rgb_to_hsv(0, 0, 0) == (0, 0, 0)


def test_what_is_loaded_already_stays():
    with absent(("sys", "json")):
        import json

        assert json is sys.modules["json"]
    assert sys.modules["sys"] is sys


def test_keras_without_them_trains_and_they_are_there_when_asked_for():
    # In a process of its own, where nothing has loaded them.
    words = (
        "from pipelines.commands.quiet import import_tensorflow; import_tensorflow();"
        "import sys, keras, pipelines.core.train;"
        f"print([name for name in {UNASKED} if name in sys.modules]);"
        "from pipelines.core.classification import ClassificationMetric; import numpy as np;"
        "metric = ClassificationMetric(2); metric.update(np.eye(2), {'targets': np.arange(2)});"
        "print(metric.result()['macro_f1'])"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "1.0"]

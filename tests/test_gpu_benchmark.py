"""The models on JAX as the benchmark of GPUs trains them: every kind learns, without TensorFlow."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

TINY = ("bert-tiny", "gpt2-tiny", "t5-tiny", "vit-tiny")
STEPS = """
import json, sys
from benchmarks.contestants.train_jax import contestant

step = contestant(sys.argv[1])
losses = [step() for _ in range(4)]
print(json.dumps({"losses": losses, "tensorflow": "tensorflow" in sys.modules}))
"""


@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="JAX is not installed here")
@pytest.mark.parametrize("work", TINY)
def test_a_step_on_jax_learns_its_batch_without_tensorflow(work):
    # In a process of its own: the backend is chosen once, and here it may be another.
    done = subprocess.run(
        [sys.executable, "-c", STEPS, work],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        stdout=subprocess.PIPE,
        check=True,
    )
    said = json.loads(done.stdout)
    assert said["losses"][-1] < said["losses"][0]
    assert not said["tensorflow"]

"""A process that imports TensorFlow once, and then forks a child for every job.

TensorFlow takes seconds to import, and tests kill process after process or run notebooks. A fork is
safe as long as the server has one thread, that is before TensorFlow has computed anything; `fork`
checks this.

    fork_server = ForkServer()
    child = fork_server.start(COMMAND, log, ["pretrain", ...])
    child.kill(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
"""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

COMMAND = "pipelines.__main__:main"


class ForkServer:
    def __init__(self):
        tests = Path(__file__).parent
        root = tests.parent
        path = os.pathsep.join(map(str, (root, tests, tests / "pipelines", tests / "notebooks")))
        # The threads of OpenBLAS start when numpy is imported.
        env = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": path}
        env |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "default"}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=pipe, stdout=pipe, env=env, cwd=root, text=True
        )

    def start(self, target, log, *args):
        """Fork a child that calls `module:function` with `args`, and exits with what it returns."""
        return Child(self, self.ask("start", target, str(log), args))

    def ask(self, *request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self):
        with self._process:  # closes its pipes and waits
            pass


class Child:
    def __init__(self, fork_server, pid):
        self.fork_server, self.pid, self.code = fork_server, pid, None

    def poll(self):
        """Return the exit code, minus the signal that ended it, or None while it runs."""
        if self.code is None:
            self.code = self.fork_server.ask("poll", self.pid)
        return self.code

    def kill(self, signal):
        os.kill(self.pid, signal)

    def wait(self, seconds=120):
        self.wait_until(lambda: False, seconds)
        return self.code

    def wait_until(self, condition, seconds=120):
        """Return whether the condition held before the child ended."""
        end = time.monotonic() + seconds
        while True:
            if condition():
                return True
            if self.poll() is not None:
                return False
            if time.monotonic() > end:
                raise TimeoutError(f"after {seconds} s")
            time.sleep(0.01)


def serve():
    import tensorflow  # noqa: F401

    import pipelines.__main__
    import pipelines.core.train  # noqa: F401

    for line in sys.stdin:
        what, *rest = json.loads(line)
        print(json.dumps({"start": fork, "poll": poll}[what](*rest)), flush=True)


def fork(target, log, args):
    if len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("a process of several threads cannot be forked safely")
    pid = os.fork()
    if pid:
        return pid
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    code = 1
    try:
        module, name = target.split(":")
        code = getattr(importlib.import_module(module), name)(*args) or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def poll(pid):
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


if __name__ == "__main__":
    serve()

"""A contestant that only waits."""

import itertools
import os
import signal
import time


def contestant(seconds=0.01, fails="", dies=None):
    if fails:
        raise ValueError(fails)
    print("what a library prints is no answer")
    turns = itertools.count()

    def work():
        if next(turns) == dies:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(seconds)

    return work

"""A contestant that only waits."""

import time


def contestant(seconds=0.01, fails=""):
    if fails:
        raise ValueError(fails)
    print("what a library prints is no answer")
    return lambda: time.sleep(seconds)

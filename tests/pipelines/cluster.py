"""Workers on one machine, each a process of its own, as in a cluster."""

import json
import os
import socket
from contextlib import ExitStack


def addresses(count):
    """Return addresses on which nobody listens now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


def described(workers, index):
    """Return the TF_CONFIG of one worker."""
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})


def work(config, words):
    """Run a command as one worker; in a process of its own."""
    from pipelines.__main__ import main

    os.environ["TF_CONFIG"] = config
    return main(words)


def start(fork_server, folder, words, count=2):
    """Start a command on all workers of a new cluster; their output goes to `folder`."""
    found = addresses(count)
    return [
        fork_server.start("cluster:work", folder / f"worker-{i}.log", described(found, i), words)
        for i in range(count)
    ]

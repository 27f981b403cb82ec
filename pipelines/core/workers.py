"""Several processes that train one model, each with its share of every batch.

Each is started with the same command and the cluster in TF_CONFIG (docs/scaling.md). They read and
write one run folder: the first worker prepares the data and writes all there is to write, the
others wait for it and read. What they decide together, they decide on the same numbers.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from tfattn.errors import InputError

# How TensorFlow tells that a peer is gone.
GONE = (
    *(tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError),
    *(tf.errors.DeadlineExceededError, tf.errors.InternalError),
)


class Workers:
    """The processes of a run; most runs have one.

    Args:
        strategy: of this process.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy, self.index, self.count = strategy, 0, 1
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            resolver: Any = strategy.cluster_resolver
            self.count = len(resolver.cluster_spec().as_dict()["worker"])
            self.index = resolver.task_id
        signature = [tf.TensorSpec([None])]
        self._mean = tf.function(self._reduced, input_signature=signature, autograph=False)

    @property
    def is_first(self) -> bool:
        """Return whether this is the one that writes."""
        return self.index == 0

    def mean(self, numbers: Sequence[float]) -> list[float]:
        """Return the means over all workers; each gives as many, and waits for the others."""
        if self.count == 1:
            return list(numbers)
        return self._mean(tf.constant(numbers, tf.float32)).numpy().tolist()

    def wait(self) -> None:
        """Go on when all workers are here."""
        self.mean([0.0])

    def any(self, said: bool) -> bool:
        """Return whether one of the workers says so."""
        return self.mean([float(said)])[0] > 0

    def alike(self, number: float) -> bool:
        """Return whether all workers have this number."""
        mean, square = self.mean([number, number**2])
        return square == mean**2

    @contextlib.contextmanager
    def first_before_others(self) -> Iterator[None]:
        """Let the first worker do what is in this block before the others do."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Say in a sentence that a worker is gone.

        Raises:
            InputError: it is.
        """
        try:
            yield
        except GONE as error:
            if self.count == 1:
                raise
            raise InputError(
                f"train.devices: expected all {self.count} workers to stay. One is gone "
                f"({type(error).__name__}). Start all of them again: they go on from the last "
                "checkpoint."
            ) from None

    def _reduced(self, numbers: tf.Tensor) -> Any:
        def run(numbers: tf.Tensor) -> Any:
            context: Any = tf.distribute.get_replica_context()
            # A copy, for what comes from outside is on no device.
            return context.all_reduce("MEAN", tf.identity(numbers))

        every = self.strategy.run(run, args=(numbers,))
        return self.strategy.experimental_local_results(every)[0]

"""The compiled step: forward, backward, update; and evaluation over a split.

Keras' `fit` cannot compile under MirroredStrategy, accumulate there, keep determinism with XLA, or
resume exactly; this loop can. The model stays a plain `keras.Model` with a Keras optimizer.

How a step is compiled (`train.compile`):

    xla     the whole step by XLA: GPUs and TPUs
    fused   graph mode with oneDNN's matrix products; the elementwise stretches (softmax, GELU,
            norms, the loss) are compiled by XLA alone (tfattn/backend)
    graph   graph mode
    auto    xla where there is a GPU or TPU, else fused
"""

import contextlib
import functools
import math
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from pipelines.core.api import Batch, Dataset, Model, Objective, Rows, Sums, Tensor
from pipelines.core.batches import WHOLE, Share, readable
from pipelines.core.devices import choose_compile, choose_lanes
from pipelines.core.microbatches import count_parts, mapped, merged, part_spec, summed
from pipelines.core.train_config import TrainConfig
from pipelines.core.workers import Workers
from tfattn import ways
from tfattn.errors import InputError

MEASURES = ("loss", "learning_rate", "grad_norm", "weight_norm", "padding")


class Engine:
    """Takes steps and evaluates.

    Args:
        model: trained in place.
        objective: gives losses.
        optimizer: built for the model's variables; None where nothing is trained.
        train: how.
        strategy: on which devices.
    """

    def __init__(
        self,
        model: Model,
        objective: Objective,
        optimizer: Any = None,
        train: TrainConfig = TrainConfig(),  # noqa: B008 - frozen
        strategy: tf.distribute.Strategy | None = None,
    ):
        self.model, self.objective, self.optimizer, self.train = model, objective, optimizer, train
        self.strategy = strategy or tf.distribute.get_strategy()
        self.workers = Workers(self.strategy)
        self.mode = choose_compile(train.compile)
        whole = self.mode == "xla"
        alone = self.strategy.num_replicas_in_sync == 1
        self.lanes = choose_lanes(train) if alone and not whole else 1
        self._wants_outputs = bool(objective.metrics())
        self._how = {
            "fused": self.mode == "fused",
            "remat": train.remat == "block",
            "scanned": train.scan,
            "attention": train.attention,
            "lanes": self.lanes,
        }
        # Without AutoGraph: nothing here needs it, and TensorFlow 2.21 has none on Python 3.13.
        function = functools.partial(tf.function, autograph=False)
        self._gradients = function(self._local_gradients, jit_compile=whole)
        self._apply = function(self._update, jit_compile=True) if alone and whole else self._update
        self._train_step = function(self._distributed_step)
        self._evaluate_step = function(
            self._local_evaluation, jit_compile=whole, reduce_retracing=True
        )
        self.names = [*objective.terms, *MEASURES, objective.unit]

    def expect(self, spec: Any) -> None:
        """Trace the step once for all batches of a stream, whatever shape comes first.

        A trace for each shape would take minutes in all; one that is widened by the shapes that
        came first would differ from that of a resumed run, which begins with others, in the last
        bits.

        Args:
            spec: of the stream's elements; sizes that differ are None.
        """
        if self.strategy.num_replicas_in_sync == 1:
            signature = [self._compilable(spec)]
            self._train_step = tf.function(
                self._distributed_step, input_signature=signature, autograph=False
            )

    def share(self) -> Share:
        """Return which parts of every batch the devices of this process take."""
        parts = self.strategy.num_replicas_in_sync
        if parts == 1:
            return WHOLE
        own = parts // self.workers.count
        return Share(self.workers.index * own, own, parts)

    def step(self, batch: Batch) -> dict[str, float]:
        """Take one optimizer step; return its numbers.

        Raises:
            InputError: the loss or a gradient is not finite; names the step and the norms.
        """
        made = self._train_step(self._compilable(batch)).numpy().tolist()
        numbers = dict(zip(self.names, made, strict=True))
        if not (math.isfinite(numbers["loss"]) and math.isfinite(numbers["grad_norm"])):
            step = int(self.optimizer.iterations.numpy()) if self.optimizer else 0
            raise InputError(
                f"train: expected a finite loss. Received {numbers['loss']} at step {step}, with "
                f"gradient norm {numbers['grad_norm']:.4g} and weight norm "
                f"{numbers['weight_norm']:.4g}; the last checkpoint is from before. "
                "Try a lower --train.rate or a longer --train.warmup."
            )
        return numbers

    def evaluate(self, batches: Dataset, rows: Rows) -> dict[str, float]:
        """Return the mean of each term over a split, and the metrics of the whole split.

        Args:
            batches: every row once, as `Batches.in_order` gives them.
            rows: that they are made of.
        """
        sums: dict[str, float] = dict.fromkeys(self.objective.terms, 0.0)
        divisors = dict(sums)
        metrics = self.objective.metrics()
        with readable():
            for batch in batches:
                found, weights, outputs = self._evaluate_step(self._compilable(batch))
                for name in sums:
                    sums[name] += float(found[name])
                    divisors[name] += float(weights[name])
                if metrics:
                    real = batch["real"].numpy() > 0
                    given = (outputs, {name: x for name, x in batch.items() if name != "real"})
                    outputs, batch = tf.nest.map_structure(lambda x, r=real: x.numpy()[r], given)
                    for metric in metrics:
                        metric.update(outputs, batch)
        numbers = {name: sums[name] / max(divisors[name], 1.0) for name in sums}
        numbers["loss"] = sum(numbers[name] for name in self.objective.losses)
        for metric in metrics:
            numbers |= metric.result()
        return numbers | self.objective.derived(numbers, rows)

    def _compilable(self, batch: Batch) -> Batch:
        """Return a batch, or its spec, without the string targets where XLA compiles the step."""
        targets = batch["targets"]
        if self.mode != "xla" or not isinstance(targets, dict):
            return batch
        kept = {n: x for n, x in targets.items() if getattr(x, "dtype", None) != tf.string}
        return {**batch, "targets": kept}

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Hold the averaged weights in the model, where they are kept, and put back the others."""
        variables = self.model.trainable_variables
        optimizer: Any = self.optimizer
        if optimizer is None or not optimizer.use_ema or optimizer.iterations.numpy() == 0:
            yield  # averages begin at the first step
            return
        saved = [v.numpy() for v in variables]
        optimizer.finalize_variable_values(variables)
        try:
            yield
        finally:
            for variable, value in zip(variables, saved, strict=True):
                variable.assign(value)

    def _distributed_step(self, batch: Batch) -> Tensor:
        gradients, sums = self.strategy.run(self._replica_step, args=(batch,))
        reduced = [self.strategy.reduce("SUM", g, axis=None) for g in gradients]
        sums = self.strategy.reduce("SUM", sums, axis=None)
        rate, grad_norm = self._apply(reduced)
        weight_norm = tf.linalg.global_norm([v.value for v in self._trainables()])
        terms = [sums[i] for i in range(len(self.objective.terms))]
        named = dict(zip(self.objective.terms, terms, strict=True))
        loss = tf.add_n([named[name] for name in self.objective.losses])
        count, places = sums[-2], sums[-1]
        measures = [loss, rate, grad_norm, weight_norm, 1.0 - count / places, count]
        return tf.stack([*terms, *measures])

    def _replica_step(self, batch: Batch) -> tuple[list[Tensor], Tensor]:
        """Return the gradients of this device's share, and its share of every number."""
        context, replica = tf.distribute.get_replica_context(), 0
        divisors = {n: tf.reduce_sum(w) for n, w in batch["weights"].items()}
        if context is not None and context.num_replicas_in_sync > 1:
            divisors = context.all_reduce("SUM", divisors)
            replica = tf.convert_to_tensor(context.replica_id_in_sync_group)
        divisors = {name: tf.maximum(total, 1.0) for name, total in divisors.items()}
        return self._gradients(batch, divisors, replica)

    def _local_gradients(
        self, batch: Batch, divisors: Sums, replica: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """Return the gradients of the rows that are here, and their share of every number."""
        count = count_parts(batch, self.train.accumulate, self.lanes)
        kept = {id(v) for v in self.model.weights}
        moving = [v for v in self.model.variables if id(v) not in kept]  # seeds of dropout
        before = [tf.convert_to_tensor(v.value) for v in moving]

        def part(i: Tensor, rows: Batch) -> tuple[list[Tensor], list[Tensor]]:
            with keras.StatelessScope(zip(moving, before, strict=True)) as scope:
                gradients, numbers = self._of_part(rows, divisors, replica * count + i)
            return [*gradients, numbers], [scope.get_current_value(v) for v in moving]

        if isinstance(count, int) and count == 1:
            sums, after = part(0, batch)
        else:
            start = [tf.zeros(v.shape) for v in self._trainables()]
            start.append(tf.zeros(len(self.objective.terms) + 2))
            sums, after = summed(part, batch, count, self.lanes, start, before)
        for variable, value in zip(moving, after, strict=True):
            variable.assign(value)
        return sums[:-1], sums[-1]

    def _of_part(self, batch: Batch, divisors: Sums, number: Tensor) -> tuple[list[Tensor], Tensor]:
        with ways.using(**self._how, part=number), tf.GradientTape() as tape:
            sums, _ = self.objective.measure(self.model, batch, True)
            terms = {n: sums[n] / divisors[of] for n, of in self.objective.terms.items()}
            loss = tf.add_n([terms[name] for name in self.objective.losses])
        variables = [v.value for v in self._trainables()]
        gradients = tape.gradient(
            loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        counts = self.objective.count(batch)
        # Gradients of embeddings come as slices; the norm and the sum over devices want them whole.
        dense = [tf.convert_to_tensor(g) for g in gradients]
        return dense, tf.stack([terms[name] for name in self.objective.terms] + [*counts])

    def _update(self, gradients: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Clip by the global norm (arXiv:1211.5063) and apply; returns rate and norm before."""
        rate = tf.convert_to_tensor(self.optimizer.learning_rate)
        norm = tf.linalg.global_norm(gradients)
        scale = tf.minimum(1.0, self.train.clip / tf.maximum(norm, 1e-12))
        self.optimizer.apply([g * scale for g in gradients], self._trainables())
        return rate, norm

    def _local_evaluation(self, batch: Batch) -> tuple[Sums, Sums, Any]:
        """Return the sum and the weight of each term, and the outputs, if a metric reads them."""

        def part(number: Tensor, rows: Batch) -> tuple[Sums, Any]:
            with ways.using(**self._how):
                sums, outputs = self.objective.measure(self.model, rows, False)
            if not self._wants_outputs:
                return sums, ()
            return sums, tf.nest.map_structure(_as_float32, outputs)

        count = count_parts(batch, 1, self.lanes)
        if isinstance(count, int) and count == 1:
            sums, outputs = part(0, batch)
        else:
            made: Any = ({name: tf.TensorSpec([]) for name in self.objective.terms}, ())
            if self._wants_outputs:
                made = part_spec(part, batch)
            sums, outputs = mapped(part, batch, count, self.lanes, made)
            sums = tf.nest.map_structure(tf.reduce_sum, sums)
            outputs = tf.nest.map_structure(merged, outputs)
        weights = {n: tf.reduce_sum(batch["weights"][of]) for n, of in self.objective.terms.items()}
        return sums, weights, outputs

    def _trainables(self) -> list[Any]:
        return self.model.trainable_variables


def _as_float32(x: Tensor) -> Tensor:
    """Return floating-point numbers in the type that numpy knows, and others as they are."""
    return tf.cast(x, "float32") if x.dtype.is_floating else x

"""The optimizer: AdamW, its schedule and steps, and what weight decay leaves alone."""

import math
import re
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from pipelines.core.train_config import TrainConfig

# By weight path: norms, biases and single tokens are not decayed (as released, arXiv:1810.04805).
NO_DECAY = re.compile(r"(^|/)(bias|gamma|beta|scale|class_token|mask_token)$")


@keras.saving.register_keras_serializable(package="tfattn")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warmup to the peak, then one of the published decays, as a function of the step.

        linear        to 0 after the last step                          (arXiv:1810.04805, A.2)
        cosine        to a tenth of the peak after the last step        (arXiv:1608.03983, eq. 5)
        inverse-sqrt  with the square root of the step                  (arXiv:1706.03762, eq. 3)
        wsd           constant, then linear to 0 over the last fifth    (arXiv:2404.06395, eq. 1)
        constant      no decay

    Args:
        kind: one of these.
        peak: the highest rate.
        steps: of the run.
        warmup: steps of the rise.
    """

    def __init__(self, kind: str, peak: float, steps: int, warmup: int):
        self.kind, self.peak, self.steps, self.warmup = kind, peak, steps, warmup

    def __call__(self, step: Any) -> Any:
        """Return the rate of a step (0 = the first)."""
        # Counted from one: the first update moves, and the last still does.
        step = ops.cast(step, "float32") + 1.0
        rise = ops.minimum(step / max(self.warmup, 1), 1.0)
        left = max(self.steps - self.warmup, 1)
        gone = ops.clip((step - self.warmup - 1.0) / left, 0.0, 1.0)
        if self.kind == "linear":
            decay = 1.0 - gone
        elif self.kind == "cosine":
            decay = 0.1 + 0.45 * (1.0 + ops.cos(math.pi * gone))
        elif self.kind == "inverse-sqrt":
            start = float(max(self.warmup, 1))
            decay = ops.sqrt(start / ops.maximum(step, start))
        elif self.kind == "wsd":
            decay = ops.minimum((1.0 - gone) / 0.2, 1.0)
        else:
            decay = ops.ones_like(gone)
        return self.peak * rise * decay

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the schedule."""
        own = {"kind": self.kind, "peak": self.peak, "steps": self.steps}
        return {**own, "warmup": self.warmup}


@keras.saving.register_keras_serializable(package="tfattn")
class AdamW(keras.optimizers.AdamW):
    """AdamW (arXiv:1711.05101) by TensorFlow's own kernel: one operation for each weight.

    Keras' takes some thirty. Compiled they are as fast, but to trace and compile them was a third
    of the time until the first step.

    Args:
        proportional: the rate for a weight w is a share of its size, rate * max(rms(w), 0.001). Of
            Adafactor (arXiv:1804.04235, section 8), by which T5 was trained, this has the size of a
            step alone. Embeddings of size 1 hardly move at a rate that suits its kernels.
        options: of Keras' AdamW.
    """

    def __init__(self, *args: Any, proportional: bool = False, **options: Any):
        super().__init__(*args, **options)
        self.proportional = proportional

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Change all weights; the powers that correct the bias are the same for each."""
        step = tf.cast(self.iterations.value, "float32") + 1.0
        self._powers = tf.pow(self.beta_1, step), tf.pow(self.beta_2, step)
        super().apply(grads, trainable_variables)

    def _apply_weight_decay(self, variables: Any) -> None:
        """Leave it to `update_step`, which has the rate already."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Change one weight."""
        place = self._get_variable_index(variable)
        rate = tf.cast(learning_rate, "float32")
        if self.weight_decay and self._use_weight_decay(variable):
            variable.assign_sub(variable * (rate * self.weight_decay))
        if self.proportional:
            rate *= tf.maximum(tf.sqrt(tf.reduce_mean(tf.square(variable))), 1e-3)
        power1, power2 = self._powers
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
            beta1_power=power1,
            beta2_power=power2,
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the optimizer."""
        return {**super().get_config(), "proportional": self.proportional}


def build_optimizer(train: TrainConfig, steps: int, model: keras.Model) -> AdamW:
    """Return AdamW for this run, with its variables created.

    Clipping is the engine's, which measures the norm anyway.
    """
    warmup = round(train.warmup * steps)
    average = {"use_ema": True, "ema_momentum": train.ema} if train.ema is not None else {}
    optimizer = AdamW(
        Schedule(train.schedule, train.rate, steps, warmup),
        proportional=train.proportional,
        weight_decay=train.weight_decay,
        beta_2=train.beta2,
        epsilon=1e-6,
        name="adamw",  # Keras would number it over the whole process, and with it the weight paths
        **average,
    )
    optimizer.exclude_from_weight_decay(
        [v for v in model.trainable_variables if NO_DECAY.search(v.path)]
    )
    optimizer.build(model.trainable_variables)
    return optimizer

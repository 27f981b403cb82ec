"""tfattn as its pipelines train."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

import tfattn
from benchmarks.work import CLASSES, WORKS, Work, tensors
from pipelines import recipes
from pipelines.data.batches import Batch
from pipelines.data.preprocessing import ImagePreprocessing
from pipelines.devices import share_rows
from pipelines.objectives import Objective
from pipelines.objectives.causal_lm import CausalLM
from pipelines.objectives.images import ImageClasses
from pipelines.objectives.masked_lm import MaskedLM
from pipelines.objectives.source_to_target import SourceToTarget
from pipelines.recipes import ImageClassification, TrainConfig
from pipelines.training.engine import Engine
from pipelines.training.optimize import build_optimizer
from pipelines.training.train import POLICIES
from tfattn.families import gpt2, t5
from tfattn.models.config import Tokens
from tfattn.models.model_config import changed


class Masked(MaskedLM):
    """The masked-token loss on batches that are masked already."""

    def __init__(self):
        self.spec, self.heads = recipes.MaskedLM(), (Tokens(),)
        self.terms = {"mlm_loss": "mlm", "mlm_accuracy": "mlm"}
        self.losses, self.selects = ("mlm_loss",), ("loss", False)


class Written(SourceToTarget):
    """The loss of targets on batches that are there already."""

    def __init__(self):
        self.heads = (t5.HEAD,)
        self.terms = {"loss": "tokens", "accuracy": "tokens"}
        self.losses, self.selects = ("loss",), ("loss", False)


def contestant(
    work: str, mode: str = "fused", precision: str = "float32", depth: int | None = None, **how: Any
) -> Callable[[], Any]:
    """Return a function that takes one step.

    Args:
        work: of benchmarks/work.py.
        mode: in which a step is compiled.
        precision: of products.
        depth: blocks; none: those of the preset.
        how: more fields of TrainConfig.
    """
    given = WORKS[work]
    train: Any = TrainConfig(compile=mode, rate=1e-3, batch=given.batch, **how)  # pyright: ignore[reportArgumentType]
    share_rows(train)
    objective, batch = _task(given)
    config = given.config if depth is None else changed(given.config, depth=depth)
    model = tfattn.build(config, *objective.heads, dtype=POLICIES[precision])
    engine = Engine(model, objective, build_optimizer(train, 10_000, model), train)
    return lambda: engine.step(batch)


def _task(work: Work) -> tuple[Objective, Batch]:
    given = tensors(work.arrays(), tf.constant)
    targets = given["targets"]
    if work.kind == "images":
        classes = tuple(map(str, range(CLASSES)))
        config: Any = work.config
        how = ImagePreprocessing(config.height, config.width, config.channels)
        batch = {"features": {"images": given["images"]}, "targets": tf.one_hot(targets, CLASSES)}
        batch["weights"] = {"rows": tf.ones(work.batch)}
        return ImageClasses(ImageClassification(classes=classes), how), batch
    row = tf.ones_like(given["tokens"])
    features = {"tokens": given["tokens"], "segments": row}
    weights = {"tokens": tf.ones(targets.shape)}
    if work.kind == "pairs":
        features["target_tokens"] = given["target_tokens"]
        features["target_segments"] = tf.ones_like(given["target_tokens"])
        objective: Objective = Written()
    else:
        features["positions"] = tf.cumsum(row, axis=1, exclusive=True)
        objective = CausalLM(recipes.CausalLM(), gpt2.HEAD)
    if work.kind == "masked":
        features["predict_positions"] = given["places"]
        weights, targets = {"mlm": weights["tokens"]}, {"mlm": targets}
        return Masked(), {"features": features, "targets": targets, "weights": weights}
    return objective, {"features": features, "targets": {"tokens": targets}, "weights": weights}

"""tfattn as its pipelines train."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

import tfattn
from benchmarks.work import CLASSES, WORKS, Work, tensors
from pipelines.core.api import Batch, Objective, Selection
from pipelines.core.devices import share_rows
from pipelines.core.engine import Engine
from pipelines.core.optimize import build_optimizer
from pipelines.core.train import POLICIES
from pipelines.core.train_config import TrainConfig
from pipelines.images.classify import ImageClassificationObjective
from pipelines.images.processor import ImagePreprocessing
from pipelines.images.spec import ImageClassification
from pipelines.text.causal_lm import CausalLMObjective
from pipelines.text.masked_lm import MaskedLMObjective
from pipelines.text.seq2seq import Seq2SeqObjective
from pipelines.text.spec import MaskedLM
from tfattn.families import gpt2, t5
from tfattn.models.config import Tokens


class Masked(MaskedLMObjective):
    """The masked-token loss on batches that are masked already."""

    def __init__(self):
        self.task, self.heads = MaskedLM(), (Tokens(),)
        self.terms = {"mlm_loss": "mlm", "mlm_accuracy": "mlm"}
        self.losses, self.selects = ("mlm_loss",), Selection("loss", higher_is_better=False)


class Next(CausalLMObjective):
    """The loss of the next token on batches that are there already."""

    def __init__(self):
        self.heads = (gpt2.HEAD,)
        self.terms = {"loss": "tokens", "accuracy": "tokens"}
        self.losses, self.selects = ("loss",), Selection("loss", higher_is_better=False)


class Written(Seq2SeqObjective):
    """The loss of targets on batches that are there already."""

    def __init__(self):
        self.heads = (t5.HEAD,)
        self.terms = {"loss": "tokens", "accuracy": "tokens"}
        self.losses, self.selects = ("loss",), Selection("loss", higher_is_better=False)


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
    config = given.config if depth is None else given.config.with_fields(depth=depth)
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
        return ImageClassificationObjective(ImageClassification(classes=classes), how), batch
    row = tf.ones_like(given["tokens"])
    features = {"tokens": given["tokens"], "segments": row}
    weights = {"tokens": tf.ones(targets.shape)}
    if work.kind == "pairs":
        features["target_tokens"] = given["target_tokens"]
        features["target_segments"] = tf.ones_like(given["target_tokens"])
        objective: Objective = Written()
    else:
        features["positions"] = tf.cumsum(row, axis=1, exclusive=True)
        objective = Next()
    if work.kind == "masked":
        features["predict_positions"] = given["places"]
        weights, targets = {"mlm": weights["tokens"]}, {"mlm": targets}
        return Masked(), {"features": features, "targets": targets, "weights": weights}
    return objective, {"features": features, "targets": {"tokens": targets}, "weights": weights}

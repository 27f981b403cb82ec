"""What all models of a source and a target share: the features they read, and their one head."""

from collections.abc import Iterable, Mapping
from typing import Any

from keras import ops

from tfattn.errors import InputError
from tfattn.models.described import DescribedModel
from tfattn.models.model_config import Head, HeadInputs
from tfattn.types import Tensor

INPUTS = ("tokens", "segments", "positions")
INPUTS += tuple(f"target_{name}" for name in INPUTS)


class PairModel(DescribedModel):
    """A model that reads a source and writes a target, by one head over the vocabulary."""

    target_stem: Any  # set by those below, in the order in which weights are counted

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits (b, t, v) of the head from what the decoder gives (b, t, r)."""
        (head,) = self.heads
        context = HeadInputs({}, embeddings=self._embeddings)
        return head.answer(self.head_layers[head.name], hidden, context, None)

    def _answer(self, hidden: Tensor, features: Mapping[str, Tensor], training: bool | None) -> Any:
        return self.answers(hidden, HeadInputs(features, embeddings=self._embeddings), training)

    def _embeddings(self):
        return ops.convert_to_tensor(self.target_stem.tokens.embeddings)


def check_heads(heads: tuple[Head, ...]) -> None:
    """Raise an InputError for more than one head, or for another than one over the vocabulary."""
    if len(heads) > 1 or not all(head.predicts_tokens for head in heads):
        raise InputError(
            "heads: expected none, or one over the vocabulary. "
            f"Received: {', '.join(head.name for head in heads)}."
        )


def build_each(layers: Iterable[Any]) -> None:
    """Create the weights of layers that need no shapes; of one that comes twice, once."""
    for layer in layers:
        if layer is not None and not layer.built:
            layer.build()

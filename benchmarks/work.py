"""What is done in a comparison: a size, and what of it all contestants take, in numpy or as texts.

Imports neither Keras nor TensorFlow, so that contestants without them can read it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfattn.families import preset
from tfattn.models.config import EncoderDecoderConfig, TransformerConfig
from tfattn.models.model_config import ModelConfig
from tfattn.models.step import Step
from tfattn.models.vision_config import VisionConfig

CLASSES = 10  # of images
MASKED = 0.15  # share of the tokens that a masked language model tells
FIRST = 5  # id of the first token that is no special one


@dataclass(frozen=True)
class Work:
    """A training step of one size."""

    preset: str  # size of the model
    batch: int  # rows
    length: int = 0  # tokens of a row, or of a source
    target: int = 0  # tokens of a target, where one is written
    vocab_size: int = 8192
    dropout: float = 0.1  # everywhere

    @property
    def config(self) -> ModelConfig:
        """Return the model."""
        drops = {"dropout": self.dropout, "attention_dropout": self.dropout}
        config = preset(self.preset)
        if isinstance(config, VisionConfig):
            return config.with_fields(**drops)
        if isinstance(config, EncoderDecoderConfig):
            return config.with_fields(
                **drops, inner_dropout=self.dropout, vocab_size=self.vocab_size
            )
        return config.with_fields(**drops, vocab_size=self.vocab_size, max_length=self.length)

    @property
    def kind(self) -> str:
        """Return what is learnt: "masked", "causal", "pairs" or "images"."""
        config = self.config
        if isinstance(config, TransformerConfig):
            return "causal" if config.is_causal() else "masked"
        return "images" if isinstance(config, VisionConfig) else "pairs"

    def arrays(self) -> dict[str, np.ndarray]:
        """Return random tokens, or pixels, without padding."""
        draw = np.random.default_rng(0)
        config, shape = self.config, (self.batch, self.length)
        if isinstance(config, VisionConfig):
            pixels = (self.batch, config.height, config.width, config.channels)
            labels = draw.integers(0, CLASSES, self.batch)
            return {"images": draw.normal(size=pixels).astype("float32"), "targets": labels}
        tokens = draw.integers(FIRST, self.vocab_size, shape)
        if self.kind == "pairs":
            sides = draw.integers(FIRST, self.vocab_size, (2, self.batch, self.target))
            return {"tokens": tokens, "target_tokens": sides[0], "targets": sides[1]}
        if self.kind == "causal":
            return {"tokens": tokens, "targets": np.roll(tokens, -1, axis=1)}
        places = np.argsort(draw.random(shape), axis=1)[:, : round(MASKED * self.length)]
        targets = draw.integers(FIRST, self.vocab_size, places.shape)
        return {"tokens": tokens, "places": np.sort(places, axis=1), "targets": targets}

    @property
    def step(self) -> Step:
        """Return what a step reads; logits are taken of what is told."""
        told = MASKED if self.kind == "masked" else 1.0
        return Step(self.batch, self.length, self.target, told, CLASSES)

    def flops(self) -> float:
        """Return the matrix-product FLOPs of a step."""
        return self.config.training_flops(self.step)

    def units(self) -> int:
        """Return how many tokens, or patches, a step has."""
        return self.batch * self.config.places(self.step)


WORKS = {
    "bert-tiny": Work("bert-tiny", 32, 64),
    "bert-mini": Work("bert-mini", 32, 128),
    "bert-base": Work("bert-base-uncased", 8, 128),
    "gpt2-mini": Work("gpt2-mini", 16, 256),
    "nanogpt": Work("nanogpt-tiny", 12, 64, vocab_size=65, dropout=0.0),
    "t5-mini": Work("t5-mini", 16, 256, 64),
    "vit-mini": Work("vit-mini", 64),
    # For trials, of every kind.
    "gpt2-tiny": Work("gpt2-tiny", 4, 32, vocab_size=512),
    "t5-tiny": Work("t5-tiny", 4, 32, 16, vocab_size=512),
    "vit-tiny": Work("vit-tiny", 8),
    # For GPUs (benchmarks/gpu.py): lengths and vocabularies as published.
    "bert-base-gpu": Work("bert-base-uncased", 64, 512, vocab_size=30522),
    "bert-large-gpu": Work("bert-large-uncased", 32, 512, vocab_size=30522),
    "gpt2-small-gpu": Work("gpt2-small", 16, 1024, vocab_size=50257),
    "gpt2-medium-gpu": Work("gpt2-medium", 8, 1024, vocab_size=50257),
    "t5-base-gpu": Work("t5-base", 32, 512, 128, vocab_size=32128),
    "vit-b16-gpu": Work("vit-b16", 128),
}


@dataclass(frozen=True)
class Writing:
    """Prompts that a GPT-2 goes on from."""

    preset: str  # size of the model
    batch: int  # prompts at once
    prompt: int  # tokens before
    tokens: int  # tokens to add
    context: int  # positions
    top_p: float | None = None  # of the probability that is drawn from; None = greedy

    @property
    def config(self) -> ModelConfig:
        """Return the model."""
        return preset(self.preset).with_fields(max_length=self.context)

    def prompts(self) -> np.ndarray:
        """Return random tokens (batch, prompt)."""
        shape = (self.batch, self.prompt)
        return np.random.default_rng(0).integers(1, self.config.vocab_size, shape, np.int32)

    def flops(self) -> float:
        """Return the matrix-product FLOPs, where each token is read once and logits of it taken."""
        config: Any = self.config
        mean = self.prompt + self.tokens / 2  # that a token looks at
        return self.batch * self.tokens * config.flops_per_token(int(mean), 1.0) / 3


@dataclass(frozen=True)
class Reading:
    """Texts that become batches of masked tokens."""

    file: str  # of JSON objects with a `text`, one a line
    vocabulary: str  # folder of a BERT vocabulary
    length: int = 128  # tokens a row
    batch: int = 32  # rows
    times: int = 1  # that the texts are read, one time after another
    chunk: int = 1000  # texts that are tokenized at once

    def texts(self) -> list[str]:
        """Return all texts, so many times."""
        lines = Path(self.file).read_text(encoding="utf-8").split("\n")
        return [json.loads(line)["text"] for line in lines if line] * self.times

    def chunks(self) -> list[list[str]]:
        """Return the texts in chunks."""
        texts = self.texts()
        return [texts[i : i + self.chunk] for i in range(0, len(texts), self.chunk)]

    @property
    def predictions(self) -> int:
        """Return how many tokens of a row are masked at most."""
        return round(MASKED * self.length)


@dataclass(frozen=True)
class Looking:
    """One layer of attention, of all tokens of one text to all."""

    length: int  # tokens
    heads: int = 4
    width: int = 64  # of a head

    @property
    def dim(self) -> int:
        """Return the width of the layer."""
        return self.heads * self.width

    def hidden(self) -> np.ndarray:
        """Return random hidden states (1, length, dim)."""
        shape = (1, self.length, self.dim)
        return np.random.default_rng(0).normal(size=shape).astype("float32")

    def flops(self) -> float:
        """Return the matrix-product FLOPs, forward and twice that backward."""
        products = 2 * self.length * self.dim + 4 * self.dim**2  # for one token
        return 6 * self.length * products


def tensors(arrays: dict[str, np.ndarray], convert: Any) -> dict[str, Any]:
    """Return the arrays as tensors; integers as int32."""
    return {n: convert(a.astype("int32") if a.dtype.kind == "i" else a) for n, a in arrays.items()}

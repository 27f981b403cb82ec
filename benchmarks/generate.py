"""Generation beside KerasHub's compiled `generate` of the same GPT-2.

    python -m benchmarks.generate --preset gpt2-mini --prompt 32 --tokens 128 --batches 1 8

Both take the same prompts, in turn. KerasHub runs as its users run it, by `GPT2CausalLM.generate`
without a preprocessor, in graph mode and by XLA; ours as the command `generate` runs it, streaming.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras_hub
import numpy as np
import tensorflow as tf
import tyro
from rich.console import Console
from rich.table import Table

import tfattn
from benchmarks.rounds import in_turn
from pipelines.generation.generator import Generator
from pipelines.tokenization.bytepair import END, BytePair, letters
from tfattn.families.gpt2 import HEAD
from tfattn.models.config import TransformerConfig
from tfattn.models.sampling import Sampling


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    preset: str = "gpt2-mini"  # size of both models
    prompt: int = 32  # tokens before
    tokens: int = 128  # tokens to add
    batches: tuple[int, ...] = (1, 8)  # prompts at once
    context: int = 256  # positions of both models
    rounds: int = 9  # of each contestant
    top_p: float | None = None  # of the probability that is drawn from; none: greedy


def ours(
    config: TransformerConfig, prompts: np.ndarray, tokens: int, top_p: float | None
) -> Callable[[], Any]:
    """Return a function that adds the tokens by our generator."""
    model = tfattn.build(config, HEAD)
    # A vocabulary of as many tokens; what they are is not looked at.
    extra = tuple(f"!{i}" for i in range(config.vocab_size - 257))
    sampling = Sampling(greedy=True) if top_p is None else Sampling(top_p=top_p)
    generator = Generator(model, BytePair((END, *letters(), *extra), ()), sampling)
    generator.stops = tf.constant([], tf.int32)  # all are to be as long
    rows = prompts.tolist()
    return lambda: list(generator.stream(rows, tokens, 0))[-1]


def theirs(
    config: TransformerConfig, prompts: np.ndarray, tokens: int, top_p: float | None, xla: bool
) -> Callable[[], Any]:
    """Return a function that adds the tokens by KerasHub."""
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=config.vocab_size,
        num_layers=config.depth,
        num_heads=config.heads,
        hidden_dim=config.dim,
        intermediate_dim=config.hidden_dim,
        dropout=0.0,
        max_sequence_length=config.max_length,
    )
    model = keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)
    # Its k is the number of tokens that are sorted; none: all, as exactness asks.
    sampler = "greedy" if top_p is None else keras_hub.samplers.TopPSampler(p=top_p)
    model.compile(sampler=sampler, jit_compile=xla)
    batch, length = prompts.shape
    padded = np.zeros((batch, length + tokens), np.int32)
    padded[:, :length] = prompts
    mask = np.zeros_like(padded, bool)
    mask[:, :length] = True
    inputs = {"token_ids": padded, "padding_mask": mask}
    return lambda: model.generate(inputs, stop_token_ids=None)


def main(setting: Setting) -> None:
    """Measure, and print medians and their ratios to KerasHub by XLA."""
    config = replace(tfattn.preset(setting.preset), max_length=setting.context)
    how = "greedy" if setting.top_p is None else f"top-p {setting.top_p}"
    table = Table(title=f"{setting.preset}, {setting.prompt} + {setting.tokens} tokens, {how}")
    for column in ("", "prompts", "first s", "median s", "ratio", "tokens/s"):
        table.add_column(column, justify="right" if column else "left")
    for batch in setting.batches:
        draw = np.random.default_rng(0)
        prompts = draw.integers(1, config.vocab_size, (batch, setting.prompt)).astype(np.int32)
        contestants = {
            "KerasHub xla": theirs(config, prompts, setting.tokens, setting.top_p, True),
            "KerasHub graph": theirs(config, prompts, setting.tokens, setting.top_p, False),
            "tfattn": ours(config, prompts, setting.tokens, setting.top_p),
        }
        found = in_turn(contestants, setting.rounds)
        for name, times in found.items():
            table.add_row(
                name,
                str(batch),
                f"{times.first:.1f}",
                f"{times.median:.3f}",
                f"{times.median / found['KerasHub xla'].median:.2f}",
                f"{batch * setting.tokens / times.median:,.0f}",
            )
    Console(width=100).print(table)


if __name__ == "__main__":
    main(tyro.cli(Setting, description=__doc__))

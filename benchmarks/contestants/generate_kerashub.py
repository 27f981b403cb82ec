"""KerasHub's `GPT2CausalLM.generate` as its users run it, without a preprocessor."""

from collections.abc import Callable
from typing import Any

import keras_hub
import numpy as np

from benchmarks.work import Writing

models: Any = keras_hub.models


def contestant(work: dict[str, Any], xla: bool = True) -> Callable[[], Any]:
    """Return a function that adds the tokens."""
    given = Writing(**work)
    config: Any = given.config
    backbone = models.GPT2Backbone(
        vocabulary_size=config.vocab_size,
        num_layers=config.depth,
        num_heads=config.heads,
        hidden_dim=config.dim,
        intermediate_dim=config.hidden_dim,
        dropout=0.0,
        max_sequence_length=config.max_length,
    )
    model = models.GPT2CausalLM(backbone, preprocessor=None)
    # Its k is the number of tokens that are sorted; none: all, as exactness asks.
    top_p = given.top_p
    sampler = "greedy" if top_p is None else keras_hub.samplers.TopPSampler(p=top_p)
    model.compile(sampler=sampler, jit_compile=xla)
    prompts = given.prompts()
    padded = np.zeros((given.batch, given.prompt + given.tokens), np.int32)
    padded[:, : given.prompt] = prompts
    mask = np.zeros_like(padded, bool)
    mask[:, : given.prompt] = True
    inputs = {"token_ids": padded, "padding_mask": mask}
    return lambda: model.generate(inputs, stop_token_ids=None)

"""tfattn as its command `generate` runs it, streaming."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

import tfattn
from benchmarks.work import Writing
from pipelines.text.generation.generator import Generator
from pipelines.text.tokenization.byte_letters import letters
from pipelines.text.tokenization.bytepair import END, BytePair
from tfattn.families.gpt2 import HEAD
from tfattn.models.sampling import Sampling


def contestant(work: dict[str, Any]) -> Callable[[], Any]:
    """Return a function that adds the tokens."""
    given = Writing(**work)
    config: Any = given.config
    model = tfattn.build(config, HEAD)
    # A vocabulary of as many tokens; what they are is not looked at.
    extra = tuple(f"!{i}" for i in range(config.vocab_size - 257))
    top_p = given.top_p
    sampling = Sampling(greedy=True) if top_p is None else Sampling(top_p=top_p)
    generator = Generator(model, BytePair((END, *letters(), *extra), ()), sampling)
    generator.stops = tf.constant([], tf.int32)  # all are to be as long
    rows = given.prompts().tolist()
    return lambda: list(generator.stream(rows, given.tokens, 0))[-1]

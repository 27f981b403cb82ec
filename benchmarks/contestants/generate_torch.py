"""transformers' `generate` on torch."""

from collections.abc import Callable
from typing import Any

import torch
import transformers

from benchmarks.contestants.train_torch import gpt2
from benchmarks.work import Writing


def contestant(work: dict[str, Any], precision: str = "float32") -> Callable[[], Any]:
    """Return a function that adds the tokens."""
    given = Writing(**work)
    dtype = getattr(torch, precision)
    model = transformers.GPT2LMHeadModel(gpt2(given.config, use_cache=True)).to(dtype).eval()
    prompts = torch.tensor(given.prompts(), dtype=torch.int64)
    asked = {"max_new_tokens": given.tokens, "min_new_tokens": given.tokens, "pad_token_id": 0}
    asked |= {"do_sample": given.top_p is not None}
    if given.top_p is not None:
        asked |= {"top_p": given.top_p, "top_k": 0}

    def write() -> Any:
        with torch.no_grad():
            return model.generate(prompts, attention_mask=torch.ones_like(prompts), **asked)

    return write

"""Four maps around torch's attention, which holds no scores."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.work import Looking


def contestant(length: int, half: bool = False) -> Callable[[], Any]:
    """Return a function that goes forward and backward once."""
    work = Looking(length)
    torch.manual_seed(0)
    maps = [torch.nn.Linear(work.dim, work.dim) for _ in range(4)]
    x = torch.tensor(work.hidden(), requires_grad=True)
    apart = (1, length, work.heads, work.width)
    trained = [x, *(p for one in maps for p in one.parameters())]

    def gradients():
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            q, k, v = (m(x).view(apart).transpose(1, 2) for m in maps[:3])
            pooled = scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
            loss = (maps[3](pooled).float() ** 2).sum()
        return torch.autograd.grad(loss, trained)

    return gradients

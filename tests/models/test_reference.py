"""Whole forward passes in plain numpy: a GPT-2 and a LLaMA, with their own packed rows."""

from dataclasses import replace
from math import erf

import numpy as np
import pytest

import tfattn
from tfattn.families import PRESETS, gpt2, llama

TOKENS = np.random.default_rng(2).integers(0, 50, size=(2, 11))
SEGMENTS = np.array([[1] * 6 + [2] * 5, [1] * 9 + [0] * 2])
POSITIONS = np.array([[*range(6), *range(5)], [*range(9), 0, 0]])


def weighted(name, head, **fields):
    model = tfattn.build(replace(PRESETS[name], vocab_size=50, **fields), head)
    rng = np.random.default_rng(4)
    for path, variable in model.weights_by_path().items():
        start = 1.0 if path.endswith("gamma") else 0.0
        variable.assign(start + 0.15 * rng.normal(size=variable.shape))
    return model, {p: np.asarray(v, np.float64) for p, v in model.weights_by_path().items()}


def layer_norm(x, w, path):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    beta = w.get(f"{path}/beta", 0.0)
    return (x - mean) / np.sqrt(variance + 1e-5) * w[f"{path}/gamma"] + beta


def rms_norm(x, w, path):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * w[f"{path}/gamma"]


def turned(x):
    """Turn columns j and j + e/2 of (t, h, e) as one complex number."""
    half = x.shape[-1] // 2
    z = x[..., :half] + 1j * x[..., half:]
    angle = POSITIONS[:, :, None, None] / 10_000 ** (np.arange(half) / half)
    z = z * np.exp(1j * angle)
    return np.concatenate([z.real, z.imag], axis=-1)


def attention(x, w, path, heads, mask, rotate):
    e = x.shape[-1] // heads
    q, k, v = (
        (x @ w[f"{path}/{n}/kernel"] + w.get(f"{path}/{n}/bias", 0.0)).reshape(*x.shape[:2], -1, e)
        for n in ("query", "key", "value")
    )
    q, k = rotate(q), rotate(k)
    shared = q.shape[2] // k.shape[2]
    pooled = np.zeros_like(q)
    for b, t, h in np.ndindex(q.shape[:3]):
        s = [
            s for s in range(q.shape[1])
            if SEGMENTS[b, s] == SEGMENTS[b, t] != 0 and mask(POSITIONS[b, t], POSITIONS[b, s])
        ]  # fmt: skip
        if s:
            scores = k[b, s, h // shared] @ q[b, t, h] / np.sqrt(q.shape[-1])
            shares = np.exp(scores - scores.max())
            pooled[b, t, h] = shares / shares.sum() @ v[b, s, h // shared]
    y = pooled.reshape(x.shape) @ w[f"{path}/output/kernel"]
    return y + w.get(f"{path}/output/bias", 0.0)


def run(model, w, norm, feedforward, rotate=lambda x: x):
    x = w["stem/tokens/embeddings"][TOKENS]
    if "stem/positions/embeddings" in w:
        x = x + w["stem/positions/embeddings"][POSITIONS]
    for i in range(model.config.depth):
        block, mask = f"encoder/block_{i}", model.config.masks[i % len(model.config.masks)]
        y = norm(x, w, f"{block}/self_residual/norm")
        x = x + attention(y, w, f"{block}/self", model.config.heads, mask, rotate)
        y = norm(x, w, f"{block}/feedforward_residual/norm")
        x = x + feedforward(y, w, f"{block}/feedforward")
    matrix = w.get("tokens/embeddings", w["stem/tokens/embeddings"])
    return norm(x, w, "encoder/norm") @ matrix.T


def plain(activation):
    def feedforward(x, w, path):
        hidden = x @ w[f"{path}/expand/kernel"] + w.get(f"{path}/expand/bias", 0.0)
        y = activation(hidden) @ w[f"{path}/contract/kernel"]
        return y + w.get(f"{path}/contract/bias", 0.0)

    return feedforward


def gelu_tanh(x):
    return x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2)))


def gated(x, w, path):
    hidden = x @ w[f"{path}/expand/kernel"]
    gate = x @ w[f"{path}/gate/kernel"]
    return (hidden / (1 + np.exp(-hidden)) * gate) @ w[f"{path}/contract/kernel"]


@pytest.mark.parametrize("name", ["gpt2-tiny", "gpt3-tiny", "nanogpt-tiny"])
def test_gpt_is_its_reference(name, array):
    fields = {"masks": (tfattn.Causal(), tfattn.Causal() & tfattn.Window(2, 0))}
    model, w = weighted(name, gpt2.HEAD, **fields)
    expected = run(model, w, layer_norm, plain(gelu if name == "nanogpt-tiny" else gelu_tanh))
    compare(model, expected, array)


@pytest.mark.parametrize("head", [llama.HEAD, llama.UNTIED], ids=["tied", "untied"])
def test_llama_is_its_reference(head, array):
    model, w = weighted("llama-tiny", head)
    compare(model, run(model, w, rms_norm, gated, turned), array)


def compare(model, expected, array):
    features = {"tokens": TOKENS, "segments": SEGMENTS, "positions": POSITIONS}
    found = array(model(features))[SEGMENTS != 0]
    expected = expected[SEGMENTS != 0]
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5 * np.abs(expected).max())

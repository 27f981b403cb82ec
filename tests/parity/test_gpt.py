"""The same numbers as transformers' GPT, GPT-2, GPT-Neo and LLaMA, in both directions.

python -m pytest -m parity -rP tests/parity        needs requirements-parity.txt
"""

import json
from dataclasses import replace

import numpy as np
import pytest

import tfattn
from tfattn.families import FAMILIES, PRESETS, llama

torch = pytest.importorskip("torch", reason="parity needs torch: requirements-parity.txt")
transformers = pytest.importorskip(
    "transformers", reason="parity needs transformers: requirements-parity.txt"
)

pytestmark = pytest.mark.parity
TOLERANCE = 1e-4
LENGTH = 40
GPT = {"n_embd": 60, "n_head": 3, "n_layer": 3, "n_positions": LENGTH, "vocab_size": 101}
LLAMA = {"hidden_size": 64, "num_attention_heads": 8, "num_hidden_layers": 3, "vocab_size": 101}
LLAMA |= {"intermediate_size": 77, "max_position_embeddings": LENGTH}
THEIRS = {  # the class of their model, the fields of its config
    "gpt": ("OpenAIGPTLMHeadModel", GPT),
    "gpt, bare": ("OpenAIGPTModel", GPT),
    "gpt2": ("GPT2LMHeadModel", GPT),
    "gpt2, bare": ("GPT2Model", {**GPT, "n_inner": 77, "activation_function": "relu"}),
    "gpt2, erf": ("GPT2LMHeadModel", {**GPT, "activation_function": "gelu"}),
    "gpt-neo": (
        "GPTNeoForCausalLM",
        {
            "hidden_size": 60,
            "num_heads": 3,
            "num_layers": 3,
            "vocab_size": 101,
            "max_position_embeddings": LENGTH,
            "attention_types": [[["global", "local"], 1], [["local"], 1]],
            "window_size": 5,
        },
    ),
    "llama": ("LlamaForCausalLM", LLAMA),
    "llama, grouped": ("LlamaForCausalLM", {**LLAMA, "num_key_value_heads": 2}),
    "llama, tied": ("LlamaForCausalLM", {**LLAMA, "tie_word_embeddings": True}),
    "llama, bare, slow waves": (
        "LlamaModel",
        {**LLAMA, "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}},
    ),
}
OURS = {  # a preset, fields to change, the head, their class
    "gpt1-tiny": ({}, None, "OpenAIGPTLMHeadModel"),
    "gpt2-tiny": ({"hidden_dim": 77}, None, "GPT2LMHeadModel"),
    "gpt-neo-tiny": ({}, None, "GPTNeoForCausalLM"),
    "llama-tiny": ({"rotary_base": 1000.0}, None, "LlamaForCausalLM"),
    "llama-mini": ({}, llama.UNTIED, "LlamaForCausalLM"),
}


@pytest.fixture
def tokens():
    return np.random.default_rng(0).integers(1, 101, size=(2, 37))


def compare(theirs, ours, tokens):
    with torch.no_grad():
        found = theirs.eval()(torch.tensor(tokens))
    expected = (found.logits if hasattr(found, "logits") else found.last_hidden_state).numpy()
    output = np.asarray(ours(tokens))
    worst = np.abs(expected - output).max()
    print(f"largest difference {worst:.1e} of {np.abs(expected).max():.1f}")
    assert np.abs(expected).max() > 0.01 and worst < TOLERANCE


@pytest.mark.parametrize("kind", THEIRS)
def test_their_checkpoint_gives_their_numbers(kind, tokens, tmp_path):
    torch.manual_seed(0)
    architecture, fields = THEIRS[kind]
    cls = getattr(transformers, architecture)
    theirs = cls(cls.config_class(**fields))
    for parameter in theirs.parameters():  # biases and norms too
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.2)
    theirs.save_pretrained(tmp_path)
    ours = tfattn.from_huggingface(tmp_path)
    assert len(ours.heads) == ("Model" not in architecture or "LMHead" in architecture)
    compare(theirs, ours, tokens)


@pytest.mark.parametrize("name", OURS)
def test_our_checkpoint_gives_our_numbers_there(name, tokens, tmp_path):
    fields, head, architecture = OURS[name]
    family = next(family for family in FAMILIES.values() if name in family.PRESETS)
    config = replace(PRESETS[name], vocab_size=101, **fields)
    ours = tfattn.build(config, head or family.HEAD)
    rng = np.random.default_rng(0)
    ours.set_weights([rng.normal(size=v.shape).astype("float32") / 8 for v in ours.weights])
    tfattn.to_huggingface(ours, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [architecture]
    theirs, loading = getattr(transformers, architecture).from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    compare(theirs, ours, tokens)
    again = tfattn.from_huggingface(tmp_path)
    assert again.config == replace(
        config, scaled_residual=again.config.scaled_residual, kernel_std=again.config.kernel_std
    )
    np.testing.assert_array_equal(np.asarray(again(tokens)), np.asarray(ours(tokens)))

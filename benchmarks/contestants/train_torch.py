"""transformers on torch: AdamW, gradients clipped, in eager mode or by torch.compile.

On a GPU if there is one, else on the CPU.
"""

from collections.abc import Callable
from typing import Any

import torch
import transformers

from benchmarks.work import CLASSES, WORKS, Work

IGNORED = -100  # label of what is not told


def contestant(work: str, compiled: bool = False, precision: str = "float32") -> Callable[[], Any]:
    """Return a function that takes one step."""
    given, device = WORKS[work], "cuda" if torch.cuda.is_available() else "cpu"
    arrays = {name: torch.tensor(x, device=device) for name, x in given.arrays().items()}
    model, features = BUILDERS[given.kind](given, arrays)
    model.to(device).train()
    run = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    half = precision == "bfloat16"

    def step() -> float:
        with torch.autocast(device, torch.bfloat16, enabled=half):
            loss = run(**features).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def _masked(work: Work, arrays: dict[str, Any]):
    config: Any = work.config
    described = transformers.BertConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.dim,
        num_hidden_layers=config.depth,
        num_attention_heads=config.heads,
        intermediate_size=config.hidden_dim,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.attention_dropout,
        max_position_embeddings=config.max_length,
    )
    labels = torch.full_like(arrays["tokens"], IGNORED)
    labels.scatter_(1, arrays["places"], arrays["targets"])
    features = {"input_ids": arrays["tokens"], "labels": labels}
    return transformers.BertForMaskedLM(described), features


def gpt2(config: Any, use_cache: bool) -> Any:
    """Return the same model as their config says it."""
    return transformers.GPT2Config(
        vocab_size=config.vocab_size,
        n_positions=config.max_length,
        n_embd=config.dim,
        n_layer=config.depth,
        n_head=config.heads,
        n_inner=config.hidden_dim,
        resid_pdrop=config.dropout,
        embd_pdrop=config.dropout,
        attn_pdrop=config.attention_dropout,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=use_cache,
    )


def _causal(work: Work, arrays: dict[str, Any]):
    features = {"input_ids": arrays["tokens"], "labels": arrays["tokens"]}  # which it moves itself
    return transformers.GPT2LMHeadModel(gpt2(work.config, use_cache=False)), features


def _pairs(work: Work, arrays: dict[str, Any]):
    config: Any = work.config
    side = config.encoder
    described = transformers.T5Config(
        vocab_size=side.vocab_size,
        d_model=side.dim,
        d_kv=side.head_width(),
        d_ff=side.hidden_dim,
        num_layers=side.depth,
        num_heads=side.heads,
        dropout_rate=side.dropout,
        feed_forward_proj="relu",
        decoder_start_token_id=0,
        use_cache=False,
    )
    features = {"input_ids": arrays["tokens"], "decoder_input_ids": arrays["target_tokens"]}
    features["labels"] = arrays["targets"]
    return transformers.T5ForConditionalGeneration(described), features


def _images(work: Work, arrays: dict[str, Any]):
    config: Any = work.config
    described = transformers.ViTConfig(
        hidden_size=config.dim,
        num_hidden_layers=config.depth,
        num_attention_heads=config.heads,
        intermediate_size=config.hidden_dim,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.attention_dropout,
        image_size=config.height,
        patch_size=config.patch,
        num_channels=config.channels,
        num_labels=CLASSES,
    )
    features = {"pixel_values": arrays["images"].permute(0, 3, 1, 2).contiguous()}
    features["labels"] = arrays["targets"]
    return transformers.ViTForImageClassification(described), features


BUILDERS = {"masked": _masked, "causal": _causal, "pairs": _pairs, "images": _images}

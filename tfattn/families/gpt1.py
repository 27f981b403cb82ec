"""GPT (Radford et al. 2018, "Improving language understanding by generative pre-training").

The Transformer's decoder alone: causal, post-norm, learned positions, tied output. Rows only.
"""

from dataclasses import replace

from tfattn.families.format import Format, layer_norm, linear
from tfattn.families.gpt2 import HEAD, qkv, saved_heads
from tfattn.mechanisms.masks import Causal
from tfattn.models.config import TransformerConfig
from tfattn.renames import Rename

BASE = TransformerConfig(  # section 4.1
    dim=768,
    depth=12,
    heads=12,
    hidden_dim=3072,
    vocab_size=40_478,
    max_length=512,
    types=0,
    pad_id=None,
    stem_norm=False,
    norm="post",
    norm_epsilon=1e-5,
    activation="gelu-tanh",
    masks=(Causal(),),
)

PRESETS = {
    "gpt1-tiny": replace(BASE, dim=128, depth=2, heads=2, hidden_dim=512, kernel_std=None),
    "gpt1-117m": BASE,
}

_LAYER = "transformer.h.{}."
_BLOCK = "encoder/block_{}/"

FORMATS = (
    Format(
        model_type="openai-gpt",
        base=BASE,
        fields=(
            ("n_embd", "dim"),
            ("n_layer", "depth"),
            ("n_head", "heads"),
            ("vocab_size", "vocab_size"),
            ("n_positions", "max_length"),
            ("layer_norm_epsilon", "norm_epsilon"),
            ("afn", "activation"),
            ("resid_pdrop", "dropout"),
            ("attn_pdrop", "attention_dropout"),
        ),
        values={"activation": {"gelu": "gelu-tanh"}},  # what they call gelu is the approximation
        derive=lambda described: {"hidden_dim": 4 * described.get("n_embd", BASE.dim)},
        derived=("hidden_dim",),
        describe=lambda config, heads: {"embd_pdrop": config.dropout},
        renames=(
            Rename("transformer.tokens_embed.weight", "stem/tokens/embeddings"),
            Rename("transformer.positions_embed.weight", "stem/positions/embeddings"),
            Rename("transformer.position_ids", None),
            Rename(f"{_LAYER}attn.bias", None),  # the causal mask
            *qkv(f"{_LAYER}attn.c_attn"),
            *linear(f"{_LAYER}attn.c_proj", f"{_BLOCK}self/output", transposed=False),
            *layer_norm(f"{_LAYER}ln_1", f"{_BLOCK}self_residual/norm"),
            *linear(f"{_LAYER}mlp.c_fc", f"{_BLOCK}feedforward/expand", transposed=False),
            *linear(f"{_LAYER}mlp.c_proj", f"{_BLOCK}feedforward/contract", transposed=False),
            *layer_norm(f"{_LAYER}ln_2", f"{_BLOCK}feedforward_residual/norm"),
            Rename("lm_head.weight", None),  # tied
        ),
        prefix="transformer.",
        bare=("tokens_embed.", "positions_embed.", "position_ids", "h."),
        heads=saved_heads("OpenAIGPTLMHeadModel"),
        architectures={(): "OpenAIGPTModel", ("tokens",): "OpenAIGPTLMHeadModel"},
        tokens=(HEAD,),
    ),
)

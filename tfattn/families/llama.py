"""LLaMA (Touvron et al., arXiv:2302.13971, 2307.09288): what became of GPT.

Rotary positions, RMS norms, gated SiLU, no biases, and in the larger ones heads of keys and values
that several heads of queries share. Rows only.
"""

from dataclasses import replace

from tfattn.families.format import Format
from tfattn.mechanisms.masks import Causal
from tfattn.models.config import Tokens, TransformerConfig
from tfattn.renames import Rename

LLAMA_7B = TransformerConfig(  # table 2
    dim=4096,
    depth=32,
    heads=32,
    hidden_dim=11_008,
    vocab_size=32_000,
    max_length=2048,
    types=0,
    pad_id=None,
    position="rotary",
    stem_norm=False,
    norm="pre",
    norm_kind="rms",
    norm_epsilon=1e-6,
    activation="silu",
    gated=True,
    bias=False,
    dropout=0.0,
    attention_dropout=0.0,
    masks=(Causal(),),
)
MINIATURE = replace(LLAMA_7B, max_length=256, kernel_std=None, scaled_residual=True)

PRESETS = {
    # The gate makes three kernels of two: with hidden_dim 8/3 dim their size is that of GPT's.
    "llama-tiny": replace(MINIATURE, dim=128, depth=2, heads=4, kv_heads=2, hidden_dim=344),
    "llama-mini": replace(MINIATURE, dim=256, depth=4, heads=8, kv_heads=4, hidden_dim=688),
    "llama-7b": LLAMA_7B,
    "llama2-70b": replace(
        LLAMA_7B, dim=8192, depth=80, heads=64, kv_heads=8, hidden_dim=28_672, max_length=4096
    ),
    "tinyllama-1.1b": replace(  # arXiv:2401.02385
        LLAMA_7B, dim=2048, depth=22, heads=32, kv_heads=4, hidden_dim=5632, norm_epsilon=1e-5
    ),
}
HEAD = Tokens(transform=False, bias=False)  # what the miniatures are pretrained with
UNTIED = replace(HEAD, tied=False)  # the published ones

_LAYER = "model.layers.{}."
_BLOCK = "encoder/block_{}/"


def _heads(described, shapes):
    if "lm_head.weight" in shapes and not described.get("tie_word_embeddings"):
        return (UNTIED,)
    return (HEAD,) if "LlamaForCausalLM" in (described.get("architectures") or []) else ()


def _derive(described):
    rope = described.get("rope_parameters") or described
    return {"rotary_base": float(rope.get("rope_theta") or 10_000.0)}


def _describe(config, heads):
    return {
        "num_key_value_heads": config.kv_heads or config.heads,
        "head_dim": config.head_width(),
        "rope_theta": config.rotary_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rotary_base},
        "bos_token_id": None,
        "eos_token_id": None,
    }


FORMATS = (
    Format(
        model_type="llama",
        base=LLAMA_7B,
        fields=(
            ("hidden_size", "dim"),
            ("num_hidden_layers", "depth"),
            ("num_attention_heads", "heads"),
            ("num_key_value_heads", "kv_heads"),
            ("intermediate_size", "hidden_dim"),
            ("vocab_size", "vocab_size"),
            ("max_position_embeddings", "max_length"),
            ("rms_norm_eps", "norm_epsilon"),
            ("hidden_act", "activation"),
            ("attention_dropout", "attention_dropout"),
        ),
        derive=_derive,
        derived=("rotary_base",),
        describe=_describe,
        renames=(
            Rename("model.embed_tokens.weight", "stem/tokens/embeddings"),
            Rename(f"{_LAYER}self_attn.rotary_emb.inv_freq", None),  # a buffer of old files
            Rename(f"{_LAYER}input_layernorm.weight", f"{_BLOCK}self_residual/norm/gamma"),
            *(
                Rename(
                    f"{_LAYER}self_attn.{t}_proj.weight",
                    f"{_BLOCK}self/{o}/kernel",
                    transposed=True,
                )
                for t, o in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "output"))
            ),
            Rename(
                f"{_LAYER}post_attention_layernorm.weight",
                f"{_BLOCK}feedforward_residual/norm/gamma",
            ),
            *(
                Rename(
                    f"{_LAYER}mlp.{t}_proj.weight",
                    f"{_BLOCK}feedforward/{o}/kernel",
                    transposed=True,
                )
                for t, o in (("gate", "expand"), ("up", "gate"), ("down", "contract"))
            ),
            Rename("model.norm.weight", "encoder/norm/gamma"),
            Rename("lm_head.weight", "tokens/embeddings"),
        ),
        prefix="model.",
        bare=("embed_tokens.", "layers.", "norm."),
        heads=_heads,
        architectures={(): "LlamaModel", ("tokens",): "LlamaForCausalLM"},
        tokens=(HEAD, UNTIED),
        required=(("attention_bias", False), ("mlp_bias", False), ("rope_scaling", None)),
    ),
)

"""GPT-3 (Brown et al., arXiv:2005.14165), and GPT-Neo, its open replication.

GPT-2 with layers that attend to everything before and layers that attend to a band alternating
(section 2.1, after arXiv:1904.10509). The paper does not tell the width of the band; here it is
GPT-Neo's 256. GPT-Neo has no biases on queries, keys and values, and does not scale its scores.
Rows only.
"""

from dataclasses import replace

from tfattn.errors import InputError
from tfattn.families.format import Format, layer_norm, linear
from tfattn.families.gpt2 import HEAD, SMALL, saved_heads
from tfattn.mechanisms.masks import And, Causal, Window
from tfattn.renames import Rename

BAND = 256


def band(width: int) -> And:
    """Return the mask under which a token sees itself and the `width` - 1 before it."""
    return And(Causal(), Window(width - 1, 0))


BASE = replace(SMALL, max_length=2048, masks=(Causal(), band(BAND)))
NEO = replace(BASE, qkv_bias=False, score_scale=1.0)

# Table 2.1, whose rows of 1.3B and 13B cannot be as printed: 24 heads of width 128 are not 2048,
# nor 40 of them 5140. Here 1.3B has 16 heads, and 13B is 5120 wide.
_SIZES = {  # dim, depth, heads
    "125m": (768, 12, 12),
    "350m": (1024, 24, 16),
    "760m": (1536, 24, 16),
    "1.3b": (2048, 24, 16),
    "2.7b": (2560, 32, 32),
    "6.7b": (4096, 32, 32),
    "13b": (5120, 40, 40),
    "175b": (12288, 96, 96),
}


def _sized(base, size):
    dim, depth, heads = _SIZES[size]
    return replace(base, dim=dim, depth=depth, heads=heads, hidden_dim=4 * dim)


_TINY = {"dim": 128, "depth": 2, "heads": 2, "hidden_dim": 512, "max_length": 256}
_TINY_MASKS = (Causal(), band(32))

PRESETS = {
    "gpt3-tiny": replace(BASE, **_TINY, masks=_TINY_MASKS, kernel_std=None),
    **{f"gpt3-{size}": _sized(BASE, size) for size in _SIZES},
    # Its scores are not scaled: starts of 1 / sqrt(dim) would make them far too large.
    "gpt-neo-tiny": replace(NEO, **_TINY, masks=_TINY_MASKS),
    "gpt-neo-125m": _sized(NEO, "125m"),
    "gpt-neo-1.3b": _sized(NEO, "1.3b"),
    "gpt-neo-2.7b": replace(_sized(NEO, "2.7b"), heads=20),
}

_LAYER = "transformer.h.{}."
_ATTENTION = "transformer.h.{}.attn.attention."
_BLOCK = "encoder/block_{}/"


def _masks(described):
    window = described.get("window_size") or BAND
    kinds = {"global": Causal(), "local": band(window)}
    said = described.get("attention_types") or [[["global", "local"], 1]]
    return {"masks": tuple(kinds[kind] for group, times in said for kind in group * times)}


def _describe(config, heads):
    masks = [config.masks[i % len(config.masks)] for i in range(config.depth)]
    windows = [m.second for m in masks if isinstance(m, And) and isinstance(m.second, Window)]
    widths = {window.left + 1 for window in windows}
    if not {Causal(), *map(band, widths)}.issuperset(masks) or len(widths) > 1:
        raise InputError(
            "TransformerConfig.masks: expected Causal() and bands of one width, which is all that "
            f"their format knows. Received: {config.masks}."
        )
    kinds = ["global" if mask == Causal() else "local" for mask in masks]
    return {
        "attention_types": [[kinds, 1]],
        "attention_layers": kinds,
        "window_size": max(widths, default=BAND),
        "embed_dropout": config.dropout,
        "bos_token_id": None,
        "eos_token_id": None,
    }


FORMATS = (
    Format(
        model_type="gpt_neo",
        base=NEO,
        fields=(
            ("hidden_size", "dim"),
            ("num_layers", "depth"),
            ("num_heads", "heads"),
            ("intermediate_size", "hidden_dim"),
            ("vocab_size", "vocab_size"),
            ("max_position_embeddings", "max_length"),
            ("layer_norm_epsilon", "norm_epsilon"),
            ("activation_function", "activation"),
            ("resid_dropout", "dropout"),
            ("attention_dropout", "attention_dropout"),
        ),
        values={"activation": {"gelu_new": "gelu-tanh"}},
        derive=lambda described: (
            _masks(described)
            | (
                {}
                if described.get("intermediate_size")
                else {"hidden_dim": 4 * described.get("hidden_size", 2048)}
            )
        ),
        derived=("masks",),
        describe=_describe,
        renames=(
            Rename("transformer.wte.weight", "stem/tokens/embeddings"),
            Rename("transformer.wpe.weight", "stem/positions/embeddings"),
            Rename(f"{_ATTENTION}bias", None),  # the causal mask
            Rename(f"{_ATTENTION}masked_bias", None),
            *layer_norm(f"{_LAYER}ln_1", f"{_BLOCK}self_residual/norm"),
            *(
                Rename(f"{_ATTENTION}{t}_proj.weight", f"{_BLOCK}self/{o}/kernel", transposed=True)
                for t, o in (("q", "query"), ("k", "key"), ("v", "value"))
            ),
            *linear(f"{_ATTENTION}out_proj", f"{_BLOCK}self/output"),
            *layer_norm(f"{_LAYER}ln_2", f"{_BLOCK}feedforward_residual/norm"),
            *linear(f"{_LAYER}mlp.c_fc", f"{_BLOCK}feedforward/expand"),
            *linear(f"{_LAYER}mlp.c_proj", f"{_BLOCK}feedforward/contract"),
            *layer_norm("transformer.ln_f", "encoder/norm"),
            Rename("lm_head.weight", None),  # tied
        ),
        prefix="transformer.",
        bare=("wte.", "wpe.", "h.", "ln_f."),
        heads=saved_heads("GPTNeoForCausalLM"),
        architectures={(): "GPTNeoModel", ("tokens",): "GPTNeoForCausalLM"},
        tokens=(HEAD,),
        required=(("tie_word_embeddings", True),),
    ),
)

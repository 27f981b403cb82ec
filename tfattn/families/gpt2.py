"""GPT-2 (Radford et al. 2019, "Language models are unsupervised multitask learners").

GPT with the norms before the sublayers and one after the last, and kernels that write to the stream
started smaller by sqrt(2 depth). `nanogpt-*` are the models over characters of the nanoGPT project,
without biases. Rows only.
"""

from dataclasses import replace

from tfattn.families.format import Format, layer_norm, linear
from tfattn.mechanisms.masks import Causal
from tfattn.models.config import Tokens, TransformerConfig
from tfattn.renames import Rename

SMALL = TransformerConfig(  # section 2.3 and table 2
    dim=768,
    depth=12,
    heads=12,
    hidden_dim=3072,
    vocab_size=50_257,
    max_length=1024,
    types=0,
    pad_id=None,
    stem_norm=False,
    norm="pre",
    norm_epsilon=1e-5,
    activation="gelu-tanh",
    masks=(Causal(),),
    scaled_residual=True,
)
MINIATURE = replace(SMALL, kernel_std=None, max_length=256)
CHARACTERS = replace(  # its config/train_shakespeare_char.py and README
    SMALL,
    vocab_size=65,
    bias=False,
    norm_kind="layer-no-bias",
    activation="gelu",
    dropout=0.0,
    attention_dropout=0.0,
    kernel_std=None,  # 0.02 there, with which narrow models learn slowly
)

PRESETS = {
    "gpt2-tiny": replace(MINIATURE, dim=128, depth=2, heads=2, hidden_dim=512),
    "gpt2-mini": replace(MINIATURE, dim=256, depth=4, heads=4, hidden_dim=1024),
    "gpt2-small": SMALL,
    "gpt2-medium": replace(SMALL, dim=1024, depth=24, heads=16, hidden_dim=4096),
    "gpt2-large": replace(SMALL, dim=1280, depth=36, heads=20, hidden_dim=5120),
    "gpt2-xl": replace(SMALL, dim=1600, depth=48, heads=25, hidden_dim=6400),
    "nanogpt-tiny": replace(CHARACTERS, dim=128, depth=4, heads=4, hidden_dim=512, max_length=64),
    "nanogpt-mini": replace(
        CHARACTERS,
        dim=384,
        depth=6,
        heads=6,
        hidden_dim=1536,
        max_length=256,
        dropout=0.2,
        attention_dropout=0.2,
    ),
}
HEAD = Tokens(transform=False, bias=False)  # what it is pretrained with

_LAYER = "transformer.h.{}."
_BLOCK = "encoder/block_{}/"


def qkv(theirs: str) -> tuple[Rename, ...]:
    """Return the rows of one kernel and one bias that hold those of queries, keys and values."""
    return tuple(
        Rename(f"{theirs}.{what}", f"{_BLOCK}self/{name}/{ours}", part=(part, 3))
        for part, name in enumerate(("query", "key", "value"))
        for what, ours in (("weight", "kernel"), ("bias", "bias"))
    )


def saved_heads(architecture: str):
    """Return what tells the heads of a file: tied logits leave no weight to tell them by."""

    def heads(described, shapes):
        said = described.get("architectures") or []
        return (HEAD,) if architecture in said or "lm_head.weight" in shapes else ()

    return heads


FORMATS = (
    Format(
        model_type="gpt2",
        base=SMALL,
        fields=(
            ("n_embd", "dim"),
            ("n_layer", "depth"),
            ("n_head", "heads"),
            ("n_inner", "hidden_dim"),
            ("vocab_size", "vocab_size"),
            ("n_positions", "max_length"),
            ("layer_norm_epsilon", "norm_epsilon"),
            ("activation_function", "activation"),
            ("resid_pdrop", "dropout"),
            ("attn_pdrop", "attention_dropout"),
        ),
        values={"activation": {"gelu_new": "gelu-tanh", "gelu_pytorch_tanh": "gelu-tanh"}},
        derive=lambda described: (
            {}
            if described.get("n_inner")
            else {"hidden_dim": 4 * described.get("n_embd", SMALL.dim)}
        ),
        describe=lambda config, heads: {
            "embd_pdrop": config.dropout,
            "bos_token_id": None,
            "eos_token_id": None,
        },
        renames=(
            Rename("transformer.wte.weight", "stem/tokens/embeddings"),
            Rename("transformer.wpe.weight", "stem/positions/embeddings"),
            Rename(f"{_LAYER}attn.bias", None),  # the causal mask
            Rename(f"{_LAYER}attn.masked_bias", None),
            *layer_norm(f"{_LAYER}ln_1", f"{_BLOCK}self_residual/norm"),
            *qkv(f"{_LAYER}attn.c_attn"),
            *linear(f"{_LAYER}attn.c_proj", f"{_BLOCK}self/output", transposed=False),
            *layer_norm(f"{_LAYER}ln_2", f"{_BLOCK}feedforward_residual/norm"),
            *linear(f"{_LAYER}mlp.c_fc", f"{_BLOCK}feedforward/expand", transposed=False),
            *linear(f"{_LAYER}mlp.c_proj", f"{_BLOCK}feedforward/contract", transposed=False),
            *layer_norm("transformer.ln_f", "encoder/norm"),
            Rename("lm_head.weight", None),  # tied
        ),
        prefix="transformer.",
        bare=("wte.", "wpe.", "h.", "ln_f."),
        heads=saved_heads("GPT2LMHeadModel"),
        architectures={(): "GPT2Model", ("tokens",): "GPT2LMHeadModel"},
        tokens=(HEAD,),
        required=(
            ("scale_attn_weights", True),
            ("scale_attn_by_inverse_layer_idx", False),
            ("add_cross_attention", False),
            ("tie_word_embeddings", True),
        ),
    ),
)

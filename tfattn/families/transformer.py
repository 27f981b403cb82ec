"""The original Transformer (Vaswani et al., arXiv:1706.03762), for translation.

Norms after the sublayers, sinusoidal positions, and one matrix for sources, targets and logits,
which the stem multiplies by sqrt(dim) (section 3.4). Table 3 has the sizes; the paper counts 65 and
213 million parameters with about 37,000 tokens. Projections have biases here, as in Marian, whose
checkpoints this format reads. Rows only.
"""

from dataclasses import replace

from tfattn.families.format import Format, layer_norm, linear
from tfattn.mechanisms.masks import Causal
from tfattn.models.config import EncoderDecoderConfig, Tokens, TransformerConfig
from tfattn.renames import Rename

ENCODER = TransformerConfig(
    dim=512,
    depth=6,
    heads=8,
    hidden_dim=2048,
    vocab_size=37_000,
    max_length=512,
    types=0,
    position="sinusoidal",
    stem_norm=False,
    stem_scale=True,
    norm="post",
    norm_epsilon=1e-6,
    activation="relu",
    dropout=0.1,
    attention_dropout=0.0,
    embedding_std=512**-0.5,
    kernel_std="fan-in",
)
BASE = EncoderDecoderConfig(
    ENCODER, replace(ENCODER, masks=(Causal(),), layout=("self", "cross", "feedforward"))
)


def sized(dim: int, depth: int, heads: int, dropout: float) -> EncoderDecoderConfig:
    """Return the base model in another size; the inner layer is four times as wide."""
    fields = {"dim": dim, "depth": depth, "heads": heads, "hidden_dim": 4 * dim}
    return BASE.with_fields(**fields, dropout=dropout, embedding_std=dim**-0.5)


PRESETS = {
    "transformer-nmt-tiny": sized(128, 2, 4, 0.1),
    "transformer-nmt-mini": sized(256, 3, 4, 0.3),  # for tens of thousands of pairs
    "transformer-nmt-base": BASE,
    "transformer-nmt-big": sized(1024, 6, 16, 0.3),
}
HEAD = Tokens(transform=False, bias=False)
BIASED = Tokens(transform=False)  # of Marian


def head(name: str) -> Tokens:
    """Return the head over the vocabulary of a preset."""
    return HEAD


MARIAN = BASE.with_fields(
    position="sinusoidal-halves",
    norm_epsilon=1e-5,
    activation="silu",
    embedding_std=0.02,
    kernel_std=0.02,
)


def _describe(config, heads):
    return {
        "is_encoder_decoder": True,
        "scale_embedding": config.encoder.stem_scale,
        "share_encoder_decoder_embeddings": True,
        "decoder_start_token_id": config.decoder.pad_id,
        "decoder_vocab_size": config.decoder.vocab_size,
        "activation_dropout": 0.0,
    }


def _side(side: str, attentions: tuple[tuple[str, str, str], ...]) -> tuple[Rename, ...]:
    theirs, ours = f"model.{side}.layers.{{}}.", f"{side}/block_{{}}/"
    rows = [
        Rename(f"model.{side}.embed_tokens.weight", None),  # the shared one, once more
        Rename(f"model.{side}.embed_positions.weight", None),  # the waves
        *layer_norm(f"{theirs}final_layer_norm", f"{ours}feedforward_residual/norm"),
        *linear(f"{theirs}fc1", f"{ours}feedforward/expand"),
        *linear(f"{theirs}fc2", f"{ours}feedforward/contract"),
    ]
    for name, attention, norm in attentions:
        rows += layer_norm(f"{theirs}{norm}", f"{ours}{name}_residual/norm")
        for letter, projection in (("q", "query"), ("k", "key"), ("v", "value"), ("out", "output")):
            rows += linear(f"{theirs}{attention}.{letter}_proj", f"{ours}{name}/{projection}")
    return tuple(rows)


_SELF = ("self", "self_attn", "self_attn_layer_norm")
_CROSS = ("cross", "encoder_attn", "encoder_attn_layer_norm")

FORMATS = (
    Format(
        model_type="marian",
        base=MARIAN,
        fields=(
            ("d_model", "dim"),
            ("encoder_layers", "encoder.depth"),
            ("decoder_layers", "decoder.depth"),
            ("encoder_attention_heads", "encoder.heads"),
            ("decoder_attention_heads", "decoder.heads"),
            ("encoder_ffn_dim", "encoder.hidden_dim"),
            ("decoder_ffn_dim", "decoder.hidden_dim"),
            ("vocab_size", "vocab_size"),
            ("max_position_embeddings", "max_length"),
            ("activation_function", "activation"),
            ("dropout", "dropout"),
            ("attention_dropout", "attention_dropout"),
            ("scale_embedding", "stem_scale"),
            ("pad_token_id", "pad_id"),
        ),
        values={"activation": {"swish": "silu"}},
        describe=_describe,
        renames=(
            Rename("model.shared.weight", "stem/tokens/embeddings"),
            *_side("encoder", (_SELF,)),
            *_side("decoder", (_SELF, _CROSS)),
            Rename("final_logits_bias", "tokens/bias", ones=1),
            Rename("lm_head.weight", None),  # tied
        ),
        prefix="model.",
        bare=("shared.", "encoder.", "decoder."),
        heads=lambda described, shapes: (BIASED,) if "final_logits_bias" in shapes else (),
        architectures={(): "MarianModel", ("tokens",): "MarianMTModel"},
        tokens=(BIASED,),
        required=(
            ("share_encoder_decoder_embeddings", True),
            ("tie_word_embeddings", True),
            ("normalize_before", False),
            ("normalize_embedding", False),
        ),
    ),
)

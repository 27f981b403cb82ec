"""T5 (Raffel et al., arXiv:1910.10683): every task is text in, text out.

An encoder and a decoder with RMS norms before the sublayers, no biases, products that are not
scaled, and relative positions in buckets that all blocks of a stack share (section 2.1). Version
1.1 has gated GELU (arXiv:2002.05202) and a matrix of its own for the logits; version 1.0 has the
embeddings in its place, and divides the hidden states by sqrt(dim) before them. Sizes as released;
`-tiny` and `-mini` are those of arXiv:2109.10686, with the vocabulary of the larger ones.
Rows only.
"""

from dataclasses import replace

from tfattn.families.format import Format
from tfattn.mechanisms.masks import Causal
from tfattn.models.config import EncoderDecoderConfig, Head, Tokens, TransformerConfig
from tfattn.renames import Rename

ENCODER = TransformerConfig(  # of t5-small
    dim=512,
    depth=6,
    heads=8,
    head_dim=64,
    hidden_dim=2048,
    vocab_size=32_128,
    max_length=512,
    types=0,
    position="buckets",
    stem_norm=False,
    norm="pre",
    norm_kind="rms",
    norm_epsilon=1e-6,
    activation="relu",
    bias=False,
    score_scale=1.0,
    inner_dropout=0.1,
    embedding_std=1.0,
    kernel_std="fan-in",
)
SMALL = EncoderDecoderConfig(
    ENCODER, replace(ENCODER, masks=(Causal(),), layout=("self", "cross", "feedforward"))
)
TINY = {"dim": 128, "depth": 2, "heads": 2, "hidden_dim": 512}
MINI = {"dim": 256, "depth": 4, "heads": 4, "hidden_dim": 1024}
BASE = {"dim": 768, "depth": 12, "heads": 12}
LARGE = {"dim": 1024, "depth": 24, "heads": 16}
GATED = {"activation": "gelu-tanh", "gated": True}

PRESETS = {
    "t5-tiny": SMALL.with_fields(**TINY),
    "t5-mini": SMALL.with_fields(**MINI),
    "t5-small": SMALL,
    "t5-base": SMALL.with_fields(**BASE, hidden_dim=3072),
    "t5-large": SMALL.with_fields(**LARGE, hidden_dim=4096),
    "t5-3b": SMALL.with_fields(**{**LARGE, "heads": 32}, head_dim=128, hidden_dim=16_384),
    "t5-11b": SMALL.with_fields(**{**LARGE, "heads": 128}, head_dim=128, hidden_dim=65_536),
    # The released ones were pretrained without dropout; the rates here are those of fine-tuning.
    "t5-v1.1-tiny": SMALL.with_fields(**{**TINY, "hidden_dim": 344}, **GATED),
    "t5-v1.1-mini": SMALL.with_fields(**{**MINI, "hidden_dim": 688}, **GATED),
    "t5-v1.1-small": SMALL.with_fields(**GATED, heads=6, depth=8, hidden_dim=1024),
    "t5-v1.1-base": SMALL.with_fields(**BASE, **GATED, hidden_dim=2048),
    "t5-v1.1-large": SMALL.with_fields(**LARGE, **GATED, hidden_dim=2816),
    "t5-v1.1-xl": SMALL.with_fields(
        **{**LARGE, "dim": 2048, "heads": 32}, **GATED, hidden_dim=5120
    ),
    "t5-v1.1-xxl": SMALL.with_fields(
        **{**LARGE, "dim": 4096, "heads": 64}, **GATED, hidden_dim=10_240
    ),
}
HEAD = Tokens(transform=False, bias=False, scaled=True)  # of version 1.0
UNTIED = replace(HEAD, tied=False, scaled=False)  # of version 1.1


def head(name: str) -> Tokens:
    """Return the head over the vocabulary that a preset was released with."""
    return UNTIED if "-v1.1-" in name else HEAD


_KINDS = {
    "relu": ("relu", False),
    "gated-gelu": ("gelu-tanh", True),
    "gelu_new": ("gelu-tanh", False),
}


def _heads(described, shapes):
    if "T5ForConditionalGeneration" not in (described.get("architectures") or []):
        return ()
    tied = described.get("tie_word_embeddings", True)
    scaled = described.get("scale_decoder_outputs", tied)  # old files do not say it apart
    own = not scaled and "lm_head.weight" in shapes
    return (replace(HEAD, tied=not own, scaled=scaled),)


def _derive(described):
    depth = described.get("num_layers", SMALL.encoder.depth)
    kind = described.get("feed_forward_proj", "relu")
    activation, gated = _KINDS.get(kind, (kind, False))
    deeper = described.get("num_decoder_layers") or depth
    sides = {"encoder.depth": depth, "decoder.depth": deeper}
    rate = described.get("dropout_rate", SMALL.encoder.dropout)
    dropouts = dict.fromkeys(("dropout", "attention_dropout", "inner_dropout"), rate)
    return {**sides, **dropouts, "activation": activation, "gated": gated}


def _describe(config, heads):
    kinds = {ours: theirs for theirs, ours in _KINDS.items()}
    side = config.encoder
    return {
        "num_layers": side.depth,
        "num_decoder_layers": config.decoder.depth,
        "dropout_rate": side.dropout,
        "feed_forward_proj": kinds.get((side.activation, side.gated), side.activation),
        "is_encoder_decoder": True,
        "decoder_start_token_id": side.pad_id,
        "eos_token_id": 1,
        "scale_decoder_outputs": all(head.scaled for head in heads),
    }


def _block(theirs: str, ours: str, sublayers: tuple[tuple[str, str], ...]) -> tuple[Rename, ...]:
    """Return the rows of a block of one side, whose attentions are called so, in order."""
    theirs, ours = f"{theirs}.block.{{}}.layer.", f"{ours}/block_{{}}/"
    rows = []
    for number, (mine, their) in enumerate(sublayers):
        for letter, name in zip("qkvo", ("query", "key", "value", "output"), strict=True):
            path = f"{ours}{mine}/{name}/kernel"
            rows.append(Rename(f"{theirs}{number}.{their}.{letter}.weight", path, transposed=True))
        path = f"{ours}{mine}_residual/norm/gamma"
        rows.append(Rename(f"{theirs}{number}.layer_norm.weight", path))
    path = f"{ours}feedforward_residual/norm/gamma"
    rows.append(Rename(f"{theirs}{len(sublayers)}.layer_norm.weight", path))
    return tuple(rows)


def _feedforward(config: EncoderDecoderConfig, heads: tuple[Head, ...]) -> tuple[Rename, ...]:
    """Return the rows of the feed-forward networks, whose kernels are called by their number."""
    gated = (("wi_0", "expand"), ("wi_1", "gate"), ("wo", "contract"))
    kernels = gated if config.encoder.gated else (("wi", "expand"), ("wo", "contract"))
    return tuple(
        Rename(
            f"{side}.block.{{}}.layer.{number}.DenseReluDense.{theirs}.weight",
            f"{side}/block_{{}}/feedforward/{ours}/kernel",
            transposed=True,
        )
        for side, number in (("encoder", 1), ("decoder", 2))
        for theirs, ours in kernels
    )


def _side(side: str) -> tuple[Rename, ...]:
    bias = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    return (
        Rename(f"{side}.embed_tokens.weight", None),  # the shared one, once more
        Rename(bias, f"{side}/positions/embeddings"),
        Rename(f"{side}.final_layer_norm.weight", f"{side}/norm/gamma"),
    )


_SELF, _CROSS = ("self", "SelfAttention"), ("cross", "EncDecAttention")

FORMATS = (
    Format(
        model_type="t5",
        base=SMALL,
        fields=(
            ("d_model", "dim"),
            ("num_heads", "heads"),
            ("d_kv", "head_dim"),
            ("d_ff", "hidden_dim"),
            ("vocab_size", "vocab_size"),
            ("n_positions", "max_length"),
            ("relative_attention_num_buckets", "buckets"),
            ("relative_attention_max_distance", "bucket_distance"),
            ("layer_norm_epsilon", "norm_epsilon"),
            ("pad_token_id", "pad_id"),
        ),
        derive=_derive,
        derived=(
            *("encoder.depth", "decoder.depth", "activation", "gated"),
            *("dropout", "attention_dropout", "inner_dropout"),
        ),
        describe=_describe,
        more=_feedforward,
        renames=(
            Rename("shared.weight", "stem/tokens/embeddings"),
            *_side("encoder"),
            *_block("encoder", "encoder", (_SELF,)),
            *_side("decoder"),
            *_block("decoder", "decoder", (_SELF, _CROSS)),
            Rename("lm_head.weight", "tokens/embeddings"),
        ),
        prefix="",
        bare=(),
        heads=_heads,
        architectures={(): "T5Model", ("tokens",): "T5ForConditionalGeneration"},
        tokens=(HEAD, UNTIED, replace(HEAD, scaled=False)),
    ),
)

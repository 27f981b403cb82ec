"""ViT (Dosovitskiy et al., arXiv:2010.11929), its masked autoencoder and DINOv2.

A stack with norms before the sublayers on the patches of an image. Sizes of table 1 there, S and Ti
of arXiv:2012.12877; `-tiny` and `-mini` are ours, for pictures of 32 x 32. DINOv2
(arXiv:2304.07193) has patches of 14, trained scales of its sublayers, and was trained at 518 x 518
last. Rows only.
"""

from dataclasses import replace

from tfattn.families.format import Format, layer_norm, linear
from tfattn.models.heads import Classify, Pool
from tfattn.models.model_config import Head
from tfattn.models.vision_config import Pixels, VisionConfig
from tfattn.renames import Rename

BASE = VisionConfig(dim=768, depth=12, heads=12, hidden_dim=3072)
SMALL = replace(BASE, dim=384, heads=6, hidden_dim=1536)
LARGE = replace(BASE, dim=1024, depth=24, heads=16, hidden_dim=4096)
MINIATURE = replace(BASE, height=32, width=32, patch=4, kernel_std=None)
DINO = {"patch": 14, "height": 518, "width": 518, "layer_scale": 1.0}

PRESETS = {
    "vit-tiny": replace(MINIATURE, dim=64, depth=4, heads=4, hidden_dim=256),
    "vit-mini": replace(MINIATURE, dim=192, depth=6, heads=3, hidden_dim=768),
    "vit-ti16": replace(BASE, dim=192, heads=3, hidden_dim=768),
    "vit-s16": SMALL,
    "vit-b16": BASE,
    "vit-b32": replace(BASE, patch=32),
    "vit-l16": LARGE,
    "vit-l32": replace(LARGE, patch=32),
    "vit-h14": replace(BASE, patch=14, dim=1280, depth=32, heads=16, hidden_dim=5120),
    "dinov2-s14": replace(SMALL, **DINO),
    "dinov2-b14": replace(BASE, **DINO),
    "dinov2-l14": replace(LARGE, **DINO),
}
HEAD = Pixels()  # what it is pretrained with, where there are no labels

_SIZES = (
    ("hidden_size", "dim"),
    ("num_hidden_layers", "depth"),
    ("num_attention_heads", "heads"),
    ("num_channels", "channels"),
    ("patch_size", "patch"),
    ("layer_norm_eps", "norm_epsilon"),
    ("hidden_act", "activation"),
    ("hidden_dropout_prob", "dropout"),
    ("attention_probs_dropout_prob", "attention_dropout"),
    ("qkv_bias", "qkv_bias"),
)
_ACTIVATIONS = {"activation": {"gelu_new": "gelu-tanh", "gelu_pytorch_tanh": "gelu-tanh"}}


def _images(described):
    size = described.get("image_size", 224)
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return {"height": height, "width": width}


def _describe(config, heads):
    square = config.height == config.width
    size = config.height if square else [config.height, config.width]
    return {"image_size": size, "qkv_bias": config.has_qkv_bias()}


def _stem(prefix: str):
    def rows(config: VisionConfig, heads: tuple[Head, ...]) -> tuple[Rename, ...]:
        window = (config.channels, config.patch)
        name = f"{prefix}embeddings.patch_embeddings.projection"
        return (
            Rename(f"{name}.weight", "stem/patches/kernel", window=window),
            Rename(f"{name}.bias", "stem/patches/bias"),
            Rename(f"{prefix}embeddings.cls_token", "stem/class_token", ones=2),
            Rename(f"{prefix}embeddings.position_embeddings", "stem/positions/embeddings", ones=1),
        )

    return rows


def _attention(theirs: str, ours: str) -> tuple[Rename, ...]:
    rows = [
        row
        for name in ("query", "key", "value")
        for row in linear(f"{theirs}.attention.{name}", f"{ours}/{name}")
    ]
    return (*rows, *linear(f"{theirs}.output.dense", f"{ours}/output"))


def _block(theirs: str, ours: str) -> tuple[Rename, ...]:
    """Return the rows of a block of ViT, or of the decoder of a masked autoencoder."""
    return (
        *_attention(f"{theirs}attention", f"{ours}self"),
        *linear(f"{theirs}intermediate.dense", f"{ours}feedforward/expand"),
        *linear(f"{theirs}output.dense", f"{ours}feedforward/contract"),
        *layer_norm(f"{theirs}layernorm_before", f"{ours}self_residual/norm"),
        *layer_norm(f"{theirs}layernorm_after", f"{ours}feedforward_residual/norm"),
    )


_ENCODER = (
    *_block("vit.encoder.layer.{}.", "encoder/block_{}/"),
    *layer_norm("vit.layernorm", "encoder/norm"),
)
_BARE = ("embeddings.", "encoder.", "layernorm.", "pooler.")


def _classifier(described, shapes):
    if shape := shapes.get("classifier.weight"):
        return (Classify("classify", classes=shape[0], pool="first", dropout=0.0),)
    return (Pool(),) if "vit.pooler.dense.weight" in shapes else ()


VIT = Format(
    model_type="vit",
    base=BASE,
    fields=(*_SIZES, ("intermediate_size", "hidden_dim")),
    renames=(
        *_ENCODER,
        *linear("vit.pooler.dense", "pooler"),
        *linear("classifier", "classify/logits"),
    ),
    prefix="vit.",
    bare=_BARE,
    heads=_classifier,
    architectures={(): "ViTModel", ("classify",): "ViTForImageClassification"},
    pool="first",
    values=_ACTIVATIONS,
    derive=_images,
    describe=_describe,
    derived=("height", "width"),
    more=_stem("vit."),
)


def _pixels(described, shapes):
    return (
        Pixels(
            dim=described.get("decoder_hidden_size", 512),
            depth=described.get("decoder_num_hidden_layers", 8),
            heads=described.get("decoder_num_attention_heads", 16),
        ),
    )


def _decoder(config: VisionConfig, heads: tuple[Head, ...]) -> tuple[Rename, ...]:
    depth = next((stack.depth for head in heads for stack in head.stacks().values()), 0)
    rows = _block("decoder.decoder_layers.{}.", "pixels/decoder/block_{}/")
    return (*_stem("vit.")(config, heads), *(r for row in rows for r in row.for_layers(depth)))


# Of a masked autoencoder, which is read and not written. The file has the waves of its encoder's
# positions as numbers; those of the decoder are the waves that ours has.
AUTOENCODER = Format(
    model_type="vit_mae",
    base=BASE,
    fields=(*_SIZES, ("intermediate_size", "hidden_dim")),
    renames=(
        *_ENCODER,
        *linear("decoder.decoder_embed", "pixels/enter"),
        *linear("decoder.decoder_pred", "pixels/leave"),
        *layer_norm("decoder.decoder_norm", "pixels/decoder/norm"),
        Rename("decoder.mask_token", "pixels/mask_token", ones=2),
        Rename("decoder.decoder_pos_embed", None),
    ),
    prefix="vit.",
    bare=_BARE,
    heads=_pixels,
    architectures={},
    values=_ACTIVATIONS,
    derive=_images,
    derived=("height", "width"),
    more=_decoder,
)


def _dino(described):
    ratio = described.get("mlp_ratio", 4)
    own = {"hidden_dim": int(described.get("hidden_size", BASE.dim) * ratio)}
    return {**_images(described), **own, "layer_scale": described.get("layerscale_value", 1.0)}


def _describe_dino(config, heads):
    ratio = config.hidden_dim / config.dim
    sizes = {"mlp_ratio": int(ratio) if ratio.is_integer() else ratio}
    sizes["layerscale_value"] = config.layer_scale
    return {**_describe(config, heads), **sizes, "use_mask_token": False, "use_swiglu_ffn": False}


_DINO = "dinov2.encoder.layer.{}."
DINOV2 = Format(
    model_type="dinov2",
    base=replace(BASE, **DINO),
    fields=_SIZES,
    renames=(
        *_attention(f"{_DINO}attention", "encoder/block_{}/self"),
        *linear(f"{_DINO}mlp.fc1", "encoder/block_{}/feedforward/expand"),
        *linear(f"{_DINO}mlp.fc2", "encoder/block_{}/feedforward/contract"),
        *layer_norm(f"{_DINO}norm1", "encoder/block_{}/self_residual/norm"),
        *layer_norm(f"{_DINO}norm2", "encoder/block_{}/feedforward_residual/norm"),
        Rename(f"{_DINO}layer_scale1.lambda1", "encoder/block_{}/self_residual/scale"),
        Rename(f"{_DINO}layer_scale2.lambda1", "encoder/block_{}/feedforward_residual/scale"),
        *layer_norm("dinov2.layernorm", "encoder/norm"),
        Rename("dinov2.embeddings.mask_token", None),  # of its pretraining
    ),
    prefix="dinov2.",
    bare=("embeddings.", "encoder.", "layernorm."),
    heads=lambda described, shapes: (),
    architectures={(): "Dinov2Model"},
    required=(("use_swiglu_ffn", False),),
    values=_ACTIVATIONS,
    derive=_dino,
    describe=_describe_dino,
    derived=("height", "width", "hidden_dim", "layer_scale"),
    more=_stem("dinov2."),
)
FORMATS = (VIT, AUTOENCODER, DINOV2)

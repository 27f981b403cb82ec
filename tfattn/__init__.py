"""Attention mechanisms and transformers as Keras 3 layers, on any backend.

    import tfattn

    model = tfattn.build(tfattn.preset("bert-small"), tfattn.Classify(classes=3))

Names are imported when first used, so that reading presets needs neither Keras nor a backend.
"""

import importlib
from typing import Any

_NAMES = {
    "InputError": "tfattn.errors",
    "Spec": "tfattn.spec",
    "And": "tfattn.mechanisms.masks",
    "Causal": "tfattn.mechanisms.masks",
    "Everything": "tfattn.mechanisms.masks",
    "Global": "tfattn.mechanisms.masks",
    "Mask": "tfattn.mechanisms.masks",
    "Not": "tfattn.mechanisms.masks",
    "Or": "tfattn.mechanisms.masks",
    "Strided": "tfattn.mechanisms.masks",
    "Window": "tfattn.mechanisms.masks",
    "attend": "tfattn.mechanisms.attention",
    "Attention": "tfattn.mechanisms.attention",
    "ScaledDotProduct": "tfattn.mechanisms.scores",
    "Additive": "tfattn.mechanisms.scores",
    "Bilinear": "tfattn.mechanisms.scores",
    "Kernel": "tfattn.mechanisms.kernels",
    "Dropout": "tfattn.mechanisms.dropout",
    "LinearAttention": "tfattn.mechanisms.linear",
    "SqueezeExcitation": "tfattn.mechanisms.squeeze",
    "Projection": "tfattn.mechanisms.projection",
    "MultiHeadAttention": "tfattn.mechanisms.multihead",
    "Position": "tfattn.mechanisms.positions",
    "Learned": "tfattn.mechanisms.positions",
    "Sinusoidal": "tfattn.mechanisms.positions",
    "Rotary": "tfattn.mechanisms.positions",
    "Sinusoidal2D": "tfattn.mechanisms.positions",
    "Buckets": "tfattn.mechanisms.relative",
    "Alibi": "tfattn.mechanisms.relative",
    "Shaw": "tfattn.mechanisms.relative",
    "LayerNorm": "tfattn.blocks.norm",
    "RMSNorm": "tfattn.blocks.norm",
    "FeedForward": "tfattn.blocks.feedforward",
    "Residual": "tfattn.blocks.block",
    "TransformerBlock": "tfattn.blocks.block",
    "TokenStem": "tfattn.blocks.stems",
    "PatchStem": "tfattn.blocks.patches",
    "PixelsHead": "tfattn.blocks.pixels",
    "TokensHead": "tfattn.blocks.heads",
    "ClassifyHead": "tfattn.blocks.heads",
    "RecurrentEncoder": "tfattn.blocks.recurrent",
    "InitialStates": "tfattn.blocks.recurrent",
    "RecurrentDecoder": "tfattn.blocks.recurrent_decoder",
    "ModelConfig": "tfattn.models.model_config",
    "TransformerConfig": "tfattn.models.config",
    "EncoderDecoderConfig": "tfattn.models.config",
    "RecurrentConfig": "tfattn.models.recurrent_config",
    "VisionConfig": "tfattn.models.vision_config",
    "Pixels": "tfattn.models.vision_config",
    "Head": "tfattn.models.model_config",
    "Tokens": "tfattn.models.heads",
    "Classify": "tfattn.models.heads",
    "Pool": "tfattn.models.heads",
    "Stack": "tfattn.models.stack",
    "Transformer": "tfattn.models.transformer",
    "EncoderDecoder": "tfattn.models.encoder_decoder",
    "RecurrentEncoderDecoder": "tfattn.models.recurrent",
    "VisionTransformer": "tfattn.models.vision",
    "build": "tfattn.models.build",
    "preset": "tfattn.families",
    "PRESETS": "tfattn.families",
    "assign": "tfattn.weights",
    "model_parallel": "tfattn.sharding",
    "using": "tfattn.ways",
    "from_huggingface": "tfattn.huggingface",
    "to_huggingface": "tfattn.huggingface",
    "head_importance": "tfattn.pruning",
    "most_important": "tfattn.pruning",
    "prune": "tfattn.pruning",
    "load": "tfattn.checkpoints",
    "read": "tfattn.checkpoints",
    "save": "tfattn.checkpoints",
}

__all__ = sorted(_NAMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'tfattn' has no attribute {name!r}")
    return getattr(importlib.import_module(_NAMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_NAMES])

"""The recipe of each preset of images: the defaults of `pretrain`, a row a preset."""

from dataclasses import replace

from pipelines.core.spec import Recipe
from pipelines.core.train_config import TrainConfig
from pipelines.images.spec import ImageData, MaskedImages
from tfattn.families import preset, vit

# Masked autoencoders: table 8 of arXiv:2111.06377, whose rate is 1.5e-4 for 256 images; miniatures
# as above. DINOv2 is read alone: its pretraining is another.
_VIT_RATES = {"vit-tiny": 2e-3, "vit-mini": 1e-3}
_VIT = TrainConfig(
    steps=10_000, schedule="cosine", warmup=0.05, weight_decay=0.05, beta2=0.95, batch=64
)
PRESETS = {
    name: Recipe(
        preset(name),
        MaskedImages(),
        ImageData(),
        replace(_VIT, rate=_VIT_RATES.get(name, 1.5e-4)),
    )
    for name in vit.PRESETS
    if name.startswith("vit-")
}

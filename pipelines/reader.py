"""What goes with the weights: a vocabulary, or how pictures become what the model reads."""

from pathlib import Path

from pipelines.data.preprocessing import NAME, ImagePreprocessing, published
from pipelines.tokenization.tokenizer import Tokenizer, load_tokenizer
from tfattn.errors import InputError
from tfattn.models.model_config import ModelConfig
from tfattn.models.vision_config import VisionConfig

Reader = Tokenizer | ImagePreprocessing


def load_reader(folder: Path, config: ModelConfig) -> Reader:
    """Return what goes with the weights of a folder.

    Raises:
        InputError: nothing there, or what does not fit the model.
    """
    if not isinstance(config, VisionConfig):
        return load_tokenizer(folder, config.vocab_size)
    shape = (config.height, config.width, config.channels)
    if not (folder / NAME).exists():
        return published(folder, shape)
    found = ImagePreprocessing.load(folder / NAME)
    if found.shape != shape:
        raise InputError(
            f"{folder / NAME}: expected images of {shape}, which the model reads. "
            f"Received: {found.shape}."
        )
    return found


def save_reader(reader: Reader, folder: Path) -> None:
    """Write it beside the weights."""
    if isinstance(reader, ImagePreprocessing):
        reader.save(folder / NAME)
    else:
        reader.save(folder)

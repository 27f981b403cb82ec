"""From the recipe of a task of images to rows, and the processor that they are read by."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipelines.core.api import Finished, Processor, Start, TaskRuntime
from pipelines.core.progress import say
from pipelines.core.records import data_flag, is_embedded
from pipelines.core.spec import Recipe, expect
from pipelines.images.digits import digits
from pipelines.images.processor import ImagePreprocessing, ImageProcessor
from pipelines.images.sources import Images, SplitName, has_validation, read_images
from pipelines.images.spec import ImageData
from tfattn.errors import InputError
from tfattn.models.model_config import ModelConfig
from tfattn.models.vision_config import VisionConfig
from tfattn.resolution import resized

HELD_OUT = 5  # seed of the permutation that says what is held out


@dataclass(frozen=True)
class ImageSplits(TaskRuntime):
    """What the tasks of images share: how their images are read, split and resized.

    Args:
        labelled: whether the folders of the images are their classes.
    """

    labelled: bool

    def load_processor(self, folder: Path, config: ModelConfig) -> ImageProcessor:
        """Read how image files become the images of a model."""
        return ImageProcessor.load(folder, config)

    def adapt(self, start: Start, recipe: Recipe) -> Start:
        """Return the start for images of another size, where the recipe asks for one."""
        size = image_data(recipe).size
        if size is None or start.weights is None:
            return start
        height, width = size
        config = vision_config(start.config)
        try:
            config, weights = resized(config, start.weights, height, width)
        except InputError as error:
            raise InputError(f"data.size: {str(error).removeprefix('VisionConfig.')}") from None
        old = image_processor(start.processor).preprocessing
        processor = ImageProcessor(replace(old, height=height, width=width))
        return replace(start, config=config, weights=weights, processor=processor)

    def processor(self, recipe: Recipe, start: Start | None) -> ImageProcessor:
        """Return the processor of what the run starts from, or a new one, as the recipe has it."""
        data, config = image_data(recipe), start.config if start else recipe.model
        if start is None:
            config = vision_config(config)
            known = ImagePreprocessing(config.height, config.width, config.channels)
        else:
            known = image_processor(start.processor).preprocessing
        given = {"fit": data.fit, "mean": data.mean, "std": data.std}
        with _as_data_flags():
            known = replace(known, **{name: value for name, value in given.items() if value})
        return ImageProcessor(known)

    def read(self, data: ImageData) -> tuple[Images, Images]:
        """Return the images of training and those of validation, and report how many.

        Raises:
            InputError: images that cannot be used, or too few to hold out some.
        """
        train, validation = self._split(data)
        for name, images in (("train", train), ("validation", validation)):
            say(f"{name}: {len(images):,} images")
        return train, validation

    def validation(self, done: Finished, files: tuple[str, ...]) -> Images:
        """Return other images, or those that the run was measured on.

        Args:
            done: a finished run.
            files: as in training; () = the run's own.
        """
        if files:
            return self._read(files, "validation", "files")
        return self._split(image_data(done.recipe))[1]

    def _split(self, data: ImageData) -> tuple[Images, Images]:
        train = self._read(data.images, "train", "images")
        others = data.validation or (data.images if has_validation(data.images) else ())
        if others:
            return train, self._read(others, "validation", "validation")
        # By a fixed permutation, so that any run on these images holds out the same.
        order = np.random.default_rng(HELD_OUT).permutation(len(train))
        count = round(len(train) * data.validation_share)
        if not 0 < count < len(train):
            raise InputError(
                f"data.validation_share: expected to hold out some of {len(train)} images. "
                f"Received: {data.validation_share}."
            )
        return train.of(np.sort(order[count:])), train.of(np.sort(order[:count]))

    def _read(self, files: tuple[str, ...], split: SplitName, flag: str) -> Images:
        if is_embedded(files):
            return digits(files[0], flag)
        with data_flag(flag):
            return read_images(files, split, self.labelled)


def image_data(recipe: Recipe) -> ImageData:
    """Return the data of a recipe of images."""
    return expect(recipe.data, ImageData)


def vision_config(config: ModelConfig | None) -> VisionConfig:
    """Return the config of a model of images."""
    return expect(config, VisionConfig)


def image_processor(processor: Processor) -> ImageProcessor:
    """Return the processor of a model of images."""
    return expect(processor, ImageProcessor)


@contextlib.contextmanager
def _as_data_flags() -> Iterator[None]:
    """Name the flag where the class that it ends up in refuses it."""
    try:
        yield
    except InputError as error:
        said = str(error).replace("ImagePreprocessing.", "data.", 1)
        raise InputError(said) from None

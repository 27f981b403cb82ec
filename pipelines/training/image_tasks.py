"""What a recipe of images comes to: their rows, and the objective at work."""

from dataclasses import replace

import numpy as np

from pipelines import recipes
from pipelines.data.augment import Augmentation
from pipelines.data.embedded.digits import digits
from pipelines.data.image_rows import ImageRows
from pipelines.data.images import Images, Split, has_validation, read_images
from pipelines.data.preprocessing import ImagePreprocessing
from pipelines.data.records import data_flag
from pipelines.data.tables import classes_of, label_ids
from pipelines.objectives.images import HiddenPatches, ImageClasses, OfImages
from pipelines.progress import say
from pipelines.recipes import ImageClassification, ImageData, Recipe
from pipelines.training.task import Start, Task
from pipelines.training.text_tasks import no_draws
from tfattn.errors import InputError
from tfattn.models.vision_config import VisionConfig

HELD_OUT = 5  # seed of the permutation that says what is held out


def image_task(recipe: Recipe, config: VisionConfig, start: Start | None) -> Task:
    """Read the images of a recipe.

    Raises:
        InputError: images that cannot be used, or that do not fit the model.
    """
    data = recipe.data
    assert isinstance(data, ImageData)  # noqa: S101 - what its objectives learn from
    labelled = isinstance(recipe.objective, ImageClassification)
    train, validation = image_splits(data, labelled)
    how = preprocessing(data, config, start)
    spec = recipe.objective
    if isinstance(spec, ImageClassification) and not spec.classes:
        spec = replace(spec, classes=classes_of(train))
    seed = recipe.train.seed
    objective = image_work(spec, config, how, seed, Augmentation(data.augment, seed))
    rows, others = (image_rows(images, spec, how) for images in (train, validation))
    for name, images in (("train", train), ("validation", validation)):
        say(f"{name}: {len(images):,} images")
    return Task(config, how, spec, objective, rows, others, no_draws, no_draws)


def image_splits(data: ImageData, labelled: bool) -> tuple[Images, Images]:
    """Return the images of training and those of validation.

    Raises:
        InputError: images that cannot be used, or too few to hold out some.
    """
    train = _read(data.images, "train", "images", labelled)
    others = data.validation or (data.images if has_validation(data.images) else ())
    if others:
        return train, _read(others, "validation", "validation", labelled)
    # By a fixed permutation, so that any run on these images holds out the same.
    order = np.random.default_rng(HELD_OUT).permutation(len(train))
    count = round(len(train) * data.validation_share)
    if not 0 < count < len(train):
        raise InputError(
            f"data.validation_share: expected to hold out some of {len(train)} images. "
            f"Received: {data.validation_share}."
        )
    return train.of(np.sort(order[count:])), train.of(np.sort(order[:count]))


def validation_rows(
    data: ImageData, spec: recipes.Objective, how: ImagePreprocessing, files: tuple[str, ...]
) -> ImageRows:
    """Return the rows of other images, or of those that the run was measured on.

    Args:
        data: of the recipe.
        spec: of the recipe, with the classes.
        how: pixels become what the model reads.
        files: as in training; none = the run's own.
    """
    labelled = isinstance(spec, ImageClassification)
    if files:
        return image_rows(_read(files, "validation", "files", labelled), spec, how)
    return image_rows(image_splits(data, labelled)[1], spec, how)


def _read(files: tuple[str, ...], split: Split, flag: str, labelled: bool) -> Images:
    if recipes.is_embedded(files):
        return digits(files[0], flag)
    with data_flag(flag):
        return read_images(files, split, labelled)


def preprocessing(data: ImageData, config: VisionConfig, start: Start | None) -> ImagePreprocessing:
    """Return how pictures become the images of this model: as for what it starts from, or anew."""
    known = None if start is None else start.reader
    if not isinstance(known, ImagePreprocessing):
        known = ImagePreprocessing(config.height, config.width, config.channels)
    asked = {"fit": data.fit, "mean": data.mean, "std": data.std}
    return replace(known, **{name: value for name, value in asked.items() if value})


def image_work(
    spec: recipes.Objective,
    config: VisionConfig,
    how: ImagePreprocessing,
    seed: int,
    augmentation: Augmentation | None = None,
) -> OfImages:
    """Return the objective that `spec` describes.

    Args:
        spec: of the recipe, with the classes.
        config: of the model.
        how: pixels become what it reads.
        seed: of the recipe.
        augmentation: what is changed in training.
    """
    if isinstance(spec, ImageClassification):
        return ImageClasses(spec, how, augmentation)
    assert isinstance(spec, recipes.MaskedImages)  # noqa: S101 - there are two
    return HiddenPatches(spec, config, how, seed, augmentation)


def image_rows(images: Images, spec: recipes.Objective, how: ImagePreprocessing) -> ImageRows:
    """Return the rows of images, with labels where classes are learnt."""
    if not isinstance(spec, ImageClassification):
        return ImageRows(images, how)
    return ImageRows(images, how, label_ids(images, spec.classes))

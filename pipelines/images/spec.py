"""The tasks of images as data, and where images come from."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from pipelines.core.spec import Data, Recipe, Stage, Task, check_share
from pipelines.core.train_config import TrainConfig
from tfattn.errors import InputError
from tfattn.models.config import Classify, Head
from tfattn.models.model_config import ModelConfig
from tfattn.models.vision_config import Pixels, VisionConfig
from tfattn.spec import Spec

EMBEDDED_DIGITS = "embedded:digits"  # scikit-learn's 1,797
# DeiT (arXiv:2012.12877, table 9) has 5e-4 for 512 images, from scratch.
FINETUNING = TrainConfig(
    epochs=10, rate=5e-4, schedule="cosine", warmup=0.05, weight_decay=0.05, beta2=0.999, batch=64
)


@dataclass(frozen=True)
class Augment(Spec):
    """What training changes in an image, anew each time it is seen (arXiv:2012.12877, table 9)."""

    shift: float = 0.1  # share of its sides by which it is moved at most
    flip: bool = False  # half of the images from left to right; no digit and no letter wants it
    # Strength, up to 1, of two changes of a list of eleven, the same for a batch (RandAugment,
    # arXiv:1909.13719); 0: none.
    randaugment: float = 0.0
    erase: float = 0.0  # share of the images of which a rectangle is noise (arXiv:1708.04896)
    mixup: float = 0.0  # alpha of sums of two images and of their labels (arXiv:1710.09412); 0: no
    cutmix: float = 0.0  # alpha of rectangles of another image (arXiv:1905.04899); 0: none

    def __post_init__(self):
        super().__post_init__()
        for name in ("shift", "randaugment", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                self.refuse(name, "a share from 0 to 1")
        for name in ("mixup", "cutmix"):
            if getattr(self, name) < 0:
                self.refuse(name, "0 or more")


@dataclass(frozen=True)
class ImageData(Data):
    """Images, with the names of their classes or without."""

    # Folders with a folder of pictures for each class (at any depth where no classes are learnt);
    # or an .npz of x and y, or of x_train, y_train, x_test and y_test; or tfds:NAME/SPLIT; or
    # embedded:digits, scikit-learn's 1,797.
    images: tuple[str, ...] = (EMBEDDED_DIGITS,)
    # The same for validation; none: x_test of an .npz that has it, or a share of the images.
    validation: tuple[str, ...] = ()
    validation_share: float = 0.1  # of the images, where none are given
    # Height and width that the model of --init is to read from now on, by positions that are
    # resized (arXiv:2010.11929, section 3.2); none: as before.
    size: tuple[int, int] | None = None
    # Pictures of other proportions are cut to their middle or stretched; none: as --init does, or
    # cut.
    fit: Literal["crop", "stretch"] | None = None
    # Is taken off shares of white, of each channel or of all; none: as --init does, or 0.5.
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()  # by which the rest is divided; none: as --init does, or 0.5
    augment: Augment = Augment()

    def __post_init__(self):
        super().__post_init__()
        if not self.images:
            raise InputError("data.images: expected at least one folder. Received none.")
        check_share("data.validation_share", self.validation_share)

    def validation_sources(self) -> tuple[str, ...]:
        """Return the images of validation, or those of which they are a share or a part."""
        return self.validation or self.images

    def without_sources(self) -> Self:
        """Return the same settings with the embedded digits."""
        return replace(self, images=(EMBEDDED_DIGITS,), validation=())


@dataclass(frozen=True)
class ImageTask(Task):
    """A task of images."""

    data: ClassVar[type[ImageData]] = ImageData
    models: ClassVar[tuple[type[ModelConfig], ...]] = (VisionConfig,)

    def check(self, recipe: Recipe) -> None:
        """Refuse another size of the images of a new model, which has fields for it."""
        size = getattr(recipe.data, "size", None)
        if size and recipe.init is None:
            raise InputError(
                "data.size: expected none without --init, for --model.height and --model.width say "
                f"it of a new model. Received: {size}."
            )


@dataclass(frozen=True)
class ImageClassification(ImageTask):
    """Tell the class of an image (arXiv:2010.11929, section 3.1)."""

    name: ClassVar[str] = "image-classification"
    stages: ClassVar[frozenset[Stage]] = frozenset({"pretrain", "finetune"})
    supervised: ClassVar[bool] = True
    defaults: ClassVar[TrainConfig] = FINETUNING
    runtime: ClassVar[str] = "pipelines.images.classify:ImageClassificationRuntime"

    classes: tuple[str, ...] = ()  # labels in the order of the probabilities; none: from the data
    # What is classified: the state of the class token, or the mean of those of the patches.
    pool: Literal["first", "mean"] = "first"
    dropout: float = 0.0  # on the pooled vector
    smoothing: float = 0.1  # share of a label's probability that all classes have in training
    metric: Literal["accuracy", "macro_f1", "matthews"] = "accuracy"  # chooses the best checkpoint

    def __post_init__(self):
        super().__post_init__()
        if len(set(self.classes)) < len(self.classes) or len(self.classes) == 1:
            self.refuse("classes", "two or more different ones")
        for name in ("dropout", "smoothing"):
            if not 0 <= getattr(self, name) < 1:
                self.refuse(name, "a share from 0 to below 1")

    def is_answered_by(self, heads: tuple[Head, ...]) -> bool:
        """Return whether one of the heads has as many classes."""
        count = len(self.classes)
        return any(isinstance(head, Classify) and head.classes == count for head in heads)


@dataclass(frozen=True)
class MaskedImages(ImageTask):
    """Reconstruct the masked patches of an image from the others (MAE, arXiv:2111.06377)."""

    name: ClassVar[str] = "masked-images"
    stages: ClassVar[frozenset[Stage]] = frozenset({"pretrain"})
    runtime: ClassVar[str] = "pipelines.images.mae:MaskedImagesRuntime"

    rate: float = 0.75  # share of the patches that are masked
    # Each patch is drawn as what its pixels are beside its own mean and deviation (section 4.1).
    normalized: bool = True
    dim: int = 64  # width of the decoder, which is of use in pretraining alone
    depth: int = 1  # its blocks
    heads: int = 2  # attention heads of a block

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.rate < 1:
            self.refuse("rate", "a share between 0 and 1")

    @classmethod
    def continues(cls, config: ModelConfig, heads: tuple[Head, ...]) -> bool:
        """Return whether the model reads images."""
        return isinstance(config, VisionConfig)

    def is_answered_by(self, heads: tuple[Head, ...]) -> bool:
        """Return whether one of the heads reconstructs patches."""
        return any(isinstance(head, Pixels) for head in heads)


TASKS: tuple[type[Task], ...] = (MaskedImages, ImageClassification)

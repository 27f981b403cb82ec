"""What models of images learn, and from what, as data."""

from dataclasses import dataclass
from typing import Literal

from pipelines.recipes.data import Data, check_share
from pipelines.recipes.objectives import Objective
from tfattn.errors import InputError
from tfattn.spec import Spec


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
                self._refuse(name, "a share from 0 to 1")
        for name in ("mixup", "cutmix"):
            if getattr(self, name) < 0:
                self._refuse(name, "0 or more")

    def _refuse(self, name, expected):
        raise InputError(f"Augment.{name}: expected {expected}. Received: {getattr(self, name)}.")


@dataclass(frozen=True)
class ImageData(Data):
    """Images, with the names of their classes or without."""

    # Folders with a folder of pictures for each class (at any depth where no classes are learnt);
    # or an .npz of x and y, or of x_train, y_train, x_test and y_test; or tfds:NAME/SPLIT; or
    # embedded:digits, scikit-learn's 1,797.
    images: tuple[str, ...] = ("embedded:digits",)
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
        check_share(self.validation_share)


@dataclass(frozen=True)
class ImageClassification(Objective):
    """Tell the class of an image (arXiv:2010.11929, section 3.1)."""

    classes: tuple[str, ...] = ()  # labels in the order of the probabilities; none: from the data
    # What is classified: the state of the class token, or the mean of those of the patches.
    pool: Literal["first", "mean"] = "first"
    dropout: float = 0.0  # on the pooled vector
    smoothing: float = 0.1  # share of a label's probability that all classes have in training
    metric: Literal["accuracy", "macro_f1", "matthews"] = "accuracy"  # chooses the best checkpoint

    def __post_init__(self):
        super().__post_init__()
        if len(set(self.classes)) < len(self.classes) or len(self.classes) == 1:
            raise InputError(
                "ImageClassification.classes: expected two or more different ones. "
                f"Received: {self.classes}."
            )
        for name in ("dropout", "smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(
                    f"ImageClassification.{name}: expected a share from 0 to below 1. "
                    f"Received: {getattr(self, name)}."
                )


@dataclass(frozen=True)
class MaskedImages(Objective):
    """Draw the hidden patches of an image from the others (MAE, arXiv:2111.06377)."""

    rate: float = 0.75  # share of the patches that are hidden
    # Each patch is drawn as what its pixels are beside its own mean and deviation (section 4.1).
    normalized: bool = True
    dim: int = 64  # width of the decoder, which is of use in pretraining alone
    depth: int = 1  # its blocks
    heads: int = 2  # attention heads of a block

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.rate < 1:
            raise InputError(
                f"objective.rate: expected a share between 0 and 1. Received: {self.rate}."
            )

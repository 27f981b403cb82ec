"""Images and the names of their classes: folders of pictures, arrays in .npz, TensorFlow Datasets.

Pictures of folders stay where they are and are read when they are wanted; arrays are kept in
memory. Nothing is unpickled.
"""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipelines.core.progress import say
from pipelines.core.tfds import TFDS, examples
from tfattn.errors import InputError

SplitName = Literal["train", "validation"]
# How the kinds that TensorFlow decodes begin.
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")
SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")
# What arrays of a split are called, in the order in which they are looked for.
NAMES: dict[SplitName, tuple[str, ...]] = {
    "train": ("x_train", "x"),
    "validation": ("x_test", "x_val", "x_validation", "x"),
}


@dataclass(frozen=True)
class Images:
    """Images in a fixed order: paths of pictures, or pixels."""

    pictures: list[Path]
    pixels: np.ndarray | None  # (n, y, x, c) uint8, in place of pictures
    labels: list[str]  # of each image; () where there are none
    places: list[str]  # of each label, for people
    source: str  # where they are from, for people

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.pictures) if self.pixels is None else len(self.pixels)

    def of(self, rows: np.ndarray) -> "Images":
        """Return these of them, (n,) integers."""
        return Images(
            [self.pictures[row] for row in rows] if self.pixels is None else [],
            None if self.pixels is None else self.pixels[rows],
            [self.labels[row] for row in rows] if self.labels else [],
            [self.places[row] for row in rows],
            self.source,
        )


def read_images(files: Sequence[str], split: SplitName = "train", labelled: bool = True) -> Images:
    """Find the images of folders, or read those of one .npz or TensorFlow data set.

    A folder has a folder of pictures for each class; where no labels are wanted, pictures at any
    depth. An .npz has pixels `x` and labels `y`, or `x_train` and `x_test` (or
    `x_val`) with theirs; where it has `classes`, labels count these.

    Args:
        files: folders, or one .npz, or `tfds:NAME/SPLIT`.
        split: whose arrays are taken, where an .npz has several.
        labelled: whether labels are wanted.

    Raises:
        InputError: nothing there, or what cannot be used; file and array are named.
    """
    if len(files) == 1 and files[0].startswith(TFDS):
        return _from_tfds(files[0], labelled)
    paths = [Path(os.path.expanduser(name)) for name in files]
    for path in paths:
        if not path.exists():
            raise InputError(f"files: expected folders, or an .npz. Received: none at {path}.")
    if len(paths) == 1 and paths[0].suffix.lower() == ".npz":
        return _from_arrays(paths[0], split, labelled)
    if not paths or not all(path.is_dir() for path in paths):
        received = ", ".join(map(str, paths)) or "none"
        raise InputError(f"files: expected folders of pictures, or one .npz. Received: {received}.")
    return _from_folders(paths, labelled)


def has_validation(files: Sequence[str]) -> bool:
    """Return whether these are one .npz that has images of both splits."""
    path = Path(os.path.expanduser(files[0]))
    if len(files) != 1 or path.suffix.lower() != ".npz" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
    return NAMES["train"][0] in names and bool(names & set(NAMES["validation"]) - {"x"})


def _from_folders(folders: list[Path], labelled: bool) -> Images:
    pictures, labels = [], []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            inner = path.relative_to(folder).parts
            if any(part.startswith(".") for part in inner):  # what systems keep beside files
                continue
            if path.suffix.lower() not in SUFFIXES or not path.is_file():
                continue
            if labelled and len(inner) < 2:
                raise InputError(
                    f"{path}: expected pictures in folders that are called as their classes. "
                    f"Received: one in {folder} itself."
                )
            _check_beginning(path)
            pictures.append(path)
            labels += [inner[0]] if labelled else []
    source = ", ".join(map(str, folders))
    if not pictures:
        raise InputError(f"{source}: expected pictures ({' '.join(SUFFIXES)}). Received: none.")
    if labelled:
        _tell_empty(folders, set(labels))
    return Images(pictures, None, labels, [str(path) for path in pictures], source)


def _tell_empty(folders: list[Path], classes: set[str]) -> None:
    inner = {path.name for folder in folders for path in folder.iterdir() if path.is_dir()}
    for name in sorted(name for name in inner - classes if not name.startswith(".")):
        say(f"{name}: a folder without pictures, which makes no class")


def _check_beginning(path: Path) -> None:
    with open(path, "rb") as file:
        begins = file.read(8)
    if not begins.startswith(BEGINNINGS):
        raise InputError(
            f"{path}: expected a JPEG, PNG, GIF or BMP. Received: a file that begins {begins!r}."
        )


def _from_arrays(path: Path, split: SplitName, labelled: bool) -> Images:
    try:
        with open(path, "rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as arrays:
            names = set(arrays.files)
            name = next((name for name in NAMES[split] if name in names), None)
            if name is None:
                raise InputError(
                    f"{path}: expected an array {' or '.join(NAMES[split])}. "
                    f"Received: {', '.join(sorted(names)) or 'none'}."
                )
            pixels = _pixels(arrays[name], f"{path}, {name}")
            labels: list[str] = []
            if labelled:
                called = "y" + name[1:]
                if called not in names:
                    raise InputError(
                        f"{path}: expected labels {called} beside {name}. "
                        f"Received: {', '.join(sorted(names))}."
                    )
                classes = arrays["classes"] if "classes" in names else None
                labels = _labels(arrays[called], classes, len(pixels), f"{path}, {called}")
    except InputError:
        raise
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(
            f"{path}: expected an .npz as numpy writes it, without pickles. Received: {error}."
        ) from None
    return Images(
        [], pixels, labels, [f"{path}, row {row}" for row in range(len(pixels))], str(path)
    )


def _pixels(array: np.ndarray, where: str) -> np.ndarray:
    """Return (n, y, x, c) uint8 of what is that, or gray, or shares of white."""
    given = array.shape
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[-1] not in (1, 3) or 0 in array.shape:
        raise InputError(
            f"{where}: expected one or more images (n, y, x) or (n, y, x, c) of 1 or 3 channels. "
            f"Received: {given}."
        )
    if array.dtype == np.uint8:
        return array
    floats = np.issubdtype(array.dtype, np.floating)
    inside = (array >= 0) & (array <= 1) & floats  # what is no number is not
    if not np.all(inside):
        row = int(np.argmin(inside.all(axis=(1, 2, 3))))
        raise InputError(
            f"{where}: expected uint8, or numbers from 0 to 1. Received: {array.dtype} from "
            f"{array[row].min():g} to {array[row].max():g} in row {row}."
        )
    return np.round(array * 255).astype(np.uint8)


def _labels(array: np.ndarray, classes: np.ndarray | None, count: int, where: str) -> list[str]:
    if array.shape not in ((count,), (count, 1)):
        raise InputError(f"{where}: expected a label for each of {count}. Received: {array.shape}.")
    array = array.reshape(count)
    if array.dtype.kind not in "iuUb":
        raise InputError(f"{where}: expected whole numbers or names. Received: {array.dtype}.")
    if classes is None or array.dtype.kind == "U":
        return [str(label) for label in array.tolist()]
    numbers = array.astype(np.int64)
    if numbers.min() < 0 or numbers.max() >= len(classes):
        raise InputError(
            f"{where}: expected numbers of the {len(classes)} classes. "
            f"Received: {numbers.min()} to {numbers.max()}."
        )
    return [str(classes[number]) for number in numbers]


def _from_tfds(entry: str, labelled: bool) -> Images:
    pixels: list[Any] = []
    labels: list[str] = []
    for number, example in enumerate(examples(entry)):
        where = f"{entry}, example {number}"
        for name in ("image", "label")[: 1 + labelled]:
            if name not in example:
                listed = ", ".join(example)
                raise InputError(f"{where}: expected {name}. Received: {listed}.")
        pixels.append(example["image"])
        labels += [str(example["label"])] if labelled else []
    shapes = {image.shape for image in pixels}
    if len(shapes) != 1:
        raise InputError(
            f"{entry}: expected images of one size, which are kept in memory; write others as "
            f"folders of pictures. Received: {len(shapes)} sizes."
        )
    places = [f"{entry}, example {number}" for number in range(len(pixels))]
    return Images([], _pixels(np.stack(pixels), entry), labels, places, entry)

"""Images from folders, arrays and data sets, in one order, with labels that name their place."""

import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from pipelines.images.sources import read_images
from tfattn.errors import InputError


def write(path, value=0, size=(4, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size, 3), value, np.uint8)
    path.write_bytes(tf.io.encode_png(pixels).numpy())
    return path


def arrays(path, **given):
    np.savez(path, **given)
    return str(path)


@pytest.fixture
def folder(tmp_path):
    for name in ("dog/b.png", "cat/deep/c.PNG", "cat/a.png"):
        write(tmp_path / "train" / name)
    (tmp_path / "train" / "dog" / "notes.txt").write_text("no picture")
    return tmp_path / "train"


def test_a_folder_of_folders_names_the_classes(folder):
    found = read_images([str(folder)])
    names = ["cat/a.png", "cat/deep/c.PNG", "dog/b.png"]
    assert found.pictures == [folder / name for name in names] and found.pixels is None
    assert found.labels == ["cat", "cat", "dog"] and len(found) == 3
    assert found.places == [str(folder / name) for name in names]


def test_without_labels_pictures_are_found_at_any_depth(folder):
    write(folder / "z.png")
    found = read_images([str(folder)], labelled=False)
    assert len(found) == 4 and found.labels == []
    with pytest.raises(InputError, match=r"z\.png: expected pictures in folders that are called"):
        read_images([str(folder)])


def test_several_folders_are_read_in_the_order_given(folder, tmp_path):
    other = write(tmp_path / "more" / "ant" / "x.png").parent.parent
    assert read_images([str(other), str(folder)]).labels == ["ant", "cat", "cat", "dog"]


@pytest.mark.parametrize(
    ("split", "given", "first"),
    [
        ("train", ("x", "y"), 0),
        ("train", ("x_train", "y_train", "x_test", "y_test"), 0),
        ("validation", ("x_train", "y_train", "x_test", "y_test"), 2),
        ("validation", ("x_train", "y_train", "x_val", "y_val"), 2),
        ("validation", ("x", "y"), 0),
    ],
)
def test_an_npz_has_arrays_for_each_split(split, given, first, tmp_path):
    made = [
        np.full((5, 2, 2), number, np.uint8) if name[0] == "x" else np.arange(5) + number
        for number, name in enumerate(given)
    ]
    found = read_images([arrays(tmp_path / "a.npz", **dict(zip(given, made, strict=True)))], split)
    assert found.pixels.shape == (5, 2, 2, 1) and found.pixels.dtype == np.uint8
    assert np.all(found.pixels == first)
    assert found.labels == [str(first + 1 + i) for i in range(5)]
    assert found.places[3].endswith("a.npz, row 3")


def test_labels_count_classes_where_these_have_names(tmp_path):
    x = np.zeros((3, 2, 2, 3), np.uint8)
    given = {"x": x, "y": np.array([[2], [0], [2]]), "classes": np.array(["a", "b", "c"])}
    assert read_images([arrays(tmp_path / "a.npz", **given)]).labels == ["c", "a", "c"]
    assert read_images([arrays(tmp_path / "b.npz", x=x, y=np.array(["u", "v", "u"]))]).labels == [
        *("u", "v", "u")
    ]
    assert read_images([arrays(tmp_path / "c.npz", x=x)], labelled=False).labels == []


def test_numbers_from_0_to_1_are_shares_of_white(tmp_path):
    shares = np.array([0, 0.2, 0.5, 1]).reshape(1, 2, 2)
    found = read_images([arrays(tmp_path / "a.npz", x=shares)], labelled=False)
    assert found.pixels[0, ..., 0].tolist() == [[0, 51], [128, 255]]


X, Y = np.zeros((2, 2, 2), np.uint8), np.arange(2)
BAD = {
    "no images": ({"a": X}, r"expected an array x_train or x. Received: a"),
    "no labels": ({"x": X}, r"expected labels y beside x. Received: x"),
    "labels of others": ({"x_train": X, "y": Y}, r"expected labels y_train beside x_train"),
    "too few labels": ({"x": X, "y": Y[:1]}, r"npz, y: expected a label for each of 2.*\(1,\)"),
    "labels of no class": (
        {"x": X, "y": Y, "classes": np.array(["a"])}, r"numbers of the 1 classes. Received: 0 to 1"
    ),
    "shares as labels": ({"x": X, "y": Y * 0.5}, r"y: expected whole numbers or names.*float64"),
    "a table": ({"x": X[0], "y": Y}, r"x: expected one or more images .*Received: \(2, 2\)"),
    "five channels": ({"x": np.zeros((2, 2, 2, 5), np.uint8), "y": Y}, r"Received: \(2, 2, 2, 5\)"),
    "numbers over 1": ({"x": X + 1.5, "y": Y}, r"expected uint8, or numbers from 0 to 1.* to 1\.5"),
    "whole numbers over 255": ({"x": X.astype(int) + 256, "y": Y}, r"expected uint8.*int64"),
    "no numbers": ({"x": X + np.nan, "y": Y}, r"from 0 to 1\. Received: float64 .* in row 0"),
    "not one image": ({"x": X[:0], "y": Y[:0]}, r"expected one or more images .*Received: \(0, "),
    "a pickle": ({"x": np.array([[{}]], object), "y": Y}, r"without pickles\. Received: Object"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_arrays_that_cannot_be_used(name, tmp_path):
    given, message = BAD[name]
    with pytest.raises(InputError, match=message):
        read_images([arrays(tmp_path / "a.npz", **given)])


def test_files_that_cannot_be_used(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "b.npz").write_bytes(b"")
    (tmp_path / "c.csv").write_text("x")
    with open(tmp_path / "d.npz", "wb") as file:
        np.save(file, X)
    for files, message in (
        ([], r"expected folders of pictures, or one .npz. Received: none"),
        (["none"], r"files: expected folders, or an \.npz. Received: none at .*none"),
        (["empty"], r"empty: expected pictures \(\.jpg .*\)\. Received: none"),
        (["a.npz"], r"a\.npz: expected an \.npz as numpy writes it"),
        (["b.npz"], r"b\.npz: expected an \.npz as numpy writes it"),
        (["d.npz"], r"d\.npz: expected an \.npz as numpy writes it"),
        (["c.csv"], r"files: expected folders of pictures, or one \.npz. Received: .*c\.csv"),
        (["train", "a.npz"], r"files: expected folders of pictures, or one \.npz"),
    ):
        with pytest.raises(InputError, match=message):
            read_images([str(tmp_path / name) for name in files])
    (folder / "dog" / "b.png").write_bytes(b"GIT8")
    with pytest.raises(InputError, match=r"b\.png: expected a JPEG, .* begins b'GIT8'"):
        read_images([str(folder)])


def test_data_sets_are_kept_in_memory(monkeypatch):
    sets = {
        "same": [{"image": np.full((2, 2, 1), n, np.uint8), "label": n} for n in (3, 1)],
        "sizes": [{"image": np.zeros((n, 2, 1), np.uint8), "label": n} for n in (2, 3)],
        "bare": [{"image": np.zeros((2, 2, 1), np.uint8)}],
    }
    fake = types.SimpleNamespace(load=lambda name, **_: sets[name], as_numpy=lambda found: found)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
    found = read_images(["tfds:same/train"])
    assert found.labels == ["3", "1"] and found.pixels[:, 0, 0, 0].tolist() == [3, 1]
    with pytest.raises(InputError, match=r"sizes/train: expected images of one size.* 2 sizes"):
        read_images(["tfds:sizes/train"])
    with pytest.raises(InputError, match=r"bare/train, example 0: expected label. Received: image"):
        read_images(["tfds:bare/train"])
    assert len(read_images(["tfds:bare/train"], labelled=False)) == 1


def test_what_systems_keep_beside_pictures_is_no_picture(folder, capsys):
    before = read_images([str(folder)])
    hidden = [folder / "._a.png", folder / ".cache" / "1.png", next(folder.iterdir()) / "._1.png"]
    for path in hidden:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\x00\x05\x16\x07")
    (folder / "nothing").mkdir()
    capsys.readouterr()
    assert read_images([str(folder)]) == before
    assert "nothing: a folder without pictures" in capsys.readouterr().err

"""What the labels of a table say about an objective."""

import numpy as np
import pytest

from pipelines import recipes
from pipelines.data.tables import read_table
from pipelines.training.labels import resolve_labels
from tfattn.errors import InputError


def test_labels_give_the_classes_or_the_scale_unless_they_are_given(tmp_path):
    (tmp_path / "a.tsv").write_text("label\ttext\n1\tone\n3\tthree\n5\tfive\n")
    table = read_table([str(tmp_path / "a.tsv")])
    assert resolve_labels(recipes.Classification(), table, "mean") == recipes.Classification(
        classes=("1", "3", "5"), pool="mean"
    )
    given = recipes.Classification(classes=("5", "3", "1"), pool="pooler")
    assert resolve_labels(given, table, "mean") == given
    with pytest.raises(InputError, match=r"classify.classes: expected none that is empty.*''"):
        recipes.Classification(classes=("good", ""))
    spec = resolve_labels(recipes.Regression(), table, "last")
    assert spec.pool == "last"
    assert (spec.offset, spec.scale) == (3.0, pytest.approx(np.std([1, 3, 5])))
    given = recipes.Regression(offset=1.0, scale=2.0, pool="mean")
    assert resolve_labels(given, table, "last") == given


def test_one_number_for_all_texts_is_no_reason_to_divide_by_zero(tmp_path):
    (tmp_path / "a.tsv").write_text("label\ttext\n2\tone\n2\tthree\n")
    spec = resolve_labels(recipes.Regression(), read_table([str(tmp_path / "a.tsv")]), "mean")
    assert (spec.offset, spec.scale) == (2.0, 1.0)

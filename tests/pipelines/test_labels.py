"""What the labels of a table say about an objective."""

import numpy as np
import pytest

from pipelines.core.runtimes import runtime_of
from pipelines.core.spec import Recipe
from pipelines.core.tables import read_table
from pipelines.text.sources import TableData
from pipelines.text.spec import Classification, Regression
from tfattn.errors import InputError
from tfattn.families import preset

READS_BOTH_WAYS = preset("bert-tiny")
CAUSAL = preset("gpt2-tiny")


def resolved(task, table, config):
    """Return a task with what the labels of a table say."""
    recipe = Recipe(None, task, TableData(("a",), ("a",)), init="run")
    return runtime_of(task).resolve(recipe, table, config)


def test_labels_give_the_classes_or_the_scale_unless_they_are_given(tmp_path):
    (tmp_path / "a.tsv").write_text("label\ttext\n1\tone\n3\tthree\n5\tfive\n")
    table = read_table([str(tmp_path / "a.tsv")])
    assert resolved(Classification(), table, READS_BOTH_WAYS) == Classification(
        classes=("1", "3", "5"), pool="mean"
    )
    given = Classification(classes=("5", "3", "1"), pool="pooler")
    assert resolved(given, table, READS_BOTH_WAYS) == given
    with pytest.raises(
        InputError, match=r"Classification.classes: expected none that is empty.*''"
    ):
        Classification(classes=("good", ""))
    spec = resolved(Regression(), table, CAUSAL)
    assert spec.pool == "last"
    assert (spec.offset, spec.scale) == (3.0, pytest.approx(np.std([1, 3, 5])))
    given = Regression(offset=1.0, scale=2.0, pool="mean")
    assert resolved(given, table, CAUSAL) == given


def test_one_number_for_all_texts_is_no_reason_to_divide_by_zero(tmp_path):
    (tmp_path / "a.tsv").write_text("label\ttext\n2\tone\n2\tthree\n")
    spec = resolved(Regression(), read_table([str(tmp_path / "a.tsv")]), READS_BOTH_WAYS)
    assert (spec.offset, spec.scale) == (2.0, 1.0)

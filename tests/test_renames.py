import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfattn.renames import RESHAPES, Rename

sizes = st.integers(1, 4)


@given(sizes, sizes, sizes)
def test_every_reshape_runs_both_ways(d, h, e):
    theirs = {
        "transpose": (h * e, d),
        "heads_in": (h * e, d),
        "kv_heads_in": (d, h * e),  # d heads of keys, as wide as the h of queries: e each
        "heads_out": (d, h * e),
        "split_heads": (d, h * e),
        "join_heads": (h * e, d),
        "heads_bias": (h * e,),
    }
    ours = {"transpose": (d, h * e), "heads_in": (d, h, e), "heads_out": (h, e, d)}
    ours |= {"heads_bias": (h, e), "split_heads": (d, h, e), "join_heads": (h, e, d)}
    ours["kv_heads_in"] = (h * e, d // e, e) if d % e == 0 else None
    assert set(theirs) == set(RESHAPES)
    for how, shape in theirs.items():
        if ours[how] is None:
            continue
        weight = np.arange(np.prod(shape)).reshape(shape)
        row = Rename("theirs", "ours", how)
        reshaped = row.to_ours(weight, h)
        assert reshaped.shape == ours[how]
        back = row.to_theirs(reshaped, h)
        np.testing.assert_array_equal(back, weight)
        assert back.flags["C_CONTIGUOUS"]


def test_heads_follow_each_other_in_their_rows():
    weight = np.arange(12).reshape(6, 2)  # (h e, d) with h = 3, e = 2
    ours = Rename("", "", "heads_in").to_ours(weight, 3)  # (d, h, e)
    np.testing.assert_array_equal(ours[:, 1], weight[2:4].T)


def test_parts_of_one_array_are_rows_of_their_own():
    weight = np.arange(24).reshape(2, 12)  # (d, 3 h e) with h = 2, e = 2
    rows = [Rename("qkv", name, "split_heads", (i, 3)) for i, name in enumerate("qkv")]
    parts = [row.to_ours(weight, 2) for row in rows]
    np.testing.assert_array_equal(parts[1], weight[:, 4:8].reshape(2, 2, 2))
    back = [row.to_theirs(part, 2) for row, part in zip(rows, parts, strict=True)]
    np.testing.assert_array_equal(np.concatenate(back, axis=-1), weight)


def test_rows_with_a_number_are_written_for_every_layer():
    rows = list(Rename("layer.{}.w", "block_{}/w", "transpose").for_layers(2))
    assert rows == [
        Rename("layer.0.w", "block_0/w", "transpose"),
        Rename("layer.1.w", "block_1/w", "transpose"),
    ]
    assert list(Rename("w", "v").for_layers(2)) == [Rename("w", "v")]
    assert [row.ours for row in Rename("layer.{}.w", None).for_layers(2)] == [None, None]


def test_without_a_reshape_the_array_is_copied_as_it_is():
    weight = np.arange(6).reshape(2, 3)
    assert Rename("a", "b").to_ours(weight, 5) is weight
    with pytest.raises(ValueError, match="reshape"):
        Rename("a", "b", "heads_bias").to_ours(np.arange(6), 4)

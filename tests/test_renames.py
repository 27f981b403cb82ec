import numpy as np

from tfattn.renames import Rename


def test_a_transposed_array_is_turned_both_ways():
    weight = np.arange(6).reshape(3, 2)  # (out, in)
    row = Rename("theirs", "ours", transposed=True)
    ours = row.to_ours(weight)
    np.testing.assert_array_equal(ours, [[0, 2, 4], [1, 3, 5]])
    back = row.to_theirs(ours)
    np.testing.assert_array_equal(back, weight)
    assert back.flags["C_CONTIGUOUS"]


def test_parts_of_one_array_are_rows_of_their_own():
    weight = np.arange(24).reshape(2, 12)  # (d, 3 h e)
    rows = [Rename("qkv", name, part=(i, 3)) for i, name in enumerate("qkv")]
    parts = [row.to_ours(weight) for row in rows]
    np.testing.assert_array_equal(parts[1], weight[:, 4:8])
    back = [row.to_theirs(part) for row, part in zip(rows, parts, strict=True)]
    np.testing.assert_array_equal(np.concatenate(back, axis=-1), weight)


def test_rows_with_a_number_are_written_for_every_layer():
    rows = list(Rename("layer.{}.w", "block_{}/w", transposed=True).for_layers(2))
    assert rows == [
        Rename("layer.0.w", "block_0/w", transposed=True),
        Rename("layer.1.w", "block_1/w", transposed=True),
    ]
    assert list(Rename("w", "v").for_layers(2)) == [Rename("w", "v")]
    assert [row.ours for row in Rename("layer.{}.w", None).for_layers(2)] == [None, None]


def test_otherwise_the_array_is_taken_as_it_is():
    weight = np.arange(6).reshape(2, 3)
    assert Rename("a", "b").to_ours(weight) is weight


def test_the_kernel_of_a_convolution_is_a_matrix_of_its_windows():
    weight = np.arange(5 * 3 * 2 * 2).reshape((5, 3, 2, 2))  # (d, c, p, p)
    row = Rename("theirs", "ours", window=(3, 2))
    ours = row.to_ours(weight)
    assert ours.shape == (12, 5)
    window = np.arange(12).reshape((2, 2, 3))  # (y, x, c), as a window is flattened
    expected = [(weight[d] * window.transpose(2, 0, 1)).sum() for d in range(5)]
    np.testing.assert_array_equal(window.ravel() @ ours, expected)
    np.testing.assert_array_equal(row.to_theirs(ours), weight)


def test_axes_of_one_are_dropped_and_come_back():
    weight = np.arange(6).reshape((1, 1, 6))
    row = Rename("theirs", "ours", ones=2)
    assert row.to_ours(weight).shape == (6,)
    np.testing.assert_array_equal(row.to_theirs(row.to_ours(weight)), weight)

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

import tfattn
from tfattn.errors import InputError
from tfattn.mechanisms import masks
from tfattn.mechanisms.masks import (
    And,
    Causal,
    Everything,
    Global,
    Mask,
    Not,
    Or,
    Strided,
    Window,
    reach,
)

COMBINATORS = {And, Or, Not}
DRAWN = [
    kind
    for kind in vars(masks).values()
    if isinstance(kind, type) and issubclass(kind, Mask) and kind not in {Mask, *COMBINATORS}
]
sizes = st.integers(0, 5)
simple = st.one_of(
    st.just(Everything()),
    st.just(Causal()),
    st.builds(Window, sizes, sizes),
    st.builds(Strided, st.integers(1, 4)),
    st.builds(Global, sizes),
)
any_mask = st.recursive(
    simple,
    lambda inner: (
        st.builds(And, inner, inner) | st.builds(Or, inner, inner) | st.builds(Not, inner)
    ),
    max_leaves=4,
)
positions = st.lists(st.integers(0, 12), min_size=1, max_size=6).map(np.array)


def drawn(kind):
    """Return the mask that a docstring draws, and the drawing as booleans (q, k)."""
    call = re.search(rf"({kind.__name__}\(.+\)):", kind.__doc__)
    mask = eval(call[1], vars(masks)) if call else kind()
    rows = re.findall(r"^\s*(?:q )?\s*\d   ([x. ]+)$", kind.__doc__, re.MULTILINE)
    return mask, np.array([[mark == "x" for mark in row.split()] for row in rows])


def grid(mask, size=4):
    q = np.arange(size)
    return mask(q[:, None], q[None, :])


@pytest.mark.parametrize("kind", DRAWN)
def test_a_mask_is_what_its_docstring_draws(kind):
    mask, expected = drawn(kind)
    assert expected.shape == (4, 4)
    np.testing.assert_array_equal(grid(mask), expected)


@pytest.mark.parametrize("kind", DRAWN)
def test_the_same_line_runs_on_tensors(kind):
    mask, expected = drawn(kind)
    q = ops.arange(4)
    np.testing.assert_array_equal(ops.convert_to_numpy(mask(q[:, None], q[None, :])), expected)


def test_all_masks_that_are_not_combinators_are_drawn():
    assert {kind.__name__ for kind in DRAWN} == {
        "Everything",
        "Causal",
        "Window",
        "Strided",
        "Global",
    }


def test_combinators_combine_what_may_be_attended_to():
    causal, window = grid(Causal()), grid(Window(1, 1))
    np.testing.assert_array_equal(grid(Causal() & Window(1, 1)), causal & window)
    np.testing.assert_array_equal(grid(Causal() | Window(1, 1)), causal | window)
    np.testing.assert_array_equal(grid(~Causal()), ~causal)


def test_combinators_run_on_tensors():
    mask = ~(Causal() & Window(1, 0)) | Global(1)
    q = ops.arange(5)
    ours = ops.convert_to_numpy(mask(q[:, None], q[None, :]))
    np.testing.assert_array_equal(ours, grid(mask, 5))


def test_the_base_class_says_that_it_is_no_mask():
    with pytest.raises(TypeError, match="Mask does not say"):
        Mask()(0, 0)


@pytest.mark.parametrize("step", [0, -1])
def test_a_stride_below_one_is_refused(step):
    with pytest.raises(InputError, match=r"Strided\.step: expected at least 1"):
        Strided(step)


@given(any_mask, positions, positions)
def test_a_mask_broadcasts_and_looks_at_one_pair_at_a_time(mask, q, k):
    together = mask(q[:, None], k[None, :])
    assert together.shape == (len(q), len(k)) and together.dtype == bool
    alone = [
        [bool(mask(q[i : i + 1], k[j : j + 1])[0]) for j in range(len(k))] for i in range(len(q))
    ]
    np.testing.assert_array_equal(together, alone)


@given(any_mask, any_mask)
def test_de_morgan(a, b):
    np.testing.assert_array_equal(grid(~(a & b)), grid(~a | ~b))


@given(any_mask)
def test_a_mask_survives_json_and_hashes_by_value(mask):
    again = Mask.from_json(json.loads(json.dumps(mask.to_json())))
    assert again == mask and type(again) is type(mask) and hash(again) == hash(mask)


@given(any_mask, any_mask)
def test_masks_are_equal_by_value(a, b):
    assert (a == b) == (a.to_json() == b.to_json())


def test_masks_of_other_kinds_or_values_differ():
    kinds = {Everything(), Causal(), Window(1, 2), Window(2, 1), Global(1), Strided(1)}
    assert len(kinds) == 6
    assert tfattn.Causal() == Causal()


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (Everything(), (None, None)),
        (Causal(), (None, 0)),
        (Window(3, 1), (3, 1)),
        (Causal() & Window(3, 1), (3, 0)),
        (Window(3, 1) | Window(0, 2), (3, 2)),
        (Window(3, 1) | Causal(), (None, 1)),
        (Window(3, 1) | Global(1), (None, None)),
        (~Window(3, 1), (None, None)),
        (Window(3, 1) & ~Window(1, 0), (3, 1)),
    ],
    ids=str,
)
def test_the_reach_of_a_mask_bounds_what_it_allows(mask, expected):
    assert reach(mask) == expected
    q, k = np.arange(8)[:, None], np.arange(8)[None]
    allowed = np.broadcast_to(mask(q, k), (8, 8))
    for way, far in zip((q - k, k - q), expected, strict=True):
        assert far is None or way[allowed].max() <= far

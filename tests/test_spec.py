import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfattn.errors import InputError
from tfattn.spec import Spec, unknown


@dataclass(frozen=True)
class Wheel(Spec):
    size: int
    kind: Literal["wood", "steel"] = "steel"


@dataclass(frozen=True)
class Spare(Wheel):
    age: float | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.age is not None and self.age < 0:
            raise InputError(f"Spare.age: expected 0 or more. Received: {self.age}.")


@dataclass(frozen=True)
class Bell(Spec):
    tone: str = "a"


@dataclass(frozen=True)
class Cart(Spec):
    wheels: tuple[Wheel, ...]
    name: str = "cart"
    weight: float = 1.0
    extra: Bell | Wheel | None = None
    corner: tuple[int, str] = (0, "left")
    tags: tuple[str, ...] | None = None
    free: Any = None
    sold: bool = False
    inner: Wheel = field(default_factory=lambda: Wheel(1))


CART = Cart((Wheel(3), Spare(4, "wood", 2)), extra=Wheel(5), tags=("a", "b"), corner=(1, "right"))

integers = st.integers(1 - 2**63, 2**63 - 1)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
wheels = st.builds(Wheel, integers, st.sampled_from(["wood", "steel"])) | st.builds(
    Spare, integers, age=st.none() | st.floats(0, 10)
)
carts = st.builds(
    Cart,
    st.lists(wheels, max_size=3),
    name=texts,
    weight=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
    extra=st.none() | wheels | st.builds(Bell, texts),
    corner=st.tuples(integers, texts),
    tags=st.none() | st.lists(texts, max_size=2),
)


@given(carts)
def test_nested_specs_survive_json(cart):
    again = Cart.from_json(json.loads(json.dumps(cart.to_json())))
    assert again == cart and hash(again) == hash(cart)
    assert [type(wheel) for wheel in again.wheels] == [type(wheel) for wheel in cart.wheels]


def test_json_is_plain_and_names_the_kind():
    assert Spare(4, "wood", 2).to_json() == {"spec": "Spare", "size": 4, "kind": "wood", "age": 2.0}


def test_the_kind_may_be_left_out_where_the_field_names_it():
    assert Cart.from_json({"wheels": [{"size": 3}]}) == Cart((Wheel(3),))


def test_a_spec_is_frozen_and_equal_by_value():
    assert Wheel(3) == Wheel(3) != Wheel(4)
    assert Wheel(3) != Spare(3)
    with pytest.raises(AttributeError):
        Wheel(3).size = 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"wheels": [], "weihgt": 2}, r"Cart: unknown field 'weihgt'\. Did you mean 'weight'\?"),
        ({"wheels": [{"size": 1, "kidn": 2}]}, r"Cart\.wheels\[0\]: unknown field 'kidn'.*'kind'"),
        ({"wheels": [{"size": "x"}]}, r"Cart\.wheels\[0\]\.size: expected int\. Received: 'x'"),
        ({"wheels": [{"size": 1.0}]}, r"Cart\.wheels\[0\]\.size: expected int\. Received: 1\.0"),
        ({"wheels": [{"size": 1, "kind": "stel"}]}, r"kind: unknown value 'stel'.*'steel'"),
        ({"wheels": [{"size": 1, "kind": 3}]}, r"Cart\.wheels\[0\]\.kind: expected .*Received: 3"),
        ({"wheels": [{}]}, r"Cart\.wheels\[0\]: missing size\. Received: nothing"),
        ({}, r"Cart: missing wheels"),
        ({"wheels": 3}, r"Cart\.wheels: expected tuple\[.*Wheel, \.\.\.\]\. Received: 3"),
        ({"wheels": [{"spec": "Spar", "size": 1}]}, r"unknown spec 'Spar'\. Did you mean 'Spare'"),
        ({"wheels": [{"spec": ["Spare"]}]}, r"Cart\.wheels\[0\]: unknown spec"),
        ({"wheels": [{"spec": "Bell"}]}, r"unknown spec 'Bell'.*Expected one of: Spare, Wheel"),
        ({"wheels": [], "extra": {"spec": "Spare", "size": 1, "aeg": 1}}, r"extra: unknown.*'age'"),
        (
            {"wheels": [], "extra": {"spec": "Spare", "size": 1, "age": -1}},
            r"Cart\.extra\.age: exp",
        ),
        ({"wheels": [], "extra": 3}, r"Cart\.extra: expected .*Bell.*Wheel.*None\. Received: 3"),
        ({"wheels": [], "corner": [1]}, r"Cart\.corner: expected tuple\[int, str\]"),
        ({"wheels": [], "corner": ["x", "y"]}, r"Cart\.corner\[0\]: expected int"),
        ({"wheels": [], "sold": 1}, r"Cart\.sold: expected bool\. Received: 1"),
        ({"wheels": [], "weight": True}, r"Cart\.weight: expected float\. Received: True"),
        ({"wheels": [], "inner": [1]}, r"Cart\.inner: expected Wheel\. Received: \[1\]"),
        ([], r"Cart: expected an object of fields\. Received: \[\]"),
        ({"wheels": [], "weight": float("nan")}, r"Cart\.weight: expected a finite number.* nan"),
        ({"wheels": [], "weight": 10**400}, r"Cart\.weight: expected a finite number"),
        ({"wheels": [{"size": 2**63}]}, r"Cart\.wheels\[0\]\.size: expected int"),
        ({"wheels": [], "name": "a\0b"}, r"Cart\.name: expected Unicode without NUL"),
        ({"wheels": [], "name": "\ud800"}, r"Cart\.name: expected Unicode without NUL"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(data, message):
    with pytest.raises(InputError, match=message):
        Cart.from_json(data)


def test_a_constructor_checks_as_json_does():
    with pytest.raises(InputError, match=r"Cart\.weight: expected float\. Received: 'much'"):
        Cart((), weight="much")
    assert Cart([Wheel(1)], weight=2).weight == 2.0 and Cart([Wheel(1)]).wheels == (Wheel(1),)


def test_two_kinds_of_one_name_are_told_apart_by_their_base():
    def define():
        @dataclass(frozen=True)
        class Wheel(Spec):
            spokes: int = 0

        return Wheel

    other = define()
    assert other.from_json(other(5).to_json()) == other(5)
    assert Wheel.from_json(Wheel(5).to_json()) == Wheel(5)


def test_a_file_is_readable_and_reads_back(tmp_path):
    path = tmp_path / "cart.json"
    CART.save(path)
    assert Cart.load(path) == CART
    assert path.read_text().endswith("}\n") and '\n  "name": "cart"' in path.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"cart\.json: expected a Cart in JSON\. No such file\."),
        ("{", r"cart\.json: expected a Cart in JSON\. Expecting"),
        ("[" * 100_000, r"cart\.json: expected a Cart in JSON\. maximum recursion"),
        ("[]", r"cart\.json: Cart: expected an object of fields"),
        ('{"wheels": [], "naem": 1}', r"cart\.json: Cart: unknown field 'naem'"),
        ('{"wheels": [{"size": null}]}', r"cart\.json: Cart\.wheels\[0\]\.size: expected int"),
        (
            '{"wheels": [], "extra": {"spec": "Spare", "size": 1, "age": -1}}',
            r"json: Cart\.extra\.age",
        ),
    ],
)
def test_a_wrong_file_is_named(tmp_path, text, message):
    path = tmp_path / "cart.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        Cart.load(path)


def test_a_folder_or_bytes_in_place_of_a_file_are_named(tmp_path):
    with pytest.raises(InputError, match="expected a Cart in JSON"):
        Cart.load(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe{")
    with pytest.raises(InputError, match="bytes: expected a Cart in JSON"):
        Cart.load(tmp_path / "bytes")


def test_unknown_names_the_nearest_or_none():
    assert unknown("field", "hed", ["head", "tail"]) == (
        "unknown field 'hed'. Did you mean 'head'? Expected one of: head, tail."
    )
    assert unknown("field", "zzz", ["b", "a"]) == "unknown field 'zzz'. Expected one of: a, b."

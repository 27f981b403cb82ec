import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from folders import CONFIG_OF_MODEL, arrays, assert_same, edit_config, edit_weights, randomized

import tfattn
from tfattn.errors import InputError
from tfattn.models.config import Classify, Pool, Tokens
from tfattn.weights import CONFIG, INDEX, WEIGHTS


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Write the folder once."""
    folder = tmp_path_factory.mktemp("written")
    tfattn.save(randomized(Tokens(), Classify()), folder)
    return folder


@pytest.fixture
def ours(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "ours"))


def test_a_folder_of_ours_gives_back_every_number(ours):
    model = tfattn.load(ours)
    assert_same(model, arrays(randomized(Tokens(), Classify())))
    assert sorted(path.name for path in ours.iterdir()) == [CONFIG, WEIGHTS]


def test_saving_again_replaces_the_folder(ours):
    other = randomized(Pool(), config=replace(CONFIG_OF_MODEL, depth=1))
    (ours / INDEX).write_text("{}")
    tfattn.save(other, ours)
    assert_same(tfattn.load(ours), arrays(other))
    assert sorted(path.name for path in ours.iterdir()) == [CONFIG, WEIGHTS]


def test_a_folder_that_was_not_written_to_its_end_is_not_taken_for_whole(ours, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("tfattn.weights.os.replace", stop)
    with pytest.raises(KeyboardInterrupt):
        tfattn.save(randomized(Tokens()), ours)
    with pytest.raises(InputError, match=r"config\.json: expected .* No such file"):
        tfattn.load(ours)


def test_dtype_is_chosen_when_loading(ours):
    assert tfattn.load(ours, dtype="mixed_bfloat16").dtype_policy.name == "mixed_bfloat16"


def test_missing_files_are_named(ours, tmp_path):
    with pytest.raises(InputError, match=r"nowhere/config\.json: expected .*No such file"):
        tfattn.load(tmp_path / "nowhere")
    (ours / WEIGHTS).unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: expected .*No such file"):
        tfattn.load(ours)


@pytest.mark.parametrize("size", [0, 4, 200, -1])
def test_a_truncated_file_of_weights_is_named(ours, size):
    data = (ours / WEIGHTS).read_bytes()
    (ours / WEIGHTS).write_bytes(data[:size])
    with pytest.raises(InputError, match=r"model\.safetensors: expected weights as safetensors"):
        tfattn.load(ours)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": "other"}, r"config\.json: expected a model saved by tfattn"),
        ({"config": None}, r"config\.json: model\.config: expected TransformerConfig"),
        ({"config": {"dims": 3}}, r"config\.json: model\.config: unknown field 'dims'.*'dim'"),
        ({"config": {"dim": 10, "heads": 3}}, r"model\.config\.dim: expected a multiple of heads"),
        ({"heads": 3}, r"config\.json: model\.heads: expected tuple"),
        ({"heads": [{"spec": "Tokns"}]}, r"model\.heads\[0\]: unknown spec 'Tokns'.*'Tokens'"),
        ({"more": 1}, r"config\.json: model: unknown field 'more'"),
    ],
)
def test_a_wrong_description_is_named(ours, fields, message):
    edit_config(ours, **fields)
    for read in (tfattn.load, tfattn.read) if "format" not in fields else (tfattn.load,):
        with pytest.raises(InputError, match=message):
            read(ours)


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_a_description_that_is_no_object_is_named(ours, text):
    (ours / CONFIG).write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"config\.json: expected"):
        tfattn.load(ours)


def test_a_description_without_its_config_is_named(ours):
    (ours / CONFIG).write_text('{"format": "tfattn"}')
    with pytest.raises(InputError, match=r"config\.json: model: missing config"):
        tfattn.load(ours)


def test_every_problem_of_the_weights_is_named_at_once(ours):
    def change(weights):
        del weights["tokens/bias"], weights["stem/norm/beta"]
        weights["pooler/bias"] = np.zeros(5, "float32")
        return weights | {"encoder/block_7/self/query/bias": np.zeros((3, 4), "float32")}

    edit_weights(ours, change)
    with pytest.raises(InputError) as error:
        tfattn.load(ours)
    message = str(error.value)
    assert message.startswith(f"{ours / WEIGHTS}: expected the weights of this model. Received ")
    assert "missing: stem/norm/beta, tokens/bias;" in message
    assert "unused: encoder/block_7/self/query/bias;" in message
    assert "of another shape: pooler/bias is (5,) for (12,)." in message


@pytest.mark.parametrize("fault", ["missing", "unused", "of another shape"])
def test_nothing_is_assigned_where_anything_is_wrong(fault):
    model, other = tfattn.build(CONFIG_OF_MODEL, Tokens()), arrays(randomized(Tokens()))
    before = arrays(model)
    last = list(other)[-1]
    changed = {
        "missing": lambda: other.pop(last),
        "unused": lambda: other.update(more=np.zeros(1)),
        "of another shape": lambda: other.update({last: np.zeros(1)}),
    }
    changed[fault]()
    with pytest.raises(InputError, match=f"weights: expected .* Received {fault}: "):
        tfattn.assign(model, other)
    assert_same(model, before)


def test_fresh_parts_keep_their_start_and_unused_parts_are_left():
    weights = arrays(randomized(Tokens()))
    model = tfattn.build(CONFIG_OF_MODEL, Classify())
    before = arrays(model)
    tfattn.assign(model, weights, fresh=("pooler", "classify"), unused=("tokens",))
    for path, weight in arrays(model).items():
        expected = before if path.startswith(("pooler", "classify")) else weights
        np.testing.assert_array_equal(weight, expected[path])
    with pytest.raises(InputError, match="missing: classify/logits/kernel"):
        tfattn.assign(model, weights, fresh=("pooler",), unused=("tokens",))

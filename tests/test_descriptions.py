"""What a folder holds is read from its config.json, without Keras."""

import json
import subprocess
import sys

import pytest
from folders import CONFIG_OF_MODEL, randomized

import tfattn
from tfattn.descriptions import describe
from tfattn.families import FORMATS, t5
from tfattn.families.gpt2 import SMALL


def test_a_folder_of_ours_has_its_config_and_heads(tmp_path):
    heads = (tfattn.Tokens(), tfattn.Classify(classes=3))
    tfattn.save(randomized(*heads), tmp_path)
    assert describe(tmp_path) == (CONFIG_OF_MODEL, heads)


@pytest.mark.parametrize("model_type", FORMATS)
def test_a_published_folder_has_those_of_its_format(tmp_path, model_type):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type, "n_layer": 3}))
    found = describe(tmp_path)
    assert found is not None
    config, heads = found
    assert config == FORMATS[model_type].base and config.family is not None
    assert all(head.predicts_tokens for head in heads)
    assert bool(heads) == (config.reads == "tokens")


def test_the_family_and_the_head_of_language_models(tmp_path):
    for model_type, family, base, head in (
        ("gpt2", "gpt2", SMALL, tfattn.Tokens(transform=False, bias=False)),
        ("t5", "t5", t5.SMALL, t5.HEAD),
    ):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
        config, heads = describe(tmp_path) or ()
        assert (config.family, config, heads) == (family, base, (head,))


BAD = {
    "another model": '{"model_type": "mamba"}',
    "no model": "{}",
    "no object": "[1]",
    "no JSON": "{",
    "brackets": "[" * 100_000,
    "not UTF-8": b"\xff\xfe",
    "a wrong field of ours": '{"format": "tfattn", "config": {"dims": 3}}',
    "no config of ours": '{"format": "tfattn"}',
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_none(tmp_path, name):
    text = BAD[name]
    (tmp_path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert describe(tmp_path) is None


def test_where_there_is_nothing_is_none(tmp_path):
    assert describe(tmp_path) is None and describe(tmp_path / "nowhere") is None
    (tmp_path / "config.json").mkdir()
    assert describe(tmp_path) is None


def test_reading_it_loads_no_backend(tmp_path):
    ours = {"format": "tfattn", "config": tfattn.preset("vit-tiny").to_json()}
    (tmp_path / "config.json").write_text(json.dumps(ours))
    words = (
        "import sys, pathlib; from tfattn.descriptions import describe;"
        f"print(describe(pathlib.Path({str(tmp_path)!r}))[0].family,"
        "sorted({'tensorflow', 'keras', 'jax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["vit", "[]"]

import subprocess
import sys

import pytest

import tfattn
from tfattn.errors import InputError
from tfattn.families import FAMILIES, PRESETS, preset
from tfattn.models.config import Classify, Pool, Tokens

COUNTS = {  # exact, with the pooler
    "bert-tiny": 4_385_920,  # KerasHub, preset metadata of bert_tiny_en_uncased
    # 11.2M in Table 1 of arXiv:1908.08962: the stem, four blocks and the pooler written out.
    "bert-mini": (30_522 + 512 + 2 + 2) * 256
    + 4 * (4 * (256**2 + 256) + 2 * 256 * 1024 + 1024 + 256 + 4 * 256)
    + 256**2
    + 256,
    "bert-small": 28_763_648,  # KerasHub, bert_small_en_uncased
    "bert-medium": 41_373_184,  # KerasHub, bert_medium_en_uncased
    "bert-base-uncased": 109_482_240,  # KerasHub, bert_base_en_uncased
    "bert-base-cased": 108_310_272,  # KerasHub, bert_base_en
    "bert-large-uncased": 335_141_888,  # KerasHub, bert_large_en_uncased
}


def test_a_preset_is_found_by_name():
    assert preset("bert-base-uncased") is PRESETS["bert-base-uncased"]


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(InputError, match="unknown preset 'bert-smal'. Did you mean 'bert-small'"):
        preset("bert-smal")


def test_every_family_has_a_tiny_preset():
    for family in FAMILIES.values():
        assert any(name.endswith("-tiny") for name in family.PRESETS)


def test_presets_of_families_do_not_shadow_each_other():
    assert len(PRESETS) == sum(len(family.PRESETS) for family in FAMILIES.values())


def test_every_preset_has_a_count():
    assert set(COUNTS) == set(PRESETS)


@pytest.mark.parametrize("name", COUNTS)
def test_the_count_is_the_published_one(name):
    assert PRESETS[name].parameter_count((Pool(),)) == COUNTS[name]


def test_the_counts_of_bert_base_with_its_pretraining_heads():
    base = preset("bert-base-uncased")  # transformers' BertForMaskedLM and BertForPreTraining
    assert base.parameter_count((Tokens(),)) == 109_514_298
    assert base.parameter_count((Tokens(), Classify("next"))) == 110_106_428


@pytest.mark.parametrize(
    ("name", "depth", "dim"),
    [  # Table 1 of arXiv:1908.08962; section 3 of arXiv:1810.04805
        ("bert-tiny", 2, 128),
        ("bert-mini", 4, 256),
        ("bert-small", 4, 512),
        ("bert-medium", 8, 512),
        ("bert-base-uncased", 12, 768),
        ("bert-base-cased", 12, 768),
        ("bert-large-uncased", 24, 1024),
    ],
)
def test_bert_has_the_published_sizes(name, depth, dim):
    config = preset(name)
    assert (config.depth, config.dim) == (depth, dim)
    assert config.heads == dim // 64 and config.hidden_dim == 4 * dim


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_rename_table_has_no_name_twice(family):
    rows = [row for row in family.RENAMES for row in row.for_layers(2)]
    ours = [row.ours for row in rows if row.ours is not None]
    theirs = [row.theirs for row in rows]
    assert len(set(ours)) == len(ours) and len(set(theirs)) == len(theirs)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_fields_of_a_family_are_fields_of_the_config(family):
    for _, ours in family.FIELDS:
        assert hasattr(family.BASE, ours)


def test_every_public_name_is_there():
    for name in tfattn.__all__:
        assert getattr(tfattn, name) is not None
    assert set(tfattn.__all__) <= set(dir(tfattn))
    with pytest.raises(AttributeError, match="no attribute 'Attenton'"):
        tfattn.Attenton  # noqa: B018


def test_presets_and_specs_are_read_without_keras():
    code = (
        "import sys, tfattn; tfattn.preset('bert-tiny').parameter_count((tfattn.Tokens(),)); "
        "print({'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set()"

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import tfattn
from tfattn.errors import InputError
from tfattn.families import FAMILIES, FORMATS, PRESETS, gpt2, preset, pretraining_head, recurrent
from tfattn.families import llama as llama_family
from tfattn.models.config import Classify, Pool, Tokens


def gpt(dim, depth, vocab, length, last_norm=True):
    """Return the parameters of a GPT with biases, all written out."""
    block = 12 * dim**2 + 13 * dim
    return (vocab + length + 2 * last_norm) * dim + depth * block


def llama(dim, depth, kv, hidden):
    """Return those of a tied LLaMA with 32,000 tokens; `kv` is the width of keys together."""
    return 32_000 * dim + dim + depth * (2 * dim**2 + 2 * dim * kv + 3 * dim * hidden + 2 * dim)


def cell(kind, reads, width):
    """Return those of a cell: kernels of the input and the state, and biases."""
    gates, biases = {"gru": (3, 6), "lstm": (4, 4)}[kind]  # a GRU of Keras has two rows of biases
    return width * (gates * (reads + width) + biases)


def matrices(source, target, dim, reads):
    """Return those of the embeddings of both sides, and of the head with its bias."""
    return (source + target) * dim + target * (reads + 1)


COUNTS = {  # exact: of BERT with the pooler, of the others with their head over the vocabulary
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
    "gpt1-tiny": gpt(128, 2, 40_478, 512, last_norm=False),
    "gpt1-117m": 116_534_784,  # transformers, openai-gpt
    "gpt2-tiny": gpt(128, 2, 50_257, 256),
    "gpt2-mini": gpt(256, 4, 50_257, 256),
    "gpt2-small": 124_439_808,  # KerasHub, gpt2_base_en, and so on
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "nanogpt-tiny": 804_096,  # nanoGPT prints 0.80M: without the positions
    "nanogpt-mini": 10_745_088,  # 10.65M
    "gpt3-tiny": gpt(128, 2, 50_257, 256),
    # Table 2.1 of arXiv:2005.14165 with 50,257 tokens and 2,048 positions; see families/gpt3.py.
    "gpt3-125m": 125_226_240,
    "gpt3-350m": 355_871_744,
    "gpt3-760m": 760_300_032,
    "gpt3-1.3b": 1_315_723_264,
    "gpt3-2.7b": 2_651_553_280,
    "gpt3-6.7b": 6_658_404_352,
    "gpt3-13b": 12_853_386_240,
    "gpt3-175b": 174_604_259_328,
    "gpt-neo-tiny": gpt(128, 2, 50_257, 256) - 2 * 3 * 128,
    "gpt-neo-125m": 125_198_592,  # transformers, EleutherAI/gpt-neo-125m, and so on
    "gpt-neo-1.3b": 1_315_575_808,
    "gpt-neo-2.7b": 2_651_307_520,
    "llama-tiny": llama(128, 2, 64, 344),
    "llama-mini": llama(256, 4, 128, 688),
    "llama-7b": 6_738_415_616,  # transformers, and so on
    "llama2-70b": 68_976_648_192,
    "tinyllama-1.1b": 1_100_048_384,
    # Written out: matrices; encoder; decoder; first states; attention; readout.
    "seq2seq-tiny": matrices(10_000, 10_000, 64, 64) + 4 * cell("lstm", 64, 64),
    "seq2seq-mini": matrices(10_000, 10_000, 256, 256) + 4 * cell("lstm", 256, 256),
    "bahdanau-tiny": matrices(10_000, 10_000, 64, 64)
    + 2 * cell("gru", 64, 64)
    + cell("gru", 64 + 128, 64)
    + (64**2 + 64)
    + (64 + 128 + 1) * 64,
    "bahdanau": matrices(10_000, 10_000, 256, 256)
    + 2 * cell("gru", 256, 256)
    + cell("gru", 256 + 512, 256)
    + (256**2 + 256)
    + (256 + 512 + 1) * 256,
    "bahdanau-lstm": matrices(10_000, 10_000, 256, 256)
    + 2 * cell("lstm", 256, 256)
    + cell("lstm", 256 + 512, 256)
    + 2 * (256**2 + 256)
    + (256 + 512 + 1) * 256,
    "bahdanau-dot": matrices(10_000, 10_000, 256, 256)
    + 2 * cell("gru", 256, 256)
    + cell("gru", 256 + 512, 256)
    + (256**2 + 256)
    + (256 + 512) * 256,
    "d2l-gru": matrices(10_000, 10_000, 256, 256)
    + 3 * cell("gru", 256, 256)
    + cell("gru", 256 + 256, 256),
    "d2l-bahdanau": matrices(10_000, 10_000, 256, 256)
    + 3 * cell("gru", 256, 256)
    + cell("gru", 256 + 256, 256)
    + (256 + 256 + 1) * 256,
    # arXiv:1409.0473, A.2.3: n = 1000, m = 620, l = 500, n' = 1000; 30,000 words on each side.
    "rnnsearch-50": matrices(30_000, 30_000, 620, 500)
    + 2 * cell("gru", 620, 1000)
    + cell("gru", 620 + 2000, 1000)
    + (1000**2 + 1000)
    + (1000 + 2000 + 1) * 1000
    + (1000 + 620 + 2000 + 1) * 1000,
    # arXiv:1409.3215, section 3.4: 384M, of which 64M recurrent; biases are what is over it.
    "sutskever-seq2seq": 384_000_000 + 8 * 4_000 + 80_000,
}
T5_STEM = 32_128  # rows of the embeddings


def t5(dim, depth, width, hidden, gated=False):
    """Return those of a T5, all written out; `width` is that of all heads together."""
    feedforward = (3 if gated else 2) * dim * hidden + dim
    attention = 4 * dim * width + dim
    heads = width // 64
    stacks = 2 * (32 * heads + dim) + depth * (3 * attention + 2 * feedforward)
    return stacks + T5_STEM * dim * (2 if gated else 1)


COUNTS |= {
    "t5-tiny": t5(128, 2, 128, 512),
    "t5-mini": t5(256, 4, 256, 1024),
    "t5-small": 60_506_624,  # transformers, and so on
    "t5-base": 222_903_552,
    "t5-large": 737_668_096,
    "t5-3b": 2_851_598_336,
    "t5-11b": 11_307_321_344,
    "t5-v1.1-tiny": t5(128, 2, 128, 344, gated=True),
    "t5-v1.1-mini": t5(256, 4, 256, 688, gated=True),
    "t5-v1.1-small": 76_961_152,
    "t5-v1.1-base": 247_577_856,
    "t5-v1.1-large": 783_150_080,
    "t5-v1.1-xl": 2_849_757_184,
    "t5-v1.1-xxl": 11_135_332_352,
}


def nmt(dim, depth, vocab=37_000):
    """Return those of an original Transformer with all biases, written out."""
    attention, norm = 4 * (dim**2 + dim), 2 * dim
    feedforward = 2 * dim * 4 * dim + 4 * dim + dim
    return vocab * dim + depth * (3 * attention + 2 * feedforward + 5 * norm)


COUNTS |= {
    "transformer-nmt-tiny": nmt(128, 2),
    "transformer-nmt-mini": nmt(256, 3),
    "transformer-nmt-base": 63_082_496,  # the paper says 65 million
    "transformer-nmt-big": 214_245_376,  # and 213 million
}


def vit(dim, depth, patch, size, classes=1000):
    """Return those of a ViT for images of 3 colours with a classifier, or none, written out."""
    block = 12 * dim**2 + 13 * dim
    places = (size // patch) ** 2 + 1
    head = classes * (dim + 1) if classes else 0
    return (3 * patch**2 + 2 + places) * dim + depth * block + 2 * dim + head


COUNTS |= {
    "vit-tiny": vit(64, 4, 4, 32),
    "vit-mini": vit(192, 6, 4, 32),
    "vit-ti16": 5_717_416,  # timm, and so on
    "vit-s16": 22_050_664,
    "vit-b16": 86_567_656,
    "vit-b32": 88_224_232,
    "vit-l16": 304_326_632,
    "vit-l32": 306_535_400,
    "vit-h14": 632_045_800,
    # transformers, without the mask token of its pretraining
    "dinov2-s14": 22_056_576 - 384,
    "dinov2-b14": 86_580_480 - 768,
    "dinov2-l14": 304_368_640 - 1024,
}
PUBLISHED_LLAMAS = ("llama-7b", "llama2-70b", "tinyllama-1.1b")


def test_a_preset_is_found_by_name():
    assert preset("bert-base-uncased") is PRESETS["bert-base-uncased"]


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(InputError, match="unknown preset 'bert-smal'. Did you mean 'bert-small'"):
        preset("bert-smal")


def test_every_preset_and_format_has_its_family():
    for family, rows in FAMILIES.items():
        assert {preset(name).family for name in rows.PRESETS} == {family}
        assert all(FORMATS[kind.model_type].base.family == family for kind in rows.FORMATS)


def test_every_family_has_a_tiny_preset():
    for family in FAMILIES.values():
        assert any(name.endswith("-tiny") for name in family.PRESETS)


def test_presets_of_families_do_not_shadow_each_other():
    assert len(PRESETS) == sum(len(family.PRESETS) for family in FAMILIES.values())


def test_every_preset_has_a_count():
    assert set(COUNTS) == set(PRESETS)


@pytest.mark.parametrize("name", COUNTS)
def test_the_count_is_the_published_one(name):
    head = pretraining_head(name)
    head = Pool() if name.startswith("bert") else head
    head = llama_family.UNTIED if name in PUBLISHED_LLAMAS else head
    head = Classify(classes=1000, pool="first") if name.startswith("vit") else head
    heads = () if name.startswith("dinov2") else (head,)
    assert PRESETS[name].parameter_count(heads) == COUNTS[name]


def test_the_row_of_13b_counts_what_its_printed_width_would():
    config = replace(preset("gpt3-13b"), dim=5140, hidden_dim=4 * 5140, heads=20)
    assert config.parameter_count((gpt2.HEAD,)) == 12_952_938_780


@pytest.mark.parametrize("name", ["gpt3-tiny", "gpt3-175b", "gpt-neo-125m"])
def test_gpt3_alternates_dense_and_banded_layers(name):
    dense, banded = preset(name).masks
    places = np.arange(2000)
    sees = banded(places[:, None], places[None])
    np.testing.assert_array_equal(dense(places[:, None], places), np.tri(2000, dtype=bool))
    width = 32 if name == "gpt3-tiny" else 256
    np.testing.assert_array_equal(
        sees, np.tri(2000, dtype=bool) & ~np.tri(2000, k=-width, dtype=bool)
    )


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


@pytest.mark.parametrize("kind", FORMATS.values(), ids=FORMATS)
def test_a_rename_table_has_no_name_twice(kind):
    rows = [row for row in kind.renames for row in row.for_layers(2)]
    ours = [row.ours for row in rows if row.ours is not None]
    theirs = [(row.theirs, row.part) for row in rows]
    assert len(set(ours)) == len(ours) and len(set(theirs)) == len(theirs)


def test_one_vocabulary_is_that_of_both_sides():
    config = preset("sutskever-seq2seq").with_fields(vocab_size=300)
    assert (config.vocab_size, config.source_vocabulary()) == (300, 300)
    both = config.with_fields(vocab_size=300, source_vocab_size=400)
    assert (both.vocab_size, both.source_vocabulary()) == (300, 400)


def test_the_recurrent_part_of_sutskevers_model_is_that_of_the_paper():
    config = preset("sutskever-seq2seq")  # arXiv:1409.3215, section 3.4: 32M in each network
    assert config.non_embedding_count() == 64_000_000 + 8 * 4_000


@pytest.mark.parametrize(
    "name", [n for n in recurrent.PRESETS if n not in ("rnnsearch-50", "sutskever-seq2seq")]
)
def test_the_count_of_a_recurrent_model_is_that_of_the_built_one(name):
    model = tfattn.build(PRESETS[name], recurrent.HEAD)
    assert model.count_params() == COUNTS[name]


@pytest.mark.parametrize("kind", FORMATS.values(), ids=FORMATS)
def test_fields_of_a_family_are_fields_of_the_config(kind):
    for ours in (*kind.derived, *kind.values, *(ours for _, ours in kind.fields)):
        side = getattr(kind.base, "encoder", kind.base)
        assert hasattr(side, ours.rpartition(".")[2])


def test_every_public_name_is_there():
    for name in tfattn.__all__:
        assert getattr(tfattn, name) is not None
    assert set(tfattn.__all__) <= set(dir(tfattn))
    with pytest.raises(AttributeError, match="no attribute 'Attenton'"):
        tfattn.Attenton  # noqa: B018


def test_presets_and_specs_are_read_without_keras():
    code = (
        "import sys, tfattn; tfattn.preset('bert-tiny').parameter_count((tfattn.Tokens(),)); "
        "tfattn.preset('bahdanau-tiny').parameter_count(); "
        "print({'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set()"

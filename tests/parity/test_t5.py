"""The same numbers as transformers' T5, of both versions, in both directions.

python -m pytest -m parity -rP tests/parity        needs requirements-parity.txt
"""

from dataclasses import replace

import numpy as np
import pytest

import tfattn
from tfattn.families import PRESETS, t5

torch = pytest.importorskip("torch", reason="parity needs torch: requirements-parity.txt")
transformers = pytest.importorskip(
    "transformers", reason="parity needs transformers: requirements-parity.txt"
)

pytestmark = pytest.mark.parity
SIZES = {  # of odd sizes, with heads of a width of their own
    "vocab_size": 60,
    "d_model": 24,
    "d_kv": 10,
    "d_ff": 40,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 3,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
}
THEIRS = {
    "t5": {},
    "t5, few layers said": {"num_decoder_layers": None},
    "t5 v1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
}
OURS = {  # a preset and the heads that it may have
    "t5-tiny": (t5.HEAD, replace(t5.HEAD, scaled=False)),
    "t5-v1.1-tiny": (t5.UNTIED, t5.HEAD),
}


@pytest.mark.parametrize("architecture", ["T5ForConditionalGeneration", "T5Model"])
@pytest.mark.parametrize("kind", THEIRS)
def test_their_checkpoint_gives_their_numbers(kind, architecture, features, same, tmp_path):
    torch.manual_seed(0)
    theirs = getattr(transformers, architecture)(transformers.T5Config(**SIZES | THEIRS[kind]))
    for parameter in theirs.parameters():  # norms too
        torch.nn.init.normal_(parameter, std=0.3)
    theirs.save_pretrained(tmp_path)
    ours = tfattn.from_huggingface(tmp_path)
    assert len(ours.heads) == (architecture != "T5Model")
    same(theirs, ours, features)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("name", OURS)
def test_our_checkpoint_gives_our_numbers_there(name, number, features, same, tmp_path):
    ours = tfattn.build(PRESETS[name].with_fields(vocab_size=60), OURS[name][number])
    rng = np.random.default_rng(0)
    ours.set_weights([rng.normal(size=v.shape).astype("float32") / 8 for v in ours.weights])
    tfattn.to_huggingface(ours, tmp_path)
    theirs, loading = transformers.T5ForConditionalGeneration.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    same(theirs, ours, features)
    again = tfattn.from_huggingface(tmp_path)
    assert again.config == ours.config and again.heads == ours.heads
    np.testing.assert_array_equal(np.asarray(again(features)), np.asarray(ours(features)))

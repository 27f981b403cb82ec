"""The same numbers as transformers' Marian, in both directions.

python -m pytest -m parity -rP tests/parity        needs requirements-parity.txt
"""

import numpy as np
import pytest

import tfattn
from tfattn.families import transformer

torch = pytest.importorskip("torch", reason="parity needs torch: requirements-parity.txt")
transformers = pytest.importorskip(
    "transformers", reason="parity needs transformers: requirements-parity.txt"
)

pytestmark = pytest.mark.parity
SIZES = {  # of odd sizes, encoder and decoder unlike
    "vocab_size": 60,
    "decoder_vocab_size": 60,
    "d_model": 24,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 36,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
    "scale_embedding": True,
}
THEIRS = {"swish": {"activation_function": "swish"}, "relu": {"activation_function": "relu"}}


@pytest.mark.parametrize("architecture", ["MarianMTModel", "MarianModel"])
@pytest.mark.parametrize("kind", THEIRS)
def test_their_checkpoint_gives_their_numbers(kind, architecture, features, same, tmp_path):
    torch.manual_seed(0)
    config = transformers.MarianConfig(**SIZES | THEIRS[kind])
    theirs = getattr(transformers, architecture)(config)
    for name, parameter in theirs.named_parameters():  # norms and biases too; the waves stay
        if "embed_positions" not in name:
            torch.nn.init.normal_(parameter, mean=float("norm.weight" in name), std=0.2)
    if architecture == "MarianMTModel":
        theirs.final_logits_bias.normal_()
    theirs.save_pretrained(tmp_path)
    ours = tfattn.from_huggingface(tmp_path)
    assert len(ours.heads) == (architecture == "MarianMTModel")
    same(theirs, ours, features)


def test_our_checkpoint_gives_our_numbers_there(features, same, tmp_path):
    sizes = {"dim": 24, "heads": 4, "hidden_dim": 40, "depth": 2, "vocab_size": 60}
    config = transformer.MARIAN.with_fields(**sizes)
    ours = tfattn.build(config, transformer.BIASED)
    rng = np.random.default_rng(0)
    ours.set_weights([rng.normal(size=v.shape).astype("float32") / 8 for v in ours.weights])
    tfattn.to_huggingface(ours, tmp_path)
    theirs, loading = transformers.MarianMTModel.from_pretrained(tmp_path, output_loading_info=True)
    missing = [name for name in loading["missing_keys"] if "embed_positions" not in name]
    assert not missing
    assert not any(loading[kind] for kind in ("unexpected_keys", "mismatched_keys"))
    same(theirs, ours, features)
    again = tfattn.from_huggingface(tmp_path)
    assert again.config == ours.config and again.heads == ours.heads
    np.testing.assert_array_equal(np.asarray(again(features)), np.asarray(ours(features)))

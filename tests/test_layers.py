"""What every public layer must do: survive its config, and work on its own."""

import inspect
import json

import keras
import numpy as np
import pytest

import tfattn
from tfattn import Causal, Global, Window

DIM = 12


def block(name="block"):
    sublayers = {
        "self": tfattn.MultiHeadAttention(DIM, 3, Window(1, 0), 0.1, name="self"),
        "feedforward": tfattn.FeedForward(DIM, 20, name="feedforward"),
    }
    return tfattn.TransformerBlock(sublayers, DIM, "pre", 0.1, 1e-6, name=name)


def position():
    return tfattn.Learned(9, DIM, "ones")


def stack():
    blocks = [block("block_0"), block("block_1")]
    return tfattn.Stack(blocks, DIM, True, 1e-3, "rms", tfattn.Buckets(3, name="far"))


LAYERS = {
    "Attention": lambda: tfattn.Attention(
        tfattn.ScaledDotProduct(scale=0.5), Causal() | Global(1), 0.25, "hard"
    ),
    "ScaledDotProduct": lambda: tfattn.ScaledDotProduct(scale=2.0),
    "MultiHeadAttention": lambda: tfattn.MultiHeadAttention(
        DIM,
        6,
        Causal(),
        0.25,
        "he_normal",
        tfattn.Rotary(base=100.0),
        3,
        (True, False),
        0.5,
        "ones",
        4,
    ),
    "LinearAttention": lambda: tfattn.LinearAttention(Causal(), 16),
    "SqueezeExcitation": lambda: tfattn.SqueezeExcitation(DIM, 3, "ones"),
    "Projection": lambda: tfattn.Projection((DIM,), (3, 4), "he_normal", use_bias=False),
    "Position": lambda: tfattn.Position(),
    "Learned": position,
    "Sinusoidal": lambda: tfattn.Sinusoidal(base=100.0),
    "Rotary": lambda: tfattn.Rotary(base=100.0),
    "Buckets": lambda: tfattn.Buckets(6, 8, 20, False, "ones"),
    "Sinusoidal2D": lambda: tfattn.Sinusoidal2D(4, 1, base=100.0),
    "Alibi": lambda: tfattn.Alibi(6),
    "Shaw": lambda: tfattn.Shaw(4, 5, "ones"),
    "LayerNorm": lambda: tfattn.LayerNorm(1e-3, bias=False),
    "RMSNorm": lambda: tfattn.RMSNorm(1e-3),
    "FeedForward": lambda: tfattn.FeedForward(
        DIM, 20, "relu", keras.initializers.TruncatedNormal(stddev=0.3), True, False, "ones"
    ),
    "Residual": lambda: tfattn.Residual("pre", 0.25, 1e-3, "rms", 0.5, 0.1),
    "Dropout": lambda: tfattn.Dropout(0.25),
    "TransformerBlock": block,
    "TokenStem": lambda: tfattn.TokenStem(30, DIM, position(), 3, 0.25, 1e-3, "he_normal", "rms"),
    "PatchStem": lambda: tfattn.PatchStem(
        8, 12, 2, 4, DIM, tfattn.Sinusoidal2D(3, 1), True, 0.25, "he_normal"
    ),
    "PixelsHead": lambda: tfattn.PixelsHead(9, DIM, 3, 6, 7, stack(), False, "he_normal"),
    "TokensHead": lambda: tfattn.TokensHead(
        30, DIM, True, "relu", 1e-3, "he_normal", "rms", use_bias=False, tied=False
    ),
    "ClassifyHead": lambda: tfattn.ClassifyHead(3, DIM, 0.25, "he_normal"),
    "Additive": lambda: tfattn.Additive(DIM, 9, 5, "he_normal"),
    "Bilinear": lambda: tfattn.Bilinear(9, DIM, "he_normal"),
    "Kernel": lambda: tfattn.Kernel("triangular", 0.5, "dimension", DIM),
    "RecurrentEncoder": lambda: tfattn.RecurrentEncoder(
        DIM, 5, 2, "lstm", ("forward", "backward"), 0.25, "he_normal"
    ),
    "InitialStates": lambda: tfattn.InitialStates(DIM, 2, "he_normal"),
    "RecurrentDecoder": lambda: tfattn.RecurrentDecoder(
        DIM, 6, 2, "lstm", 9, tfattn.Attention(name="attention"), 7, True, 0.25, "he_normal"
    ),
    "Stack": lambda: stack(),
}


def test_every_public_layer_has_a_row():
    layers = {
        name
        for name in tfattn.__all__
        if inspect.isclass(getattr(tfattn, name))
        and issubclass(getattr(tfattn, name), keras.layers.Layer)
    }
    models = {
        "Transformer",
        "EncoderDecoder",
        "RecurrentEncoderDecoder",
        "VisionTransformer",
    }  # have tests of their own
    assert layers == {*LAYERS, *models}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_survives_its_config(name):
    layer = LAYERS[name]()
    config = layer.get_config()
    kept = json.dumps(config)
    again = type(layer).from_config(json.loads(kept))
    assert json.dumps(config) == kept, "from_config changed what it was given"
    assert again.get_config() == config
    for each in (layer, again):
        each.build((None, None, DIM))
    assert [v.path for v in again.weights] == [v.path for v in layer.weights]
    assert [v.shape for v in again.weights] == [v.shape for v in layer.weights]


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_passes_its_precision_on(name):
    layer = LAYERS[name]()
    config = {**layer.get_config(), "dtype": "mixed_bfloat16"}
    again = type(layer).from_config(config)
    assert again.compute_dtype == "bfloat16"


@pytest.mark.parametrize("name", ["MultiHeadAttention", "FeedForward", "TransformerBlock", "Stack"])
def test_a_layer_serves_in_the_users_own_model(name, tmp_path, rng):
    x = keras.Input((None, DIM))
    model = keras.Model(x, LAYERS[name]()(x))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert [v.path for v in again.weights] == [v.path for v in model.weights]
    values = rng.normal(size=(2, 5, DIM)).astype("float32")
    expected = model.predict(values, verbose=0)
    assert expected.shape == (2, 5, DIM)
    np.testing.assert_allclose(again.predict(values, verbose=0), expected, atol=1e-6)

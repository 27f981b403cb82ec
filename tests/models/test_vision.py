import json
import math
from dataclasses import replace

import keras
import numpy as np
import pytest

import tfattn
from tfattn.blocks.patches import joined, patches
from tfattn.models.config import Classify, Pool, Tokens
from tfattn.models.vision_config import Pixels, VisionConfig

SMALL = VisionConfig(
    height=8, width=12, channels=2, patch=4, dim=12, depth=2, heads=3, hidden_dim=20
)
FIRST, MEAN = Classify("first", classes=3, pool="first"), Classify("mean", classes=3, pool="mean")
PIXELS = Pixels(dim=8, depth=1, heads=2)


def drawn(config, rng, *heads):
    """Return a model whose every weight shows in its outputs, and the weights."""
    model = tfattn.build(config, *heads)
    for variable in model.weights:
        variable.assign(0.5 * rng.normal(size=variable.shape))
    return model, {path: np.asarray(v) for path, v in model.weights_by_path().items()}


def images(rng, config=SMALL, count=2):
    return rng.normal(size=(count, config.height, config.width, config.channels)).astype("float32")


def norm(x, w, name, epsilon=1e-6):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
    return x * w[f"{name}/norm/gamma"] + w[f"{name}/norm/beta"]


def linear(x, w, name):
    return x @ w[f"{name}/kernel"] + w[f"{name}/bias"]


def block(x, w, name, heads):
    """Equations 2 and 3 of arXiv:2010.11929, for one image (t, d)."""
    y = norm(x, w, f"{name}/self_residual")
    q, k, v = (
        linear(y, w, f"{name}/self/{part}").reshape((len(x), heads, -1)).transpose(1, 0, 2)
        for part in ("query", "key", "value")
    )
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    pooled = weights / weights.sum(-1, keepdims=True) @ v
    y = linear(pooled.transpose(1, 0, 2).reshape((len(x), -1)), w, f"{name}/self/output")
    x = x + y * w.get(f"{name}/self_residual/scale", 1.0)
    y = linear(norm(x, w, f"{name}/feedforward_residual"), w, f"{name}/feedforward/expand")
    y = y * np.vectorize(lambda z: 0.5 * (1 + math.erf(z / 2**0.5)))(y)
    y = linear(y, w, f"{name}/feedforward/contract")
    return x + y * w.get(f"{name}/feedforward_residual/scale", 1.0)


def cut(image, size):
    """Return the patches of an image (y, x, c), each one flat."""
    rows, columns = image.shape[0] // size, image.shape[1] // size
    return np.array(
        [
            image[r * size : (r + 1) * size, c * size : (c + 1) * size].ravel()
            for r in range(rows)
            for c in range(columns)
        ]
    )


def reference(image, w, config, keep=None):
    """Return the hidden states of one image; equations 1 to 4 of the paper."""
    x = linear(cut(image, config.patch), w, "stem/patches")
    if config.class_token:
        x = np.concatenate([w["stem/class_token"][None], x])
    x = x + w["stem/positions/embeddings"]
    if keep is not None:
        lead = int(config.class_token)
        x = np.concatenate([x[:lead], x[lead:][keep]])
    for number in range(config.depth):
        x = block(x, w, f"encoder/block_{number}", config.heads)
    return norm(x, w, "encoder")


@pytest.mark.parametrize("fields", [{}, {"class_token": False}, {"layer_scale": 0.1}])
def test_it_is_the_model_of_the_paper(fields, rng, close):
    config = replace(SMALL, **fields)
    model, w = drawn(config, rng)
    x = images(rng)
    close(model(x), np.stack([reference(image, w, config) for image in x]))
    assert model.count_params() == config.parameter_count()


def test_patches_can_be_put_together_again(rng, array):
    images = rng.normal(size=(2, 6, 9, 2)).astype("float32")
    np.testing.assert_array_equal(array(joined(patches(images, 3), 3, 3)), images)


def test_hidden_patches_are_not_read(rng, close):
    model, w = drawn(SMALL, rng)
    x, keep = images(rng), np.array([[4, 0, 2], [1, 3, 5]])
    found = model({"images": x, "keep": keep})
    close(found, np.stack([reference(i, w, SMALL, k) for i, k in zip(x, keep, strict=True)]))


def test_pools_read_the_class_token_or_the_patches(rng, close):
    model, w = drawn(SMALL, rng, FIRST, MEAN, Pool())
    x = images(rng)
    hidden = np.stack([reference(image, w, SMALL) for image in x])
    found = model(x)
    close(found["first"], linear(hidden[:, 0], w, "first/logits"))
    close(found["mean"], linear(hidden[:, 1:].mean(1), w, "mean/logits"))
    close(found["pooler"], np.tanh(linear(hidden[:, 0], w, "pooler")))
    bare, w = drawn(replace(SMALL, class_token=False), rng, MEAN)
    hidden = np.stack([reference(image, w, bare.config) for image in x])
    close(bare(x), linear(hidden.mean(1), w, "mean/logits"))


def waves(places, columns, dim):
    """Return sines and cosines of columns, then those of rows."""
    rows = []
    for place in range(places):
        angles = [
            at / 10_000 ** (np.arange(dim // 4) / (dim // 4)) for at in divmod(place, columns)[::-1]
        ]
        rows.append(np.concatenate([wave(a) for a in angles for wave in (np.sin, np.cos)]))
    return np.array(rows)


@pytest.mark.parametrize("class_token", [True, False])
def test_the_decoder_sees_a_mask_token_for_each_hidden_patch(class_token, rng, close):
    config = replace(SMALL, class_token=class_token)
    model, w = drawn(config, rng, PIXELS)
    x, keep, lead = images(rng), np.array([[4, 0, 2], [1, 3, 5]]), int(class_token)
    expected = []
    for image, seen in zip(x, keep, strict=True):
        states = linear(reference(image, w, config, seen), w, "pixels/enter")
        y = np.tile(w["pixels/mask_token"], (6, 1))
        y[seen] = states[lead:]
        y = np.concatenate([states[:lead], y + waves(6, 3, 8)])
        y = norm(block(y, w, "pixels/decoder/block_0", 2), w, "pixels/decoder")
        expected.append(linear(y[lead:], w, "pixels/leave"))
    close(model({"images": x, "keep": keep}), np.stack(expected))
    whole = model({"images": x, "keep": np.tile(np.arange(6), (2, 1))})
    close(model(x), whole)


def test_attention_weights_are_returned_if_asked_for(rng, array, close):
    model, _ = drawn(SMALL, rng, FIRST)
    x = images(rng)
    logits, weights = model(x, return_weights=True)
    close(logits, model(x))
    assert [w.shape for w in weights] == [(2, 3, 7, 7)] * 2
    close(array(weights[0]).sum(-1), np.ones((2, 3, 7)))


def test_the_paths_of_weights_are_golden():
    model = tfattn.build(replace(SMALL, layer_scale=0.1), PIXELS, FIRST)
    linear = [
        f"{name}/{kind}"
        for name in (
            "self/query",
            "self/key",
            "self/value",
            "self/output",
            "feedforward/expand",
            "feedforward/contract",
        )
        for kind in ("kernel", "bias")
    ]
    norms = [
        f"{name}_residual/norm/{kind}"
        for name in ("self", "feedforward")
        for kind in ("gamma", "beta")
    ]
    scales = ["self_residual/scale", "feedforward_residual/scale"]
    rest = """
        stem/patches/kernel stem/patches/bias stem/class_token stem/positions/embeddings
        encoder/norm/gamma encoder/norm/beta first/logits/kernel first/logits/bias
        pixels/enter/kernel pixels/enter/bias pixels/leave/kernel pixels/leave/bias
        pixels/mask_token pixels/decoder/norm/gamma pixels/decoder/norm/beta
    """
    blocks = {f"encoder/block_{i}/{p}" for i in range(2) for p in linear + norms + scales}
    blocks |= {f"pixels/decoder/block_0/{p}" for p in linear + norms}
    assert set(model.weights_by_path()) == blocks | set(rest.split())


@pytest.mark.parametrize("position", ["learned", "sinusoidal-2d"])
@pytest.mark.parametrize("heads", [(), (FIRST,), (MEAN, Pool()), (PIXELS,), (PIXELS, FIRST, MEAN)])
def test_counts_and_configs(position, heads, rng):
    config = replace(SMALL, position=position, drop_path=0.1, layer_scale=0.1)
    model = tfattn.build(config, *heads, dtype="mixed_bfloat16")
    assert model.count_params() == config.parameter_count(heads)
    again = type(model).from_config(json.loads(json.dumps(model.get_config())))
    assert again.config == config and again.heads == heads
    assert again.dtype_policy.name == "mixed_bfloat16"
    assert list(again.weights_by_path()) == list(model.weights_by_path())


def test_saved_models_are_the_same(rng, tmp_path, array):
    model, _ = drawn(SMALL, rng, FIRST, PIXELS)
    x = images(rng)
    tfattn.save(model, tmp_path / "ours")
    model.save(tmp_path / "model.keras")
    others = tfattn.load(tmp_path / "ours"), keras.models.load_model(tmp_path / "model.keras")
    for again in others:
        assert again.config == SMALL and again.heads == model.heads
        for name, output in model(x).items():
            np.testing.assert_array_equal(array(again(x)[name]), array(output))


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "jit"])
def test_compiled_is_eager(jit, rng, compiled, close):
    model, _ = drawn(SMALL, rng, FIRST, PIXELS)
    features = {
        name: keras.ops.convert_to_tensor(x)
        for name, x in {"images": images(rng), "keep": np.array([[4, 0], [1, 3]])}.items()
    }
    fast = compiled(lambda given: model(given, training=False), jit)(features)
    for name, output in model(features).items():
        close(fast[name], output)


def test_one_batch_is_learnt_by_heart(rng):
    model = tfattn.build(replace(SMALL, kernel_std=None), FIRST)
    x, labels = images(rng, count=12), rng.integers(0, 3, size=12)
    model.compile(
        keras.optimizers.Adam(5e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=keras.backend.backend() == "jax",
    )
    fitted = model.fit(x, labels, batch_size=12, epochs=60, verbose=0)
    assert fitted.history["loss"][-1] < 0.05 and fitted.history["accuracy"][-1] == 1


def test_drop_path_leaves_out_whole_rows_in_training(rng, array):
    model, _ = drawn(replace(SMALL, drop_path=0.5), rng)
    assert [b.residuals["self"].drop_path is None for b in model.encoder.blocks] == [True, False]
    x = np.repeat(images(rng, count=1), 40, axis=0)
    found = array(model(x, training=True))
    kinds = {row.round(4).tobytes() for row in found}
    assert 2 <= len(kinds) <= 4  # each of the last block's sublayers is there or not
    assert len({row.round(4).tobytes() for row in array(model(x))}) == 1


BAD = {
    "no class token to read": (
        {"class_token": False}, (FIRST,), "heads: expected mean pooling, for .* no class token",
    ),
    "words": ({}, (Tokens(),), r"heads: expected Classify\(\), Pixels\(\), Pool\(\)\. .*Tokens"),
    "patches that do not fit": (
        {"height": 9}, (), "VisionConfig.height: expected a multiple of the patches of 4. .* 9",
    ),
    "waves for an odd width": (
        {"dim": 6, "position": "sinusoidal-2d"}, (), "VisionConfig.dim: expected a multiple of 4",
    ),
    "no channels": ({"channels": 0}, (), "VisionConfig.channels: expected at least 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_models_that_cannot_be_are_refused(name):
    fields, heads, message = BAD[name]
    with pytest.raises(tfattn.InputError, match=message):
        tfattn.build(replace(SMALL, **fields), *heads)


def test_features_that_cannot_be_are_refused(rng):
    model, _ = drawn(SMALL, rng)
    for given, message in (
        ({"image": images(rng)}, "unknown feature 'image'. Did you mean 'images'"),
        ({"keep": np.zeros((2, 1), int)}, "features: expected images. Received: keep"),
        (np.zeros((2, 12, 8, 2)), r"images: expected 8 x 12 of 2 channels. Received: \(12, 8, 2\)"),
    ):
        with pytest.raises(tfattn.InputError, match=message):
            model(given)
    for fields, message in (
        ({"dim": 6}, "Pixels.dim: expected a multiple of heads, and of 4"),
        ({"depth": 0}, "Pixels.depth: expected at least 1. Received: 0"),
    ):
        with pytest.raises(tfattn.InputError, match=message):
            Pixels(**fields)

import numpy as np
import pytest

import tfattn
from tfattn.pruning import attentions, head_importance, most_important, prune

SMALL = tfattn.TransformerConfig(
    dim=12, depth=2, heads=3, head_dim=4, hidden_dim=20, vocab_size=40, max_length=9,
    dropout=0.0, attention_dropout=0.0,
)  # fmt: skip


def drawn(config, rng):
    model = tfattn.build(config, tfattn.Tokens())
    for variable in model.weights:
        variable.assign(0.5 * rng.normal(size=variable.shape))
    return model


def configs():
    decoder = tfattn.PRESETS["transformer-nmt-tiny"].decoder.layout
    return {
        "one stack": SMALL,
        "no biases": tfattn.TransformerConfig(**{**vars(SMALL), "bias": False}),
        "a pair": tfattn.EncoderDecoderConfig(
            SMALL,
            tfattn.TransformerConfig(
                **{**vars(SMALL), "layout": decoder, "masks": (tfattn.Causal(),)}
            ),
        ),
    }


def given(rng, config):
    tokens = rng.integers(1, 40, size=(2, 7))
    if isinstance(config, tfattn.TransformerConfig):
        return tokens
    return {"tokens": tokens, "target_tokens": rng.integers(1, 40, size=(2, 5))}


@pytest.mark.parametrize("name", configs())
def test_a_model_without_heads_is_the_one_in_which_they_are_silent(name, rng, array, close):
    config = configs()[name]
    model, features = drawn(config, rng), given(rng, config)
    keep = {path: sorted(rng.permutation(3)[:2].tolist()) for path in attentions(model)}
    small = prune(model, keep)
    assert small.count_params() < model.count_params()
    assert small.count_params() == small.config.parameter_count(small.heads)
    for path, layer in attentions(model).items():
        (gone,) = set(range(3)) - set(keep[path])
        kernel = array(layer.output_projection.kernel).reshape((3, 4, 12)).copy()
        kernel[gone] = 0
        layer.output_projection.kernel.assign(kernel.reshape((12, 12)))
    close(small(features), model(features))


def test_a_model_of_images_can_be_pruned(rng, array, close):
    config = tfattn.VisionConfig(
        height=8, width=8, patch=4, dim=12, depth=2, heads=3, head_dim=4, hidden_dim=20
    )
    model, images = tfattn.build(config, tfattn.Classify()), rng.normal(size=(2, 8, 8, 3))
    keep = {path: [0, 2] for path in attentions(model)}
    small = prune(model, keep)
    for layer in attentions(model).values():
        kernel = array(layer.output_projection.kernel).reshape((3, 4, 12)).copy()
        kernel[1] = 0
        layer.output_projection.kernel.assign(kernel.reshape((12, 12)))
    close(small(images), model(images))


def test_importance_is_what_the_loss_grows_by(rng, array):
    model, features = drawn(SMALL, rng), given(rng, SMALL)
    targets = array(model(features))

    def loss():
        return np.mean((array(model(features)) - targets) ** 2)

    dead = model.encoder.blocks[1].sublayers["self"].output_projection.kernel
    kernel = array(dead).copy()
    kernel[4:8] = 0  # of head 1, which then says nothing
    dead.assign(kernel)
    targets = array(model(features))
    before = model.get_weights()
    found = head_importance(model, loss)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert list(found) == ["encoder/block_0/self", "encoder/block_1/self"]
    assert found["encoder/block_1/self"][1] == 0
    rest = np.concatenate([found["encoder/block_0/self"], found["encoder/block_1/self"][[0, 2]]])
    assert (rest > 1e-4).all()
    assert most_important(found, 2)["encoder/block_1/self"] == [0, 2]


def test_an_interrupted_measurement_leaves_the_model_as_it_was(rng, array):
    model, calls = drawn(SMALL, rng), []
    before = model.get_weights()

    def loss():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return 0.0

    with pytest.raises(KeyboardInterrupt):
        head_importance(model, loss)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


BAD = {
    "no attention of that name": ({"encoder/block_0/self": [0]}, "keep: expected one number of"),
    "unequal numbers": (
        {"encoder/block_0/self": [0], "encoder/block_1/self": [0, 1]},
        "keep: expected one number of heads",
    ),
    "no head": (
        {"encoder/block_0/self": [], "encoder/block_1/self": []}, "keep: expected one number"
    ),
    "a head too many": (
        {"encoder/block_0/self": [0], "encoder/block_1/self": [3]},
        r"keep: expected heads of the 3 of encoder/block_1/self. Received: \[3\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_heads_that_cannot_be_kept_are_refused(name, rng):
    keep, message = BAD[name]
    with pytest.raises(tfattn.InputError, match=message):
        prune(tfattn.build(SMALL), keep)


@pytest.mark.parametrize("fields", [{"position": "alibi"}, {"kv_heads": 1}])
def test_heads_that_share_are_refused(fields):
    model = tfattn.build(tfattn.TransformerConfig(**{**vars(SMALL), **fields}))
    with pytest.raises(tfattn.InputError, match="model: expected heads with keys of their own"):
        prune(model, dict.fromkeys(attentions(model), [0]))
    with pytest.raises(tfattn.InputError, match="model: expected attention heads"):
        prune(tfattn.build(tfattn.preset("bahdanau-tiny")), {})

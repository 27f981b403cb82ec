"""The numbers of the maps are the layers', and the pictures show them where they belong."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import STILL

import tfattn
from pipelines.text.figures import alignment_weights, attention_maps
from tfattn.families import recurrent
from tfattn.models.config import EncoderDecoderConfig, Tokens
from tfattn.models.recurrent_config import RecurrentConfig
from tfattn.visualize import SHOWN, Map, alignment_figure, heads_figure, pixels, rollout

YELLOW = (253, 231, 36)  # the greatest weight of a panel, in matplotlib's viridis
PAIR = EncoderDecoderConfig(
    replace(STILL, types=0),
    replace(
        STILL, types=0, masks=(tfattn.Causal(),), layout=("self", "cross", "feedforward"), depth=2
    ),
)
SOURCE, TARGET = [5, 9, 7, 30], [2, 41, 6]


def shares(x, memory, weights, path, seen=True):
    """Return the softmax of a layer's scores, (b, h, t, s)."""

    def split(given, name):
        kernel, bias = (weights[f"{path}/{name}/{part}"] for part in ("kernel", "bias"))
        made = given @ kernel + bias
        return made.reshape(*made.shape[:2], STILL.heads, -1).transpose(0, 2, 1, 3)

    queries, keys = split(x, "query"), split(memory, "key")
    scores = queries @ keys.transpose(0, 1, 3, 2) / np.sqrt(queries.shape[-1])
    scores = np.where(seen, scores, -np.inf)
    found = np.exp(scores - scores.max(-1, keepdims=True))
    return found / found.sum(-1, keepdims=True)


def picture_of(shown):
    return pixels(heads_figure(shown))


def values(model):
    return {path: v.numpy() for path, v in model.weights_by_path().items()}


def pair():
    """Return features of a source of four tokens and a target of three, both with padding."""
    found = {}
    for side, ids in (("", SOURCE), ("target_", TARGET)):
        there = np.arange(5)[None] < len(ids)
        tokens = np.array([[*ids, *[0] * (5 - len(ids))]])
        found |= {f"{side}tokens": tokens, f"{side}segments": there.astype(int)}
    return {name: tf.constant(array, tf.int32) for name, array in found.items()}


def words(tokenizer, ids):
    return [tokenizer.vocabulary[i] for i in ids]


def test_weights_are_softmax_of_the_layers_scores(tokenizer):
    keras.utils.set_random_seed(0)
    model = tfattn.build(STILL, Tokens())
    segments = np.array([[1, 1, 2, 2, 0], [1, 1, 1, 1, 1]], np.int32)
    tokens = np.array([[5, 9, 7, 30, 0], [8, 8, 41, 6, 2]], np.int32)
    positions = np.array([[0, 1, 0, 1, 0], [0, 1, 2, 3, 4]], np.int32)
    x = model.stem(tokens, positions).numpy()
    seen = segments[:, None, :, None] == segments[:, None, None, :]
    expected = shares(x, x, values(model), "encoder/block_0/self", seen)
    for first in (0, 1):  # the maps are those of the first row alone, and named by its first text
        features = {"tokens": tokens, "segments": segments, "positions": positions}
        features = {name: tf.constant(array[first:]) for name, array in features.items()}
        found = attention_maps(model, features, tokenizer)
        assert list(found) == ["attention"]
        shown = found["attention"]
        assert shown.weights.shape == (STILL.depth, STILL.heads, 5, 5)
        real = segments[first] > 0  # queries of padding see nothing
        np.testing.assert_allclose(shown.weights[0][:, real], expected[first][:, real], atol=1e-5)
        text = tokens[first][segments[first] == 1]
        assert shown.looking == shown.looked_at == words(tokenizer, text)


def test_an_encoder_and_a_decoder_have_three_maps(tokenizer):
    keras.utils.set_random_seed(0)
    model, features = tfattn.build(PAIR, Tokens()), pair()
    found = attention_maps(model, features, tokenizer)
    source, target = words(tokenizer, SOURCE), words(tokenizer, TARGET)
    assert {name: (shown.looking, shown.looked_at) for name, shown in found.items()} == {
        "attention/source": (source, source),
        "attention/target": (target, target),
        "attention/alignment": (target, source),
    }
    own = [found[f"attention/{name}"].weights for name in ("source", "target", "alignment")]
    assert [w.shape[0] for w in own] == [1, 2, 2]
    held, places = values(model), np.arange(5)[None]
    x = model.stem(features["tokens"].numpy(), places).numpy()
    there = (features["segments"].numpy() > 0)[:, None, None]
    wanted = shares(x, x, held, "encoder/block_0/self", there)
    np.testing.assert_allclose(own[0][0, :, :4], wanted[0, :, :4], atol=1e-5)
    y = model.target_stem(features["target_tokens"].numpy(), places).numpy()
    wanted = shares(y, y, held, "decoder/block_0/self", np.tril(np.ones((5, 5), bool)))
    np.testing.assert_allclose(own[1][0, :, :3], wanted[0, :, :3], atol=1e-5)
    for block in own[2]:
        np.testing.assert_allclose(block[:, :3, :4].sum(-1), 1.0, atol=1e-5)
        assert not block[:, :3, 4].any()  # padding of the source is not looked at
    batch = {name: tf.concat([tensor[:, ::-1], tensor], 0) for name, tensor in features.items()}
    np.testing.assert_allclose(alignment_weights(model, batch)[1], own[2], atol=1e-6)


@pytest.mark.parametrize("attention", ["additive", None])
def test_a_recurrent_model_aligns_where_it_has_attention(attention, tokenizer):
    keras.utils.set_random_seed(0)
    dim = None if attention is None else 8
    config = RecurrentConfig(
        dim=8, hidden_dim=8, vocab_size=150, attention=attention, attention_dim=dim
    )
    model = tfattn.build(config, recurrent.HEAD)
    found = attention_maps(model, pair(), tokenizer)
    if attention is None:
        assert found == {}
        return
    assert list(found) == ["attention/alignment"]
    shown = found["attention/alignment"]
    assert (shown.looking, shown.looked_at) == (
        words(tokenizer, TARGET),
        words(tokenizer, SOURCE),
    )
    assert shown.weights.shape == (1, 1, 5, 5)
    np.testing.assert_allclose(shown.weights[0, 0, :3, :4].sum(-1), 1.0, atol=1e-5)
    assert not shown.weights[0, 0, :3, 4].any() and (shown.weights[0, 0, :3, :4] > 0).all()


def test_rollout_is_the_product_of_the_blocks_with_their_residuals(rng):
    weights = rng.random((3, 2, 4, 4))
    weights /= weights.sum(-1, keepdims=True)
    found, mean = rollout(weights), weights.mean(axis=1)
    first, second, third = ((block + np.eye(4)) / 2 for block in mean)
    np.testing.assert_allclose(found, third @ second @ first)
    np.testing.assert_allclose(found.sum(-1), 1.0)
    assert not np.allclose(found, first @ second @ third)


def test_who_looks_at_itself_alone_is_reached_by_itself_alone():
    weights = np.broadcast_to(np.eye(3), (2, 2, 3, 3)).copy()
    np.testing.assert_array_equal(rollout(weights), np.eye(3))
    weights[:, :, 2] = [1, 0, 0]  # the last looks at the first, in both blocks
    np.testing.assert_allclose(rollout(weights)[2], [0.75, 0, 0.25])


def bright(picture):
    """Return where the greatest weights are drawn, as (row, column) shares of the picture."""
    places = np.argwhere((picture[..., :3] == YELLOW).all(axis=-1))
    return places / picture.shape[:2]


@pytest.mark.parametrize(
    ("query", "key", "down", "right"), [(0, 3, False, True), (3, 0, True, False)]
)
def test_queries_go_down_and_keys_go_right(query, key, down, right):
    weights, names = np.zeros((1, 1, 4, 4)), ["one", "two", "three", "four"]
    weights[0, 0, query, key] = 1.0
    row, column = bright(picture_of(Map(weights, names, names))).mean(axis=0)
    assert (row > 0.5, column > 0.5) == (down, right)


def test_blocks_go_down_and_heads_go_right():
    weights, names = np.full((2, 3, 2, 2), 0.5), ["a", "b"]
    weights[1, 2] = np.eye(2)
    one = picture_of(Map(weights, names, names))
    weights[0, 0], weights[1, 2] = np.eye(2), 0.5
    other = picture_of(Map(weights, names, names))
    changed = np.argwhere((one != other).any(axis=-1)) / one.shape[:2]
    low, high = changed.min(axis=0), changed.max(axis=0)
    assert (low < (0.5, 1 / 3)).all() and (high > (0.5, 2 / 3)).all()
    middle = (changed[:, 1] > 0.4) & (changed[:, 1] < 0.6)
    assert not middle.any(), "a panel between the two has changed"


def test_long_texts_are_cut_to_what_can_be_read():
    weights, names = np.full((1, 1, 200, 100), 0.1), ["w"] * SHOWN
    whole = picture_of(Map(weights, ["w"] * 200, ["w"] * 100))
    np.testing.assert_array_equal(
        whole, picture_of(Map(weights[..., :SHOWN, :SHOWN], names, names))
    )


def test_an_alignment_is_the_mean_of_all_heads_beside_that_of_each_block(rng):
    weights = rng.random((2, 3, 2, 4))
    figure = alignment_figure(Map(weights, ["x", "y"], ["a", "b", "c", "d"]))
    each = weights.mean(axis=1)
    shown = [np.asarray(panel.images[0].get_array()) for panel in figure.axes]
    for drawn, wanted in zip(shown, (each.mean(axis=0), *each), strict=True):
        np.testing.assert_allclose(drawn, wanted)
    for panel in figure.axes:
        assert [label.get_text() for label in panel.get_xticklabels()] == ["a", "b", "c", "d"]
        assert [label.get_text() for label in panel.get_yticklabels()] == ["x", "y"]
    assert len(alignment_figure(Map(weights[:1], ["x", "y"], list("abcd"))).axes) == 1

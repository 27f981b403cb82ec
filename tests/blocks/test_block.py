import keras
import numpy as np
import pytest
from test_norm import reference as norm
from test_norm import weighted

from tfattn.blocks.block import Residual, TransformerBlock
from tfattn.blocks.feedforward import FeedForward
from tfattn.blocks.inputs import BlockInputs
from tfattn.mechanisms.masks import Causal
from tfattn.mechanisms.multihead import MultiHeadAttention


def residual_and_weights(rng, **options):
    return weighted(Residual(**options), rng)


def block(norm="post", dropout=0.0, mask=None):
    sublayers = {
        "self": MultiHeadAttention(6, 2, **({"mask": mask} if mask else {}), name="self"),
        "feedforward": FeedForward(6, 10, name="feedforward"),
    }
    return TransformerBlock(sublayers, 6, norm, dropout)


@pytest.mark.parametrize("epsilon", [1e-12, 0.5])
def test_post_norm_norms_the_sum(rng, close, epsilon):
    layer, gamma, beta = residual_and_weights(rng, norm="post", epsilon=epsilon)
    x, y = rng.normal(size=(2, 2, 5, 6)).astype("float32")
    assert layer.enter(x) is x
    close(layer.leave(x, y), norm(x + y, gamma, beta, epsilon))


def test_pre_norm_norms_what_enters(rng, close):
    layer, gamma, beta = residual_and_weights(rng, norm="pre", epsilon=0.5)
    x, y = rng.normal(size=(2, 2, 5, 6)).astype("float32")
    close(layer.enter(x), norm(x, gamma, beta, 0.5))
    close(layer.leave(x, y), x + y)


def test_another_placement_is_refused():
    with pytest.raises(ValueError, match="norm must be 'post' or 'pre'. Received: norm='both'"):
        Residual(norm="both")


@pytest.mark.parametrize("placement", ["post", "pre"])
def test_dropout_falls_on_the_sublayer_not_on_the_stream(rng, array, close, placement):
    layer, gamma, beta = residual_and_weights(rng, norm=placement, dropout=0.5)
    x, y = rng.normal(size=(2, 2, 5, 6)).astype("float32")
    zero = np.zeros_like(y)
    close(layer.leave(x, zero, training=True), layer.leave(x, zero, training=False))
    dropped = array(layer.leave(x, y, training=True))
    assert not np.allclose(dropped, array(layer.leave(x, y, training=False)))


@pytest.mark.parametrize("placement", ["post", "pre"])
def test_a_block_is_attention_then_feedforward(rng, close, array, placement):
    layer = block(placement)
    layer.build()
    layer.set_weights([rng.normal(size=v.shape).astype("float32") for v in layer.weights])
    attend, feed = layer.sublayers["self"], layer.sublayers["feedforward"]
    norms = [layer.residuals[name].norm for name in ("self", "feedforward")]
    x = rng.normal(size=(2, 5, 6)).astype("float32")
    segments = np.array([[1, 1, 1, 1, 1], [1, 1, 2, 2, 0]])
    out = layer(x, segments=segments)
    if placement == "post":
        h = array(norms[0](x + array(attend(x, segments=segments))))
        close(out, norms[1](h + array(feed(h))))
    else:
        h = x + array(attend(norms[0](x), segments=segments))
        close(out, h + array(feed(norms[1](h))))


def test_a_block_returns_its_attention_weights(rng, close):
    layer = block(mask=Causal())
    x = rng.normal(size=(2, 5, 6)).astype("float32")
    out, weights = layer(x, return_weights=True)
    close(out, layer(x))
    close(weights, layer.sublayers["self"](x, return_weights=True)[1])
    close(weights[0, 1], np.tril(keras.ops.convert_to_numpy(weights[0, 1])))


def test_inputs_are_packed_keywords(rng, close):
    layer = block(mask=Causal())
    x = rng.normal(size=(2, 5, 6)).astype("float32")
    segments = np.array([[1, 1, 1, 1, 1], [1, 1, 2, 2, 0]])
    packed = BlockInputs(segments=segments)
    close(layer(x, inputs=packed), layer(x, segments=segments))
    with pytest.raises(TypeError, match="segmants"):
        layer(x, segmants=segments)


def test_the_order_of_sublayers_is_the_layout(rng, array, close):
    attend, feed = MultiHeadAttention(6, 2), FeedForward(6, 10)
    layer = TransformerBlock({"feedforward": feed, "self": attend}, 6)
    x = rng.normal(size=(2, 5, 6)).astype("float32")
    out = layer(x)
    h = layer.residuals["feedforward"].norm(x + array(feed(x)))
    close(out, layer.residuals["self"].norm(h + attend(h)))


def decoder_block(rng, placement):
    sublayers = {
        "self": MultiHeadAttention(6, 2, Causal(), name="self"),
        "cross": MultiHeadAttention(6, 3, name="cross"),
        "feedforward": FeedForward(6, 10, name="feedforward"),
    }
    layer = TransformerBlock(sublayers, 6, placement)
    layer.build()
    layer.set_weights([rng.normal(size=v.shape).astype("float32") for v in layer.weights])
    return layer


def test_a_decoder_asks_itself_and_then_its_memory(rng, array, close):
    layer = decoder_block(rng, "pre")
    attend, ask, feed = layer.sublayers.values()
    norms = [residual.norm for residual in layer.residuals.values()]
    x, memory = (rng.normal(size=(2, t, 6)).astype("float32") for t in (4, 5))
    segments = np.array([[1, 1, 2, 2], [1, 1, 1, 0]])
    asked = {"memory_segments": np.array([[1, 2, 2, 2, 0], [1, 1, 1, 0, 0]])}
    out, weights = layer(x, segments=segments, memory=memory, **asked, return_weights=True)
    h = x + array(attend(norms[0](x), segments=segments))
    h = h + array(ask(norms[1](h), memory, segments=segments, **asked))
    close(out, h + array(feed(norms[2](h))))
    assert [tuple(one.shape) for one in weights] == [(2, 2, 4, 4), (2, 3, 4, 5)]
    close(weights[1][0, 0, 0], [1, 0, 0, 0, 0])  # the first text has one word in the memory
    kept = ask.remember(memory)
    close(layer(x, segments=segments, remembered=kept, **asked), out)
    again = TransformerBlock.from_config(layer.get_config())
    again.build()
    again.set_weights(layer.get_weights())
    close(again(x, segments=segments, memory=memory, **asked), out)

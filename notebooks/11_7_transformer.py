# %% [markdown]
# # 11.7 The Transformer
#
# No recurrence, no convolution: blocks of attention and of a small network that every position
# goes through alone, each inside a residual connection with a norm (arXiv:1706.03762). The
# encoder's block has self-attention; the decoder's is masked, so that no token sees what it is to
# predict, and has a second attention that asks the encoder.
#
# Here: one [`TransformerBlock`](../tfattn/blocks/block.py) for all of it, whose sublayers are named
# by a layout; [`FeedForward`](../tfattn/blocks/feedforward.py),
# [norms](../tfattn/blocks/norm.py), and the
# [`EncoderDecoder`](../tfattn/models/encoder_decoder.py) of two stacks.

# %%
# %matplotlib inline
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from keras import ops

import tfattn
from pipelines.core.finished import open_finished
from pipelines.core.progress import console
from pipelines.core.train import train
from pipelines.text.data.embedded.aligned import aligned
from pipelines.text.generation.measures import measures
from pipelines.text.generation.writer import Writer
from pipelines.text.presets import PRESETS
from pipelines.text.sources import PairData
from pipelines.text.translate import looked
from tfattn.models.sampling import Sampling
from tfattn.visualize import alignment_figure, matrices_figure

keras.utils.set_random_seed(0)
tf.get_logger().setLevel("ERROR")
console.quiet = True
rng, runs = np.random.default_rng(0), Path(tempfile.mkdtemp())

# %% [markdown]
# ## A block, and what it does to a stream
#
# The layout of the encoder's block is `self, feedforward`; the decoder's has `cross` between them.
# With the norm *after* the sum, as published, the stream is of one size after every block; with the
# norm *before* the sublayer, as in GPT-2 and most models since, it grows from block to block and
# gradients pass the sums untouched, which makes deep stacks trainable without a warmup.

# %%
x = rng.normal(size=(1, 20, 64)).astype("float32")
for layout in (("self", "feedforward"), ("self", "cross", "feedforward")):
    parts = {
        name: tfattn.FeedForward(64, 256)
        if name == "feedforward"
        else tfattn.MultiHeadAttention(
            64, 4, tfattn.Causal() if "cross" in layout else tfattn.Everything()
        )
        for name in layout
    }
    block = tfattn.TransformerBlock(parts, 64)
    given = {"memory": x} if "cross" in layout else {}
    y = block(x, **given)
    size = sum(int(np.prod(w.shape)) for w in block.weights)
    print(f"{' + '.join(layout):30} {tuple(y.shape)}, {size:,} weights")

figure, panel = plt.subplots(figsize=(5, 2.4), layout="constrained")
for norm in ("post", "pre"):
    y, sizes = x, []
    for _ in range(12):
        parts = {
            "self": tfattn.MultiHeadAttention(64, 4),
            "feedforward": tfattn.FeedForward(64, 256),
        }
        y = tfattn.TransformerBlock(parts, 64, norm=norm)(y)
        sizes.append(float(ops.std(y)))
    panel.plot(range(1, 13), sizes, "o-", label=f"{norm}-norm")
panel.set(xlabel="block", ylabel="size of the stream")
_ = panel.legend(fontsize=8)

# %% [markdown]
# ## A translator
#
# From dates as English writes them, in all the ways of Unicode's locale data that Babel carries, to
# ISO 8601: a month becomes a number, and what came last comes first.

# %%
pairs = aligned("en", "iso", validation=150)
for pair in pairs.train[:5]:
    print(f"{pair.source:45} {pair.target}")

# %% quick="STEPS, DEPTHS, HELD, LENGTHS = 4, (), 4, (64, 128)"
STEPS, DEPTHS, HELD, LENGTHS = 500, (1,), 150, (256, 512, 1024, 2048, 4096)


# %%
def trained(**fields):
    """Train the smallest translator, with other fields in both stacks; return it and its result."""
    recipe = PRESETS["transformer-nmt-tiny"]
    data = PairData(train=("embedded:en-iso",), vocab_size=800)
    settings = replace(
        recipe.train, steps=STEPS, batch_tokens=1024, evaluate_every=STEPS, average=1
    )
    model = recipe.model.with_fields(**fields)
    run = runs / f"depth{model.encoder.depth}"
    result = train(replace(recipe, model=model, data=data, train=settings), run)
    return open_finished(str(run)), result


held = pairs.validation[:HELD]


def translated(done):
    """Return what a run writes for phrases that it has not seen."""
    writer = Writer(done.model, done.processor, Sampling(greedy=True), jit=False)
    return [texts[0] for texts in writer.write([pair.source for pair in held], 48)]


def told(done, result, texts):
    """Print what a run came to."""
    found = measures([text.text for text in texts], [pair.target for pair in held])
    print(
        f"{result['parameters']:,} weights, {result['seconds']:.0f} s: loss "
        f"{result['after']['loss']:.3f}, {found['exact']:.0f}% exact, chrF {found['chrf']:.1f}"
    )


done, result = trained()
texts = translated(done)
told(done, result, texts)
for pair, text in list(zip(held, texts, strict=True))[:8]:
    print(f"{pair.source:45} {text.text:20} {'' if text.text == pair.target else pair.target}")

# %%
longest = max(range(len(held)), key=lambda n: len(texts[n].ids) if texts[n].ended else 0)
seen = looked(done, held[longest].source, texts[longest])
alignment_figure(seen.alignment, seen.reached)

# %% [markdown]
# ## Exercises
#
# **1. How deep?** Half the blocks, for as many steps. They are quicker, and in so few steps they
# even learn more: a second block has to wait for the first to make something of its input, and
# earns its time only in longer training, with more to learn than dates.

# %%
for depth in DEPTHS:
    other, result = trained(depth=depth)
    told(other, result, translated(other))

# %% [markdown]
# **2. Additive in place of scaled dot product?** It is no better at equal width, and it makes a
# vector for every pair of a query and a key where the product makes a number: time and memory grow
# by that factor, and none of it is a product of matrices, which is what hardware is made for.
#
# **4. Very long inputs** are hard because everything in attention is of the size of all pairs.
#
# **5. What helps** is to look at fewer pairs, or to leave the softmax: with features of queries and
# keys whose product is never negative, the sums over keys are made once for all queries
# ([`LinearAttention`](../tfattn/mechanisms/linear.py), arXiv:2006.16236), and cost grows with the
# length and not its square. One causal layer of 4 heads of width 32:


# %%
def seconds(layer, length):
    """Return the least time of three passes."""
    q = tf.constant(rng.normal(size=(1, length, 4, 32)), "float32")
    run = tf.function(lambda q: layer(q, q, q), autograph=False)
    run(q)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run(q).numpy()
        times.append(time.perf_counter() - start)
    return min(times)


kinds = {
    "scaled dot product": (tfattn.Attention(mask=tfattn.Causal()), LENGTHS),
    "linear": (tfattn.LinearAttention(tfattn.Causal()), LENGTHS),
    "additive": (tfattn.Attention(tfattn.Additive(32, 32, 32), tfattn.Causal()), LENGTHS[:3]),
}
figure, panel = plt.subplots(figsize=(5, 2.8), layout="constrained")
for name, (layer, lengths) in kinds.items():
    times = [1000 * seconds(layer, length) for length in lengths]
    panel.loglog(lengths, times, "o-", label=name)
    print(
        f"{name:20}", ", ".join(f"{n}: {ms:.1f} ms" for n, ms in zip(lengths, times, strict=True))
    )
panel.set(xlabel="tokens", ylabel="ms")
_ = panel.legend(fontsize=8)

# %% [markdown]
# Fewer pairs, as masks say it; each is a predicate of two positions, and they combine:

# %%
places = np.arange(24)
masks = {
    "Causal": tfattn.Causal(),
    "& Window(4, 0)": tfattn.Causal() & tfattn.Window(4, 0),
    "Window | Global": tfattn.Window(2, 2) | tfattn.Global(2),
    "Causal & Strided": tfattn.Causal() & (tfattn.Window(3, 0) | tfattn.Strided(4)),
}
matrices_figure(
    {name: mask(places[:, None], places).astype(float) for name, mask in masks.items()}, size=2.2
)

# %% [markdown]
# **3. For language modelling: encoder, decoder, or both?** To continue a text, every token may see
# only what is before it: the decoder's mask, and no second attention, for there is no source. So
# GPT is a stack of *encoder* blocks (`self, feedforward`) with the decoder's mask, one field apart
# from BERT:

# %%
for name in ("bert-tiny", "gpt2-tiny"):
    config = tfattn.preset(name)
    print(f"{name}: {config.layout}, masks {config.masks}, causal: {config.is_causal()}")

# %% [markdown]
# # 11.6 Self-attention and positions
#
# Where the tokens of a text are queries, keys and values at once, every token looks at every other
# in one step. What that is worth beside convolution and recurrence is measured below. Its price:
# attention is a mean, and a mean does not know in which order it was taken. So positions have to be
# told, and there are many ways to tell them.
#
# Here: [`MultiHeadAttention`](../tfattn/mechanisms/multihead.py), the positions that are added or
# turned in [`positions.py`](../tfattn/mechanisms/positions.py), and the relative ones in
# [`relative.py`](../tfattn/mechanisms/relative.py). A
# [preset](../tfattn/families/gpt2.py) takes each of them by its name.

# %%
# %matplotlib inline
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from keras import ops

import tfattn
from pipelines.text.data.embedded.docstrings import harvest
from tfattn.visualize import matrices_figure

keras.utils.set_random_seed(0)
tf.get_logger().setLevel("ERROR")  # it warns of the many models that are compiled
rng = np.random.default_rng(0)

# %% [markdown]
# ## Blind to order
#
# Shuffled tokens give the shuffled result, and nothing else changes.

# %%
layer = tfattn.MultiHeadAttention(dim=32, heads=4)
x = rng.normal(size=(1, 10, 32)).astype("float32")
order = rng.permutation(10)
apart = np.abs(np.asarray(layer(x[:, order])) - np.asarray(layer(x))[:, order]).max()
print(f"shuffle, then attend - attend, then shuffle: {apart:.1e}")

# %% [markdown]
# ## Beside convolution and recurrence, measured
#
# | | operations | steps one after another | layers from the first token to the last |
# |---|---|---|---|
# | convolution, kernel $k$ | $k n d^2$ | 1 | $n / (k - 1)$ to either side |
# | recurrent network | $n d^2$ | $n$ | 1, through $n$ steps |
# | self-attention | $n^2 d + n d^2$ | 1 | 1 |
#
# The last column can be seen from gradients: stack layers until the last token of the output
# depends on the first of the input. The others are times.

# %% quick="LENGTHS = (16, 32)"
LENGTHS = (64, 128, 256, 512, 1024, 2048)

# %%
WIDTH = 64
LAYERS = {
    "convolution": lambda: keras.layers.Conv1D(WIDTH, 3, padding="same"),
    "GRU": lambda: keras.layers.GRU(WIDTH, return_sequences=True),
    "self-attention": lambda: tfattn.MultiHeadAttention(WIDTH, heads=4),
}


def layers_needed(kind, length):
    """Return how many layers it takes until the last output depends on the first input."""
    x = tf.constant(rng.normal(size=(1, length, WIDTH)), "float32")
    layers = []
    while True:
        layers.append(kind())
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x
            for layer in layers:
                y = layer(y)
            last = ops.sum(y[:, -1])
        if np.any(tape.gradient(last, x)[:, 0]):
            return len(layers)


def seconds(kind, length):
    """Return the least time of five passes."""
    layer, x = kind(), tf.constant(rng.normal(size=(1, length, WIDTH)), "float32")
    run = tf.function(layer, autograph=False)
    run(x)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run(x).numpy()
        times.append(time.perf_counter() - start)
    return min(times)


took = {name: [seconds(kind, n) for n in LENGTHS] for name, kind in LAYERS.items()}
figure, panel = plt.subplots(figsize=(5, 3), layout="constrained")
for name, kind in LAYERS.items():
    growth = np.polyfit(np.log(LENGTHS[-3:]), np.log(took[name][-3:]), 1)[0]
    needed = [layers_needed(kind, n) for n in (4, 8, 16)]
    print(f"{name:15} layers for 4, 8 and 16 tokens: {needed}, time at the end as n^{growth:.1f}")
    panel.loglog(LENGTHS, 1000 * np.array(took[name]), "o-", label=name)
panel.set(xlabel="tokens n", ylabel="ms", title=f"one layer, width {WIDTH}")
_ = panel.legend(fontsize=8)

# %% [markdown]
# ## Waves
#
# A sine and a cosine of each of many wavelengths are added to the embeddings: like the bits of a
# number, the first columns change quickly and the last ones slowly. Because a sine and a cosine of
# one wavelength are a point on a circle, the code of place $p + k$ is that of $p$ turned by the
# same matrix wherever $p$ is: an offset is a linear map.

# %%
wave = tfattn.Sinusoidal()
places = np.arange(60)[None]
codes = np.asarray(wave.embed(np.zeros((1, 60, 32), "float32"), places))[0]
turned = codes[:50] @ wave.rotation(10, 32).T
print("P[p + 10] = R P[p], to", np.abs(turned - codes[10:]).max())
matrices_figure(
    {"P": codes, "P Pᵀ": codes @ codes.T, "R of 10 places": wave.rotation(10, 32)}, "", "", 3.2
)

# %% [markdown]
# ## What a score sees of distance
#
# Later kinds leave the embeddings alone. Rotary ones turn queries and keys, so that their product
# depends on the distance; ALiBi takes a penalty for each token between; T5 learns a number for each
# range of distances (the picture shows its start). Of the first two kinds below the same query and
# key stand at every place.

# %%
query = np.repeat(rng.normal(size=(1, 1, 1, 32)), 60, axis=1).astype("float32")
rotary, alibi, buckets = tfattn.Rotary(), tfattn.Alibi(4), tfattn.Buckets(4)
buckets.build()
turned = np.asarray(rotary.rotate(query, places))[0, :, 0]
matrices_figure(
    {
        "rotary: q and k alike": turned @ turned.T / np.sqrt(32),
        "ALiBi, the first head": alibi.bias(places, places)[0, 0],
        "ALiBi, the last": alibi.bias(places, places)[0, 3],
        "T5's buckets": buckets.bias(places, places)[0, 1],
    },
    size=2.8,
)

# %% [markdown]
# ## Do they matter?
#
# One GPT for each kind, of 400 thousand weights, learns to continue documentation letter by letter
# from rows of 64; then it reads rows of 256. In so short a time the kinds come apart that tell the
# distance to every score: T5's buckets and rotary positions get past 2.5, about what pairs of
# letters tell. A learnt table has to learn every place on its own, and is no better yet than no
# positions at all, whose causal mask tells a little. Beyond the 64 places that they have seen the
# buckets go on, for the last of them is of all that is far; rotary positions meet new angles.

# %% quick="STEPS, LONG, KINDS = 2, 96, ('none', 'alibi')"
STEPS, LONG = 300, 256
KINDS = ("none", "learned", "rotary", "alibi", "buckets")

# %%
SHORT, BATCH = 64, 16
text = "\n\n".join(
    docstring.text for docstring in harvest(("numpy", "scipy", "sklearn"), processes=2)
)
letters = sorted(set(text))
number = {letter: place for place, letter in enumerate(letters)}
ids = np.array([number[letter] for letter in text], "int32")
train, held = ids[: -len(ids) // 10], ids[-len(ids) // 10 :]
print(f"{len(train):,} letters to learn from, of {len(letters)} kinds")


def cut(source, count, length):
    """Return random stretches, and the letters that follow each: two of (count, length)."""
    begins = np.random.default_rng(1).integers(0, len(source) - length - 1, size=count)
    taken = source[begins[:, None] + np.arange(length + 1)]
    return taken[:, :-1], taken[:, 1:]


def trained(position):
    """Return a model of one kind of positions, trained."""
    keras.utils.set_random_seed(0)
    config = tfattn.preset("gpt2-tiny").with_fields(
        position=position, vocab_size=len(letters), max_length=LONG,
        dropout=0.0, attention_dropout=0.0,
    )  # fmt: skip
    model = tfattn.build(config, tfattn.Tokens())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, jit_compile=False)
    rows, targets = cut(train, STEPS * BATCH, SHORT)
    model.fit({"tokens": rows}, targets, batch_size=BATCH, verbose=0)
    return model


def losses(model, length):
    """Return the loss at each place of rows that it has not seen, (length,)."""
    rows, targets = cut(held, 64, length)
    logits = model.predict({"tokens": rows}, batch_size=16, verbose=0)
    chances = ops.log_softmax(logits, axis=-1)
    return -np.asarray(ops.take_along_axis(chances, targets[..., None], axis=-1)).mean(axis=(0, 2))


found = {}
for kind in KINDS:
    start = time.perf_counter()
    found[kind] = losses(trained(kind), LONG)
    inside, beyond = found[kind][:SHORT].mean(), found[kind][SHORT:].mean()
    taken = time.perf_counter() - start
    print(f"{kind:11} {inside:.3f} up to {SHORT}, {beyond:.3f} beyond; {taken:.0f} s")

# %%
figure, panel = plt.subplots(figsize=(7, 3), layout="constrained")
for kind, values in found.items():
    smooth = values[: LONG // 8 * 8].reshape(-1, 8).mean(axis=1)
    panel.plot(np.arange(len(smooth)) * 8 + 4, smooth, label=kind)
panel.axvline(SHORT, color="k", linestyle=":")
panel.set(xlabel="place in the row", ylabel="loss of a letter", ylim=(1.5, 5))
_ = panel.legend(fontsize=8, ncols=2)

# %% [markdown]
# ## Exercises
#
# **1. What may go wrong in a deep stack of self-attention?** Each layer takes means, and means of
# means become alike: without the residual connections around it all tokens are soon the same
# (arXiv:2103.03404). Positions that are added once, at the bottom, are lost in the same way, which
# the kinds above avoid that tell them to every score. Mean cosine of two tokens by depth:

# %%
x = rng.normal(size=(1, 32, 64)).astype("float32")


def alike(x):
    """Return the mean cosine of two different tokens."""
    unit = np.asarray(ops.normalize(x))[0]
    return ((unit @ unit.T).sum() - len(unit)) / (len(unit) * (len(unit) - 1))


figure, panel = plt.subplots(figsize=(5, 2.6), layout="constrained")
for residual in (False, True):
    y, seen = x, [alike(x)]
    for _ in range(12):
        layer = tfattn.MultiHeadAttention(64, heads=4)
        y = layer(y) + y if residual else layer(y)
        seen.append(alike(y))
    panel.plot(seen, "o-", label="with residuals" if residual else "attention alone")
panel.set(xlabel="layers", ylabel="cosine")
_ = panel.legend(fontsize=8)

# %% [markdown]
# **2. A learnable position** is a table with a row for each place, `learned` above. It costs
# nothing in the score; what it learns of one place it does not know of the next, and of places that
# it never saw it knows nothing.
#
# **3. Learnt embeddings of offsets** between query and key are Shaw's, `position="shaw"` (vectors
# beside keys and values, arXiv:1803.02155); T5 learns a number for each in their place. Both are
# cut, or shared, from some distance on, so that there is nothing they do not know.

# %%
shaw = tfattn.Shaw(head_dim=16, distance=4)
shaw.build()
query = rng.normal(size=(1, 12, 1, 16)).astype("float32")
places = np.arange(12)[None]
matrices_figure(
    {"what Shaw's keys add, before training": shaw.compare(query, places, places)[0, 0]}
)

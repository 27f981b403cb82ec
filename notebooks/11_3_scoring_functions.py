# %% [markdown]
# # 11.3 Scoring functions
#
# What fits how well? A *score* $a(q, k)$ says it before the softmax makes shares of it:
#
# | score | $a(q, k)$ | weights | widths of q and k |
# |---|---|---|---|
# | dot product | $q \cdot k$ | none | equal |
# | scaled | $q \cdot k / \sqrt e$ | none | equal |
# | bilinear | $q^\top W k$ | $W$ | any |
# | additive | $v \cdot \tanh(W_q q + W_k k)$ | $W_q, W_k, v$ | any |
# | by distance | $-\lvert (q - k) / w \rvert^2 / 2$ | perhaps $w$ | equal |
#
# Each is a layer of its own, in [`scores.py`](../tfattn/mechanisms/scores.py) and
# [`kernels.py`](../tfattn/mechanisms/kernels.py), that any
# [`Attention`](../tfattn/mechanisms/attention.py) takes.

# %%
# %matplotlib inline
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from keras import ops
from sklearn.datasets import load_digits

import tfattn
from tfattn.mechanisms.attention import key_length_mask, masked_softmax
from tfattn.visualize import matrices_figure

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)

# %% [markdown]
# ## Why the dot product is scaled
#
# The product of two vectors of $e$ independent components of variance 1 has the variance $e$. At
# $e = 512$ the softmax of such scores is all but hard, and its gradient is all but 0. Over
# $\sqrt e$ the variance is 1 at any width.

# %%
figure, panels = plt.subplots(1, 2, figsize=(9, 2.4), sharey=True, layout="constrained")
for scale, panel in ((1.0, panels[0]), (None, panels[1])):
    for width in (4, 64, 512):
        q, k = (rng.normal(size=(1, n, 1, width)).astype("float32") for n in (200, 10))
        score = tfattn.ScaledDotProduct(scale)(q, k)
        largest = np.max(masked_softmax(score, None), axis=-1)
        panel.hist(np.ravel(largest), np.linspace(0, 1, 21), alpha=0.5, label=f"width {width}")
    panel.set(xlabel="largest of ten weights", title="as it is" if scale else "scaled")
_ = panels[0].legend(fontsize=8)

# %% [markdown]
# ## Texts of different lengths
#
# A batch is a rectangle and its texts are not. `lengths` says how many of the first keys each text
# has, `(b,)`, or each query, `(b, t)`. What may not be looked at weighs exactly 0, whatever its
# score; where nothing may be, all weights are 0, not NaN. (Models say more with `segments`, which
# also keep several texts of a row apart.)

# %%
score = rng.normal(size=(2, 1, 4, 6)).astype("float32")
each = masked_softmax(score, key_length_mask(np.array([2, 4]), 6))
every = masked_softmax(score, key_length_mask(np.array([[1, 2, 3, 0], [6, 5, 4, 3]]), 6))
matrices_figure(
    {
        "2 keys": each[0, 0],
        "4 keys": each[1, 0],
        "1, 2, 3 and 0": every[0, 0],
        "6, 5, 4 and 3": every[1, 0],
    }
)

# %% [markdown]
# ## Which score reads digits best?
#
# Attention over labelled examples is a classifier: keys are images, values their labels, and the
# answer to an image is how much weight each digit gets. Nothing has to be trained, but scores that
# have weights can be, with each example left out of its own answer. 8 x 8 pixels, 600 examples to
# look at, 600 others to be read.

# %% quick="STEPS = 5"
STEPS = 150

# %%
images, labels = load_digits(return_X_y=True)
images = ((images - images.mean()) / images.std()).astype("float32")
order = rng.permutation(len(images))
known, new = order[:600], order[600:1200]


def rows(x):
    """Return vectors (n, width) as one text of one head: (1, n, 1, width)."""
    return x[None, :, None]


def probabilities(score, queries, mask):
    """Return how much weight each digit gets, (queries, 10)."""
    attention = tfattn.Attention(score, mask)
    values = np.eye(10, dtype="float32")[labels[known]]
    return attention(rows(queries), rows(images[known]), rows(values))[0, :, 0]


def trained(score):
    """Fit the weights of a score, if it has some; return the seconds of a step."""
    score.build()
    optimizer = keras.optimizers.Adam(3e-3)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            found = probabilities(score, images[known], ~tfattn.Window(0, 0))
            right = ops.take_along_axis(found, labels[known][:, None], axis=1)
            loss = -ops.mean(ops.log(right + 1e-6))
        gradients = tape.gradient(loss, score.trainable_variables)
        optimizer.apply(gradients, score.trainable_variables)
        return loss

    if not score.trainable_variables:
        return 0.0
    step()
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    return (time.perf_counter() - start) / STEPS


scores = {
    "dot product": tfattn.ScaledDotProduct(scale=1.0),
    "scaled": tfattn.ScaledDotProduct(),
    "distance, width 1": tfattn.Kernel("gaussian", 1.0),
    "distance, learnt": tfattn.Kernel("gaussian", 1.0, "dimension", 64),
    "bilinear": tfattn.Bilinear(64, 64),
    "additive": tfattn.Additive(64, 64, 16),
}
print(f"{'':18} weights  accuracy  ms a step")
for name, score in scores.items():
    seconds = trained(score)
    found = np.argmax(probabilities(score, images[new], tfattn.Everything()), axis=1)
    size = sum(int(np.prod(v.shape)) for v in score.weights)
    print(f"{name:18} {size:7,}  {np.mean(found == labels[new]):8.3f}  {1000 * seconds:9.1f}")

# %% [markdown]
# Which examples an image looks at, by the distance that was learnt:

# %%
look = tfattn.Attention(scores["distance, learnt"])
keys = rows(images[known])
_, weights = look(rows(images[new[:4]]), keys, keys, return_weights=True)
figure, panels = plt.subplots(4, 6, figsize=(6, 4.2), layout="constrained")
for row, number, share in zip(panels, new, np.asarray(weights)[0, 0], strict=False):
    best = np.argsort(-share)[:5]
    shown = [(number, "asked")] + [(known[n], f"{share[n]:.2f}") for n in best]
    for panel, (image, title) in zip(row, shown, strict=True):
        panel.imshow(images[image].reshape(8, 8), cmap="gray")
        panel.set_title(title, fontsize=8)
        panel.set_axis_off()

# %% [markdown]
# ## Exercises
#
# **1. Distance, made of the dot product.**
# $-|q - k|^2 / 2 = q \cdot k - |k|^2 / 2 - |q|^2 / 2$, and the last term is the same for all keys:
# the softmax does not see it. So dot products need only a bias of each key.

# %%
q, k, v = (rng.normal(size=(1, n, 1, 4)).astype("float32") for n in (5, 7, 7))
bias = -np.sum(k**2, axis=-1)[:, :, 0][:, None, None] / 2  # (1, 1, 1, keys)
by_product = tfattn.Attention(tfattn.ScaledDotProduct(scale=1.0))(q, k, v, bias=bias)
by_distance = tfattn.Attention(tfattn.Kernel("gaussian"))(q, k, v)
print("largest difference:", float(ops.max(ops.abs(by_product - by_distance))))

# %% [markdown]
# **2. Queries and keys of different widths** need a matrix between them, which is `Bilinear`; the
# additive score brings two.

# %%
wide = rng.normal(size=(1, 5, 1, 10)).astype("float32")
for score in (tfattn.Bilinear(10, 4), tfattn.Additive(10, 4, dim=8)):
    print(type(score).__name__, tfattn.Attention(score)(wide, k, v).shape)

# %% [markdown]
# **3. What it costs.** For $t$ queries, $s$ keys and width $e$, products take $2 t s e$ operations,
# and the mean as many; the weights take $t s$ numbers of memory, which have to be written, made a
# softmax of, and read: at small $e$ that is what one waits for, not the arithmetic. The additive
# score makes $t s a$ numbers and as many `tanh`. Time on this machine, of one head in one batch:

# %% quick="LENGTHS = (16, 32)"
LENGTHS = (64, 128, 256, 512, 1024)


# %%
def seconds(score, length, width):
    """Return the least time of five passes."""
    x = tf.constant(rng.normal(size=(1, length, 1, width)), "float32")
    attention = tfattn.Attention(score)
    run = tf.function(lambda x: attention(x, x, x))
    run(x)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run(x).numpy()
        times.append(time.perf_counter() - start)
    return min(times)


figure, panels = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
kinds = {
    "scaled": tfattn.ScaledDotProduct,
    "bilinear": lambda: tfattn.Bilinear(64, 64),
    "additive": lambda: tfattn.Additive(64, 64, 64),
}
for name, kind in kinds.items():
    panels[0].loglog(LENGTHS, [1000 * seconds(kind(), n, 64) for n in LENGTHS], "o-", label=name)
panels[0].set(xlabel="queries, and as many keys", ylabel="ms", title="width 64")
panels[0].legend(fontsize=8)
widths = (16, 64, 256, 1024)
length = LENGTHS[-1]
panels[1].loglog(
    widths, [1000 * seconds(tfattn.ScaledDotProduct(), length, w) for w in widths], "o-"
)
_ = panels[1].set(xlabel="width e", ylabel="ms", title=f"scaled, {length} queries and keys")

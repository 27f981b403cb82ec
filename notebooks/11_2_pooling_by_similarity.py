# %% [markdown]
# # 11.2 Attention pooling by similarity
#
# Long before networks, Nadaraya and Watson (both 1964) estimated a function as a mean of the
# observed values, each weighted by how similar its place is to the place asked about:
#
# $$f(q) = \frac{\sum_i K(|q - k_i| / w)\, v_i}{\sum_i K(|q - k_i| / w)}.$$
#
# That is attention whose score is $\log K$, for a softmax of logarithms divides each by the sum.
# So it needs no layer of its own: [`Kernel`](../tfattn/mechanisms/kernels.py) is a score of the
# same [`Attention`](../tfattn/mechanisms/attention.py) that BERT has, and its width can be trained.

# %%
# %matplotlib inline
import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import ops
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

import tfattn
from tfattn.visualize import matrices_figure

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)

# %% [markdown]
# ## Kernels
#
# The parabola is Epanechnikov's (1969); the book draws the triangle under that name.

# %%
KERNELS = ("gaussian", "boxcar", "triangular", "epanechnikov", "constant")
distance = np.linspace(-2.5, 2.5, 501, dtype="float32")


def rows(x):
    """Return numbers (n, width) or (n,) as one text of one head: (1, n, 1, width)."""
    return np.asarray(x, "float32").reshape(1, len(x), 1, -1)


figure, panels = plt.subplots(1, 5, figsize=(11, 2), sharey=True, layout="constrained")
for name, panel in zip(KERNELS, panels, strict=True):
    panel.plot(distance, np.exp(tfattn.Kernel(name)(rows(distance), rows([0.0]))[0, 0, :, 0]))
    panel.set_title(name, fontsize=9)

# %% [markdown]
# ## A curve from forty points
#
# The constant kernel answers with the mean of all; the others follow the curve, and are nearly
# alike: which kernel matters less than how wide it is.

# %%
x = np.sort(rng.uniform(0, 5, 40))
curve = lambda x: 2 * np.sin(x) + x  # noqa: E731
y = curve(x) + rng.normal(size=40)
at = np.linspace(0, 5, 100)

figure, panels = plt.subplots(1, 5, figsize=(11, 2.2), sharey=True, layout="constrained")
weights = {}
for name, panel in zip(KERNELS, panels, strict=True):
    attention = tfattn.Attention(tfattn.Kernel(name))
    found, weights[name] = attention(rows(at), rows(x), rows(y), return_weights=True)
    panel.plot(x, y, ".", at, curve(at), "k:", at, np.ravel(found))
    panel.set_title(name, fontsize=9)

# %%
matrices_figure({name: each[0, 0] for name, each in weights.items()}, "observation", "place")

# %% [markdown]
# ## A width that is learnt
#
# (Exercise 2.) Trained on the very pairs that it pools, the width that fits best is nothing: each
# observation is then its own estimate. A mask leaves each one out of its own mean,
# `~Window(0, 0)`: everything but the place itself. The error is then an honest one (leave-one-out
# cross-validation), and gradient descent finds the width that minimises it.

# %% quick="STEPS = 20"
STEPS = 300


# %%
def fitted(keys, values, kernel, mask, steps, rate=0.05):
    """Return the pooling whose widths fit best, and the losses on the way."""
    attention = tfattn.Attention(kernel, mask)
    inputs = [keras.Input((len(keys), 1, rows(a).shape[-1])) for a in (keys, values)]
    model = keras.Model(inputs, attention(inputs[0], inputs[0], inputs[1]))
    model.compile(keras.optimizers.Adam(rate), "mse")
    given, target = [rows(keys), rows(values)], rows(values)
    return attention, [float(model.train_on_batch(given, target)) for _ in range(steps)]


figure, panels = plt.subplots(1, 2, figsize=(9, 2.6), layout="constrained")
for mask, says in ((tfattn.Everything(), "with itself"), (~tfattn.Window(0, 0), "left out")):
    attention, losses = fitted(x, y, tfattn.Kernel("gaussian", 1.0, "global"), mask, STEPS)
    width = float(attention.score.widths())
    seen = tfattn.Attention(tfattn.Kernel("gaussian", width))(rows(at), rows(x), rows(y))
    error = float(np.mean((np.ravel(seen) - curve(at)) ** 2))
    print(
        f"{says:12} width {width:.3f}, training loss {losses[-1]:.3f}, from the curve {error:.3f}"
    )
    panels[0].plot(losses, label=says)
    panels[1].plot(at, np.ravel(seen))
panels[0].set(title="loss", xlabel="step")
panels[0].legend(fontsize=8)
panels[1].plot(x, y, "k.", at, curve(at), "k:")
_ = panels[1].set_title("what was learnt")

# %% [markdown]
# ## Real data: a width for each measurement
#
# 442 patients with ten measurements each, and how their diabetes went on after a year (carried by
# scikit-learn). One width for all ten treats age and blood pressure alike. With one for each, the
# layer learns which measurements matter: of those that do not, the width grows until all patients
# look the same. That tells much, and yet does not predict better: ten widths are enough to overfit
# 300 patients, and what is left is nearly linear.

# %%
patients = load_diabetes()
measured, course = patients.data, (patients.target - patients.target.mean()) / patients.target.std()
measured = measured / measured.std(axis=0)
order = rng.permutation(len(course))
train, test = order[:300], order[300:]


def explained(found):
    """Return the share of the variance on the test set that is explained."""
    left = np.mean((np.ravel(found) - course[test]) ** 2)
    return 1 - left / np.mean((course[test] - course[train].mean()) ** 2)


linear = LinearRegression().fit(measured[train], course[train])
print(f"linear regression      {explained(linear.predict(measured[test])):.3f}")
for learned, dim in (("global", None), ("dimension", 10)):
    kernel = tfattn.Kernel("gaussian", 1.5, learned, dim)
    attention, _ = fitted(measured[train], course[train], kernel, ~tfattn.Window(0, 0), STEPS)
    pooling = tfattn.Attention(attention.score)  # new patients: none is left out
    found = pooling(rows(measured[test]), rows(measured[train]), rows(course[train]))
    print(f"widths: {learned:14} {explained(found):.3f}")

figure, panel = plt.subplots(figsize=(6, 2), layout="constrained")
panel.bar(patients.feature_names, 1 / np.asarray(attention.score.widths()))
_ = panel.set_title("1 / width: how much each measurement counts")

# %% [markdown]
# ## Exercises
#
# **1. Parzen windows and Nadaraya-Watson are one classifier.** Densities of two classes, each a sum
# of kernels over its members, have the difference
# $p(x, 1) - p(x, -1) \propto \sum_i y_i K(x - x_i)$. The regression divides that by
# $\sum_i K > 0$, which leaves the sign as it is.

# %%
places = rng.normal(size=(30, 1)) + np.repeat([[-1.0], [1.0]], 15, axis=0)
labels = np.repeat([-1.0, 1.0], 15)
kernel = tfattn.Kernel("gaussian", 0.5)
line = np.linspace(-4, 4, 200)
by_density = np.exp(kernel(rows(line), rows(places))[0, 0]) @ labels
by_attention = np.ravel(tfattn.Attention(kernel)(rows(line), rows(places), rows(labels)))
print("same sign everywhere:", bool((np.sign(by_density) == np.sign(by_attention)).all()))

# %% [markdown]
# **2.** is above: without leaving out, the loss goes to 0 as the width does. With it, one width for
# forty points can hardly overfit; ten widths for 300 patients do.
#
# **3. On the sphere, distance is a dot product.** With $|q| = |k| = 1$,
# $-|q - k|^2 / 2 = q \cdot k - 1$, and the softmax does not see the constant: the Gaussian kernel
# of width $w$ is dot-product attention with the scale $1 / w^2$. This is how transformers come to
# their products.

# %%
q, k, v = (rng.normal(size=(1, n, 1, 4)).astype("float32") for n in (5, 7, 7))
q, k = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (q, k))
by_distance = tfattn.Attention(tfattn.Kernel("gaussian", 0.5))(q, k, v)
by_product = tfattn.Attention(tfattn.ScaledDotProduct(scale=1 / 0.5**2))(q, k, v)
print("largest difference:", float(ops.max(ops.abs(by_distance - by_product))))

# %% [markdown]
# **4. How fast should the width shrink?** In one dimension the bias of the estimate grows as $w^2$
# and its variance as $1 / (n w)$; their sum is least at $w \propto n^{-1/5}$ (Mack and Silverman,
# 1982, prove that it is consistent for widths that shrink slowly enough). The widths of least error
# with each left out, the median of some draws, follow that:

# %% quick="SIZES, DRAWS = (25, 50), 1"
SIZES, DRAWS = (25, 50, 100, 200, 400), 15

# %%
tried, widths = np.geomspace(0.1, 1.2, 25), []
for size in SIZES:
    best = []
    for _ in range(DRAWS):
        x = rng.uniform(0, 5, size)
        y = curve(x) + rng.normal(size=size)
        own = (rows(x), rows(x), rows(y))
        pools = (
            tfattn.Attention(tfattn.Kernel("gaussian", w), ~tfattn.Window(0, 0)) for w in tried
        )
        errors = [np.mean((np.ravel(pool(*own)) - y) ** 2) for pool in pools]
        best.append(tried[np.argmin(errors)])
    widths.append(np.median(best))
slope = np.polyfit(np.log(SIZES), np.log(widths), 1)[0]
figure, panel = plt.subplots(figsize=(4.5, 2.6), layout="constrained")
panel.loglog(SIZES, widths, "o-", label=f"found: n^{slope:.2f}")
panel.loglog(SIZES, widths[0] * (np.array(SIZES) / SIZES[0]) ** -0.2, ":", label="n^-0.20")
panel.set(xlabel="observations n", ylabel="best width")
panel.xaxis.set_major_formatter("{x:.0f}")
panel.xaxis.set_minor_formatter("")
panel.yaxis.set_minor_formatter("{x:.1f}")
_ = panel.legend(fontsize=8)

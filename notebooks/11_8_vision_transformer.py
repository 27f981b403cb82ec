# %% [markdown]
# # 11.8 The vision Transformer
#
# A convolution knows that neighbouring pixels belong together and that a thing is the same thing
# elsewhere. A Transformer knows neither. Cut a picture into patches, call each one a word, and the
# encoder of the last section reads it as it reads a sentence (ViT, arXiv:2010.11929); with enough
# pictures it learns the rest. With few, it helps to let it look at pictures *without* labels first.
#
# Here: patches and their stem in [`patches.py`](../tfattn/blocks/patches.py), the
# [`VisionTransformer`](../tfattn/models/vision.py), the small decoder of a masked autoencoder in
# [`pixels.py`](../tfattn/blocks/pixels.py), and [presets](../tfattn/families/vit.py) from what a
# laptop trains to ViT-H/14.

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
from sklearn.datasets import load_sample_image
from sklearn.linear_model import LogisticRegression

import tfattn
from pipelines.core.finished import open_finished
from pipelines.core.progress import console
from pipelines.core.train import train
from pipelines.images.figures import pixel_values
from pipelines.images.mae import MaskedImagesObjective
from pipelines.images.presets import PRESETS
from pipelines.images.processor import ImagePreprocessing, fitted, scaled
from pipelines.images.spec import Augment, ImageClassification, ImageData, MaskedImages
from pipelines.images.splits import ImageSplits
from tfattn.blocks.patches import joined, patches
from tfattn.resolution import resized
from tfattn.visualize import drawn_figure, patches_figure, rollout

keras.utils.set_random_seed(0)
tf.get_logger().setLevel("ERROR")
console.quiet = True  # runs have much to say; all of it is in their folders too
rng, runs = np.random.default_rng(0), Path(tempfile.mkdtemp())

# %% [markdown]
# ## A picture as a sequence
#
# A picture of 224 x 224 in patches of 16 is a sequence of 14 x 14 = 196, each of 16 x 16 x 3 = 768
# numbers. One matrix maps a patch to the width of the model; that is a convolution whose windows do
# not overlap, in other words.

# %%
photo = fitted(tf.constant(load_sample_image("china.jpg")), ImagePreprocessing(224, 224, 3))
given = tf.cast(photo, tf.float32)[None] / 255.0
pieces = patches(given, 16)
print(f"{tuple(photo.shape)} becomes {tuple(pieces.shape[1:])}")

stem = tfattn.PatchStem(224, 224, 3, 16, 64, tfattn.Learned(197, 64), class_token=False)
stem.build()
window = keras.layers.Conv2D(64, 16, strides=16)
window.build((None, 224, 224, 3))
window.set_weights([np.reshape(stem.patches.kernel, (16, 16, 3, 64)), stem.patches.bias])
same = np.allclose(np.reshape(window(given), (1, 196, 64)), stem.patches(pieces), atol=1e-5)
print("the matrix and the convolution agree:", same)

figure = plt.figure(figsize=(7, 3.6), layout="constrained")
left, right = figure.subfigures(1, 2)
left.subplots().imshow(photo)
for panel, piece in zip(right.subplots(14, 14).ravel(), pieces[0].numpy(), strict=True):
    panel.imshow(piece.reshape(16, 16, 3), vmin=0, vmax=1)
for panel in figure.axes:
    panel.set_axis_off()

# %% [markdown]
# Before the patches stands a *class token*, whose state after the last block is what is classified;
# to all of them a learnt position is added, for without one the model sees a bag of patches. From
# there on nothing is new: `stem → blocks → head`.

# %%
print(f"{'':12} patches  width  depth  weights with 1,000 classes")
for name in ("vit-ti16", "vit-s16", "vit-b16", "vit-b32", "vit-l16", "vit-h14"):
    config = tfattn.preset(name)
    weights = config.parameter_count((tfattn.Classify(classes=1000, pool="first"),))
    places = int(np.prod(config.grid()))
    print(f"{name:12} {places:7}  {config.dim:5}  {config.depth:5}  {weights:13,}")

# %% [markdown]
# ## Learning to read digits
#
# scikit-learn carries 1,797 handwritten digits of 8 x 8 pixels. As 16 x 16, in patches of 2, they
# are sequences of 64. A quarter is held out. (`python -m pipelines pretrain vit-mini --task
# image-classification` does the same with any folder of pictures.)

# %% quick="STEPS, MASKED, FEW, SIDES, VARIANTS = 2, 2, 2, (32,), 0"
STEPS, MASKED, FEW, SIDES, VARIANTS = 300, 1500, 150, (32, 64, 128), 5

# %%
data = ImageData(validation_share=0.25, augment=Augment(shift=0.1))
shape = {"height": 16, "width": 16, "channels": 1, "patch": 2}
small = tfattn.preset("vit-tiny").with_fields(**shape)
known, held = ImageSplits(labelled=True).read(data)
answers = np.array([int(label) for label in held.labels])


def trained(name, model=small, spec=None, data=data, steps=STEPS, init=None, rate=2e-3):
    """Run a recipe; return what came of it and the finished run."""
    spec = spec or ImageClassification()
    fields = {"steps": steps, "rate": rate, "evaluate_every": steps, "compile": "graph"}
    settings = replace(ImageClassification.defaults, **fields)
    recipe = replace(PRESETS["vit-tiny"], model=model, objective=spec, data=data, train=settings)
    if init is not None:
        recipe = replace(recipe, model=None, init=str(runs / init))
    result = train(recipe, runs / name)
    return result, open_finished(str(runs / name))


result, done = trained("labels")
flat = [np.reshape(images.pixels, (len(images), -1)) / 255.0 for images in (known, held)]
plain = LogisticRegression(max_iter=1000).fit(flat[0], known.labels)
print(f"{result['parameters']:,} weights, {result['seconds']:.0f} s of training")
print(f"accuracy on {len(held)} unseen digits: {result['after']['accuracy']:.3f}")
print(f"logistic regression of their pixels:  {plain.score(flat[1], held.labels):.3f}")

# %% [markdown]
# ## What it has learnt
#
# Each column of the first matrix is a filter of 2 x 2 pixels: brightness, edges of every direction,
# corners. Positions have found out by themselves that they are places of a grid: what each is most
# like, beside itself, is its neighbours.

# %%
weights = done.model.weights_by_path()
kernel = np.asarray(weights["stem/patches/kernel"]).reshape(2, 2, -1)
places = np.asarray(weights["stem/positions/embeddings"])[1:]
unit = places / np.linalg.norm(places, axis=1, keepdims=True)
alike = (unit @ unit.T).reshape(8, 8, 8, 8)

figure = plt.figure(figsize=(8, 3.9), layout="constrained")
left, right = figure.subfigures(1, 2)
left.suptitle("filters", fontsize=9)
right.suptitle("cosine of each position with all others", fontsize=9)
strongest = np.argsort(-np.abs(kernel).sum(axis=(0, 1)))
top = np.abs(kernel).max()
for panel, column in zip(left.subplots(8, 8).ravel(), strongest, strict=True):
    panel.imshow(kernel[..., column], cmap="RdBu", vmin=-top, vmax=top)
for panel, place in zip(right.subplots(8, 8).ravel(), alike.reshape(64, 8, 8), strict=True):
    panel.imshow(place, cmap="RdBu", vmin=-1, vmax=1)
for panel in figure.axes:
    panel.set_axis_off()

# %% [markdown]
# ## Where it looks
#
# From the class token of the last block to the patches, each head by itself; then *rollout*
# (arXiv:2005.00928): how much of each patch has reached the class token through all blocks, when
# half of what a block gives is taken to be the residual connection's.


# %%
def read(done, images):
    """Return images (n, y, x, c) of 0 to 255 as the model of a run reads them."""
    preprocessing = done.processor.preprocessing
    return scaled(fitted(tf.constant(images), preprocessing), preprocessing)


def share(done, images):
    """Return images as shares of white, of the size that the model reads."""
    return fitted(tf.constant(images), done.processor.preprocessing).numpy() / 255.0


some = held.pixels[:5]
_, looked = done.model(read(done, some), return_weights=True)
looked = np.stack([np.asarray(each) for each in looked])  # (depth, b, heads, t, t)
patches_figure(share(done, some), looked[-1][:, :, 0, 1:].reshape(5, 4, 8, 8))

# %%
reached = np.stack([rollout(looked[:, n])[0, 1:].reshape(1, 8, 8) for n in range(5)])
patches_figure(share(done, some), reached)

# %% [markdown]
# ## Without labels: a masked autoencoder
#
# Hide three quarters of the patches, let the encoder read the rest, which is four times as quick,
# and let a small decoder draw what was hidden (MAE, arXiv:2111.06377). Every picture is its own
# label. The decoder is thrown away afterwards.

# %%
hidden = MaskedImages(normalized=False)
result, drawer = trained("masked", spec=hidden, steps=MASKED)
print(f"squared error {result['before']['loss']:.3f} before, {result['after']['loss']:.3f} after")
ask = MaskedImagesObjective(hidden, drawer.model.config, drawer.processor.preprocessing)
rows = {"images": fitted(tf.constant(held.pixels[:5]), drawer.processor.preprocessing)}
batch = ask.batch(rows, tf.zeros(5, tf.int64), tf.range(5, dtype=tf.int64))
images, unseen = batch["features"]["images"], batch["weights"]["patches"][..., None]
true, drawn = patches(images, 2), drawer.model(batch["features"])
seen, made = (
    pixel_values(joined(true * (1 - unseen) + other * unseen, 8, 2), ask.preprocessing)
    for other in (tf.zeros_like(true), drawn)
)
drawn_figure(pixel_values(images, ask.preprocessing), seen, made)

# %% [markdown]
# What is that worth? Where only 50 digits have labels, the encoder that has seen the others without
# any has something to start from.

# %%
few = rng.permutation(len(known))[:50]
np.savez(
    runs / "few.npz",
    x_train=known.pixels[few],
    y_train=np.array(known.labels)[few],
    x_test=held.pixels,
    y_test=np.array(held.labels),
)
files = (str(runs / "few.npz"),)
scarce = replace(data, images=files, validation=files)
for name, init in (("new weights", None), ("masked autoencoder first", "masked")):
    result, _ = trained(f"few {init}", data=scarce, steps=FEW, init=init, rate=1e-3)
    print(f"{name:25} {result['after']['accuracy']:.3f}")
plain = LogisticRegression(max_iter=1000).fit(flat[0][few], np.array(known.labels)[few])
print(f"{'logistic regression':25} {plain.score(flat[1], held.labels):.3f}")

# %% [markdown]
# ## Pictures of another size
#
# Patches stay as large, so a larger picture has more of them; all that has to change is the table
# of positions, between whose places a cubic is drawn
# ([`resolution.py`](../tfattn/resolution.py)). No training in between:

# %%
config, _, table = tfattn.read(runs / "labels" / "model")
for side in (16, 20, 24):
    other, moved = resized(config, table, side, side)
    model = tfattn.build(other, *done.model.heads)
    tfattn.assign(model, moved)
    how = replace(done.processor.preprocessing, height=side, width=side)
    said = model(scaled(fitted(tf.constant(held.pixels), how), how))
    accuracy = np.mean(np.argmax(said, axis=-1) == answers)
    print(f"{side} x {side}, {other.places()} places: accuracy {accuracy:.3f}")

# %% [markdown]
# ## Exercises
#
# **1. What does the size of the image do to the time of training?** In patches of one size, twice
# the side is four times the patches: four times the products with weights, and sixteen times the
# attention. One training step of `vit-tiny` for 16 images:


# %%
def seconds(side):
    """Return the least time of three training steps at a size."""
    config = tfattn.preset("vit-tiny").with_fields(height=side, width=side)
    model = tfattn.build(config, tfattn.Classify(classes=10, pool="first"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adamw", loss, jit_compile=False)
    images, labels = rng.normal(size=(16, side, side, 3)), np.arange(16) % 10
    times = []
    for _ in range(4):
        start = time.perf_counter()
        model.train_on_batch(images, labels)
        times.append(time.perf_counter() - start)
    return min(times)


for side in SIDES:
    print(f"{side:4} x {side}: {(side // 4) ** 2:5} patches, {1000 * seconds(side):6.0f} ms")

# %% [markdown]
# **2. The mean of the patches in place of the class token?** One word of the head's: `pool="mean"`.
#
# **3. Other hyperparameters?** Larger patches leave fewer places, which is quicker by more than
# their number: with patches of 4 the digits are 16. What is within a percent or two of another row
# says nothing: so much is chance, with one seed and 449 unseen digits.

# %%
quick = small.with_fields(patch=4)
variants = {
    "patches of 4, class token": {},
    "mean of the patches": {"spec": ImageClassification(pool="mean")},
    "digits do not move": {"data": replace(data, augment=Augment(shift=0.0))},
    "two blocks, not four": {"model": quick.with_fields(depth=2)},
    "twice as wide": {"model": quick.with_fields(dim=128, hidden_dim=512)},
}
for name, fields in list(variants.items())[:VARIANTS]:
    result, _ = trained(name, **{"model": quick, **fields})
    found = result["after"]
    print(f"{name:26} accuracy {found['accuracy']:.3f}, {result['seconds']:3.0f} s")

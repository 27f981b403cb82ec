# %% [markdown]
# # 11.5 Multi-head attention
#
# One softmax makes one mean. To look at several things at once, for several reasons, there have to
# be several: each head projects queries, keys and values to a few components of its own, attends
# there, and a last matrix mixes what the heads found.
#
# $$\mathrm{head}_i = \mathrm{attention}(x W^q_i, m W^k_i, m W^v_i), \qquad
# y = [\mathrm{head}_1; \dots; \mathrm{head}_h]\, W^o.$$
#
# Of width $d / h$ each, $h$ heads cost what one of width $d$ does.
#
# Here: [`MultiHeadAttention`](../tfattn/mechanisms/multihead.py) around one
# [`Attention`](../tfattn/mechanisms/attention.py); [`pruning.py`](../tfattn/pruning.py), which
# tells what a head is worth; and the figures of [`visualize.py`](../tfattn/visualize.py).

# %%
# %matplotlib inline
import tempfile
import time
from dataclasses import replace

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
from pipelines.text.generation.writer import Writer, end_of, target_begin
from pipelines.text.presets import PRESETS
from pipelines.text.sources import PairData
from pipelines.text.translate import looked
from tfattn.models.sampling import Sampling
from tfattn.visualize import heads_figure, matrices_figure

keras.utils.set_random_seed(0)
tf.get_logger().setLevel("ERROR")
console.quiet = True

# %% [markdown]
# ## All heads at once
#
# Heads are an axis of one tensor, so that there is one product for all of them. Taken one by one by
# hand they give the same; so does Keras' own layer with the same weights.

# %%
layer = tfattn.MultiHeadAttention(dim=12, heads=3)
x = np.random.default_rng(0).normal(size=(2, 5, 12)).astype("float32")
y, weights = layer(x, return_weights=True)
kernels = {
    name: np.asarray(getattr(layer, name).kernel)
    for name in ("query", "key", "value", "output_projection")
}
alone = tfattn.Attention()
parts = []
for head in range(3):
    own = slice(4 * head, 4 * head + 4)
    q, k, v = ((x @ kernels[name][:, own])[:, :, None] for name in ("query", "key", "value"))
    parts.append(np.asarray(alone(q, k, v))[:, :, 0])  # biases are 0 at first
by_hand = np.concatenate(parts, axis=-1) @ kernels["output_projection"]

theirs = keras.layers.MultiHeadAttention(num_heads=3, key_dim=4)
theirs(x, x)
shapes = [tuple(w.shape) for w in theirs.get_weights()]
ours = [np.asarray(w) for name in ("query", "key", "value") for w in getattr(layer, name).weights]
ours += [np.asarray(w) for w in layer.output_projection.weights]
theirs.set_weights([w.reshape(shape) for w, shape in zip(ours, shapes, strict=True)])
print(f"by hand: {np.abs(by_hand - np.asarray(y)).max():.1e}")
print(f"keras.layers.MultiHeadAttention: {float(ops.max(ops.abs(theirs(x, x) - y))):.1e}")
matrices_figure({f"head {head}": weights[0, head] for head in range(3)})

# %% [markdown]
# ## Heads of a model that translates
#
# A small Transformer learns to write English dates in ISO 8601. The data is embedded, and the run
# is that of `python -m pipelines pretrain transformer-nmt-tiny --data.train embedded:en-iso`.

# %% quick="STEPS, HELD = 4, 8"
STEPS, HELD = 500, 150

# %%
recipe = PRESETS["transformer-nmt-tiny"]
run = tempfile.mkdtemp() + "/run"
settings = replace(recipe.train, steps=STEPS, batch_tokens=1024, evaluate_every=STEPS, average=1)
data = PairData(train=("embedded:en-iso",), vocab_size=800)
result = train(replace(recipe, data=data, train=settings), run)
done = open_finished(run)
held = aligned("en", "iso").validation[:HELD]
sources = [pair.source for pair in held]


def exact(model):
    """Return the share of dates that a model writes to the letter, and the seconds it takes."""
    writer = Writer(model, done.processor, Sampling(greedy=True), jit=False)
    start = time.perf_counter()
    found = [texts[0] for texts in writer.write(sources, 24)]
    right = [text.text == pair.target for text, pair in zip(found, held, strict=True)]
    return np.mean(right), time.perf_counter() - start


share, took = exact(done.model)
print(f"{result['parameters']:,} weights, {result['seconds']:.0f} s: {share:.1%} exact")

# %% [markdown]
# **Exercise 1: what each head looks at**, in both blocks: first the target at the source, then the
# source at itself.

# %%
written = Writer(done.model, done.processor, Sampling(greedy=True), jit=False).write(
    sources[:1], 24
)[0][0]
seen = looked(done, sources[0], written)
heads_figure(seen.alignment)

# %%
heads_figure(seen.maps["attention/source"])

# %% [markdown]
# ## Exercise 2: which heads could go?
#
# The experiment: leave out one head at a time, and measure how the loss on held-out pairs grows
# (arXiv:1905.10650). What grows least goes first. As a control, the same number of heads is taken
# away from the other end, those that matter most.


# %%
def padded(rows, length):
    """Return lists of numbers as one array, zeros behind."""
    return np.array([row + [0] * (length - len(row)) for row in rows], "int32")


def encoded(texts):
    """Return the tokens of texts."""
    return [ids.tolist() for ids in np.split(*split_at(texts))]


def split_at(texts):
    """Return all tokens of texts, and where each but the first begins."""
    flat, lengths = done.processor.encode_batch(texts)
    return flat, np.cumsum(lengths)[:-1]


end, begin = end_of(done.processor), target_begin(done.processor)
source = [[*ids, end] for ids in encoded(sources)]
target = [[*ids, end] for ids in encoded([pair.target for pair in held])]
wide, high = (max(map(len, rows)) for rows in (source, target))
answer, known = padded(target, high), padded([[1] * len(row) for row in target], high)
features = {
    "tokens": padded(source, wide),
    "segments": padded([[1] * len(row) for row in source], wide),
    "target_tokens": padded([[begin, *row[:-1]] for row in target], high),
    "target_segments": known,
}


def loss():
    """Return the mean loss of a token of the target."""
    chances = ops.log_softmax(done.model(features), axis=-1)
    right = ops.take_along_axis(chances, answer[..., None], axis=-1)[..., 0]
    return -float(ops.sum(right * known) / known.sum())


importance = tfattn.head_importance(done.model, loss)
matrices_figure({"how much the loss grows": np.stack(list(importance.values()))}, "head", "", 3.4)

# %%
print("rows:", ", ".join(importance))
heads = len(next(iter(importance.values())))
worst = {path: -values for path, values in importance.items()}
kept, curves = list(range(heads, 0, -1)), {"the least important go": [], "the most important": []}
for count in kept:
    for name, order in zip(curves, (importance, worst), strict=True):
        chosen = tfattn.most_important(order, count)
        smaller = tfattn.prune(done.model, chosen)
        share, took = exact(smaller)
        curves[name].append(share)
        print(
            f"{count} heads, {name}: {smaller.count_params():,} weights, {share:.1%}, {took:.1f} s"
        )

figure, panel = plt.subplots(figsize=(5, 2.6), layout="constrained")
for name, shares in curves.items():
    panel.plot(kept, shares, "o-", label=name)
panel.set(xlabel="heads kept in each attention", ylabel="exact", xticks=kept)
_ = panel.legend(fontsize=8)

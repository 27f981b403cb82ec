# %% [markdown]
# # 11.1 Queries, keys and values
#
# A table of a database answers only a query that equals a key. Attention answers every query, by a
# mean of all values in which a value counts the more the better its key fits:
#
# $$\mathrm{attention}(q, D) = \sum_i \alpha(q, k_i)\, v_i, \qquad D = \{(k_1, v_1), \dots\}.$$
#
# Nothing here depends on how many pairs there are, or in which order; and since every step has a
# gradient, what makes the keys can be learnt from whether the answers were right.
#
# Here: [`Attention`](../tfattn/mechanisms/attention.py), with scores of
# [`scores.py`](../tfattn/mechanisms/scores.py) and [`kernels.py`](../tfattn/mechanisms/kernels.py);
# [`SqueezeExcitation`](../tfattn/mechanisms/squeeze.py). The same layers make BERT, GPT and T5.

# %%
# %matplotlib inline
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from keras import ops
from sklearn.feature_extraction.text import TfidfVectorizer

import tfattn
from pipelines.text.data.embedded import docstrings
from pipelines.text.data.embedded.summaries import summaries
from tfattn.visualize import matrices_figure

keras.utils.set_random_seed(0)

# %% [markdown]
# ## Weights of a mean
#
# A layer takes queries `(batch, queries, heads, width)`, and keys and values of the same form. Keys
# on a line and a query that wanders past them show what it does: the nearer a key, the larger its
# weight. The weights of a query are never negative and sum to 1, so the answer lies among the
# values.

# %%
keys = np.linspace(-2, 2, 5, dtype="float32")
queries = np.linspace(-3, 3, 61, dtype="float32")
values = np.array([1, 3, 2, 5, 4], "float32")


def column(x):
    """Return numbers as one text of one head and width 1."""
    return x.reshape(1, -1, 1, 1)


figure, panels = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
for width, style in ((0.2, "-"), (1.0, "--"), (5.0, ":")):
    attention = tfattn.Attention(tfattn.Kernel("gaussian", width))
    pooled, weights = attention(*map(column, (queries, keys, values)), return_weights=True)
    panels[0].plot(queries, weights[0, 0, :, 2], style, label=f"kernel width {width}")
    panels[1].plot(queries, np.ravel(pooled), style)
panels[0].set(title="weight of the key at 0", xlabel="query")
panels[1].set(title="answer, and the pairs", xlabel="query")
panels[1].plot(keys, values, "k.")
_ = panels[0].legend(fontsize=8)
# %% [markdown]
# A narrow kernel asks as a database does (the nearest key's value), a wide one takes the mean of
# all. Between the two lies what is worth learning. Taking only the best key is *hard* attention;
# its `argmax` has no gradient, so the layer lends it that of the softmax.

# %%
scores = {
    "gaussian, .5": tfattn.Attention(tfattn.Kernel("gaussian", 0.5)),
    "the same, hard": tfattn.Attention(tfattn.Kernel("gaussian", 0.5), normalizer="hard"),
    "constant": tfattn.Attention(tfattn.Kernel("constant")),
    "causal": tfattn.Attention(tfattn.Kernel("gaussian", 2.0), tfattn.Causal()),
}
matrices_figure(
    {
        name: layer(*map(column, (keys, keys, values)), return_weights=True)[1][0, 0]
        for name, layer in scores.items()
    }
)

# %% [markdown]
# ## A search engine that learns
#
# (Exercise 3.) The documentation on this machine is a database: keys are texts, queries are their
# summaries. Two attentions make an engine. One pools the *words* of a text to a vector, with a
# learnt number for each word that says how much it counts; it is the same for texts and summaries.
# The other asks the vectors of all texts in the batch with the vector of each summary. Its weights
# are probabilities, and training makes that of the right text large.

# %% quick="EPOCHS, PACKAGES = 1, ('numpy',)"
EPOCHS, PACKAGES = 6, docstrings.PACKAGES

# %%
found = summaries(PACKAGES, processes=2)
words = keras.layers.TextVectorization(8192, output_sequence_length=64)
words.adapt([row.text for row in found.train])
print(f"{len(found.train):,} texts to learn from, {len(found.validation):,} to search")
print(f"\n{found.train[0].summary}\n\n{found.train[0].text[:300]}")


# %%
class Engine(keras.Model):
    """The weight of each text for each question."""

    def __init__(self, size, width=256):
        super().__init__()
        self.words = keras.layers.Embedding(size, width)
        self.importance = keras.layers.Embedding(size, 1, "zeros")
        self.pool = tfattn.Attention(tfattn.ScaledDotProduct(1.0))
        self.ask = tfattn.Attention(tfattn.ScaledDotProduct(12.0))  # of vectors of length 1

    def vectors(self, tokens):
        """Return the mean of each text's words by what they count, of length 1: (b, width)."""
        keys, values = (embed(tokens)[:, :, None] for embed in (self.importance, self.words))
        ones = ops.ones_like(keys[:, :1])  # the one query of each text
        there = ops.cast(tokens != 0, "int32")
        there = ops.concatenate([ops.ones_like(there[:, :1]), there[:, 1:]], axis=1)
        mean = self.pool(ones, keys, values, segments=there[:, :1], key_segments=there)
        return ops.normalize(mean[:, 0, 0])

    def call(self, inputs):
        """Return (questions, texts), whose rows sum to 1."""
        keys, queries = (self.vectors(tokens)[None, :, None] for tokens in inputs)
        return self.ask(queries, keys, keys, return_weights=True)[1][0, 0]


BATCH = 64
texts, questions = (
    words([getattr(row, part) for row in found.train]) for part in ("text", "summary")
)
rows = tf.data.Dataset.from_tensor_slices((texts, questions)).shuffle(len(texts), seed=0)
rows = rows.batch(BATCH, drop_remainder=True).map(lambda *both: (both, tf.range(BATCH)))

engine = Engine(words.vocabulary_size())
engine.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
engine.optimizer.learning_rate = 3e-3


def recall(shown):
    """Return the share of summaries whose own text is among the first `shown`."""
    scores = engine.predict((held_texts, held_questions), batch_size=len(held_texts), verbose=0)
    better = (scores > np.diag(scores)[:, None]).sum(axis=1)
    return float((better < shown).mean())


held = found.validation[:1000]
held_texts, held_questions = (
    words([getattr(row, part) for row in held]) for part in ("text", "summary")
)
before = recall(1), recall(10)
_ = engine.fit(rows, epochs=EPOCHS, shuffle=False, verbose=0)

# %% [markdown]
# Searching texts that it has not seen, beside a search that counts words (TF-IDF), which learns
# nothing from the pairs:

# %%
count = TfidfVectorizer(sublinear_tf=True).fit([row.text for row in found.train])
by_words = (
    count.transform([r.summary for r in held]) @ count.transform([r.text for r in held]).T
).toarray()
better = (by_words > np.diag(by_words)[:, None]).sum(axis=1)
print(f"{len(held):,} texts      first  among ten")
print(f"new weights     {before[0]:.3f}  {before[1]:.3f}")
print(f"trained         {recall(1):.3f}  {recall(10):.3f}")
print(f"TF-IDF          {(better < 1).mean():.3f}  {(better < 10).mean():.3f}")

# %%
asked = ["Read an array from a file.", "Compute the distance between two points."]
weights = np.asarray(engine((held_texts, words(asked))))
for question, row in zip(asked, weights, strict=True):
    print(f"\n{question}")
    for best in np.argsort(-row)[:3]:
        print(f"  {row[best]:.2f}  {held[best].name}: {held[best].summary}")

# %% [markdown]
# What the first attention has learnt to look at, on the first of these texts:

# %%
names = words.get_vocabulary()
counts = np.ravel(engine.importance(np.arange(len(names))))
order = np.argsort(counts)
print("counts most: ", ", ".join(names[n] for n in order[-12:][::-1]))
print("counts least:", ", ".join(names[n] for n in order[:12]))

# %% [markdown]
# ## Exercises
#
# **1. Approximate matches, as in classical databases.** A boxcar kernel is a range query: all keys
# within a distance count alike, others do not at all, and where nothing is in range the answer is 0
# and not a guess. `hard` is the nearest neighbour. Here keys are words, as counts of letter pairs,
# and the query has a slip of the pen.

# %%
people = ["schmidt", "schmitt", "smith", "meyer", "meier"]


def letters(word):
    """Return how often each pair of letters is in a word, of length 1."""
    found = np.zeros((27, 27), "float32")
    for first, second in zip(f"{{{word}", f"{word}{{", strict=True):
        found[ord(first) - 97, ord(second) - 97] += 1
    return found.ravel() / np.linalg.norm(found)


keys = np.stack([letters(name) for name in people])[None, :, None]
query = np.stack([letters(name) for name in ("schmid", "meyr", "lopez")])[None, :, None]
range_query, nearest = tfattn.Kernel("boxcar", 1.0), tfattn.Kernel("gaussian", 0.3)
for layer in (tfattn.Attention(range_query), tfattn.Attention(nearest, normalizer="hard")):
    weights = layer(query, keys, keys, return_weights=True)[1][0, 0]
    for name, row in zip(("schmid", "meyr", "lopez"), np.asarray(weights), strict=True):
        print(name, {people[n]: round(float(row[n]), 2) for n in np.flatnonzero(row)})

# %% [markdown]
# **2. The gradient by the query is a covariance.** With $\alpha = \mathrm{softmax}(q \cdot k)$,
# $\partial \alpha_i / \partial q = \alpha_i (k_i - \bar k)$ where $\bar k = \sum_j \alpha_j k_j$:
#
# $$\nabla_q \sum_i \alpha_i v_i = \sum_i \alpha_i\, v_i (k_i - \bar k)^\top
# = \mathrm{Cov}_\alpha(v, k).$$

# %%
rng = np.random.default_rng(0)
query, keys, values = (
    tf.constant(rng.normal(size=(1, n, 1, width)).astype("float32"))
    for n, width in ((1, 3), (6, 3), (6, 2))
)
attention = tfattn.Attention(tfattn.ScaledDotProduct(scale=1.0))
with tf.GradientTape() as tape:
    tape.watch(query)
    answer, weights = attention(query, keys, values, return_weights=True)
gradient = np.asarray(tape.jacobian(answer, query))[0, 0, 0, :, 0, 0, 0]  # (values, keys)
share, k, v = np.asarray(weights)[0, 0, 0], np.asarray(keys)[0, :, 0], np.asarray(values)[0, :, 0]
covariance = (share[:, None] * (v - share @ v)).T @ (k - share @ k)
print(np.abs(gradient - covariance).max())

# %% [markdown]
# **3.** is the search engine above.
#
# **4. Squeeze and excitation as attention.** The mean of all places asks, each channel has a key
# (its column in the last matrix), and the channel's own map is the value. Only the normaliser
# differs: a sigmoid for each channel, so that channels do not compete. Below the layer beside the
# same in attention's words.

# %%
images = rng.normal(size=(2, 5, 5, 8)).astype("float32")
layer = tfattn.SqueezeExcitation(8, ratio=2)
scaled, weights = layer(images, return_weights=True)
query = np.maximum(
    images.mean(axis=(1, 2)) @ np.asarray(layer.squeeze.kernel), 0
)  # its biases are 0
keys = np.asarray(layer.excite.kernel).T  # a key for each channel
ours = 1 / (1 + np.exp(-query @ keys.T))
print(
    np.abs(ours - np.asarray(weights)).max(),
    np.abs(images * ours[:, None, None] - np.asarray(scaled)).max(),
)
matrices_figure({"weights of channels": np.asarray(weights)}, "channel", "image")

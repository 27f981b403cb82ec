# %% [markdown]
# # 11.4 Bahdanau's attention
#
# One network reads a sentence into a vector, another writes its translation from that vector: so
# Sutskever, Vinyals and Le (arXiv:1409.3215). However long the sentence, the vector has one size.
# Bahdanau, Cho and Bengio (arXiv:1409.0473) let the writer look back instead: at every step its
# state is a query, the states of all words read are keys and values, and what the additive
# attention pools goes into the next step:
#
# $$c_t = \sum_s \mathrm{softmax}_s(v \cdot \tanh(W_q h_{t-1} + W_k m_s))\, m_s, \qquad
# h_t = \mathrm{GRU}([x_t; c_t], h_{t-1}).$$
#
# Here: [`RecurrentEncoder`](../tfattn/blocks/recurrent.py), and
# [`RecurrentDecoder`](../tfattn/blocks/recurrent_decoder.py) around the
# [`Attention`](../tfattn/mechanisms/attention.py) and [`Additive`](../tfattn/mechanisms/scores.py)
# of the sections before; their [presets](../tfattn/families/recurrent.py) are rows of data.

# %%
# %matplotlib inline
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import tfattn
from pipelines.core.finished import open_finished
from pipelines.core.progress import console
from pipelines.core.train import train
from pipelines.text.aligned import measure_alignment
from pipelines.text.data.embedded.aligned import aligned
from pipelines.text.generation.writer import Writer
from pipelines.text.presets import PRESETS
from pipelines.text.sources import PairData
from pipelines.text.translate import looked
from tfattn.models.sampling import Sampling
from tfattn.visualize import alignment_figure

tf.get_logger().setLevel("ERROR")
console.quiet = True  # runs have much to say; all of it is in their folders too
runs = Path(tempfile.mkdtemp())

# %% [markdown]
# ## Two languages that are on this machine
#
# Babel carries how people all over the world write dates. From English to ISO 8601 a translator has
# to find the parts, wherever they stand, and which part of the target means which of the source is
# known, so that alignment can be measured and not only looked at.

# %%
pairs = aligned("en", "iso").train
for pair in pairs[:5]:
    print(f"{pair.source:45} {pair.target}")
pair = pairs[0]
print([(pair.source[a:b], pair.target[c:d]) for a, b, c, d in pair.spans])

# %% [markdown]
# ## Training, as a user does
#
# A recipe is a whole run as data: the same that `python -m pipelines pretrain bahdanau-tiny` has,
# with its clip of gradients, its schedule, and batches of like length. The second preset is the
# network without attention, of about as many weights, with two layers of LSTM, that reads its
# source backwards.

# %% quick="STEPS, HELD, VARIANTS = 4, 20, [{'attention': 'scaled-dot'}]"
STEPS, HELD, VARIANTS = 600, 200, [{"cell": "lstm"}, {"attention": "scaled-dot"}]


# %%
WIDTHS = {"seq2seq-tiny": {"dim": 96, "hidden_dim": 96}}


def trained(name, **fields):
    """Train a preset on dates and return the run, and its seconds."""
    recipe = PRESETS[name]
    data = PairData(train=("embedded:en-iso",), vocab_size=800)
    settings = replace(
        recipe.train, steps=STEPS, batch_tokens=1024, evaluate_every=STEPS, average=1
    )
    model = replace(recipe.model, **fields)
    run = runs / "-".join([name, *map(str, fields.values())])
    start = time.perf_counter()
    train(replace(recipe, model=model, data=data, train=settings), run)
    return open_finished(str(run)), time.perf_counter() - start


held = aligned("en", "iso").validation[:HELD]


def written(done):
    """Return what a run writes for dates that it has not seen, one by one the likeliest token."""
    writer = Writer(done.model, done.processor, Sampling(greedy=True), jit=False)
    return [texts[0] for texts in writer.write([pair.source for pair in held], 32)]


def exact(texts):
    """Return which dates are right, to the letter."""
    return np.array([text.text == pair.target for text, pair in zip(texts, held, strict=True)])


found = {}
for name in ("seq2seq-tiny", "bahdanau-tiny"):
    done, took = trained(name, **WIDTHS.get(name, {}))
    texts = written(done)
    found[name] = done, texts
    size = done.model.count_params()
    print(f"{name:15} {size:9,} weights, {took:.0f} s: {exact(texts).mean():.1%} exact")

# %% [markdown]
# Long sources are where one vector has to hold the most:

# %%
letters = np.array([len(pair.source) for pair in held])
edges = np.quantile(letters, [0, 0.33, 0.67, 1.0])
figure, panel = plt.subplots(figsize=(5, 2.6), layout="constrained")
for name, (_, texts) in found.items():
    right = exact(texts)
    shares = [
        right[(low <= letters) & (letters <= high)].mean()
        for low, high in zip(edges, edges[1:], strict=False)
    ]
    panel.plot(["short", "middle", "long"], shares, "o-", label=name)
panel.set(ylabel="exact", ylim=(0, 1))
_ = panel.legend(fontsize=8)

# %% [markdown]
# ## Attention aligns
#
# What each token that is written looks at. The measure beside the picture: how many tokens of the
# target look most at a word that does not mean the same.

# %%
done, texts = found["bahdanau-tiny"]
longest = int(np.argmax(letters))
seen = looked(done, held[longest].source, texts[longest])
print(f"{held[longest].source} → {texts[longest].text}")
alignment_figure(seen.alignment)

# %%
print({name: round(value, 3) for name, value in measure_alignment(done).items()})

# %% [markdown]
# ## Exercises
#
# **1. LSTM in place of GRU, 2. scaled dot product in place of the additive score.** Both are fields
# of the config. The dot product needs no `tanh` of every pair of states, which is most of the
# additive score's memory; with so short sources the recurrence takes most of the time. What an LSTM
# adds to a GRU, a cell that nothing has to pass through, does not show where all sources are short;
# in the same few steps it is far behind.

# %%
for fields in VARIANTS:
    done, took = trained("bahdanau-tiny", **fields)
    error = measure_alignment(done)["alignment_error"]
    right = exact(written(done)).mean()
    print(f"{str(fields):28} {took:.0f} s: {right:.1%} exact, alignment error {error:.3f}")
print("the layer that differs:", tfattn.ScaledDotProduct.__name__, "or", tfattn.Additive.__name__)

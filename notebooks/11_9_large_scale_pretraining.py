# %% [markdown]
# # 11.9 Large-scale pretraining
#
# Text needs no labels to be learnt from: hide a part of it, and what is hidden is the label. Which
# part, and who may look at what meanwhile, makes three families out of the same blocks:
#
# | | reads | is to tell | for example |
# |---|---|---|---|
# | encoder only | everything, with tokens masked | the masked tokens | BERT (arXiv:1810.04805) |
# | encoder and decoder | everything, with spans left out | the spans | T5 (arXiv:1910.10683) |
# | decoder only | what is before a token | that token | GPT-2, GPT-3 (arXiv:2005.14165) |
#
# Here: the [presets](../tfattn/families/__init__.py) of all three; what spoils a text, in
# [`masked_lm.py`](../pipelines/text/masked_lm.py) and
# [`corruption.py`](../pipelines/text/data/corruption.py); and the very training that
# `python -m pipelines pretrain` does.

# %%
# %matplotlib inline
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from IPython.display import Image

import tfattn
from pipelines.core.finished import open_finished
from pipelines.core.progress import console
from pipelines.core.tables import Table
from pipelines.core.train import train
from pipelines.experiments.fewshot import few_shot
from pipelines.experiments.ladder import rungs, sizes
from pipelines.experiments.prompts import Prompt, Trials
from pipelines.experiments.scaling import scaling
from pipelines.text.data.corruption import corrupted_spans, sentinel_example, span_sizes
from pipelines.text.data.embedded.docstrings import harvest
from pipelines.text.fill import fill
from pipelines.text.generate import generate
from pipelines.text.masked_lm import MaskedLMObjective
from pipelines.text.presets import PRESETS
from pipelines.text.spec import MaskedLM
from tfattn.models.sampling import Sampling
from tfattn.visualize import matrices_figure

keras.utils.set_random_seed(0)
tf.get_logger().setLevel("ERROR")
console.quiet = True  # runs have much to say; all of it is in their folders too
runs = Path(tempfile.mkdtemp())

# %% [markdown]
# ## Who looks at whom
#
# Ten tokens, of which five are given where there is something to go on from. A bright square is a
# token (row) that may look at another (column). A prefix that its own tokens see in full makes a
# decoder an encoder of it: then all that is left of the difference is two sets of weights or one.

# %%
places = np.arange(10)
prefix = np.maximum(places, 4)  # the first five count as one place
seen = {
    "encoder: everything": tfattn.Everything()(places[:, None], places),
    "decoder: causal": tfattn.Causal()(places[:, None], places),
    "decoder with a prefix": tfattn.Causal()(prefix[:, None], prefix),
}
matrices_figure({n: np.broadcast_to(m, (10, 10)).astype(float) for n, m in seen.items()}, size=2.4)

# %% [markdown]
# The published sizes are presets too, with exact counts; nothing is built to count them:

# %%
for name in ("bert-base-uncased", "t5-base", "t5-11b", "gpt2-xl", "gpt3-175b"):
    config = tfattn.preset(name)
    print(f"{name:17} {type(config).__name__:22} {config.parameter_count():17,} weights")

# %% [markdown]
# ## Three runs on one corpus
#
# The documentation of Python's own library, which is on this machine, in three small models. Only
# the name of the preset differs: it brings the tokenizer, the objective and the schedule.

# %% quick="STEPS, SHOTS, WIDTHS, SHARES = 4, (0, 1), (8, 16), (1.0,)"
STEPS, SHOTS, WIDTHS, SHARES = 300, (0, 1, 4), (16, 32, 64), (0.25, 0.5, 1.0)

# %%
corpus = runs / "corpus.txt"
texts = [docstring.text for docstring in harvest(("stdlib",), processes=2)]
paragraphs = [" ".join(part.split()) for text in texts for part in text.split("\n\n")]
corpus.write_text("\n\n".join(paragraphs), encoding="utf-8")
print(f"{sum(map(len, paragraphs)):,} letters. One paragraph: {paragraphs[40]}")


def trained(name, **more):
    """Pretrain a preset, and return the run."""
    recipe = PRESETS[name]
    data = replace(recipe.data, files=(str(corpus),), vocab_size=2048, length=64, **more)
    settings = replace(recipe.train, steps=STEPS, batch=16, evaluate_every=max(1, STEPS // 6))
    train(replace(recipe, data=data, train=settings), runs / name)
    return open_finished(str(runs / name))


done = {name: trained(name) for name in ("bert-tiny", "t5-tiny", "gpt2-tiny")}
figure, panel = plt.subplots(figsize=(5, 2.8), layout="constrained")
for name in done:
    lines = (runs / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] == "validation"]
    result = json.loads((runs / name / "result.json").read_text(encoding="utf-8"))
    print(f"{name:10} {result['parameters']:9,} weights, {result['seconds']:.0f} s")
    panel.plot([r["step"] for r in rows], [r["loss"] for r in rows], "o-", label=name)
panel.set(xlabel="step", ylabel="loss of a token, held out")
_ = panel.legend(fontsize=8)

# %% [markdown]
# The losses are of different questions and cannot be compared with each other: both sides of a
# masked token are known, and one of a next one.
#
# ### BERT: of 15% of the tokens most are masked
#
# Some are another word or stay as they are, so that the model cannot rely on seeing where to look.
# In so few steps it learns which words are frequent, and little more; `make pretrain` takes ten
# times as many, and says better.

# %%
bert = done["bert-tiny"]
text = (
    "Return a copy of the string with all characters in upper case. If the file does not exist, "
    "an error is raised, and nothing is written."
)
flat, _ = bert.processor.encode_batch([text])
row = [bert.processor.start_id, *flat.tolist(), bert.processor.separator_id]
rows = {"tokens": tf.constant([row]), "segments": tf.ones((1, len(row)), tf.int32)}
rows["positions"] = tf.range(len(row))[None]
spoil = MaskedLMObjective(MaskedLM(), bert.processor, len(row), seed=0)
words = bert.processor.vocabulary
for epoch in range(3):
    batch = spoil.batch(rows, tf.constant(epoch, tf.int64), tf.constant([0], tf.int64))
    print(" ".join(words[i] for i in batch["features"]["tokens"][0].numpy()))
print()
for question in ("Return the [MASK] of the list.", "Raise an [MASK] if the file does not exist."):
    print(question, fill(bert, question, top=4)[0])

# %% [markdown]
# ### T5: spans are left out, and written one after another
#
# A sentinel stands for each span in the source; the target has them again, each with what it hides.

# %%
t5 = done["t5-tiny"]
ids, _ = t5.processor.encode_batch([text])
sentinels = [i for i, word in enumerate(t5.processor.vocabulary) if "extra_id" in word]
end = t5.processor.separator_id
noise, spans = span_sizes(len(ids), 0.15, 3.0)
for seed in range(3):
    draws = tf.random.stateless_uniform((1, 2 * len(ids)), (seed, 0), dtype=tf.float64)
    left_out = corrupted_spans(draws, tf.constant([len(ids)]), 0.15, 3.0)
    example = sentinel_example(
        tf.constant([ids]), tf.constant([len(ids)]), left_out, tf.constant(sorted(sentinels)[::-1]),
        end, (len(ids), noise + spans + 1),
    )  # fmt: skip
    for side in (example.source, example.target):
        written = [t5.processor.vocabulary[i] for i in side[0].numpy() if i]
        print("".join(written).replace("▁", " "), end="   |   ")
    print()

# %% [markdown]
# ### GPT: the text goes on
#
# Drawn from the likeliest tokens that have nine tenths of the probability; colder is safer, and
# repeats itself.

# %%
gpt = done["gpt2-tiny"]
for temperature in (0.3, 1.0):
    sampling = Sampling(temperature=temperature, top_p=0.9)
    said = generate(gpt, ("Return the",), 30, sampling, 0, lambda texts: None)
    print(f"{temperature}: Return the{said['texts'][0]!r}")

# %% [markdown]
# ## Zero, one and few shots
#
# GPT-3 solves tasks that it was never trained for from a description and examples in its prompt: no
# weight changes. Of the labels, the one is taken that the model finds likeliest after the text.
# What that takes is scale: 175 billion weights do it, and the few of this run cannot, which is as
# worth seeing. Half of these texts are of either kind:

# %%
kinds = {
    "text": ("string", "re", "textwrap", "difflib", "codecs", "html", "json", "csv", "gettext"),
    "numbers": ("statistics", "fractions", "decimal", "_pydecimal", "numbers", "random"),
}
found = {
    kind: [
        docstring.text.split(". ")[0][:80]
        for docstring in harvest(("stdlib",), processes=2)
        if docstring.module.split(".")[0] in modules
    ]
    for kind, modules in kinds.items()
}
each = min(map(len, found.values()))
rows = [(said, kind) for kind, of_it in found.items() for said in of_it[:each]]
order = np.random.default_rng(0).permutation(len(rows))
asked, labels = zip(*(rows[i] for i in order), strict=True)
table = Table(list(asked), None, list(labels), "documentation", [f"row {i}" for i in order])
prompt = Prompt(template="{text} is about {label}")
print(prompt.context([(table.texts[0], table.labels[0])], table.texts[1]))
trials = Trials(shots=SHOTS, seeds=3, limit=100)
shown = few_shot(gpt, table, None, trials, prompt, batch=16)
print(f"{shown['rows']} texts; always the commoner label: {shown['majority']:.2f}")
for row in shown["results"]:
    print(f"{row['shots']} shots: {row['accuracy']:.2f} ± {row['standard_error']:.2f}")

# %% [markdown]
# ## Scaling
#
# The loss falls as a power of the weights, of the tokens and of the compute, each where the others
# do not stand in the way (arXiv:2001.08361); so one can tell from small models what a large one
# would come to. Three widths of a model of characters, each trained for three lengths, each with a
# schedule of its own: laws with their 95% intervals, as `python -m pipelines scaling` finds them.
# What so few tokens can show is mostly their own law.

# %%
recipe = PRESETS["nanogpt-tiny"]
data = replace(recipe.data, files=(str(corpus),))
settings = replace(recipe.train, steps=STEPS, batch=24, evaluate_every=STEPS)
ladder = rungs(sizes(("nanogpt-tiny",), WIDTHS), data, settings, SHARES, seeds=1)
fitted = scaling(ladder, runs / "scaling")
for name, law in fitted["laws"].items():
    if law["exponent"] is not None:
        low, high = law["interval"] or (np.nan, np.nan)
        print(f"{name:11} exponent {law['exponent']:.3f} ({low:.3f} to {high:.3f})", end="; ")
        print(f"published {law['published']}")
Image(fitted["picture"], width=900)

# %% [markdown]
# ## Exercises
#
# **1. Can T5 be fine-tuned on minibatches of several tasks? Can GPT-2?** T5 can: the task is a part
# of the text, every answer is text, and the loss is the same for all. `finetune text2text` takes
# several files, each with its prefix, and mixes them in every batch. GPT-2 can in the same way, its
# rows holding prefix, source and answer, and the loss taken on the answer alone; what it lacks is
# sight of the whole source while it reads, see 4.
#
# **2. What is a language model good for?** For what was done above with no training: filling gaps,
# going on, choosing among answers by likelihood. And as a start: every recipe of
# `python -m pipelines finetune --help` begins from such a run.
#
# **3. Where does a classifier go?** On a state that has seen the text. Of BERT that is any, and the
# first one is trained for it; of GPT it is the last one alone. The gradient says who has seen what:

# %%
for name in ("bert-tiny", "gpt2-tiny"):
    config = tfattn.preset(name).with_fields(dropout=0.0, attention_dropout=0.0, vocab_size=64)
    for pool in ("first", "last"):
        model = tfattn.build(config, tfattn.Classify(classes=2, pool=pool, dropout=0.0))
        tokens = tf.constant(np.random.default_rng(0).integers(5, 64, (1, 8)))
        with tf.GradientTape() as tape:
            score = model({"tokens": tokens})[0, 0]
        gradient = tf.convert_to_tensor(
            tape.gradient(score, model.weights_by_path()["stem/tokens/embeddings"])
        )
        reached = np.abs(gradient.numpy()).sum(axis=1)[tokens[0].numpy()] > 0
        print(f"{name:10} {pool:6}", "".join("■" if there else "·" for there in reached))

# %% [markdown]
# **4. Translation by a decoder alone** reads the source causally: its first tokens are encoded
# before the last ones are known, though all of them are there from the start. Of the pairs of a
# source that an encoder uses, that is half. A prefix mends it, the third picture at the top:
# `pretrain gpt2-mini --objective.prefix`.

# %%
for name, mask in seen.items():
    pairs = np.broadcast_to(mask, (10, 10))[:5, :5]
    print(f"{name:24} {pairs.sum():2} of 25 pairs of the source")

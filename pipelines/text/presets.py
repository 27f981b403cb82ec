"""The recipe of each preset of text: the defaults of `pretrain`, a row a preset."""

from dataclasses import replace

from pipelines.core.spec import Recipe
from pipelines.core.train_config import TrainConfig
from pipelines.text.sources import PairData, TextData
from pipelines.text.spec import CausalLM, MaskedLM, SpanCorruption, Translation
from tfattn.families import preset, recurrent, t5, transformer

# Training from scratch, a row a preset. Published: base and large (arXiv:1810.04805, A.2); the
# smaller ones learn faster at higher rates (arXiv:1908.08962 found 5e-4 to 1e-4 over longer runs).
_RATES = {
    "bert-tiny": 2e-3,
    "bert-mini": 1e-3,
    "bert-small": 7e-4,
    "bert-medium": 5e-4,
    "bert-base-uncased": 1e-4,
    "bert-base-cased": 1e-4,
    "bert-large-uncased": 1e-4,
}

PRESETS = {
    name: Recipe(
        model=preset(name),
        objective=MaskedLM(),
        data=TextData(lowercase=not name.endswith("-cased")),
        train=TrainConfig(steps=10_000, rate=rate),
    )
    for name, rate in _RATES.items()
}
# Table 2.1 of arXiv:2005.14165, GPT-2 by size from there; GPT, section 4.1; LLaMA, table 2. The
# miniatures as above.
_GPT_RATES = {
    "gpt1-tiny": 1e-3,
    "gpt1-117m": 2.5e-4,
    "gpt2-tiny": 2e-3,
    "gpt2-mini": 1e-3,
    "gpt2-small": 6e-4,
    "gpt2-medium": 3e-4,
    "gpt2-large": 2.5e-4,
    "gpt2-xl": 2e-4,
    "gpt3-tiny": 2e-3,
    "gpt3-125m": 6e-4,
    "gpt3-350m": 3e-4,
    "gpt3-760m": 2.5e-4,
    "gpt3-1.3b": 2e-4,
    "gpt3-2.7b": 1.6e-4,
    "gpt3-6.7b": 1.2e-4,
    "gpt3-13b": 1e-4,
    "gpt3-175b": 0.6e-4,
    "gpt-neo-tiny": 2e-3,
    "gpt-neo-125m": 6e-4,
    "gpt-neo-1.3b": 2e-4,
    "gpt-neo-2.7b": 1.6e-4,
    "llama-tiny": 2e-3,
    "llama-mini": 1e-3,
    "llama-7b": 3e-4,
    "llama2-70b": 1.5e-4,
    "tinyllama-1.1b": 4e-4,
}
_BYTEPAIR = TextData(algorithm="bpe")
_GPT = TrainConfig(steps=10_000, schedule="cosine", warmup=0.05, weight_decay=0.1)
PRESETS |= {
    name: Recipe(preset(name), CausalLM(), _BYTEPAIR, replace(_GPT, rate=rate))
    for name, rate in _GPT_RATES.items()
}

# nanoGPT's README and config/train_shakespeare_char.py.
_CHARACTERS = TextData(
    algorithm="characters", separator="file", split="tail", validation_share=0.1, length=64
)
_NANOGPT = replace(_GPT, steps=2000, batch=12, beta2=0.99, rate=1e-3)
PRESETS["nanogpt-tiny"] = Recipe(preset("nanogpt-tiny"), CausalLM(), _CHARACTERS, _NANOGPT)
PRESETS["nanogpt-mini"] = Recipe(
    preset("nanogpt-mini"),
    CausalLM(),
    replace(_CHARACTERS, length=256),
    replace(_NANOGPT, steps=5000, batch=64, warmup=0.02),
)

# Rates are shares of each weight's size, as T5 was trained (arXiv:1910.10683, section 3.1.2, begins
# with 1e-2): t5-tiny came to a loss of 5.01 so in 300 steps of span corruption, and else to 5.25
# (one seed, before its buckets began by distance).
_T5 = replace(_GPT, proportional=True, weight_decay=0.0)
_T5_RATES = {name: 2e-2 if name.endswith(("-tiny", "-mini")) else 1e-2 for name in t5.PRESETS}
_UNIGRAM = TextData(algorithm="unigram")
PRESETS |= {
    name: Recipe(
        preset(name), SpanCorruption(head=t5.head(name)), _UNIGRAM, replace(_T5, rate=rate)
    )
    for name, rate in _T5_RATES.items()
}

# Translation: section 5 of arXiv:1706.03762, whose base model has 7e-4 after 4,000 steps.
_NMT = replace(
    _GPT,
    schedule="inverse-sqrt",
    warmup=0.1,
    weight_decay=0.0,
    beta2=0.98,
    batch_tokens=2048,
    average=5,
    keep=5,
)
_NMT_RATES = {
    "transformer-nmt-tiny": 2e-3,
    "transformer-nmt-mini": 1e-3,
    "transformer-nmt-base": 7e-4,
    "transformer-nmt-big": 5e-4,
}
PRESETS |= {
    name: Recipe(
        preset(name),
        Translation(head=transformer.head(name)),
        PairData(),
        replace(_NMT, rate=rate),
    )
    for name, rate in _NMT_RATES.items()
}

# Recurrent models learn at higher rates, and the clip keeps them whole (arXiv:1409.3215, 3.4). D2L
# 10.7 and 11.4 have 5e-3 at a width of 256; the published ones had no Adam.
_RECURRENT = replace(_NMT, schedule="linear", warmup=0.02, rate=5e-3)
_RECURRENT_RATES = {
    "seq2seq-tiny": 1e-2,
    "bahdanau-tiny": 1e-2,
    "rnnsearch-50": 1e-3,
    "sutskever-seq2seq": 1e-3,
}
PRESETS |= {
    name: Recipe(
        preset(name),
        Translation(head=recurrent.HEAD),
        PairData(),
        replace(_RECURRENT, rate=_RECURRENT_RATES.get(name, _RECURRENT.rate)),
    )
    for name in recurrent.PRESETS
}

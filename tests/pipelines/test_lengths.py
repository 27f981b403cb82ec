"""How many tokens a finished run of pairs reads and writes: as many as in training."""

from pathlib import Path

import pytest
from test_writer import GREEDY, RECURRENT, drawn

from pipelines.core.api import Finished
from pipelines.core.run import Run
from pipelines.core.spec import Recipe
from pipelines.text.generation.writer import Writer
from pipelines.text.seq2seq_module import Seq2SeqModule
from pipelines.text.sources import PairData, TableData
from pipelines.text.spec import TextToText, Translation
from pipelines.text.tokenization.bytepair import train_bytepair
from pipelines.text.translate import translate
from tfattn.families import recurrent


@pytest.fixture(scope="module")
def parts(texts):
    """Return a model of a shorter length than that of its data, and its vocabulary."""
    tokenizer = train_bytepair(texts, 270)
    config = RECURRENT.with_fields(vocab_size=tokenizer.size, pad_id=None, max_length=8)
    model = drawn(config, recurrent.HEAD)
    bias = model.weights_by_path()["tokens/bias"].value.numpy()
    bias[tokenizer.separator_id] = -99.0  # no text ends by itself
    model.weights_by_path()["tokens/bias"].assign(bias)
    return model, tokenizer


def done(parts, objective, data):
    model, tokenizer = parts
    return Finished(Run(Path("none")), Recipe(None, objective, data), model, tokenizer)


def writer(parts):
    model, tokenizer = parts
    return Writer(model, tokenizer, GREEDY, jit=False)


def test_the_export_reads_sources_as_long_as_those_of_training(parts, texts):
    long = max(texts, key=len)[:40]
    run = done(parts, Translation(), PairData(length=64))
    (found,) = Seq2SeqModule(run, 6, GREEDY).serve([long])["text"].numpy()
    ((whole,),), ((cut,),) = (writer(parts).write([long], 6, cut=cut) for cut in (None, 8))
    assert found.decode() == whole.text != cut.text


@pytest.mark.parametrize("length", [None, 20])
def test_targets_are_as_long_as_those_of_training(length, parts):
    run = done(parts, TextToText(), TableData(length=length))
    (text,) = translate(run, ["ba do"], None, GREEDY)["texts"]
    ((expected,),) = writer(parts).write(["ba do"], length or 8)
    assert text == expected.text and len(expected.ids) == (length or 8)

"""Targets written from sources, against whole passes, alone and in batches."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import STILL

import tfattn
from pipelines.text.generation.writer import Writer, end_of, target_begin
from pipelines.text.tokenization.bytepair import train_bytepair
from pipelines.text.tokenization.characters import train_characters
from pipelines.text.tokenization.unigram import train_unigram
from tfattn.errors import InputError
from tfattn.families import recurrent
from tfattn.models.config import EncoderDecoderConfig, Tokens
from tfattn.models.recurrent_config import RecurrentConfig
from tfattn.models.sampling import Sampling

SIDE = replace(STILL, types=0, position="sinusoidal", stem_norm=False, norm="pre", max_length=64)
PAIR = EncoderDecoderConfig(
    SIDE, replace(SIDE, masks=(tfattn.Causal(),), layout=("self", "cross", "feedforward"))
)
RECURRENT = RecurrentConfig(
    dim=16, hidden_dim=16, attention_dim=8, bidirectional=True, vocab_size=150, max_length=64
)
MODELS = {"pair": (PAIR, Tokens(transform=False)), "recurrent": (RECURRENT, recurrent.HEAD)}
GREEDY = Sampling(greedy=True)


def drawn(config, head):
    """Return a model whose likeliest token changes from step to step."""
    model, rng = tfattn.build(config, head), np.random.default_rng(3)
    for path, variable in model.weights_by_path().items():
        spread = 0.1 if len(variable.shape) < 2 else 2.5 * variable.shape[0] ** -0.5
        spread = 1.0 if path.endswith("embeddings") else spread
        start = 1.0 if path.endswith("gamma") else 0.0
        variable.assign(start + spread * rng.normal(size=variable.shape))
    return model


@pytest.fixture(scope="module")
def models():
    return {name: drawn(*made) for name, made in MODELS.items()}


@pytest.fixture(scope="module")
def sources(texts):
    """Return texts of unlike lengths, which take two widths."""
    return [*sorted(texts, key=len)[6:40:11], "ba"]


def logits(model, tokenizer, source, target):
    """Return the logits of one whole pass, of which the last places are padding."""
    given = [*tokenizer.encode_batch([source])[0], tokenizer.separator_id]
    features, limit = {}, model.config.max_length
    for side, ids, width in (("", given, min(48, limit)), ("target_", target, min(16, limit))):
        tokens, segments = np.zeros((2, 1, width), np.int32)
        tokens[0, : len(ids)], segments[0, : len(ids)] = ids, 1
        features |= {f"{side}tokens": tokens, f"{side}segments": segments}
    whole = PASSES.setdefault(id(model), tf.function(model, autograph=False))
    return whole(features, training=False).numpy()[0, : len(target)]


PASSES = {}  # compiled, by model


def whole_passes(model, tokenizer, source, tokens):
    """Return the ids that are likeliest, one whole pass for each, and whether they ended."""
    target = [tokenizer.start_id]
    for _ in range(tokens):
        token = int(logits(model, tokenizer, source, target)[-1].argmax())
        if token == tokenizer.separator_id:
            return target[1:], True
        target.append(token)
    return target[1:], False


@pytest.mark.parametrize(("kind", "jit"), [("pair", True), ("recurrent", False)])
def test_what_is_written_is_that_of_whole_passes(kind, jit, models, tokenizer, sources):
    model = models[kind]
    found = Writer(model, tokenizer, GREEDY, batch=4, jit=jit).write(sources, 7)
    expected = [whole_passes(model, tokenizer, source, 7) for source in sources]
    assert [(texts[0].ids, texts[0].ended) for texts in found] == expected
    assert len({tuple(ids) for ids, _ in expected}) > len(sources) // 2
    for texts in found:
        assert len(texts) == 1 and np.isnan(texts[0].score)
        assert texts[0].text == tokenizer.decode(texts[0].ids)


def test_an_end_is_no_part_of_a_target_and_nothing_follows_it(models, tokenizer, sources):
    model = drawn(*MODELS["recurrent"])
    bias = model.weights_by_path()["tokens/bias"].value.numpy()
    bias[tokenizer.separator_id] += 7.0
    model.weights_by_path()["tokens/bias"].assign(bias)
    found = Writer(model, tokenizer, GREEDY, jit=False).write(sources, 12)
    expected = [whole_passes(model, tokenizer, source, 12) for source in sources]
    assert [(texts[0].ids, texts[0].ended) for texts in found] == expected
    assert {ended for _, ended in expected} == {True, False}


@pytest.mark.parametrize("kind", MODELS)
def test_beams_give_different_texts_in_falling_order(kind, models, tokenizer, sources):
    model = models[kind]
    writer = Writer(model, tokenizer, Sampling(beams=4, length_penalty=0.6), jit=False)
    found = writer.write(sources, 6, best=3)
    for source, texts in zip(sources, found, strict=True):
        scores = [text.score for text in texts]
        assert len(texts) == 3 and scores == sorted(scores, reverse=True)
        assert len({tuple(text.ids) for text in texts}) == 3
        for text in texts:
            assert text.score == pytest.approx(score(model, tokenizer, source, text), abs=1e-3)
    single = writer.write(sources, 6)
    assert [texts[0] for texts in found] == [text for (text,) in single]


def score(model, tokenizer, source, text):
    """Return log P of a target over its length penalty, from one whole pass."""
    target = [*text.ids, *([tokenizer.separator_id] if text.ended else [])]
    made = logits(model, tokenizer, source, [tokenizer.start_id, *target[:-1]]).astype("float64")
    made -= made.max(-1, keepdims=True)
    shares = made - np.log(np.exp(made).sum(-1, keepdims=True))
    total = sum(shares[place, token] for place, token in enumerate(target))
    return total / ((5 + len(target)) / 6) ** 0.6


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(beams=3)], ids=["greedy", "beams"])
def test_each_source_gives_what_it_gives_alone(sampling, models, tokenizer, sources):
    writer = Writer(models["pair"], tokenizer, sampling, batch=3, jit=False)
    lengths = {len(tokenizer.encode_batch([source])[0]) // 16 for source in sources}
    assert len(lengths) > 1  # widths
    together = writer.write(sources, 7)
    alone = [writer.write([source], 7)[0] for source in sources]
    assert [texts[0].ids for texts in together] == [texts[0].ids for texts in alone]


def test_what_fills_a_batch_is_the_last_source_again(models, tokenizer, sources):
    writer, seen = Writer(models["pair"], tokenizer, GREEDY, batch=3, jit=False), []
    write = writer._write

    def spied(*sizes):
        def run(tokens, *rest):
            seen.append([row[row > 0].tolist() for row in tokens.numpy()])
            return write(*sizes)(tokens, *rest)

        return run

    writer._write = spied
    writer.write(sources[:1], 3)  # no more than there are
    writer.write(sources[:4], 3)
    first, full, filled = seen
    assert len(first) == 1 and len(full) == len(filled) == 3
    assert filled[0] == filled[1] == filled[2] and filled[0] not in full


def test_tokens_that_no_vocabulary_has_are_left_out(tokenizer):
    spare = replace(RECURRENT, vocab_size=tokenizer.size + 3)
    model = drawn(spare, recurrent.HEAD)
    bias = model.weights_by_path()["tokens/bias"].value.numpy()
    bias[tokenizer.size :] += 5.0
    bias[tokenizer.separator_id] = -99.0
    model.weights_by_path()["tokens/bias"].assign(bias)
    sampling = Sampling(temperature=3.0)
    ((text,),) = Writer(model, tokenizer, sampling, jit=False).write(["ba do"], 40)
    assert 0 < len(text.ids) < 40 and not text.ended
    assert max(text.ids) < tokenizer.size and text.text == tokenizer.decode(text.ids)


def test_progress_counts_the_sources_that_are_done(models, tokenizer, sources):
    writer, seen = Writer(models["pair"], tokenizer, GREEDY, batch=3, jit=False), []
    writer.write(sources, 3, progress=seen.append)
    assert seen == [*range(3, len(sources), 3), len(sources)]
    assert writer.write([], 3) == []


def test_draws_hang_on_the_seed_and_the_number_of_the_source(models, tokenizer):
    same = ["ba do ka"] * 5
    writer = Writer(models["pair"], tokenizer, Sampling(temperature=2.0), batch=4, jit=False)
    first, again, other = (
        [texts[0].ids for texts in writer.write(same, 8, seed=seed)] for seed in (3, 3, 4)
    )
    assert first == again and first != other
    assert len({tuple(ids) for ids in first}) == 5  # each source has draws of its own
    wide = Writer(models["pair"], tokenizer, Sampling(temperature=2.0), batch=8, jit=False)
    longer = [texts[0].ids for texts in wide.write(same, 20, seed=3)]
    assert [ids[:8] for ids in longer] == first  # whatever the batch and the bound are


@pytest.mark.parametrize("beams", [1, 3])
def test_tokens_are_a_bound(beams, models, tokenizer, sources):
    sampling = Sampling(beams=beams) if beams > 1 else GREEDY
    writer = Writer(models["recurrent"], tokenizer, sampling, jit=False)
    for tokens in (1, 15, 16):
        lengths = [len(texts[0].ids) for texts in writer.write(sources, tokens)]
        assert max(lengths) == tokens


def test_a_source_is_cut_where_that_is_asked_for(models, tokenizer, texts):
    long = max(texts, key=len)
    ids = tokenizer.encode_batch([long])[0].tolist()
    writer = Writer(models["pair"], tokenizer, GREEDY, jit=False)
    (cut,), (whole,) = writer.write([long], 7, cut=6), writer.write([long], 7)
    (expected,) = writer.write_ids([[*ids[:5], tokenizer.separator_id]], 7)
    assert cut[0].ids == expected[0].ids
    assert cut[0].ids != whole[0].ids


def learned(limit):
    """Return a model with this many learned positions on both sides."""
    sides = (replace(side, position="learned", max_length=limit) for side in
             (PAIR.encoder, PAIR.decoder))  # fmt: skip
    return drawn(EncoderDecoderConfig(*sides), Tokens(transform=False))


def test_a_source_has_to_fit_learned_positions(tokenizer):
    writer = Writer(learned(20), tokenizer, GREEDY, jit=False)
    fits = [7] * 19 + [writer.end]
    ((text,),) = writer.write_ids([fits], 4)
    assert len(text.ids) <= 4
    with pytest.raises(InputError, match=r"^source 2: expected at most 20 tokens. Received: 21.$"):
        writer.write_ids([fits, [7, *fits]], 4)


@pytest.mark.parametrize("beams", [1, 2])
def test_a_target_ends_where_learned_positions_do(beams, tokenizer):
    model = learned(10)
    sampling = Sampling(beams=beams) if beams > 1 else GREEDY
    writer = Writer(model, tokenizer, sampling, jit=False)
    ((text,),) = writer.write(["ba do"], 30)
    if beams == 1:
        assert (text.ids, text.ended) == whole_passes(model, tokenizer, "ba do", 9)
    assert len(text.ids) == 9


class Edges:
    """What a tokenizer says of its edges."""

    def __init__(self, start_id, pad_id, separator_id):
        self.start_id, self.pad_id, self.separator_id = start_id, pad_id, separator_id


@pytest.mark.parametrize(
    ("edges", "begin"), [((2, 0, 3), 2), ((0, 7, 3), 0), ((None, 0, 3), 0), ((None, None, 3), 3)]
)
def test_a_target_begins_with_the_start_or_padding_or_the_end(edges, begin):
    assert target_begin(Edges(*edges)) == begin
    assert end_of(Edges(*edges)) == 3


def test_every_kind_of_vocabulary_has_what_begins_a_target(tokenizer, texts):
    assert target_begin(tokenizer) == tokenizer.start_id
    unigram = train_unigram(texts, 400)
    assert (target_begin(unigram), end_of(unigram)) == (unigram.pad_id, unigram.separator_id)
    bytepair = train_bytepair(texts, 270)
    assert target_begin(bytepair) == end_of(bytepair) == bytepair.end_id
    with pytest.raises(InputError, match="tokenizer: expected a token that ends a text.*Character"):
        target_begin(train_characters(texts, 99))


def test_a_model_that_sees_the_future_cannot_write(tokenizer):
    keras.utils.set_random_seed(0)
    with pytest.raises(InputError, match="expected a language model with causal masks"):
        Writer(tfattn.build(STILL, Tokens()), tokenizer, GREEDY)

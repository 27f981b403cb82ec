"""What is masked, with what, and what is to be predicted."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import LENGTH, STILL, masked, plain

import tfattn
from pipelines.core.classification import cross_entropy, hits
from pipelines.text.masked_lm import MaskedLMObjective
from pipelines.text.spec import MaskedLM

OPTIONS = [{}, {"whole_words": True}, {"rate": 0.5}, {"rate": 0.02}, {"next_sentence": True}]


@st.composite
def pieces(draw):
    """Rows of packed pieces, as lists of numbers that become ordinary tokens."""
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        row, room = [], LENGTH
        while room >= 3 and (not row or draw(st.booleans())):
            piece = draw(st.lists(st.integers(0, 10**6), min_size=1, max_size=room - 2))
            row.append(piece)
            room -= len(piece) + 2
        rows.append(row)
    return rows


def arrays(rows, tokenizer, whole=0):
    """Return rows as a store would give them; `whole` tokens of a vocabulary of two parts."""
    shape = (len(rows), LENGTH)
    found = {name: np.zeros(shape, np.int32) for name in ("tokens", "segments", "positions")}
    found["tokens"][:] = tokenizer.pad_id
    ordinary = tokenizer.mask_id + 1
    for i, row in enumerate(rows):
        start = 0
        for segment, piece in enumerate(row, 1):
            ids = [ordinary + number % (tokenizer.size - ordinary) for number in piece]
            ids = [tokenizer.start_id, *ids, tokenizer.separator_id]
            end = start + len(ids)
            found["tokens"][i, start:end] = ids
            found["segments"][i, start:end] = segment
            found["positions"][i, start:end] = range(len(ids))
            start = end
    found["types"] = np.zeros(shape, np.int32)
    found["next"] = np.zeros(len(rows), np.int32)
    return found


def objective(tokenizer, seed=0, **spec):
    return MaskedLMObjective(MaskedLM(**spec), tokenizer, LENGTH, seed)


def mask(found, tokenizer, epoch=0, seed=0, first=0, **spec):
    count = len(found["tokens"])
    made = objective(tokenizer, seed, **spec).batch(
        {name: tf.constant(array) for name, array in found.items()},
        tf.fill([count], np.int64(epoch)),
        tf.range(first, first + count, dtype=tf.int64),
    )
    return plain(made)


def predicted(batch):
    """Return where something is predicted, (b, t)."""
    there = np.zeros(batch["features"]["tokens"].shape, bool)
    rows, places = np.nonzero(batch["weights"]["mlm"])
    there[rows, batch["features"]["predict_positions"][rows, places]] = True
    return there


def eligible(found, tokenizer):
    special = (tokenizer.start_id, tokenizer.separator_id, tokenizer.pad_id)
    return ~np.isin(found["tokens"], special)


@settings(max_examples=40, deadline=None)
@given(pieces(), st.sampled_from(OPTIONS), st.integers(0, 2**40))
def test_only_tokens_of_texts_are_predicted_or_changed(tokenizer, rows, spec, epoch):
    found = arrays(rows, tokenizer)
    batch = mask(found, tokenizer, epoch, **spec)
    there = predicted(batch)
    assert not (there & ~eligible(found, tokenizer)).any()
    assert np.array_equal(batch["features"]["tokens"][~there], found["tokens"][~there])
    assert np.array_equal(batch["features"]["segments"], found["segments"])
    assert np.array_equal(batch["features"]["positions"], found["positions"])


@settings(max_examples=40, deadline=None)
@given(pieces(), st.sampled_from(OPTIONS), st.integers(0, 2**40))
def test_targets_are_what_stood_there(tokenizer, rows, spec, epoch):
    found = arrays(rows, tokenizer)
    batch = mask(found, tokenizer, epoch, **spec)
    places = batch["features"]["predict_positions"]
    stood = np.take_along_axis(found["tokens"], places, axis=1)
    assert np.array_equal(batch["targets"]["mlm"], stood)
    assert all(len(set(row)) == len(row) for row in places)


@settings(max_examples=40, deadline=None)
@given(pieces(), st.sampled_from([{}, {"rate": 0.5}, {"rate": 0.02}]), st.integers(0, 2**40))
def test_the_share_is_exact_in_every_row_and_at_least_one(tokenizer, rows, spec, epoch):
    found = arrays(rows, tokenizer)
    counts = predicted(mask(found, tokenizer, epoch, **spec)).sum(axis=1)
    rate = spec.get("rate", 0.15)
    for count, candidates in zip(counts, eligible(found, tokenizer).sum(axis=1), strict=True):
        assert count == max(1, round(float(np.float32(rate)) * candidates))


@settings(max_examples=40, deadline=None)
@given(pieces(), st.sampled_from([0.15, 0.3, 0.5]), st.integers(0, 2**40))
def test_a_word_is_predicted_whole_or_not_at_all(tokenizer, rows, rate, epoch):
    found = arrays(rows, tokenizer)
    batch = mask(found, tokenizer, epoch, whole_words=True, rate=rate)
    there = predicted(batch)
    for row in range(len(rows)):
        candidates = eligible(found, tokenizer)[row].sum()
        assert 1 <= there[row].sum() <= max(1, round(rate * candidates))
        cut = whole = 0
        for word in words_of(found["tokens"][row], tokenizer):
            hit = there[row, word]
            whole += hit.all()
            cut += hit.any() and not hit.all()
        assert (cut, whole) == (1, 0) or (cut == 0 and whole >= 1)


def words_of(tokens, tokenizer):
    """Return the places of each word: a piece, and the ##pieces after it."""
    found = []
    edges = (tokenizer.start_id, tokenizer.separator_id, tokenizer.pad_id)
    new = True
    for place, token in enumerate(tokens):
        if token in edges:
            new = True
        elif new or not tokenizer.vocabulary[token].startswith("##"):
            found.append([place])
            new = False
        else:
            found[-1].append(place)
    return found


@settings(max_examples=30, deadline=None)
@given(pieces())
def test_the_same_epoch_and_row_are_masked_the_same_and_others_independently(tokenizer, rows):
    found = arrays(rows, tokenizer)
    first, again = (mask(found, tokenizer, epoch=7, first=3) for _ in range(2))
    np.testing.assert_equal(first, again)


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {"first": 100}])
def test_another_seed_epoch_or_row_is_masked_differently(tokenizer, change):
    found = arrays([[list(range(14))]] * 40, tokenizer)
    first, other = mask(found, tokenizer), mask(found, tokenizer, **change)
    equal = [np.array_equal(a, b) for a, b in zip(predicted(first), predicted(other), strict=True)]
    assert np.mean(equal) < 0.1  # two of fourteen places: one in 91 by chance


ROWS = 4000


@pytest.fixture(scope="module")
def many(tokenizer):
    """Return many full rows of one text each, and their masks."""
    rng = np.random.default_rng(0)
    found = arrays([[row] for row in rng.integers(0, 10**6, (ROWS, LENGTH - 2))], tokenizer)
    return found, mask(found, tokenizer, rate=0.5)


def assert_share(hits, share, sigmas=4.5):
    hits = np.asarray(hits)
    assert abs(hits.mean() - share) < sigmas * np.sqrt(share * (1 - share) / hits.size)


def test_of_the_chosen_80_percent_are_masks_10_are_random_and_10_stay(many, tokenizer):
    found, batch = many
    there = predicted(batch)
    now, was = batch["features"]["tokens"][there], found["tokens"][there]
    ordinary = tokenizer.size - tokenizer.mask_id - 1
    assert_share(now == tokenizer.mask_id, 0.8)
    assert_share((now != tokenizer.mask_id) & (now != was), 0.1 * (1 - 1 / ordinary))
    assert_share(now == was, 0.1 * (1 + 1 / ordinary))


def test_random_tokens_are_never_special_and_all_others_occur_equally(many, tokenizer):
    found, batch = many
    there = predicted(batch)
    now, was = batch["features"]["tokens"][there], found["tokens"][there]
    random = now[(now != tokenizer.mask_id) & (now != was)]
    special = {tokenizer.vocabulary.index(f"[{n}]") for n in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    assert not special & set(random)
    counts = np.bincount(random, minlength=tokenizer.size)[max(special) + 1 :]
    assert counts.min() > 0
    expected = counts.mean()
    assert np.sum((counts - expected) ** 2 / expected) < len(counts) + 5 * np.sqrt(2 * len(counts))


def test_every_place_is_chosen_equally_often_and_masked_equally_often(many, tokenizer):
    found, batch = many
    there = predicted(batch)[:, 1 : LENGTH - 1]
    masks = batch["features"]["tokens"][:, 1 : LENGTH - 1] == tokenizer.mask_id
    for place in range(LENGTH - 2):
        assert_share(there[:, place], 0.5)
        assert_share(masks[there[:, place], place], 0.8)


def test_choices_of_neighbours_are_independent(many):
    there = predicted(many[1])[:, 1 : LENGTH - 1].astype(float)
    correlations = np.corrcoef(there.T)[~np.eye(LENGTH - 2, dtype=bool)]
    wanted = -1 / (LENGTH - 3)  # of a fixed number of choices
    assert np.abs(correlations - wanted).max() < 5 / np.sqrt(ROWS)


def test_half_of_the_pairs_follow_and_types_tell_the_sentences(store, tokenizer):
    _, source = masked(store, tokenizer, 64, next_sentence=True)
    labels = []
    for step in range(40):
        batch = plain(source.at(step))
        labels.append(batch["targets"]["next"])
        tokens, types = batch["features"]["tokens"], batch["features"]["types"]
        segments = batch["features"]["segments"]
        separators = (tokens == tokenizer.separator_id).sum(axis=1)
        assert (separators == 2).all()
        before = np.cumsum(tokens == tokenizer.separator_id, axis=1) - (
            tokens == tokenizer.separator_id
        )
        assert np.array_equal(types, ((before == 1) & (segments != 0)).astype(np.int32))
        assert (batch["weights"]["next"] == 1).all()
    assert_share(np.concatenate(labels) == 0, 0.5)


def test_a_pair_changes_from_epoch_to_epoch(store, tokenizer):
    _, source = masked(store, tokenizer, 1, next_sentence=True)
    count = len(source.rows)
    row = tf.range(count, dtype=tf.int64)
    first, second = (source.rows.draws(row * 0 + epoch, row) for epoch in (0, 1))
    assert 0.3 < np.mean(first[1].numpy() == second[1].numpy()) < 0.7
    assert np.mean(first[0].numpy() == second[0].numpy()) < 0.2
    assert first[0].numpy().min() >= 0 and first[0].numpy().max() < count


def test_the_sums_are_cross_entropy_and_hits_at_the_weighted_places(store, tokenizer):
    work, source = masked(store, tokenizer, 4, rate=0.5)
    model = tfattn.build(STILL, *work.heads)
    batch = source.at(0)
    logits = np.asarray(model(batch["features"]), "float64")
    targets, weights = (batch[of]["mlm"].numpy() for of in ("targets", "weights"))
    targets[0, 0] = logits[0, 0].argmax()
    batch["targets"]["mlm"] = tf.constant(targets)
    found, outputs = work.measure(model, batch, False)
    loss = -np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    loss = np.take_along_axis(loss, targets[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(found["mlm_loss"], (loss * weights).sum(), rtol=1e-5)
    right = ((logits.argmax(-1) == targets) * weights).sum()
    assert float(found["mlm_accuracy"]) == right >= 1
    assert set(found) == set(work.terms) == {"mlm_loss", "mlm_accuracy"} and outputs is None


def test_terms_of_both_tasks_are_summed_and_both_losses_are_minimised(store, tokenizer):
    work, source = masked(store, tokenizer, 4, next_sentence=True)
    model = tfattn.build(STILL, *work.heads)
    batch = source.at(0)
    found, _ = work.measure(model, batch, True)
    assert set(found) == set(work.terms)
    assert work.losses == ("mlm_loss", "next_loss")
    assert set(work.terms.values()) == set(batch["weights"])


def test_cross_entropy_of_large_logits_is_finite_and_float32():
    logits = tf.constant([[1e4, -1e4, 0.0]], tf.bfloat16)
    found = cross_entropy(logits, tf.constant([1]))
    assert found.dtype == tf.float32
    assert np.isfinite(found.numpy()).all() and found.numpy()[0] > 1e4
    assert hits(logits, tf.constant([0])).numpy() == 1


def test_predictions_are_shown_beside_what_stood_there(store, tokenizer):
    work, source = masked(store, tokenizer, 4)
    model = tfattn.build(STILL, *work.heads)
    batch = source.at(0)
    shown = work.report(model, batch, 3, figures=False).table
    assert len(shown) == 2 + 3
    assert "[MASK]" in "".join(shown) and "[PAD]" not in "".join(shown)
    was = shown[2].split("|")[2].split()
    there = batch["weights"]["mlm"].numpy()[0] > 0
    assert was == [tokenizer.vocabulary[i] for i in batch["targets"]["mlm"].numpy()[0, there]]

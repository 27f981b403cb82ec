"""How good written texts are, beside what sacrebleu says and what is known by hand."""

import numpy as np
import pytest
import sacrebleu

from pipelines.text.generation.measures import EDGES, bleu_by_length, measures, signature
from pipelines.text.targets import draw_by_length

WANTED = ["the cat sat on the mat .", "a dog ran in the park", "it is 3 o'clock", "yes"]
WRITTEN = ["the cat sat on a mat .", "a dog ran in the park", "it was three o'clock", ""]


def test_bleu_and_chrf_are_those_of_sacrebleu():
    found = measures(WRITTEN, WANTED)
    assert found["bleu"] == sacrebleu.corpus_bleu(WRITTEN, [WANTED]).score
    assert found["chrf"] == sacrebleu.corpus_chrf(WRITTEN, [WANTED]).score
    assert 0 < found["bleu"] < 100 and 0 < found["chrf"] < 100


def test_bleu_of_a_sentence_worked_by_hand():
    # Six of seven words are there, four of six pairs, two of five triples, one of four fours.
    shares = (6 / 7, 4 / 6, 2 / 5, 1 / 4)
    found = measures(WRITTEN[:1], WANTED[:1])["bleu"]
    assert found == pytest.approx(100 * np.prod(shares) ** 0.25)


def test_rouge_of_texts_worked_by_hand():
    # "police killed the gunman" is the example of Lin 2004, section 3.
    found = measures(["police kill the gunman"], ["police killed the gunman"])
    assert found["rouge1"] == found["rougel"] == 100  # stems are compared
    found = measures(["the gunman police kill"], ["police killed the gunman"])
    assert found["rouge1"] == pytest.approx(100)
    assert found["rouge2"] == pytest.approx(100 * 2 / 3)  # two of three pairs on either side
    assert found["rougel"] == pytest.approx(100 * 2 / 4)
    found = measures(["a b c", "x"], ["a b", "y"])  # the mean of texts; precision 2/3, recall 1
    assert found["rouge1"] == pytest.approx(100 * 0.8 / 2)


def test_exact_texts_are_counted():
    assert measures(WRITTEN, WANTED)["exact"] == 25
    assert measures(["Yes"], ["yes"])["exact"] == 0
    same = measures(WANTED[:3], WANTED[:3])
    assert all(value == pytest.approx(100) for value in same.values())
    assert set(measures([""], ["yes"]).values()) == {0.0}


def test_as_many_texts_are_wanted_as_are_written():
    with pytest.raises(ValueError, match="shorter|longer|hypothesis"):
        measures(WRITTEN[:2], WANTED)


def test_the_signature_tells_how_it_is_counted():
    said = dict(part.split(":", 1) for part in signature().split("|"))
    assert said["nrefs"] == "1" and said["tok"] == "13a" and said["case"] == "mixed"
    assert said["version"] == sacrebleu.__version__


def test_lengths_begin_at_their_edges():
    counts = [1, 4, 5, 9, 10, 59, 60, 500]
    sources = [" ".join(["w"] * count) for count in counts]
    wanted = [f"a target of {count} words in its source" for count in counts]
    written = [wanted[0], "something else", *wanted[2:]]
    rows = bleu_by_length(sources, written, wanted)
    assert [(row["from"], row["to"], row["texts"]) for row in rows] == [
        (0, 5, 2), (5, 10, 2), (10, 15, 1), (40, 60, 1), (60, None, 2)
    ]  # fmt: skip
    assert rows[0]["bleu"] == sacrebleu.corpus_bleu(written[:2], [wanted[:2]]).score < 100
    assert rows[0]["chrf"] == sacrebleu.corpus_chrf(written[:2], [wanted[:2]]).score < 100
    assert all(row["bleu"] == pytest.approx(100) for row in rows[1:])
    assert sum(row["texts"] for row in rows) == len(counts)
    assert EDGES[0] == 0 and list(EDGES) == sorted(set(EDGES))


def test_a_picture_has_a_line_a_run_at_the_lengths():
    rows = [
        {"from": 0, "to": 5, "texts": 7, "bleu": 30.0, "chrf": 40.0},
        {"from": 10, "to": 15, "texts": 2, "bleu": 20.0, "chrf": 30.0},
        {"from": 60, "to": None, "texts": 1, "bleu": 0.0, "chrf": 3.0},
    ]
    figure = draw_by_length({"one": rows, "two": rows[1:]})
    (panel,) = figure.axes
    one, two = panel.get_lines()
    np.testing.assert_allclose(one.get_xydata(), [[2.5, 30], [12.5, 20], [70, 0]])
    np.testing.assert_allclose(two.get_xydata(), [[12.5, 20], [70, 0]])
    names = [text.get_text() for text in panel.get_legend().get_texts()]
    assert names == ["one", "two"]
    labels = [label.get_text() for label in panel.get_xticklabels()]
    assert labels == ["0–4\n(7)", "10–14\n(2)", "60 and more\n(1)"]
    assert panel.get_ylim()[0] == 0


def test_lengths_of_few_texts_are_not_drawn_beside_others():
    row = {"from": 0, "to": 5, "texts": 9, "bleu": 90.0, "chrf": 90.0}
    other = {"from": 5, "to": 10, "texts": 10, "bleu": 20.0, "chrf": 30.0}
    (line,) = draw_by_length({"one": [row, other]}).axes[0].get_lines()
    np.testing.assert_allclose(line.get_xydata(), [[7.5, 20]])

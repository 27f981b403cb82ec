"""What is told of in-context learning: its errors, its picture and its table."""

import numpy as np
import pytest

from pipelines.experiments import fewshot
from pipelines.experiments.demonstrations import Contexts
from pipelines.experiments.fewshot_report import accuracy_figure, draw_accuracy, print_accuracy


def test_equal_accuracies_have_no_deviation():
    one = Contexts([np.zeros(1, np.int32)] * 10, np.ones(10), np.zeros(10, bool))
    hits = np.roll(np.arange(10) < 7, 3)  # the mean of three times 0.7 is not 0.7 in floats
    best = hits.astype(int)
    found = fewshot._summary(1, [best] * 3, [hits] * 3, [one] * 3, ("a", "b"))
    assert (found["accuracy"], found["std"]) == (0.7, 0.0)


def measured(shots, accuracy, std, left):
    """Return what was measured with some demonstrations, of which `left` fit on average."""
    return {
        "shots": shots,
        "accuracy": accuracy,
        "std": std,
        "standard_error": 0.1,
        "seeds": 1 if std is None else 3,
        "chosen": {"0": 0.4, "1": 0.6},
        "prompts": 9,
        "shots_left": left,
        "prompts_shortened": 9 * (left < shots),
        "texts_cut": 0,
    }


def report(*results, words=("bad", "good")):
    both = {"majority": 0.5, "chance": 0.5, "results": list(results)}
    return {"rows": 9, "classes": ["0", "1"], "words": list(words), **both}


def test_a_picture_is_written_whole_or_not_at_all(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError):
        draw_accuracy("a", report(measured(1, 0.5, None, 1)), tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_picture_tells_both_errors_and_which_prompts_were_shortened():
    found = report(measured(0, 0.5, None, 0), measured(8, 0.7, 0.02, 5.25))
    (panel,) = accuracy_figure("a $run on b$.tsv", found).axes
    legend = [text.get_text() for text in panel.get_legend().get_texts()]
    both = ["± standard error of the rows", "± over 3 seeds"]
    assert {*both, "prompts were shortened"} < set(legend)
    assert panel.get_title() == "a $run on b$.tsv"
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["0", "8\n5.2"]
    (line,) = [line for line in panel.lines if line.get_label() == "prompts were shortened"]
    assert line.get_ydata().tolist() == [0.7]
    (panel,) = accuracy_figure("a", report(measured(1, 0.5, None, 1))).axes
    legend = [text.get_text() for text in panel.get_legend().get_texts()]
    assert legend == ["model", "majority class", "chance", both[0]]


def test_the_table_has_the_words_that_were_read(capsys):
    print_accuracy("a", report(measured(1, 0.5, None, 1)))
    assert "good (1) 60%" in capsys.readouterr().err
    print_accuracy("a", report(measured(1, 0.5, None, 1), words=("0", "1")))
    assert " 1 60%" in capsys.readouterr().err

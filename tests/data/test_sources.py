"""From a recipe's data to documents, a vocabulary and labels."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines import recipes
from pipelines.data import sources
from pipelines.data.sources import documents, keep_vocabulary, prepare_text, resolve_labels
from pipelines.data.tables import read_table
from pipelines.data.wordpiece import WordPiece
from pipelines.recipes import TextData
from pipelines.runs import Run
from tfattn.errors import InputError

TEXTS = [f"the cat number {i} sat on a hill and sang" for i in range(300)]
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def written(path, texts):
    path.write_text("\n\n".join(texts))
    return str(path)


def splits(data):
    return [list(documents(data, split)) for split in ("train", "validation")]


def test_every_document_is_in_one_split_and_some_are_held_out(tmp_path):
    train, held = splits(TextData((written(tmp_path / "a.txt", TEXTS),), validation_share=0.2))
    assert sorted(train + held) == sorted(TEXTS)
    assert not set(train) & set(held)
    assert 30 <= len(held) <= 90


def test_the_split_depends_on_no_name_or_order(tmp_path):
    one = TextData((written(tmp_path / "a.txt", TEXTS),), validation_share=0.2)
    parts = (written(tmp_path / "z.txt", TEXTS[:99:-1]), written(tmp_path / "b.txt", TEXTS[:100]))
    several = replace(one, files=parts)
    assert set(splits(one)[1]) == set(splits(several)[1])


def test_validation_files_leave_the_others_whole(tmp_path):
    a, b = written(tmp_path / "a.txt", TEXTS[:9]), written(tmp_path / "b.txt", TEXTS[9:])
    assert splits(TextData((a,), (b,))) == [TEXTS[:9], TEXTS[9:]]
    assert splits(TextData((a,), (a,))) == [TEXTS[:9], TEXTS[:9]]


def test_what_is_missing_is_said_before_any_work(tmp_path, monkeypatch):
    def late(*words, **options):
        raise AssertionError("a vocabulary was trained first")

    monkeypatch.setattr(sources, "train_tokenizer", late)
    data = TextData((written(tmp_path / "a.txt", TEXTS),), (str(tmp_path / "b.txt"),))
    with pytest.raises(InputError, match=r"data\.validation: .*b\.txt"):
        prepare_text(Run(tmp_path / "run"), data)


def test_what_was_prepared_is_taken_as_it_is(tmp_path):
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    data = TextData((written(tmp_path / "a.txt", TEXTS),), validation_share=0.2, vocab_size=200)
    tokenizer, train, validation = prepare_text(run, data)
    (tmp_path / "a.txt").unlink()  # nobody asks for it again
    again, *stores = prepare_text(run, data)
    assert again == tokenizer
    assert [store.meta for store in stores] == [train.meta, validation.meta]


def test_a_vocabulary_is_there_whole_or_not_at_all(tmp_path):
    run, first = Run(tmp_path), WordPiece((*SPECIAL, "the", "cat"))
    (tmp_path / ".tokenizer.tmp").mkdir()
    (tmp_path / ".tokenizer.tmp" / "vocab.txt").write_text("[PAD]\n[UN")  # of a killed run
    keep_vocabulary(run, first)
    assert WordPiece.load(run.tokenizer) == first
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer"]
    keep_vocabulary(run, WordPiece((*SPECIAL, "dog"), lowercase=False))
    assert WordPiece.load(run.tokenizer) == first


def test_labels_give_the_classes_or_the_scale_unless_they_are_given(tmp_path):
    (tmp_path / "a.tsv").write_text("label\ttext\n1\tone\n3\tthree\n5\tfive\n")
    table = read_table([str(tmp_path / "a.tsv")])
    assert resolve_labels(recipes.Classification(), table, "mean") == recipes.Classification(
        classes=("1", "3", "5"), pool="mean"
    )
    given = recipes.Classification(classes=("5", "3", "1"), pool="pooler")
    assert resolve_labels(given, table, "mean") == given
    spec = resolve_labels(recipes.Regression(), table, "last")
    assert spec.pool == "last"
    assert (spec.offset, spec.scale) == (3.0, pytest.approx(np.std([1, 3, 5])))
    given = recipes.Regression(offset=1.0, scale=2.0, pool="mean")
    assert resolve_labels(given, table, "last") == given


def test_one_number_for_all_texts_is_no_reason_to_divide_by_zero(tmp_path):
    (tmp_path / "a.tsv").write_text("label\ttext\n2\tone\n2\tthree\n")
    spec = resolve_labels(recipes.Regression(), read_table([str(tmp_path / "a.tsv")]), "mean")
    assert (spec.offset, spec.scale) == (2.0, 1.0)

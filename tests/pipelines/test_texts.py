"""From a recipe's data to documents and a vocabulary."""

from dataclasses import replace
from functools import partial

import pytest

from pipelines.core.run import Run
from pipelines.core.start import keep_processor
from pipelines.text import corpora as module
from pipelines.text.corpora import documents, prepare_text
from pipelines.text.sources import TextData
from pipelines.text.tokenization.wordpiece import WordPiece
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

    monkeypatch.setattr(module, "train_tokenizer", late)
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
    (tmp_path / ".processor.tmp").mkdir()
    (tmp_path / ".processor.tmp" / "vocab.txt").write_text("[PAD]\n[UN")  # of a killed run
    keep_processor(run, first)
    assert WordPiece.load(run.processor) == first
    assert [path.name for path in tmp_path.iterdir()] == ["processor"]
    keep_processor(run, WordPiece((*SPECIAL, "dog"), lowercase=False))
    assert WordPiece.load(run.processor) == first


def test_documentation_is_written_beside_pairs_that_were_written_before(tmp_path, monkeypatch):
    (tmp_path / "en-fr").mkdir()
    small = partial(module.write_embedded, packages=("json",))
    monkeypatch.setattr(module, "write_embedded", small)
    monkeypatch.setattr(module, "CACHE", tmp_path)
    assert (module.embedded_corpus() / "train.jsonl").exists() and (tmp_path / "en-fr").exists()

"""`embedded:NAME` as readers of flags ask for it: the file of a split, or what names there are."""

import re
from functools import partial
from types import SimpleNamespace

import pytest

from pipelines.text import embedded as module
from pipelines.text.data.embedded import aligned, phrases
from pipelines.text.embedded import embedded_pairs, embedded_table, languages
from tfattn.errors import InputError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Keep what is written in a folder of the test, of pairs a few."""

    def few(*arguments, **options):
        return phrases.write_phrases(*arguments, **options, train=20, validation=5)

    def summaries(folder, progress):
        progress(1, 1)
        return SimpleNamespace(train=folder / "train.jsonl", validation=folder / "validation.jsonl")

    known = partial(aligned.aligned, train=20, validation=5)
    monkeypatch.setattr(aligned, "aligned", known)
    monkeypatch.setattr(module, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(module, "write_phrases", few)
    monkeypatch.setattr(module, "write_summaries", summaries)
    return tmp_path / "cache"


@pytest.mark.parametrize("split", ["train", "validation"])
def test_pairs_of_two_languages_are_in_a_folder_of_their_own(cache, split):
    path, source, target = embedded_pairs("embedded:en-pt_BR", split)
    assert path == cache / "en-pt_BR" / f"{split}.tsv" and (source, target) == ("en", "pt_BR")
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    assert header == "en\tpt_BR"
    assert all(len(row.split("\t")) == 2 for row in rows)
    if split == "validation":
        assert len(rows) == 5


@pytest.mark.parametrize(("split", "count"), [("train", 20), ("validation", 5)])
def test_dates_of_a_language_have_their_targets_in_iso_8601(cache, split, count):
    path, source, target = embedded_pairs("embedded:fr-iso", split)
    assert path == cache / "fr-iso" / f"{split}.tsv" and (source, target) == ("fr", "iso")
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    assert header == "fr\tiso" and len(rows) == count
    for row in rows:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d(T\d\d:\d\d)?", row.split("\t")[1])


def test_the_codes_of_a_name_are_around_its_first_dash():
    assert languages("embedded:en-pt-BR") == ("en", "pt-BR")
    assert languages("embedded:summaries") is languages("embedded:-fr") is None


@pytest.mark.parametrize("split", ["train", "validation"])
def test_summaries_have_a_file_for_each_split(cache, split):
    assert embedded_table("embedded:summaries", split) == cache / "summaries" / f"{split}.jsonl"


@pytest.mark.parametrize(
    "name", ["embedded", "embedded:", "embedded:en", "embedded:en-", "embedded:-fr"]
)
def test_what_are_not_two_languages_is_told_with_the_flag(cache, name):
    message = f"data.train: expected two languages, as in embedded:en-fr. Received: {name}."
    with pytest.raises(InputError) as error:
        embedded_pairs(name, "train")
    assert str(error.value) == message and not cache.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("embedded:en-frr_", r"expected one of CLDR's such as fr.*Received: 'frr_'\."),
        ("embedded:qqq-fr", r"expected one of CLDR's.*Received: 'qqq'\."),
        ("embedded:en-fr-de", r"expected one of CLDR's.*Received: 'fr-de'\."),
        ("embedded:qqq-iso", r"expected one of CLDR's.*Received: 'qqq'\."),
        ("embedded:../x-iso", r"expected one of CLDR's.*Received: '\.\./x'\."),
        ("embedded:../x-en", r"expected one of CLDR's.*Received: '\.\./x'\."),
        ("embedded:en-en", r"expected two different ones. Received: en twice\."),
    ],
)
def test_a_language_that_is_not_there_is_told_with_the_flag(cache, name, message):
    with pytest.raises(InputError, match=f"^data.validation: {message}"):
        embedded_pairs(name, "validation")
    assert not cache.exists()


@pytest.mark.parametrize("name", ["embedded", "embedded:summary", "embedded:en-fr"])
def test_another_table_is_told_with_the_flag(cache, name):
    with pytest.raises(InputError) as error:
        embedded_table(name, "validation")
    assert str(error.value) == (
        f"data.validation: expected files or embedded:summaries. Received: {name}."
    )

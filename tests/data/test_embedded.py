import json
from pathlib import Path

import pytest

from pipelines.text.data.embedded import write as embedded
from pipelines.text.data.embedded.docstrings import harvest
from pipelines.text.data.embedded.shingles import Shingles
from pipelines.text.data.embedded.write import SHARES, TASK_ROWS, make_task, split, write_embedded
from tfattn.errors import InputError

PACKAGES = ("json", "email", "asyncio", "unittest", "logging", "http")


@pytest.fixture(scope="module")
def documents():
    return harvest(PACKAGES, processes=1)


@pytest.fixture
def once(documents, monkeypatch):
    """Harvest from memory, and count how often."""
    calls = []

    def fake(packages, progress=None):
        calls.append(packages)
        return documents

    monkeypatch.setattr(embedded, "harvest", fake)
    return calls


@pytest.fixture
def written(tmp_path, once):
    return write_embedded(tmp_path / "corpus", packages=PACKAGES)


def rows(path: Path) -> list[list[str]]:
    header, *lines = path.read_text("utf-8").splitlines()
    assert header == "label\ttext"
    return [line.split("\t") for line in lines]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def test_modules_of_the_splits_are_disjoint(documents):
    parts = split(documents)
    assert parts.keys() == SHARES.keys()
    assert sum(map(len, parts.values())) == len(documents)
    modules = [{document.module for document in part} for part in parts.values()]
    assert sum(map(len, modules)) == len(set().union(*modules))


def test_held_out_texts_do_not_resemble_training_texts(written):
    training = [json.loads(line) for line in written.train.read_text("utf-8").splitlines()]
    shingles = Shingles(document["text"] for document in training)
    for line in written.validation.read_text("utf-8").splitlines():
        assert shingles.containment(json.loads(line)["text"]) < embedded.OVERLAP
    text = "\n".join(document["text"] for document in training)
    made = [row[1] for name in TASK_ROWS for row in rows(written.folder / f"{name}.tsv")]
    assert made and len(set(made)) == len(made)
    assert not any(sentence in text for sentence in made)


def test_documents_say_where_they_come_from(written):
    sources = [json.loads(line)["source"] for line in written.train.read_text("utf-8").splitlines()]
    assert any(source.startswith("email.") and ":" in source for source in sources)
    assert len(set(sources)) > 0.9 * len(sources)


def test_sentences_repeated_from_training_are_left_out(documents):
    parts = split(documents)
    known = Shingles(document.text for part in parts.values() for document in part)
    assert not any(make_task(parts, known).values())
    assert any(make_task(parts, Shingles()).values())


def test_about_counts_what_was_written(written):
    about = written.about
    lines = written.train.read_text("utf-8").splitlines()
    assert about["documents"]["train"]["documents"] == len(lines)
    for name, wanted in TASK_ROWS.items():
        found = len(rows(written.folder / f"{name}.tsv"))
        assert about["task"][name] == {"rows": found, "wanted": wanted}
        assert found < wanted  # six small packages do not give more, and about.json says so
    assert about["packages"].keys() == set(PACKAGES)
    assert about["packages"]["email"]["documents"] > 0
    assert "do not publish" in about["licence"]


def test_a_complete_folder_is_reused_without_reading(written, once):
    again = write_embedded(written.folder, packages=PACKAGES)
    assert len(once) == 1
    assert again == written


def test_the_files_are_the_same_every_time(written, once, tmp_path):
    other = write_embedded(tmp_path / "other", packages=PACKAGES)
    assert len(once) == 2
    assert content(other.folder) == content(written.folder)


@pytest.mark.parametrize("damage", ["about.json", "train.jsonl", "task/test.tsv"])
def test_a_half_written_folder_is_written_again(written, once, damage):
    before = content(written.folder)
    (written.folder / damage).unlink()
    assert write_embedded(written.folder, packages=PACKAGES).about == written.about
    assert len(once) == 2
    assert content(written.folder) == before
    (written.folder / damage).write_bytes(b"{}")
    write_embedded(written.folder, packages=PACKAGES)
    assert len(once) == 3
    assert content(written.folder) == before


def test_other_versions_are_another_corpus(written, once, monkeypatch):
    monkeypatch.setattr(embedded, "package_versions", lambda packages: {"json": "2"})
    again = write_embedded(written.folder, packages=PACKAGES)
    assert len(once) == 2
    assert again.about["fingerprint"] != written.about["fingerprint"]


def test_a_failure_leaves_nothing_behind(tmp_path, once, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "make_task", fail)
    with pytest.raises(KeyboardInterrupt):
        write_embedded(tmp_path / "corpus", packages=PACKAGES)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_refused(tmp_path, once):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"holds thesis.txt, which is not of this corpus"):
        write_embedded(tmp_path, packages=PACKAGES)
    with pytest.raises(InputError, match="is a file; expected a folder"):
        write_embedded(tmp_path / "thesis.txt", packages=PACKAGES)
    assert once == []


def test_packages_without_text_are_an_error(tmp_path):
    with pytest.raises(InputError, match="No docstrings were found in the packages nowhere."):
        write_embedded(tmp_path / "corpus", packages=["nowhere"])

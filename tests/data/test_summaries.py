"""Documentation and its first lines, from packages that are read and never run."""

import json

import pytest

from pipelines.core.tables import read_table
from pipelines.text.data.embedded import summaries as module
from pipelines.text.data.embedded.docstrings import source_files
from pipelines.text.data.embedded.shingles import Shingles
from pipelines.text.data.embedded.summaries import (
    BODY,
    TRAINING,
    read_summaries,
    summaries,
    summarised,
    write_summaries,
)
from pipelines.text.data.embedded.write import OVERLAP, split_of
from tfattn.errors import InputError

PACKAGES = ("json", "email", "asyncio", "unittest", "logging", "http", "argparse", "collections")
BODY_TEXT = (
    "The file is opened for reading, and what it holds is kept in memory until the caller is done "
    "with it. It is then closed, whatever happened in between, so that no handle is left behind."
)


@pytest.fixture(scope="module")
def found():
    return summaries(PACKAGES, processes=1)


def test_the_first_line_is_the_summary_and_the_rest_the_text():
    docstring = f"""Read a file once.

    {BODY_TEXT}

    >>> read("a.txt")

    Args:
        path: where the file is, as a string or as a path of any kind.
    """
    text, summary = summarised(docstring) or ("", "")
    assert summary == "Read a file once."
    assert text == f"{BODY_TEXT}\n\nwhere the file is, as a string or as a path of any kind."


def test_the_rest_of_the_first_paragraph_belongs_to_the_text():
    assert summarised(f"Read a whole\nfile once. {BODY_TEXT}") == (
        BODY_TEXT,
        "Read a whole file once.",
    )


@pytest.mark.parametrize(
    "docstring",
    [
        "Read a file once.",  # no text
        f"Read files.\n\n{BODY_TEXT}",  # two words
        f"Read a file once\n\n{BODY_TEXT}",  # no sentence
        f"reads a file once.\n\n{BODY_TEXT}",
        f"Read a file.\n\n{BODY_TEXT}\n\nWhat it does is to read a file, and no more than that.",
        f"Reading\n=======\n\n{BODY_TEXT}",  # a heading
        f"Read a file {'very ' * 30}slowly.\n\n{BODY_TEXT}",
        f"Read x[0] + y[1] = z[2] once.\n\n{BODY_TEXT}",
        f"Read a file once.\n\n{' '.join(BODY_TEXT.split()[:20])}.",
    ],
)
def test_what_is_no_summary_of_a_text_is_left_out(docstring):
    assert summarised(docstring) is None


def test_pairs_are_fit_and_without_copies(found):
    rows = [*found.train, *found.validation]
    assert len(rows) > 60
    assert (
        len({row.summary.lower() for row in rows}) == len({row.text for row in rows}) == len(rows)
    )
    for row in rows:
        assert 3 <= len(row.summary.split()) <= 30 and len(row.text.split()) >= BODY
        assert row.summary.rstrip(".").lower() not in row.text.lower()


def test_modules_of_validation_are_held_out_of_the_embedded_corpus_too(found):
    assert all(split_of(row.module) in TRAINING for row in found.train)
    assert found.validation
    assert not any(split_of(row.module) in TRAINING for row in found.validation)
    training = Shingles(row.text for row in found.train)
    assert all(training.containment(row.text) < OVERLAP for row in found.validation)


def test_a_summary_is_found_where_its_file_has_it(found):
    row = next(row for row in found.train if row.module.startswith("email."))
    (source,) = [s for s in source_files("email") if s.module == row.module]
    content = " ".join(source.path.read_text("utf-8").split())
    assert row.summary in content and row in read_summaries([source])


def test_several_processes_find_the_same(found):
    assert summaries(PACKAGES, processes=2) == found


def test_tables_are_read_by_their_columns_and_reused(tmp_path, found, monkeypatch):
    calls = []

    def fake(packages, progress):
        calls.append(packages)
        return found

    monkeypatch.setattr(module, "summaries", fake)
    written = write_summaries(tmp_path / "made", packages=PACKAGES)
    table = read_table([str(written.train)], text="text", label="summary")
    assert table.texts == [row.text for row in found.train]
    assert table.labels == [row.summary for row in found.train]
    assert written.about["pairs"] == {
        "train": len(found.train), "validation": len(found.validation)
    }  # fmt: skip
    line = json.loads(written.validation.read_text("utf-8").splitlines()[0])
    assert line["source"].startswith(found.validation[0].module)
    assert write_summaries(tmp_path / "made", packages=PACKAGES) == written
    assert len(calls) == 1


def test_packages_without_summaries_are_an_error(tmp_path):
    with pytest.raises(InputError, match="expected documentation that has summaries.*in nowhere"):
        write_summaries(tmp_path / "made", packages=["nowhere"])
    assert list(tmp_path.iterdir()) == []

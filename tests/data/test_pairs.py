"""Pairs of all kinds of files, in their order, and each complaint with its file and line."""

import gzip
import json

import pytest

from pipelines.text.data.pairs import read_pairs
from tfattn.errors import InputError

ENGLISH, FRENCH = ["One.", "Two?", "Three!"], ["Un.", "Deux ?", "Trois !"]
ROWS = list(zip(ENGLISH, FRENCH, strict=True))


@pytest.fixture
def put(tmp_path):
    """Return a function that writes a file, packed where its name says so, and gives its path."""

    def write(name, text):
        data = text if isinstance(text, bytes) else text.encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(path)

    return write


def lines(texts):
    return "".join(f"{text}\n" for text in texts)


def table(rows, mark="\t"):
    return lines(mark.join(row) for row in rows)


def objects(rows, names=("en", "fr")):
    return lines(json.dumps(dict(zip(names, row, strict=True))) for row in rows)


def rows_of(*files, **options):
    found = read_pairs(files, **options)
    return list(zip(found.sources, found.targets, strict=True))


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_two_texts_are_sources_and_targets_by_their_lines(put, packed):
    first, second = put(f"a.en{packed}", lines(ENGLISH)), put(f"a.fr{packed}", lines(FRENCH))
    found = read_pairs([first, second])
    assert (found.sources, found.targets) == (ENGLISH, FRENCH) and len(found) == 3
    assert found.places == [f"{first}, line {number}" for number in (1, 2, 3)]
    assert found.files == f"{first}, {second}"
    # Their order is the one that is given, not that of the alphabet.
    assert rows_of(second, first) == [row[::-1] for row in ROWS]


def test_lines_blank_in_both_texts_part_paragraphs(put):
    first = put("a.en", "One.\n\n Two? \r\n  \nThree!")
    second = put("a.fr", "\ufeffUn.\n\nDeux ?\n\t\nTrois !\n")
    found = read_pairs([first, second])
    assert (found.sources, found.targets) == (ENGLISH, FRENCH)
    assert found.places == [f"{first}, line {number}" for number in (1, 3, 5)]


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_table_without_a_header_has_two_columns(put, packed):
    path = put(f"a.tsv{packed}", "One.\tUn.\r\n\n Two? \tDeux ?\nThree!\tTrois !")
    found = read_pairs([path])
    assert list(zip(found.sources, found.targets, strict=True)) == ROWS
    assert found.places == [f"{path}, line {number}" for number in (1, 3, 4)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", table([("id", "fr", "en"), *(("7", fr, en) for en, fr in ROWS)])),
        ("a.csv", table([("fr", "en"), *((f'"{fr}"', en) for en, fr in ROWS)], ",")),
        ("a.csv.gz", table([("fr", "en"), *((fr, en) for en, fr in ROWS)], ",")),
        ("a.jsonl", objects(ROWS)),
        ("a.jsonl.gz", objects([*((fr, en) for en, fr in ROWS)], ("fr", "en"))),
        ("a.json", "\n" + objects(ROWS) + "\n"),
    ],
)
def test_columns_are_those_that_are_named(put, name, text):
    path = put(name, text)
    assert rows_of(path, source="en", target="fr") == ROWS
    assert rows_of(path, source="fr", target="en") == [row[::-1] for row in ROWS]


def test_tables_come_in_the_order_they_are_given_and_each_once(put, tmp_path):
    second, first = put("1.tsv", table(ROWS[1:])), put("2.tsv", table(ROWS[:1]))
    assert rows_of(first, second) == ROWS
    assert rows_of(first, str(tmp_path / "*.tsv")) == ROWS
    assert rows_of(str(tmp_path / "*.tsv")) == [*ROWS[1:], *ROWS[:1]]


def test_tables_of_several_kinds_may_share_their_columns(put):
    files = put("a.jsonl", objects(ROWS[:2])), put("a.tsv", table([("en", "fr"), *ROWS[2:]]))
    found = read_pairs(files, source="en", target="fr")
    assert (found.sources, found.targets) == (ENGLISH, FRENCH)
    assert found.places[1:] == [f"{files[0]}, line 2", f"{files[1]}, line 2"]


def test_texts_of_unequal_length_are_told_with_both_counts(put):
    files = put("a.en", lines(ENGLISH)), put("a.fr", lines(FRENCH[:2]))
    with pytest.raises(InputError, match=r"a\.fr: expected the 3 lines of .*a\.en. Received: 2\."):
        read_pairs(files)


@pytest.mark.parametrize(("empty", "name"), [(0, "a.en"), (1, "a.fr")])
def test_a_line_that_is_empty_on_one_side_is_named(put, empty, name):
    sides = [list(ENGLISH), list(FRENCH)]
    sides[empty][1] = " "
    files = put("a.en", lines(sides[0])), put("a.fr", lines(sides[1]))
    with pytest.raises(InputError, match=f"{name}, line 2: expected text. Received: none"):
        read_pairs(files)


@pytest.mark.parametrize(
    ("name", "text", "columns", "message"),
    [
        ("a.tsv", "One.\tUn.\n\tDeux ?\n", (), "line 2, source: expected text. Received: none"),
        ("a.tsv", "One.\t \n", (), "line 1, target: expected text. Received: none"),
        ("a.tsv", "One.\tUn.\t7\n", (), "line 1: expected two columns.*Received: 3 columns"),
        ("a.tsv", "One.\n", (), "line 1: expected two columns.*Received: 1 columns"),
        ("a.tsv", "en\tfr\nOne.\t\n", ("en", "fr"), "line 2, fr: expected text. Received: none"),
        ("a.jsonl", '{"en": "", "fr": "Un."}\n', ("en", "fr"), "line 1, en: expected text. Rec"),
        ("a.jsonl", '{"en": 1, "fr": "Un."}\n', ("en", "fr"), "line 1, en: expected text. .*: 1"),
        ("a.tsv", "en\tfr\nOne.\tUn.\n", ("en", "de"), "header: unknown column 'de'.*data.target"),
        ("a.csv", "en,fr\nOne.,Un.\n", ("english", "fr"), "header: unknown.*'english'.*data.sour"),
        ("a.jsonl", '{"en": "One."}\n', ("en", "fr"), "line 1: unknown column 'fr'"),
        ("a.csv", "en,fr\nOne.,Un.\n", (), "expected --data.source and --data.target"),
        ("a.jsonl", objects(ROWS), (), "expected --data.source and --data.target"),
        ("a.tsv", "\n\n", (), "files: expected pairs. Received: none in .*a.tsv"),
        ("a.tsv", "en\tfr\n", ("en", "fr"), "files: expected pairs. Received: none in .*a.tsv"),
        ("a.tsv", b"One.\tUn.\nTwo\xff\tDeux\n", (), "line 2: expected UTF-8. Received: byte 0xff"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(put, name, text, columns, message):
    options = dict(zip(("source", "target"), columns, strict=bool(columns)))
    path = put(name, text)
    with pytest.raises(InputError, match=message) as error:
        read_pairs([path], **options)
    assert path in str(error.value)


def test_what_is_neither_tables_nor_two_texts_is_refused(put):
    text, other, third = (put(f"a.{name}", lines(ENGLISH)) for name in ("en", "fr", "de"))
    pairs = put("a.tsv", table(ROWS))
    for files in ([text], [text, text], [text, pairs], [text, other, third], [pairs, text, other]):
        with pytest.raises(InputError, match="files: expected tables, or two texts") as error:
            read_pairs(files)
        assert all(name in str(error.value) for name in files)
    with pytest.raises(InputError, match="files: expected at least one file. Received: none for"):
        read_pairs([pairs, "/nowhere/*.tsv"])


def test_bytes_that_are_not_utf8_are_named_or_replaced(put):
    files = put("a.en", b"One.\nTw\xe9?\n"), put("a.fr", lines(FRENCH[:2]))
    with pytest.raises(InputError, match=r"a\.en, line 2: expected UTF-8. Received: byte 0xe9"):
        read_pairs(files)
    assert read_pairs(files, encoding_errors="replace").sources == ["One.", "Tw\ufffd?"]

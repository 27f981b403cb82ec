"""Labelled rows, and the place of everything that is wrong with them."""

import gzip

import numpy as np
import pytest

from pipelines.core.tables import classes_of, label_ids, label_values, read_table
from tfattn.errors import InputError


def write(path, content):
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


TSV = 'label\ttext\n0\tA "quoted word, and\n1\t"\n'
CSV = 'label,text\n0,"A ""quoted word, and"\n1,""""\n'
JSON = '{"label": 0, "text": "A \\"quoted word, and"}\n{"label": "1", "text": "\\"", "more": []}\n'


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize(("name", "content"), [("a.tsv", TSV), ("a.csv", CSV), ("a.jsonl", JSON)])
def test_every_format_gives_the_same_rows(tmp_path, name, content, packed):
    path = write(tmp_path / (name + packed), content)
    table = read_table([path])
    assert table.texts == ['A "quoted word, and', '"'] and table.labels == ["0", "1"]
    assert table.pairs is None and table.source == path and len(table) == 2


def test_several_files_are_one_table_each_with_its_own_header(tmp_path):
    first = write(tmp_path / "a.tsv", "label\ttext\nx\tone\n")
    second = write(tmp_path / "b.csv", "text,label\ntwo,y\n")
    table = read_table([first, second])
    assert table.texts == ["one", "two"] and table.labels == ["x", "y"]
    assert table.source == f"{first}, {second}"


def test_pairs_come_from_two_columns(tmp_path):
    path = write(tmp_path / "a.tsv", "premise\thypothesis\tlabel\na\tb\tyes\nc\td\tno\n")
    table = read_table([path], text="premise", text_pair="hypothesis")
    assert table.texts == ["a", "c"] and table.pairs == ["b", "d"]


@pytest.mark.parametrize("content", ["label\tsentence\n1\tgood\n", "sentence\tlabel\ngood\t1\n"])
def test_of_two_columns_the_one_that_is_not_the_label_is_the_text(tmp_path, content):
    table = read_table([write(tmp_path / "a.tsv", content)])
    assert table.texts == ["good"] and table.labels == ["1"]


def test_blank_lines_and_windows_line_ends_are_no_part_of_rows(tmp_path):
    table = read_table([write(tmp_path / "a.tsv", "label\ttext\r\n\r\n 1 \t one \r\n\r\n")])
    assert table.texts == ["one"] and table.labels == ["1"]


def test_labels_of_json_are_written_as_json_writes_them(tmp_path):
    labels = ("true", "1", "0.5", '"x"', "-3")
    rows = "".join(f'{{"text": "t", "label": {label}}}\n' for label in labels)
    table = read_table([write(tmp_path / "a.jsonl", rows)])
    assert table.labels == ["true", "1", "0.5", "x", "-3"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "", "a.tsv: expected a header"),
        ("a.tsv", "label\ttext\n", "a.tsv: expected rows. Received: none"),
        ("a.jsonl", "\n", "a.jsonl: expected rows. Received: none"),
        ("a.tsv", "lable\ttext\n1\ta\n", "header: unknown column 'label'. Did you mean 'lable'"),
        (
            "a.tsv",
            "label\ttxt\tid\n1\ta\t3\n",
            "header: unknown column .text.*txt.*--data.text names",
        ),
        ("a.tsv", "label\n1\n", "header: unknown column 'text'.*one of: label"),
        ("a.tsv", "label\ttext\n1\ta\n1\n", "a.tsv, line 3: expected 2 fields.*Received: 1 "),
        ("a.tsv", "label\ttext\n1\ta\tb\n", "a.tsv, line 2: expected 2 fields.*Received: 3 "),
        ("a.tsv", "label\ttext\n1\t \n", "a.tsv, line 2, text: expected text. Received: none"),
        (
            "a.tsv",
            "label\ttext\n1\ta\n\tb\n",
            "a.tsv, line 3, label: expected text. Received: none",
        ),
        ("a.csv", 'label,text\n1,"a\nb"\n2,\n', "a.csv, line 4, text: expected text"),
        ("a.csv", 'label,text\n1,"a"b\n', "a.csv, line 2: expected CSV"),
        ("a.jsonl", '{"label": null, "text": "a"}', "line 1, label: expected text. Received: null"),
        ("a.jsonl", '{"label": [1], "text": "a"}', r"line 1, label: .*Received: \[1\]"),
        ("a.jsonl", '{"label": 1, "text": ["a"]}', r"line 1, text: .*Received: \[.a.\]"),
        ("a.jsonl", '{"label": 1, "text": "a"}\n{"text": "b"}', "line 2: unknown column 'label'"),
        (
            "a.tsv",
            b"label\ttext\n1\tna\xefve\n",
            "a.tsv, line 2: expected UTF-8.*0xef at offset 15",
        ),
        ("a.txt", "label text\n", "a.txt: expected a table, .tsv, .csv or .jsonl .*'.txt'"),
    ],
)
def test_a_table_that_cannot_be_used_is_an_input_error(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        read_table([write(tmp_path / name, content)])


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"none for .*nowhere.tsv"):
        read_table([f"{tmp_path}/nowhere.tsv"])
    with pytest.raises(InputError, match="at least one file. Received: none"):
        read_table([])


def test_a_pair_column_that_is_missing_is_an_input_error(tmp_path):
    path = write(tmp_path / "a.tsv", "label\ttext\n1\ta\n")
    with pytest.raises(InputError, match="header: unknown column 'text_b'. Did you mean 'text'"):
        read_table([path], text_pair="text_b")


def test_one_column_cannot_be_two_things(tmp_path):
    path = write(tmp_path / "a.tsv", "label\ttext\n1\ta\n")
    with pytest.raises(InputError, match="expected different ones. Received: text, text, label"):
        read_table([path], text_pair="text")


def test_an_empty_second_text_is_an_input_error(tmp_path):
    path = write(tmp_path / "a.tsv", "label\ttext\tpair\n1\ta\t\n")
    with pytest.raises(InputError, match="line 2, pair: expected text"):
        read_table([path], text_pair="pair")


def test_bytes_that_are_not_utf8_may_be_replaced(tmp_path):
    path = write(tmp_path / "a.tsv", b"label\ttext\n1\tna\xefve\n")
    assert read_table([path], encoding_errors="replace").texts == ["na\ufffdve"]


def labelled(tmp_path, *labels):
    rows = "".join(f"{label}\ttext\n" for label in labels)
    return read_table([write(tmp_path / "a.tsv", "label\ttext\n" + rows)])


def test_classes_that_are_whole_numbers_are_sorted_as_numbers(tmp_path):
    assert classes_of(labelled(tmp_path, "10", "9", "-1", "10")) == ("-1", "9", "10")


def test_other_classes_are_sorted_as_text(tmp_path):
    assert classes_of(labelled(tmp_path, "b", "10", "a", "9")) == ("10", "9", "a", "b")


def test_a_single_class_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="a.tsv: expected at least two classes. Received: 'spam'"):
        classes_of(labelled(tmp_path, "spam", "spam"))


def test_label_ids_count_the_classes(tmp_path):
    ids = label_ids(labelled(tmp_path, "b", "a", "b"), ("a", "b"))
    assert ids.tolist() == [1, 0, 1] and ids.dtype == np.int32


def test_a_label_that_training_has_not_seen_is_an_input_error(tmp_path):
    message = "a.tsv, line 3, label: unknown class 'spma'. Did you mean 'spam'.*one of: ham, spam"
    with pytest.raises(InputError, match=message):
        label_ids(labelled(tmp_path, "ham", "spma"), ("ham", "spam"))


def test_label_values_are_numbers(tmp_path):
    values = label_values(labelled(tmp_path, "1", "-2.5", "1e3"))
    assert values.tolist() == [1, -2.5, 1000] and values.dtype == np.float32


@pytest.mark.parametrize("label", ["good", "nan", "inf", "-inf", "1e39", "1,5"])
def test_a_label_that_is_no_finite_number_is_an_input_error(tmp_path, label):
    message = f"a.tsv, line 3, label: expected a finite number. Received: '{label}'"
    with pytest.raises(InputError, match=message):
        label_values(labelled(tmp_path, "1", label))

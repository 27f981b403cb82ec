"""Documents come out of every kind of file, and what cannot be read is named to the line."""

import csv
import gzip
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

from pipelines.text.data.corpus import expand, read_documents
from tfattn.errors import InputError

ROOT = Path(__file__).parents[2]


def write(path, content):
    data = content if isinstance(content, bytes) else content.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def test_globs_go_into_folders_and_files_come_sorted_and_once(tmp_path):
    for name in ("b.txt", "a.txt", "deep/er/c.txt", "deep/d.md"):
        write(tmp_path / name, name)
    found = expand([f"{tmp_path}/b.txt", f"{tmp_path}/**/*.txt", f"{tmp_path}/deep/../a.txt"])
    assert [path.name for path in found] == ["a.txt", "b.txt", "c.txt"]


def test_the_home_folder_may_be_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.txt", "a")
    assert expand(["~/*.txt"]) == [tmp_path / "a.txt"]


def test_a_file_with_the_characters_of_a_glob_in_its_name_is_found(tmp_path):
    name = write(tmp_path / "part[1].txt", "one")
    assert [str(path) for path in expand([name])] == [name]


def test_one_name_that_is_no_list_is_one_file(tmp_path):
    assert list(read_documents(write(tmp_path / "a.txt", "one"))) == ["one"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("*.txt", r"Received: none for .*\*.txt"), ("", r"a folder; .*\*\*/\*")],
)
def test_a_pattern_that_matches_no_file_is_an_input_error_at_once(tmp_path, pattern, message):
    with pytest.raises(InputError, match=message):
        read_documents([f"{tmp_path}/{pattern}"])


def test_no_files_are_an_input_error_at_once():
    with pytest.raises(InputError, match="at least one file. Received: none"):
        read_documents([])


TEXT = "\n  One line\nand another. \n \t \n\n\nTwo.\r\n\r\nThree\u2028still three\n"


@pytest.mark.parametrize(
    ("separator", "documents"),
    [
        ("blank-line", ["One line\nand another.", "Two.", "Three\u2028still three"]),
        ("line", ["One line", "and another.", "Two.", "Three\u2028still three"]),
        ("file", [TEXT.strip()]),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.TXT", "README", "a.md.gz"])
def test_plain_text_is_cut_at_the_separator(tmp_path, name, separator, documents):
    path = write(tmp_path / name, TEXT)
    assert list(read_documents([path], separator=separator)) == documents


def test_an_unknown_separator_is_an_input_error(tmp_path):
    path = write(tmp_path / "a.txt", "a")
    with pytest.raises(InputError, match="separator: unknown value 'lines'. Did you mean 'line'"):
        read_documents([path], separator="lines")  # type: ignore[arg-type]


def test_files_follow_each_other_and_do_not_run_together(tmp_path):
    paths = [write(tmp_path / name, name) for name in ("b.txt", "a.txt")]
    assert list(read_documents(paths)) == ["a.txt", "b.txt"]


def test_files_without_text_give_no_documents(tmp_path):
    paths = [write(tmp_path / name, text) for name, text in (("a.txt", ""), ("b.txt", " \n\n"))]
    assert list(read_documents([*paths, write(tmp_path / "c.jsonl", "\n")])) == []


ROWS = [("1", 'He said "hi", twice'), ("2", " "), ("3", "dritter")]
DOCUMENTS = ['He said "hi", twice', "dritter"]


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_tables_and_json_lines_give_one_column(tmp_path, packed):
    lines = [json.dumps({"id": i, "text": text}) for i, text in ROWS]
    write(tmp_path / f"a.jsonl{packed}", "\n\n".join(lines))
    write(tmp_path / f"b.json{packed}", "\n".join(lines) + "\n")
    write(tmp_path / f"c.tsv{packed}", "id\ttext\n" + "".join(f"{i}\t{t}\n" for i, t in ROWS))
    with open(tmp_path / "d.csv", "w", newline="") as file:
        csv.writer(file).writerows([("id", "text"), *ROWS])
    write(tmp_path / f"d.csv{packed}", (tmp_path / "d.csv").read_bytes())
    for name in ("a.jsonl", "b.json", "c.tsv", "d.csv"):
        assert list(read_documents([f"{tmp_path}/{name}{packed}"])) == DOCUMENTS, name


def test_a_csv_field_may_have_several_lines_and_be_long(tmp_path):
    long = "word " * 50_000
    path = write(tmp_path / "a.csv", f'text\r\n"one\r\n\r\ntwo"\r\n"{long}"\r\n')
    assert list(read_documents([path])) == ["one\r\n\r\ntwo", long.strip()]


def test_a_byte_order_mark_is_not_text(tmp_path):
    paths = [
        write(tmp_path / "a.txt", "\ufeffone"),
        write(tmp_path / "b.csv", "\ufefftext\ntwo"),
        write(tmp_path / "c.jsonl", '\ufeff{"text": "three"}'),
    ]
    assert list(read_documents(paths)) == ["one", "two", "three"]


def test_another_column_may_be_asked_for(tmp_path):
    path = write(tmp_path / "a.tsv", "text\tbody\nno\tyes\n")
    assert list(read_documents([path], column="body")) == ["yes"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.tsv",
            "id\ttexts\n1\tone\n",
            "a.tsv, header: unknown column 'text'. Did you mean 'texts'",
        ),
        ("a.csv", "id,body\n1,one\n", "a.csv, header: unknown column 'text'.*one of: body, id"),
        ("a.jsonl", '{"text": "a"}\n\n{"body": "b"}', "a.jsonl, line 3: unknown column 'text'"),
        ("a.jsonl", '{"text": "a"}\n{"text": 5}', "a.jsonl, line 2, text: .*text. Received: 5"),
        ("a.jsonl", '{"text": null}', "line 1, text: expected text. Received: null"),
        ("a.jsonl", '{"text": "a"', "a.jsonl, line 1: expected one JSON object a line"),
        ("a.jsonl", "[" * 100_000, "a.jsonl, line 1: expected one JSON object a line"),
        ("a.json", '["a", "b"]', r"a.json, line 1: expected a JSON object. Received: \[.a"),
        ("a.jsonl", '{"text": "\\ud83d"}', r"line 1, text: .*half a character, '\\ud83d'; --data"),
        ("a.tsv", "id\ttext\n1\tone\ttwo\n", "line 2: expected 2 fields.*Received: 3 fields"),
        ("a.csv", "id,text\n1\n", "line 2: expected 2 fields, as in the header. Received: 1 "),
        ("a.csv", 'text\nfine\n"no end\nof it\n', "a.csv, line 4: expected CSV. unexpected end"),
        ("a.csv", "text,text\na,b\n", "a.csv, line 1: expected each column once"),
        ("a.tsv", "", "a.tsv: expected a header"),
        ("a.csv", "\n\n", "a.csv: expected a header"),
    ],
)
def test_a_table_that_is_malformed_is_an_input_error(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        list(read_documents([write(tmp_path / name, content)]))


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv", "a.jsonl", "a.txt.gz"])
def test_bytes_that_are_not_utf8_are_named_with_file_line_and_offset(tmp_path, name):
    head = {"a.jsonl": b'{"text": "a"}\n{"text": "'}.get(name, b"text\n")
    path = write(tmp_path / name, head + "naïve".encode("latin-1") + b'"}\n' * ("json" in name))
    place = f"{name}, line 2: expected UTF-8. Received: byte 0xef at offset {len(head) + 2}; "
    with pytest.raises(InputError, match=f"{place}--data.encoding-errors replace"):
        list(read_documents([path]))
    assert "na\ufffdve" in "".join(read_documents([path], encoding_errors="replace"))


def test_half_characters_are_replaced_where_that_is_asked_for(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "\\ud83d \\ud83d\\ude00"}')
    (text,) = read_documents([path], encoding_errors="replace")
    assert text == "\ufffd \U0001f600"


@pytest.mark.parametrize("damage", [lambda d: d[:-9], lambda d: b"text", lambda d: d[:20] + d[21:]])
def test_a_damaged_gz_is_an_input_error(tmp_path, damage):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(damage(gzip.compress(b"some text that is long enough " * 20)))
    with pytest.raises(InputError, match="a.txt.gz: expected a readable file"):
        list(read_documents([str(path)]))


def test_a_file_that_vanishes_is_an_input_error(tmp_path):
    documents = read_documents([write(tmp_path / "a.txt", "a")])
    (tmp_path / "a.txt").unlink()
    with pytest.raises(InputError, match="a.txt: expected a readable file"):
        next(documents)


def test_documents_are_a_stream(tmp_path):
    documents = read_documents([write(tmp_path / "a.txt", b"fine\n\nbad \xff\n\n")])
    assert next(documents) == "fine"
    with pytest.raises(InputError, match="line 3"):
        next(documents)


@pytest.fixture
def tfds(monkeypatch):
    """Stand in for tensorflow_datasets, which is not installed here."""
    loaded = []

    def load(name, *, split, shuffle_files):
        loaded.append((name, split, shuffle_files))
        if name == "unknown":
            raise ValueError("Dataset unknown not found")
        return [{"text": b" one ", "label": 1}, {"text": "zwö".encode()}, {"text": b" "}]

    fake = types.SimpleNamespace(load=load, as_numpy=lambda data: data, loaded=loaded)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
    return fake


def test_tensorflow_datasets_come_after_the_files(tfds, tmp_path):
    files = ["tfds:wiki/2023.en/train[:5%]", write(tmp_path / "a.txt", "file")]
    assert list(read_documents(files)) == ["file", "one", "zwö"]
    assert tfds.loaded == [("wiki/2023.en", "train[:5%]", False)]


@pytest.mark.parametrize(
    ("entry", "column", "message"),
    [
        ("tfds:imdb", "text", "expected tfds:NAME/SPLIT. Received: 'tfds:imdb'"),
        ("tfds:imdb/", "text", "expected tfds:NAME/SPLIT"),
        ("tfds:unknown/train", "text", "tfds:unknown/train: .*Dataset unknown not found"),
        ("tfds:imdb/train", "texts", "unknown column 'texts'. Did you mean 'text'"),
        ("tfds:imdb/train", "label", "example 0, label: expected text. Received: int"),
    ],
)
def test_a_data_set_that_cannot_be_used_is_an_input_error(tfds, entry, column, message):
    with pytest.raises(InputError, match=message):
        list(read_documents([entry], column=column))


def test_tensorflow_datasets_that_are_not_installed_are_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match="pip install tensorflow-datasets"):
        list(read_documents(["tfds:imdb_reviews/train"]))


def test_reading_files_imports_no_tensorflow(tmp_path):
    path = write(tmp_path / "a.txt", "a")
    code = (
        "import sys; from pipelines.core import tables; "
        "from pipelines.text.data import corpus, store; "
        "from pipelines.text.tokenization import bytepair, wordpiece\n"
        f"print(list(corpus.read_documents([{path!r}])), 'tensorflow' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "['a'] False\n"

"""A store is whole or not there, and says so when it was changed."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.text.data import store as module
from pipelines.text.data.store import Store, write_store
from pipelines.text.tokenization.wordpiece import WordPiece
from tfattn.errors import InputError

ROOT = Path(__file__).parents[2]


class Bytes:
    """A tokenizer whose tokens are bytes; spaces are none."""

    def __init__(self, size=256):
        self.size = size
        self.fingerprint = hashlib.sha256(b"bytes %d" % size).hexdigest()
        self.batches = []

    def encode_batch(self, texts):
        self.batches.append(len(texts))
        parts = [text.replace(" ", "").encode() for text in texts]
        ids = np.frombuffer(b"".join(parts), np.uint8).astype(np.int32)
        return ids + (self.size - 256), np.array([len(part) for part in parts], np.int64)


DOCUMENTS = ["first document", "zweites", "x", "the last of them"]


@pytest.fixture
def written(tmp_path):
    return write_store(tmp_path / "store", DOCUMENTS, Bytes(), source="four documents")


def test_a_store_gives_back_every_document(written):
    assert len(written) == 4 and written.meta.source == "four documents"
    for i, text in enumerate(DOCUMENTS):
        assert bytes(written.document(i).astype(np.uint8)).decode() == text.replace(" ", "")
    assert written.lengths.tolist() == [13, 7, 1, 13] and written.lengths.dtype == np.int64
    assert written.tokens.dtype == np.uint16 and written.meta.tokens == 34


def test_an_opened_store_is_the_one_that_was_written(written):
    opened = Store.open(written.folder, Bytes())
    assert opened.meta == written.meta and np.array_equal(opened.tokens, written.tokens)
    assert sorted(path.name for path in written.folder.iterdir()) == [
        "meta.json",
        "offsets.bin",
        "tokens.bin",
    ]
    assert [path.name for path in written.folder.parent.iterdir()] == ["store"]


def test_a_store_cannot_be_written_to(written):
    with pytest.raises(ValueError, match="read-only"):
        written.document(0)[0] = 1


@pytest.mark.parametrize("index", [-1, 4])
def test_a_document_that_is_not_there_is_an_index_error(written, index):
    with pytest.raises(IndexError, match="from 0 to 3"):
        written.document(index)


@pytest.mark.parametrize(("size", "dtype"), [(65535, np.uint16), (65536, np.uint32)])
def test_large_vocabularies_take_four_bytes_a_token(tmp_path, size, dtype):
    store = write_store(tmp_path / "store", ["abc"], Bytes(size))
    assert store.tokens.dtype == dtype
    assert store.document(0).tolist() == [size - 256 + byte for byte in b"abc"]


def test_real_ids_survive_the_store(tmp_path):
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", ".")
    store = write_store(tmp_path / "store", ["The cats.", "a cat"], WordPiece(words))
    assert [store.document(i).tolist() for i in range(2)] == [[5, 6, 7, 8], [1, 6]]


def test_documents_without_a_token_are_left_out(tmp_path):
    store = write_store(tmp_path / "store", ["", "ab", "  ", "c", ""], Bytes())
    assert store.lengths.tolist() == [2, 1]


def test_documents_are_encoded_in_chunks_and_progress_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_CHARACTERS", 10)
    tokenizer, seen = Bytes(), []
    documents = iter(["abc"] * 5 + ["a" * 50] + [" "])
    write_store(tmp_path / "store", documents, tokenizer, progress=lambda *now: seen.append(now))
    assert sorted(tokenizer.batches) == [1, 2, 4] and seen == [(4, 12), (6, 65), (7, 65)]


def test_at_most_a_thousand_documents_are_held(tmp_path):
    tokenizer = Bytes()
    store = write_store(tmp_path / "store", ("a" for _ in range(2500)), tokenizer)
    assert sorted(tokenizer.batches) == [500, 1000, 1000] and len(store) == 2500


def test_threads_write_what_one_call_after_another_would(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ab cd"), rng.integers(0, 60))) for _ in range(3000)]
    monkeypatch.setattr(module, "CHUNK_DOCUMENTS", 7)

    def files(name):
        seen = []
        folder = tmp_path / name
        write_store(folder, texts, Bytes(), progress=lambda *now: seen.append(now))
        return {path.name: path.read_bytes() for path in folder.iterdir()}, seen

    threads = files("threads")
    monkeypatch.setattr(module, "mapped", lambda encode, chunks: ((c, encode(c)) for c in chunks))
    assert threads == files("in turn") and len(threads[1]) == 429


def test_an_error_of_the_tokenizer_is_raised_as_it_is_and_leaves_nothing(tmp_path, monkeypatch):
    class Picky(Bytes):
        def encode_batch(self, texts):
            if "bad" in texts:
                raise InputError("text: expected a good one.")
            return super().encode_batch(texts)

    monkeypatch.setattr(module, "CHUNK_DOCUMENTS", 3)
    with pytest.raises(InputError, match="expected a good one"):
        write_store(tmp_path / "store", ["good"] * 50 + ["bad"] + ["good"] * 50, Picky())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("documents", "received"), [([], "none"), ([" ", ""], "2 without any")])
def test_nothing_to_store_is_an_input_error_and_leaves_nothing(tmp_path, documents, received):
    with pytest.raises(InputError, match=received):
        write_store(tmp_path / "store", documents, Bytes())
    assert not list(tmp_path.iterdir())


def test_an_error_in_the_documents_leaves_nothing(tmp_path):
    def documents():
        yield from ["a"] * 1500
        raise InputError("corpus.txt, line 7: expected UTF-8.")

    with pytest.raises(InputError, match="line 7"):
        write_store(tmp_path / "store", documents(), Bytes())
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_an_input_error_and_leaves_nothing(tmp_path):
    def documents():
        yield "a"
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="store: expected to be able to write.*No space left"):
        write_store(tmp_path / "store", documents(), Bytes())
    assert not list(tmp_path.iterdir())


def test_a_store_is_never_overwritten(written):
    before = (written.folder / "tokens.bin").read_bytes()
    with pytest.raises(InputError, match="expected a folder that is new or empty"):
        write_store(written.folder, ["other"], Bytes())
    assert (written.folder / "tokens.bin").read_bytes() == before


def test_an_empty_folder_may_be_the_place(tmp_path):
    (tmp_path / "store").mkdir()
    assert len(write_store(tmp_path / "store", ["a"], Bytes())) == 1


def test_a_place_that_cannot_be_a_folder_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected to be able to write there"):
        write_store(tmp_path / "file" / "store", ["a"], Bytes())


def test_two_writers_do_not_meet(tmp_path):
    def documents():
        yield "a"
        with pytest.raises(InputError, match="Another process does"):
            write_store(tmp_path / "store", ["b"], Bytes())
        yield "c"

    store = write_store(tmp_path / "store", documents(), Bytes())
    assert bytes(store.tokens.astype(np.uint8)) == b"ac"


def test_a_store_that_appears_meanwhile_is_not_replaced(tmp_path):
    def documents():
        yield "slow"
        os.rename(tmp_path / "quick", tmp_path / "store")

    write_store(tmp_path / "quick", ["quick"], Bytes())
    with pytest.raises(InputError, match="expected to be able to write there"):
        write_store(tmp_path / "store", documents(), Bytes())
    assert len(Store.open(tmp_path / "store").document(0)) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_store import Bytes
from pipelines.text.data import store

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def documents():
    for i in range(5000):
        if i == 3500 and {where!r} == "documents":
            die()
        yield "some text " * 10

if {where!r} == "meta":
    store.Meta.save = die
if {where!r} == "rename":
    os.replace = die
store.write_store({folder!r}, documents(), Bytes())
"""


@pytest.mark.parametrize("where", ["documents", "meta", "rename"])
def test_a_writer_killed_leaves_no_store_and_the_next_clears_up(tmp_path, where):
    folder = tmp_path / "store"
    code = KILLED.format(tests=os.path.dirname(__file__), where=where, folder=str(folder))
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert run.returncode == -signal.SIGKILL
    assert (tmp_path / ".store.partial" / "tokens.bin").exists()  # it was in the middle of it
    assert not folder.exists()
    with pytest.raises(InputError, match="meta.json: expected the description of a token store"):
        Store.open(folder)
    assert write_store(folder, ["ab"], Bytes()).lengths.tolist() == [2]
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("name", ["tokens.bin", "offsets.bin"])
@pytest.mark.parametrize("place", [0, -1])
def test_a_flipped_bit_is_found(written, name, place):
    path = written.folder / name
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"{name}: expected SHA-256"):
        Store.open(written.folder)


@pytest.mark.parametrize("name", ["tokens.bin", "offsets.bin"])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_cut_short_or_grown_is_found(written, name, change):
    path = written.folder / name
    data = path.read_bytes()
    path.write_bytes(data[:-1] if change < 0 else data + b"\0")
    message = f"{name}: expected {len(data)} bytes. Received: {len(data) + change} bytes"
    with pytest.raises(InputError, match=message):
        Store.open(written.folder)


@pytest.mark.parametrize("name", ["tokens.bin", "offsets.bin", "meta.json"])
def test_a_missing_file_is_named(written, name):
    (written.folder / name).unlink()
    with pytest.raises(InputError, match=f"{name}: "):
        Store.open(written.folder)


def test_another_tokenizer_is_an_input_error(written):
    with pytest.raises(InputError, match="meta.json, tokenizer: expected .* in use"):
        Store.open(written.folder, Bytes(257))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, "meta.json, format: expected 2. Received: 1"),
        ({"dtype": "object"}, "meta.json, dtype: expected '<u2' or '<u4'"),
        ({"tokens": "many"}, r"meta.json.*tokens"),
        ({"tokens": -1}, "meta.json, tokens: expected a count"),
        ({"documents": 5}, "offsets.bin: expected 48 bytes"),
        ({"tokens": 33}, "tokens.bin: expected 66 bytes"),
        ({"dtype": "<u4"}, "tokens.bin: expected 136 bytes"),
        ({"colour": "red"}, "meta.json.*unknown field 'colour'"),
    ],
)
def test_a_description_that_was_changed_is_found(written, change, message):
    path = written.folder / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        Store.open(written.folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"store"', "{}"])
def test_a_description_that_is_none_is_an_input_error(written, text):
    (written.folder / "meta.json").write_text(text)
    with pytest.raises(InputError, match="meta.json"):
        Store.open(written.folder)


def test_offsets_that_do_not_rise_are_found_whatever_the_checksum(written):
    offsets = np.array([0, 20, 13, 21, 34], "<u8").tobytes()
    (written.folder / "offsets.bin").write_bytes(offsets)
    path = written.folder / "meta.json"
    changed = {"offsets_sha256": hashlib.sha256(offsets).hexdigest()}
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(InputError, match="expected rising offsets"):
        Store.open(written.folder)

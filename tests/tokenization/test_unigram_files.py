"""Folders of SentencePiece models: ours, T5's as published, and damaged ones."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from sentencepiece import SentencePieceTrainer
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from pipelines.text.tokenization.tokenizer import has_tokenizer, load_tokenizer
from pipelines.text.tokenization.unigram import Unigram, train_unigram
from pipelines.text.tokenization.unigram_files import MODEL, OPTIONS
from tfattn.errors import InputError

ROOT = Path(__file__).parents[2]
TEXT = "the cat sat on the mat, and cats were sitting there too"
DAMAGE = """
import random, sys
from pathlib import Path
from pipelines.text.tokenization.unigram import Unigram
from tfattn.errors import InputError

folder = Path(sys.argv[1])
model = (folder / "spiece.model").read_bytes()
for seed in range(60):
    draw = random.Random(seed)
    held = bytearray(model)
    if seed % 3 == 0:
        held = bytearray(draw.randbytes(draw.choice((1, 30, 3000, 300_000))))
    elif seed % 3 == 1:
        del held[draw.randrange(len(held)):]
    else:
        for _ in range(draw.choice((1, 30))):
            held[draw.randrange(len(held))] = draw.randrange(256)
    (folder / "spiece.model").write_bytes(held)
    try:
        found = Unigram.load(folder)
        print("loaded", seed % 3, len(found.decode(range(found.size))) > 0)
    except InputError as error:
        print("refused", seed % 3, str(error).startswith(f"{folder / 'spiece.model'}: expected"))
"""


def sentencepiece(**options):
    held = io.BytesIO()
    chosen = {"vocab_size": 30, "hard_vocab_limit": False, "minloglevel": 2}
    chosen |= {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1} | options
    SentencePieceTrainer.train(sentence_iterator=iter([TEXT]), model_writer=held, **chosen)
    return held.getvalue()


@pytest.fixture(scope="module")
def tokenizer():
    return train_unigram([TEXT], 500, sentinels=10)


@pytest.fixture(scope="module")
def published():
    return sentencepiece()


def test_what_is_written_is_read_again(tokenizer, tmp_path):
    assert not has_tokenizer(tmp_path)
    tokenizer.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [OPTIONS, MODEL]
    assert json.loads((tmp_path / OPTIONS).read_text()) == {"sentinels": 10}
    found = load_tokenizer(tmp_path)
    assert has_tokenizer(tmp_path) and found == tokenizer
    assert found.fingerprint == tokenizer.fingerprint


def test_what_decides_on_ids_is_in_the_fingerprint(tokenizer, published):
    fewer = Unigram(tokenizer.model, 9)
    assert len({tokenizer.fingerprint, fewer.fingerprint, Unigram(published, 10).fingerprint}) == 3
    with pytest.raises(InputError, match="extra_ids: expected sentinels, 0 or more. Received: -1"):
        Unigram(tokenizer.model, -1)


@pytest.mark.parametrize(
    ("files", "sentinels"),
    [
        ({}, 0),
        ({"config.json": {"model_type": "t5"}}, 100),
        ({"config.json": {"model_type": "mt5"}}, 100),
        ({"config.json": {"model_type": "albert"}}, 0),
        ({"config.json": {"model_type": "t5"}, "tokenizer_config.json": {}}, 100),
        ({"config.json": {"model_type": "t5"}, "tokenizer_config.json": {"extra_ids": 7}}, 7),
        ({"tokenizer_config.json": {"extra_ids": 100}, OPTIONS: {"sentinels": 3}}, 3),
    ],
)
def test_a_published_folder_says_how_many_sentinels(files, sentinels, published, tmp_path):
    (tmp_path / MODEL).write_bytes(published)
    for name, held in files.items():
        (tmp_path / name).write_text(json.dumps(held))
    found = load_tokenizer(tmp_path)
    pieces = found.size - sentinels
    assert found.sentinels == tuple(range(pieces + sentinels - 1, pieces - 1, -1))


def test_sentinels_may_be_pieces_as_those_of_mt5(tmp_path):
    names = ["▁<extra_id_2>", "▁<extra_id_1>", "▁<extra_id_0>"]
    (tmp_path / MODEL).write_bytes(sentencepiece(user_defined_symbols=names))
    (tmp_path / "config.json").write_text('{"model_type": "mt5"}')
    found = load_tokenizer(tmp_path)
    assert [found.vocabulary[i] for i in found.sentinels] == names[::-1]
    assert found.decode(found.sentinels) == "<extra_id_0> <extra_id_1> <extra_id_2>"


@pytest.mark.parametrize(
    ("name", "held", "message"),
    [
        (OPTIONS, "{", r"spiece\.json: expected options in JSON"),
        (OPTIONS, "[]", r"spiece\.json: expected an object of options. Received: \[\]"),
        (OPTIONS, "{}", r"spiece\.json, sentinels: expected a number .* Received: null"),
        (OPTIONS, '{"sentinels": true}', r"spiece\.json, sentinels: .* Received: true"),
        (OPTIONS, '{"sentinels": -1}', r"spiece\.json, sentinels: .* Received: -1"),
        (MODEL, "", r"spiece\.model: expected a SentencePiece model. Received: 0 bytes without"),
        (MODEL, "the cat\n", r"spiece\.model: expected a SentencePiece model. Received: 8 bytes"),
    ],
)
def test_a_malformed_file_is_told(name, held, message, tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / name).write_text(held)
    with pytest.raises(InputError, match=message):
        load_tokenizer(tmp_path)


def test_a_number_of_sentinels_that_is_none_is_told(published, tmp_path):
    (tmp_path / MODEL).write_bytes(published)
    (tmp_path / "tokenizer_config.json").write_text('{"extra_ids": "many"}')
    with pytest.raises(InputError, match=r'_config\.json, extra_ids: expected .* Received: "many"'):
        load_tokenizer(tmp_path)


def test_a_model_of_another_kind_is_told(tmp_path):
    for options, message in (
        ({"model_type": "bpe"}, r"expected a SentencePiece model of the kind unigram.*: bpe"),
        ({"pad_id": -1, "eos_id": -1, "unk_id": 0}, r"with <pad>.* Missing: <pad>, </s>"),
    ):
        (tmp_path / MODEL).write_bytes(sentencepiece(**options))
        with pytest.raises(InputError, match=rf"spiece\.model: .*{message}"):
            load_tokenizer(tmp_path)


def test_a_file_cut_between_two_of_its_parts_is_told(published, tmp_path):
    whole, part = ModelProto.FromString(published), ModelProto()
    part.pieces.extend(whole.pieces)
    for given in ("trainer_spec", "normalizer_spec"):
        assert published.startswith(part.SerializeToString())
        (tmp_path / MODEL).write_bytes(part.SerializeToString())
        with pytest.raises(InputError, match=r"spiece\.model: .* without all its parts"):
            load_tokenizer(tmp_path)
        getattr(part, given).CopyFrom(getattr(whole, given))


def test_a_damaged_file_is_refused_or_read_but_never_ends_the_process(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    command = [sys.executable, "-c", DAMAGE, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 60 and not any(line.endswith("False") for line in lines)
    assert not any(line.startswith(("loaded 0", "loaded 1")) for line in lines)


def test_a_folder_without_its_model_is_told(tmp_path):
    with pytest.raises(InputError, match=r"spiece\.model: expected a SentencePiece model"):
        Unigram.load(tmp_path)

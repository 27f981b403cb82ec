"""The folder of a tokenizer is ours or Hugging Face's, and what is wrong with it is named."""

import json
import os

import pytest

from pipelines.text.tokenization.wordpiece import WordPiece
from tfattn.errors import InputError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_folder(folder, tokens, config=None):
    data = tokens if isinstance(tokens, bytes) else "\n".join(tokens).encode()
    (folder / "vocab.txt").write_bytes(data)
    if config is not None:
        text = config if isinstance(config, str) else json.dumps(config)
        (folder / "tokenizer_config.json").write_text(text)
    return folder


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_saved_folder_says_what_hugging_face_reads(tmp_path, lowercase):
    WordPiece((*SPECIAL, "a"), lowercase).save(tmp_path / "new" / "folder")
    config = json.loads((tmp_path / "new" / "folder" / "tokenizer_config.json").read_text())
    assert config == {"model_type": "bert", "do_lower_case": lowercase}
    text = (tmp_path / "new" / "folder" / "vocab.txt").read_text()
    assert text.split("\n") == [*SPECIAL, "a", ""]


def test_a_crash_while_saving_leaves_no_vocabulary(tmp_path, monkeypatch):
    def crash(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        WordPiece((*SPECIAL, "a")).save(tmp_path)
    assert not (tmp_path / "vocab.txt").exists()


def test_tokens_with_odd_line_separators_survive_the_folder(tmp_path):
    odd = WordPiece((*SPECIAL, "a\u2028b", "\x85", "\u3000"))
    odd.save(tmp_path)
    assert WordPiece.load(tmp_path) == odd


def test_a_folder_without_options_is_uncased_as_at_hugging_face(tmp_path):
    assert WordPiece.load(write_folder(tmp_path, [*SPECIAL, "a"])).lowercase


def test_windows_line_ends_and_a_byte_order_mark_are_not_part_of_tokens(tmp_path):
    data = "\ufeff" + "\r\n".join([*SPECIAL, "a"]) + "\r\n"
    assert WordPiece.load(write_folder(tmp_path, data.encode())).vocabulary == (*SPECIAL, "a")


def test_the_options_of_a_hugging_face_folder_are_read(tmp_path):
    options = {"do_lower_case": False, "strip_accents": None, "tokenize_chinese_chars": True}
    loaded = WordPiece.load(
        write_folder(tmp_path, [*SPECIAL, "a"], options | {"cls_token": "[CLS]"})
    )
    assert loaded.lowercase is False


@pytest.mark.parametrize(
    ("tokens", "config", "message"),
    [
        ([*SPECIAL, "a", "b", "a"], None, r"vocab.txt, line 8: .* once.*'a', as in line 6"),
        (["[PAD]", "[UNK]", "[MASK]", "a"], None, r"vocab.txt: .*Missing: \[CLS\] \[SEP\]"),
        ([*SPECIAL, "", "b"], None, "vocab.txt, line 6: expected a token without blanks"),
        ([*SPECIAL, "a b"], None, "vocab.txt, line 6: .*'a b'"),
        ([*SPECIAL, "a\0"], None, "vocab.txt, line 6: "),
        ([*SPECIAL, "##" + "é" * 129], None, "line 6: .* at most 256 bytes. Received: 258 bytes"),
        (b"", None, "vocab.txt, line 1: "),
        ("\n".join(SPECIAL).encode() + b"\n\xff", None, "vocab.txt, line 6: expected UTF-8"),
        ([*SPECIAL], "{", "tokenizer_config.json: expected the options"),
        ([*SPECIAL], [], "tokenizer_config.json: expected an object"),
        ([*SPECIAL], {"do_lower_case": "yes"}, "do_lower_case: expected true or false"),
        ([*SPECIAL], {"strip_accents": False}, "strip_accents: expected true.*Received: False"),
        ([*SPECIAL], {"tokenize_chinese_chars": False}, "tokenize_chinese_chars: expected true"),
    ],
)
def test_a_malformed_folder_is_an_input_error_that_names_the_place(
    tmp_path, tokens, config, message
):
    with pytest.raises(InputError, match=message):
        WordPiece.load(write_folder(tmp_path, tokens, config))


def test_a_folder_without_a_vocabulary_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="nowhere/vocab.txt: expected a vocabulary"):
        WordPiece.load(tmp_path / "nowhere")

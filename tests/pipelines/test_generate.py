"""Texts from a run: prompts, room in the context, chance that repeats, and the command."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from finished import QUICK, command

from pipelines.__main__ import main
from pipelines.core.finished import open_finished
from pipelines.text.generation.generator import Generator, text_added
from pipelines.text.tokenization.bytepair import train_bytepair
from tfattn.errors import InputError
from tfattn.models.sampling import Sampling

SMALL = ("--model.dim", "16", "--model.hidden-dim", "32", "--data.length", "16")
SHORT = ("--train.steps", "30", "--train.batch", "8", "--train.rate", "1e-2", *QUICK)
SHORT += ("--train.evaluate-every", "30")


@pytest.fixture(scope="module")
def characters(finished, tmp_path_factory):
    """Return a run over characters, with a context of 16."""
    out = tmp_path_factory.mktemp("characters") / "run"
    words = ("--data.files", finished.corpus, *SMALL, *SHORT)
    command("pretrain", "nanogpt-tiny", *words, "--out", out)
    return out


@pytest.fixture(scope="module")
def bytes_(finished, tmp_path_factory):
    """Return a run over bytes and their pairs."""
    out = tmp_path_factory.mktemp("bytes") / "run"
    words = ("--data.files", finished.corpus, *SMALL, *SHORT, "--data.vocab-size", "300")
    command("pretrain", "gpt2-tiny", *words, "--out", out)
    return out


def generator(run, **sampling):
    done = open_finished(str(run))
    return Generator(done.model, done.processor, Sampling(**sampling))


def written(made, prompts, tokens, seed=0):
    *_, last = made.stream([made.encode(prompt) for prompt in prompts], tokens, seed)
    return last


def test_the_command_says_texts_and_streams_them(characters, capsys):
    words = ["generate", str(characters), "--prompt", "the c", "--tokens", "40"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    found = json.loads(out.splitlines()[-1])
    assert found["prompts"] == ["the c"] and len(found["texts"][0]) == 40 == found["tokens"][0]
    assert "the c" + found["texts"][0] in err
    assert main(words) == 0  # the same seed, the same text
    assert json.loads(capsys.readouterr().out)["texts"] == found["texts"]
    assert main([*words, "--seed", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["texts"] != found["texts"]


def test_several_prompts_of_unequal_length_are_continued(bytes_, capsys):
    prompts = ["the cat", "a", "the dog sat on a hill and the cat ran in the park"]
    assert main(["generate", str(bytes_), "--prompt", *prompts, "--tokens", "9", "--greedy"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out.splitlines()[-1])
    assert found["prompts"] == prompts and max(found["tokens"]) <= 9
    assert all(prompt + text in err for prompt, text in zip(prompts, found["texts"], strict=True))
    cut = found["prompt_tokens_cut"]
    assert cut[:2] == [0, 0] and cut[2] > 0
    assert f"prompt 3: {cut[2]} of its {cut[2] + 8} tokens are cut" in " ".join(err.split())


def test_the_likeliest_tokens_are_those_of_whole_passes(characters):
    made = generator(characters, greedy=True)
    ids = made.encode("the c")
    (found,) = written(made, ["the c"], 11)
    for token in found:  # the context of 16 is full with the last
        logits = np.asarray(made.model(np.array([ids])))[0, -1]
        assert token == int(logits.argmax())
        ids.append(token)


def test_a_text_goes_on_beyond_the_context_from_its_later_half(characters):
    made = generator(characters, greedy=True)
    (found,) = written(made, ["the c"], 30)
    ids = made.encode("the c") + found
    assert len(found) == 30
    for place in range(16, len(ids)):  # read again at 16, 24, 32: what stands from 8 before there
        begin = (place - 16) // 8 * 8 + 8
        logits = np.asarray(made.model(np.array([ids[begin:place]])))[0, -1]
        assert ids[place] == int(logits.argmax())


def test_nothing_is_compiled_twice_whatever_the_prompts_are(characters):
    made = generator(characters)
    for prompt, tokens in (("a", 3), ("the cat", 7), ("t", 16), ("the cat sat on a h", 25)):
        written(made, [prompt], tokens)
    assert made.prefill.experimental_get_tracing_count() == 1
    assert made.decode.experimental_get_tracing_count() == 1


def test_a_prompt_that_cannot_be_read_is_told(characters, bytes_, finished, capsys):
    for words, message in (
        ((characters, "--prompt", ""), "prompt: expected text, for this tokenizer has no token to"),
        ((characters, "--prompt", "€"), "prompt: expected the .* characters .* Received: '€'"),
        (
            (characters, "--prompt", "a", "--tokens", "0"),
            r"tokens: expected 1 to 2\*\*20. Received: 0",
        ),
        ((characters, "--prompt", "a", "--temperature", "0"), r"temperature: .*1e6 \(greedy"),
        ((characters, "--prompt", "a", "--top-p", "1.5"), "top_p: expected a share over 0"),
        ((finished.pretrained, "--prompt", "a"), "model: expected a language model with causal"),
        ((finished.classifier, "--prompt", "a"), "model: expected a language model with causal"),
        ((finished.folder, "--prompt", "a"), "expected a run directory"),
    ):
        assert main(["generate", *map(str, words)]) == 2
        _, err = capsys.readouterr()
        assert err.startswith("error: ") and err.count("\n") == 1 and re.search(message, err), err
    made = generator(bytes_)
    assert made.encode("") == [made.tokenizer.end_id]  # bytes have a token to begin with
    with pytest.raises(InputError, match="prompt: expected text"):
        generator(characters).encode("")


# Only what a server has: no path to our code, and nothing of it loaded by the way.
CLIENT = """
import json, sys
import tensorflow as tf
import tensorflow_text
folder, prompts = json.load(sys.stdin)
model = tf.saved_model.load(folder)
texts = tf.constant(prompts, tf.string)
one = model.signatures["serving_default"](text=texts)["text"]
two = model.signatures["sample"](text=texts, seed=tf.constant(5, tf.int64))["text"]
print(json.dumps([[text.decode() for text in found.numpy()] for found in (one, two)]))
print(json.dumps([n for n in sys.modules if n.split(".")[0] in ("tfattn", "pipelines")]))
"""
PROMPTS = ["the cat", "a", "the dog sat on a hill and the cat ran"]


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        ("characters", ("--top-p", "0.9", "--repetition-penalty", "1.2")),
        ("bytes_", ("--beams", "3")),
    ],
)
def test_the_export_gives_the_texts_of_the_command(kind, flags, request, tmp_path):
    run, flags = request.getfixturevalue(kind), ("--tokens", "7", *flags)
    said = command("export", run, "--out", tmp_path / "out", *flags)
    assert (said["inputs"], said["outputs"]) == (["text"], ["text"])
    asked = json.dumps([said["saved_model"], PROMPTS])
    done = subprocess.run(
        [sys.executable, "-c", CLIENT], input=asked, capture_output=True, text=True, cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, check=True,
    )  # fmt: skip
    found, ours = map(json.loads, done.stdout.splitlines()[-2:])
    assert ours == []
    for texts, seed in zip(found, (0, 5), strict=True):
        words = ("generate", run, "--prompt", *PROMPTS, *flags, "--seed", seed)
        assert command(*words)["texts"] == texts
    assert (found[0] != found[1]) == (kind == "characters")  # there is no chance in beams


def test_flags_that_cannot_be_are_told_at_once(characters, finished, tmp_path, capsys):
    run, words = str(characters), ["--prompt", "the", "--tokens"]
    for flags, said in (
        ([*words, str(2**63)], "tokens: expected 1 to 2**20. Received: 9223372036854775808."),
        ([*words, "1", "--seed", "-1"], "seed: expected 0 to 2**32 - 1. Received: -1."),
        ([*words, "1", "--greedy", "--top-p", "0.5"], "top_p: expected none beside greedy"),
    ):
        assert main(["generate", run, *flags]) == 2
        assert capsys.readouterr().err.startswith(f"error: {said}")
    words = ["export", str(finished.classifier), "--out", str(tmp_path / "out"), "--top-p", "0.5"]
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: top-p: expected none, for ") and said.endswith("Received: 0.5.")


def test_a_recipe_of_another_model_is_refused(characters, finished, tmp_path, capsys):
    run = shutil.copytree(characters, tmp_path / "run")
    shutil.copy(finished.classifier / "resolved.json", run / "resolved.json")
    assert main(["export", str(run), "--out", str(tmp_path / "out")]) == 2
    assert "resolved.json: expected what the model in" in capsys.readouterr().err


def test_an_export_with_no_room_for_a_prompt_is_refused(characters, tmp_path, capsys):
    words = ["export", str(characters), "--out", str(tmp_path / "out"), "--tokens"]
    for tokens in ("0", "16"):
        assert main([*words, tokens]) == 2
        assert "tokens: expected 1 to 15, with room for a prompt" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_tokens_that_no_vocabulary_has_add_nothing(texts):
    tokenizer = train_bytepair(texts, 270)
    prompt, added = (tokenizer.encode_batch([text])[0].tolist() for text in ("the cat", " sat"))
    assert text_added(tokenizer, prompt, [tokenizer.size, *added, tokenizer.size + 9]) == " sat"

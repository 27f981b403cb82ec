"""Prompts of in-context learning: how examples are written, what fits, draws that repeat."""

import random

import pytest

from pipelines.experiments.demonstrations import contexts, draw
from pipelines.experiments.prompts import Prompt
from pipelines.text.tokenization.bytepair import train_bytepair
from pipelines.text.tokenization.characters import Characters
from tfattn.errors import InputError

LETTERS = Characters(tuple(" \n:=>abcdefghijklmnopqrstuvwxyz{}"))


def test_a_prompt_is_the_examples_and_the_text_as_they_are():
    prompt = Prompt("q: {text}\\na: {label}", "\\n\\n")
    examples = [("{label} {text}", "yes"), ("{0} %s \\1", "no")]
    expected = "q: {label} {text}\na: yes\n\nq: {0} %s \\1\na: no\n\nq: {}\na:"
    assert prompt.context(examples, "{}") == expected
    assert (prompt.lead, prompt.answer_context) == (" ", "a:")
    assert Prompt("{text}\\n{label}").lead == ""
    assert Prompt("{} {a b} {{text}} { => {label}").context([], "x") == "{} {a b} {x} { =>"


@pytest.mark.parametrize(
    "template", ["", "{text}", "{label}", "{label}{text}", "{text}{text}{label}", "{text}{label}."]
)
def test_a_template_has_a_text_and_then_a_label(template):
    with pytest.raises(InputError, match=r"template: expected \{text\} once, and \{label\} once"):
        Prompt(template)


def test_a_label_has_the_tokens_that_it_has_in_the_whole_text():
    tokenizer = train_bytepair(["a red hat => red\nthe blue sea => blue"] * 9, 300)
    prompt = Prompt()

    def encode(text):
        return tokenizer.encode_batch([text])[0].tolist()

    context = prompt.context([("the sea", "blue")], "a hat")
    for label in ("red", "blue", "hat"):
        parts = encode(context) + encode(prompt.lead + label)
        assert parts == encode(f"{context} {label}")


def test_draws_repeat_and_never_show_the_text_itself():
    pool = ["a", "b", "c", "a", "d", "e"]
    drawn = [[draw(seed, row, 4, pool, pool[row]) for row in range(6)] for seed in range(50)]
    assert drawn == [
        [draw(seed, row, 4, pool, pool[row]) for row in range(6)] for seed in range(50)
    ]
    assert len({str(rows) for rows in drawn}) == 50
    for rows in drawn:
        for row, found in enumerate(rows):
            assert len(set(found)) == 4 and pool[row] not in [pool[i] for i in found]
    assert {i for rows in drawn for i in rows[1]} == {0, 2, 3, 4, 5}  # all the others
    assert draw(3, 0, 2, pool, "a") == draw(3, 0, 4, pool, "a")[:2]


def test_what_does_not_fit_is_dropped_from_the_front():
    prompt, chance = Prompt("{text}:{label}"), random.Random(0)
    texts = ["x" * chance.randint(1, 40) for _ in range(60)]
    examples = [[("y" * chance.randint(1, 9), "b")] * chance.randint(0, 7) for _ in texts]
    read = contexts(LETTERS, prompt, examples, texts, 25)
    for row, (shown, text) in enumerate(zip(examples, texts, strict=True)):
        fits = [n for n in range(len(shown) + 1) if len(text) + 1 + sum(
            len(said) + 3 for said, _ in shown[len(shown) - n :]) <= 25]  # fmt: skip
        count = max(fits, default=0)
        whole = prompt.context(shown[len(shown) - count :], text)
        assert LETTERS.decode(read.ids[row]) == whole[-25:]
        assert (read.shots[row], read.cut[row]) == (count, not fits)
    assert 0 < read.cut.sum() < (read.shots < [len(shown) for shown in examples]).sum() < 60


def test_a_start_token_stays_first_where_a_text_is_cut():
    tokenizer = train_bytepair(["a red hat"] * 9, 257)
    for room in (1, 2, 5):
        (ids,) = contexts(tokenizer, Prompt(), [[]], ["a red hat"], room).ids
        expected = tokenizer.encode_batch(["a red hat =>"])[0].tolist()
        assert ids.tolist() == [tokenizer.start_id, *expected[len(expected) - room + 1 :]]

"""Flags of one task are refused by name where another task is trained, measured or exported."""

from dataclasses import fields

import pytest

from pipelines.__main__ import main
from pipelines.commands import flags
from pipelines.commands.finished import evaluate_command, export_command, given_options
from pipelines.core.evaluate import options_of
from pipelines.domains import tasks
from tfattn.errors import InputError
from tfattn.models.sampling import Sampling

EVALUATE = {"stride": ["--stride", "5"], "beams": ["--beams", "2"], "picture": ["--picture=a.png"]}
SAMPLING = {
    "greedy": ["--greedy"],
    "temperature": ["--temperature", "2"],
    "top-k": ["--top-k", "3"],
    "top-p": ["--top-p", "0.5"],
    "repetition-penalty": ["--repetition-penalty", "2"],
    "beams": ["--beams", "2"],
    "length-penalty": ["--beams", "2", "--length-penalty", "2"],
    "coverage-penalty": ["--beams", "2", "--coverage-penalty", "2"],
}
EXPORT = {"tokens": ["--tokens", "3"], **SAMPLING}


def options(kind):
    """Return the flags of the options of a task."""
    names = {field.name for field in fields(kind)}
    names |= {field.name for field in fields(Sampling)} if "sampling" in names else set()
    return {name.replace("_", "-") for name in names - {"sampling"}}


def test_the_tables_of_this_test_have_every_option_of_every_task():
    every = tasks().values()
    assert {name for task in every for name in options(task.evaluate_options)} == set(EVALUATE)
    assert {name for task in every for name in options(task.export_options)} == set(EXPORT)


@pytest.mark.parametrize("word", tasks())
def test_an_option_that_a_task_does_not_have_is_refused_by_name(word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = tasks()[word]
    for command, kind, words in (
        (evaluate_command(), task.evaluate_options, EVALUATE),
        (export_command(), task.export_options, EXPORT),
    ):
        for name, given in words.items():
            found = given_options(flags.parse(command, ["runs/x", *given], ""))
            assert len(found) == 1
            if name in options(kind):
                assert isinstance(options_of(kind, found, "runs/x"), kind)
                continue
            first = given[0].removeprefix("--").partition("=")[0]  # of those that are given
            with pytest.raises(InputError) as error:
                options_of(kind, found, "runs/x")
            said = rf"{first}: expected none, for runs/x has no use for it\. Received: \S+\.$"
            assert error.match(f"^{said}"), error.value


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("evaluate {run} --stride 5", "stride: expected none, {why} Received: 5."),
        ("evaluate {run} --beams 2", "beams: expected none, {why} Received: 2."),
        ("export {run} --out {out} --tokens 3", "tokens: expected none, {why} Received: 3."),
        ("export {run} --out {out} --greedy", "greedy: expected none, {why} Received: True."),
        ("export {run} --out {out} --top-k 3", "top-k: expected none, {why} Received: 3."),
    ],
)
def test_the_command_refuses_it_in_one_sentence(words, said, finished, tmp_path, capsys):
    run = finished.classifier
    given = words.format(run=run, out=tmp_path / "out").split()
    assert main(given) == 2
    why = f"for {run}, a run of classify, has no use for it."
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"error: {said.format(why=why)}\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "pretrain vit-mini --task image-classification --objective.dropout 2",
            "objective.dropout: expected a share from 0 to below 1. Received: 2.0.",
        ),
        (
            "pretrain vit-mini --task image-classification --objective.classes a a",
            "objective.classes: expected two or more different ones. Received: ('a', 'a').",
        ),
        (
            "pretrain vit-mini --objective.rate 2",
            "objective.rate: expected a share between 0 and 1. Received: 2.0.",
        ),
        (
            "finetune image-classification --image-classification.dropout 2",
            "image-classification.dropout: expected a share from 0 to below 1. Received: 2.0.",
        ),
        (
            "finetune classify --image-classification.dropout 0.1",
            "image-classification: expected no such flags, for the task is classify.",
        ),
    ],
)
def test_a_field_of_a_task_is_named_by_the_flag_that_was_given(words, said, capsys):
    assert main(words.split()) == 2
    assert capsys.readouterr() == ("", f"error: {said}\n")


@pytest.mark.parametrize("command", ["finetune", "pretrain vit-mini --task"])
def test_the_old_word_for_the_classification_of_images_suggests_the_new_one(command, capsys):
    assert main([*command.split(), "image"]) == 2
    out, err = capsys.readouterr()
    said = "error: task: unknown task 'image'. Did you mean 'image-classification'? Expected one"
    assert out == "" and err.startswith(said) and err.count("\n") == 1


def test_a_word_that_begins_several_tasks_is_answered_with_the_nearest(capsys):
    assert main(["pretrain", "bert-tiny", "--task", "masked"]) == 2
    err = capsys.readouterr().err
    assert "Did you mean 'masked-lm'? Expected one of: causal-lm, image" in err

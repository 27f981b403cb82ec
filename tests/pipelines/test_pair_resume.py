"""A run on pairs that died and is started again is, to the last bit, the run that never died."""

from dataclasses import replace

import pytest
from pairs import PAIRS, write_pairs
from safetensors.numpy import load_file
from tiny import QUICK, SILENT, lines

from pipelines.core.engine import Engine
from pipelines.core.spec import Recipe
from pipelines.core.train import train
from pipelines.text.sources import PairData
from pipelines.text.spec import Translation
from tfattn.families import PRESETS, recurrent, transformer

STEPS = 10
LONG = [tuple(3 * f"{text} " for text in pair) for pair in PAIRS[::3]]


class Crash(BaseException):
    """The end of a process, as far as files are concerned."""


@pytest.fixture(params=["transformer-nmt-tiny", "bahdanau-tiny"])
def recipe(request, tmp_path):
    """Return a recipe with dropout, accumulated batches of like length, and averaged weights."""
    files = {
        name: (str(write_pairs(tmp_path / f"{name}.tsv", pairs)),)
        for name, pairs in (("train", PAIRS + LONG), ("validation", PAIRS[::8]))
    }
    data = PairData(**files, algorithm="bpe", vocab_size=300, length=48)
    pair = request.param.startswith("transformer")
    sizes = {"heads": 2, "depth": 1} if pair else {}
    config = PRESETS[request.param].with_fields(
        dim=16, hidden_dim=16, vocab_size=300, max_length=48, dropout=0.2,
        **sizes,
    )  # fmt: skip
    settings = replace(
        QUICK, steps=STEPS, batch_tokens=300, accumulate=2, average=2, keep=2, evaluate_every=5,
        checkpoint_every=3, rate=1e-2,
    )  # fmt: skip
    head = transformer.HEAD if pair else recurrent.HEAD
    return Recipe(config, Translation(head=head), data, settings, SILENT)


def test_a_run_that_died_twice_ends_as_if_it_had_not(recipe, monkeypatch, tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    result, step = train(recipe, whole), Engine.step
    found = lines(whole, "train")
    assert found[-1]["loss"] < found[0]["loss"]
    widths = {line["tokens"] for line in found}
    assert len(widths) > 1  # batches of several buckets

    def dying(self, batch):
        if int(self.optimizer.iterations.numpy()) == last:
            raise Crash
        return step(self, batch)

    for last in (4, 8):  # between checkpoints
        with monkeypatch.context() as patched, pytest.raises(Crash):
            patched.setattr(Engine, "step", dying)
            train(recipe, run)
        assert lines(run)[-1]["step"] == last and not (run / "result.json").exists()
    again = train(recipe, run)
    assert {**again, "seconds": 0} == {**result, "seconds": 0}
    assert lines(run) == lines(whole)
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == ["step-00000009", "step-00000010"]
    for name in ("model/model.safetensors", *(f"checkpoints/{n}/variables.safetensors"
                                              for n in names)):  # fmt: skip
        one, two = (load_file(folder / name) for folder in (whole, run))
        assert set(one) == set(two)
        assert all((one[path] == two[path]).all() for path in one), name

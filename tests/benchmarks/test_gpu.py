"""Models on a GPU: peaks by name, contestants whose environment is there, shares of the peak."""

import json

import pytest

from benchmarks.contest import Times, tell
from benchmarks.gpu import Setting, contestants, peak_of
from benchmarks.work import WORKS


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("another", None),
    ],
)
def test_a_known_device_has_the_peak_of_its_data_sheet(name, peak):
    assert peak_of(name) == peak


def test_published_sizes_are_measured_where_their_environments_are(tmp_path):
    python = tmp_path / "python"
    python.touch()
    setting = Setting(jax=python, peers=tmp_path / "none")
    assert len(setting.work) == 6
    alone = contestants("bert-tiny", setting)
    assert list(alone) == ["tfattn on JAX"]
    assert alone["tfattn on JAX"].environment["KERAS_BACKEND"] == "jax"


def test_the_share_of_the_peak_is_that_of_the_products(tmp_path, capsys):
    out, flops = tmp_path / "table.json", WORKS["bert-tiny"].flops()
    tell("a title", {"a": Times(rounds=[0.5])}, "a", 100, flops, out, peak=4 * flops)
    assert json.loads(out.read_text(encoding="utf-8"))["rows"]["a"]["of_peak"] == 0.5
    assert "50.0%" in capsys.readouterr().out

"""A profile of our step, whose compiled stretches go by their names."""

from benchmarks.profile import profiled


def test_kinds_are_told_by_name():
    seconds, found = profiled("gpt2-tiny", "fused", "float32", 2)
    assert 0 < seconds < 60
    shares = {place.kind: place.share for place in found}
    assert abs(sum(shares.values()) - 1) < 1e-6
    names = {"layer_norm", "gelu_tanh", "dropout_add", "softmax"}
    for name in names:
        assert f"compiled: {name}" in shares, name
        assert f"compiled: {name}_gradient" in shares, name
    assert not any("lambda" in kind for kind in shares)
    assert shares["matrix products"] > 0.05

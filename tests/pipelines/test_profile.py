"""Where the time of a step goes, of events as TensorFlow's profiler writes them."""

import pytest

from pipelines.core.profile import Event, Place, as_markdown, kind_of, own_times, places


def test_what_is_inside_is_taken_off():
    events = [
        Event(0, 100, "a"),
        Event(10, 40, "b"),
        Event(20, 30, "a"),
        Event(50, 60, None),  # of no kind of its own: of that around it
        Event(100, 150, "b"),  # beside it
        Event(200, 210, None),  # within none
        Event(300, 400, "waiting"),
        Event(310, 330, "a"),
    ]
    assert own_times(events) == {"a": 100 - 30 + 10 + 20, "b": 30 - 10 + 50}
    assert own_times(reversed(events)) == own_times(events)
    assert own_times([]) == {}


@pytest.mark.parametrize(
    ("name", "kind"),
    {
        "model/encoder/block_0/feedforward/expand/MatMul:_MklNativeFusedMatMul": "matrix products",
        "gradient_tape/stem/patches/conv/Conv2DBackpropFilter:_MklNativeConv2D": "matrix products",
        "adamw/ResourceApplyAdam_33:ResourceApplyAdam": "optimizer",
        "global_norm/L2Loss_41:L2Loss": "optimizer",
        "gradient_tape/tokens/BiasAdd/BiasAddGrad:BiasAddGrad": "sums of gradients",
        "AddN_4:AddN": "sums of gradients",
        "model/block_0/self/transpose:Transpose": "copies",
        "model/tokens/embed/GatherV2:GatherV2": "copies",
        "model/tokens/Sqrt:Sqrt": "other operations",
        "Pow:Pow": "other operations",
        "BlockUntilReady": "waiting",
        "ExecutorState::Process": None,
        "ThunkExecutor::Execute": None,
    }.items(),
)
def test_operations_are_told_by_their_names(name, kind):
    assert kind_of(name) == kind


def test_a_table_and_no_profile(tmp_path):
    table = as_markdown([Place("copies", 0.0123, 0.75), Place("optimizer", 0.0041, 0.25)])
    assert table.splitlines()[2:] == ["| copies | 12.3 | 75.0% |", "| optimizer | 4.1 | 25.0% |"]
    assert places(tmp_path, 1) == []

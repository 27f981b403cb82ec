"""Where the time of a step goes, by kind of operation, from a profile of TensorFlow's.

An operation runs in a thread, and those inside it are taken off its time. What several threads do
of one operation counts as long as the operation takes: so a row says how long some thread was in
it, and all rows together may be more than the time of the step, or less. Of a GPU the threads that
drive it are told, not what it does itself.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

WAITING = ("KernelAndDeviceFunc::Run", "BlockUntilReady", "ThreadpoolListener")
# Kinds of operations, the first that fits, by what TensorFlow calls them: `path/name:Type`.
KINDS = (
    ("matrix products", r"(MatMul|Einsum|Conv)\w*$"),
    ("optimizer", r"^(adamw|adafactor|global_norm)/|ResourceApply|Assign\w*$"),
    ("sums of gradients", r"(BiasAddGrad|SegmentSum|AddN|:Sum)$"),
    ("copies", r"(Transpose|Reshape|Concat\w*|Pack|Slice\w*|Gather\w*|Cast|Tile|BroadcastTo)$"),
    ("other operations", r"/.*:\w+$|^\w+:\w+$"),
)
_COMPILED = re.compile(r"^a_inference_(.+?)_\d+__")  # name of a function among XLA's modules


class Event(NamedTuple):
    """Something that a thread did."""

    begin: int  # picoseconds
    end: int
    kind: str | None  # None: that of what it is within


@dataclass(frozen=True)
class Place:
    """Time of one kind of operation."""

    kind: str
    seconds: float  # of a step
    share: float  # of all kinds together


def places(folder: Path, steps: int) -> list[Place]:
    """Return where the time of a step went, the most first.

    Args:
        folder: the events of a run, with a profile in it; of several the last.
        steps: how many the profile has.

    Returns:
        Nothing where there is no profile, or none of a processor.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    for path in sorted(folder.glob("plugins/profile/*/*.xplane.pb"))[-1:]:
        space.ParseFromString(path.read_bytes())
    times: dict[str, int] = defaultdict(int)
    for plane in space.planes:
        if "CPU" in plane.name:
            kind = _kinds(plane)
            for line in plane.lines:
                for name, taken in own_times(_events(line, kind)).items():
                    times[name] += taken
    whole = sum(times.values())
    ordered = sorted(times.items(), key=lambda item: -item[1])
    return [Place(kind, taken / 1e12 / steps, taken / whole) for kind, taken in ordered]


def own_times(events: Iterable[Event]) -> dict[str, int]:
    """Return the time of each kind, less what is within it.

    Args:
        events: of one thread, each within another or beside it.
    """
    times: dict[str, int] = defaultdict(int)
    around: list[Event] = []
    for event in sorted(events, key=lambda event: (event.begin, -event.end)):
        while around and around[-1].end <= event.begin:
            around.pop()
        outer = around[-1].kind if around else None
        event = event if event.kind is not None else event._replace(kind=outer)
        taken = event.end - event.begin
        if outer is not None:
            times[outer] -= taken
        if event.kind is not None:
            times[event.kind] += taken
        around.append(event)
    times.pop("waiting", None)
    return dict(times)


def as_markdown(found: list[Place]) -> str:
    """Return a table."""
    rows = [f"| {p.kind} | {p.seconds * 1e3:.1f} | {p.share:.1%} |" for p in found]
    return "\n".join(["| where | ms of threads, a step | share |", "|---|---:|---:|", *rows])


def kind_of(name: str) -> str | None:
    """Return the kind of an operation by TensorFlow's name of it, or None for what is none."""
    if name.startswith(WAITING):
        return "waiting"
    return next((kind for kind, pattern in KINDS if re.search(pattern, name)), None)


def _kinds(plane: Any) -> Callable[[Any], str | None]:
    """Return a function of an event to its kind."""
    names = {key: kind_of(meta.name) for key, meta in plane.event_metadata.items()}
    stats = {key: meta.name for key, meta in plane.stat_metadata.items()}
    module = next((key for key, name in stats.items() if name == "hlo_module"), None)

    def kind(event: Any) -> str | None:
        for stat in event.stats:
            if stat.metadata_id == module:
                name = _COMPILED.match(stat.str_value or stats.get(stat.ref_value, ""))
                return f"compiled: {name[1].strip('_')}" if name else "compiled"
        return names[event.metadata_id]

    return kind


def _events(line: Any, kind: Callable[[Any], str | None]) -> list[Event]:
    return [
        Event(event.offset_ps, event.offset_ps + event.duration_ps, kind(event))
        for event in line.events
    ]

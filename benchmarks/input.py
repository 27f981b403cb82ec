"""From text to masked batches beside KerasHub and transformers, by the work of the processor.

    python -m benchmarks.input

Every contestant is a process of its own; each turns the same texts into WordPiece ids of the same
vocabulary, rows of 128 and masked batches, once a round. What is told is how many thousand tokens
of text a second of CPU time makes, all threads and processes counted, for a machine of many cores
has as much more of it. FastBertTokenizer alone is the bound: it makes ids and nothing else.
Transformers needs `make .venv-parity/ready`.
"""

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import tyro

from benchmarks.contest import Contestant, in_turn, tell
from benchmarks.work import Reading
from pipelines.text.corpora import embedded_corpus
from pipelines.text.tokenization.wordpiece import WordPiece, train_wordpiece

OURS, HUB, TRANSFORMERS = (
    f"benchmarks.contestants.input_{name}" for name in ("ours", "kerashub", "transformers")
)


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    file: Path | None = None  # JSON lines with a `text`; none: the embedded corpus
    vocab_size: int = 8192
    length: int = 128  # tokens a row
    batch: int = 32  # rows
    times: int = 3  # that the texts are read, so that graphs, which are made once, weigh little
    rounds: int = 9  # of each contestant
    peers: Path = Path(".venv-parity/bin/python")  # interpreter that has transformers
    out: Path = Path("runs/benchmarks")  # receives JSON, logs and the vocabulary


def contestants(work: Reading, peers: Path) -> dict[str, Contestant]:
    """Return all contestants by name, the one that others are compared with first."""
    here, given = Path(sys.executable), {"work": asdict(work)}
    rows = {
        "KerasHub": Contestant(here, HUB, given),
        "transformers": Contestant(peers, TRANSFORMERS, given),
        "tfattn": Contestant(here, OURS, given),
        "FastBertTokenizer alone": Contestant(here, OURS, {**given, "ids_alone": True}),
    }
    return {name: contestant for name, contestant in rows.items() if contestant.python.exists()}


def main(setting: Setting) -> None:
    """Measure, and print and write the table."""
    file = setting.file or embedded_corpus() / "train.jsonl"
    vocabulary = setting.out / "input" / "vocabulary"
    once = Reading(str(file), str(vocabulary), setting.length, setting.batch)
    train_wordpiece(once.texts(), setting.vocab_size).save(vocabulary)
    ids, _ = WordPiece.load(vocabulary).encode_batch(once.texts())
    work, tokens = replace(once, times=setting.times), len(ids) * setting.times
    found = contestants(work, setting.peers)
    times = in_turn(found, setting.rounds, setting.out / "input", clock="cpu")
    title = f"{tokens:,} tokens of text to masked rows of {setting.length}: CPU time, thousands"
    tell(title, times, next(iter(found)), tokens // 1000, None, setting.out / "input.json")


if __name__ == "__main__":
    main(tyro.cli(Setting, description=__doc__))

"""Finished runs that were made by the commands as a user makes them, each once a session.

Once for all workers of xdist: the first that needs a run makes it, and others wait for its lock.
"""

import contextlib
import fcntl
import functools
import io
import json
import random
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import tfattn
from pipelines.__main__ import main
from tfattn.families import preset

# The smallest model, without what only slows a test down.
QUICK = shlex.split(
    "--train.compile graph --train.precision float32 "
    "--monitor.no-attention --monitor.no-histograms --monitor.samples 0"
)
SHORT = ["--train.steps", "4", "--train.evaluate-every", "4", *QUICK]
MODEL = shlex.split("--model.dim 16 --model.depth 1 --model.heads 2 --model.hidden-dim 32")
TINY = [*MODEL, "--data.vocab-size", "200", "--data.length", "16", *SHORT]
WORDS = shlex.split("the a cat dog bird sat ran sang on in over mat park hill and while its song")


def command(*words: str) -> dict:
    """Run a command that has to work; return the JSON of its last line."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        assert main([str(word) for word in words]) == 0
    return json.loads(out.getvalue().splitlines()[-1])


def once(path: Path, make: Callable[[], object]) -> Path:
    """Call `make`, which writes `path`, in one process of a session; return the path."""
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the file, and with a process that is killed
        made = Path(f"{path}.made")
        if not made.exists():
            make()
            made.touch()
    return path


class Finished:
    """The files and, made when first asked for, the runs on them."""

    def __init__(self, folder: Path):
        self.folder, self.draw = folder, random.Random(1)
        self.corpus = folder / "corpus" / "a.txt"
        once(folder, self._files)
        self.draw = random.Random(2)  # the same sentences in the process that wrote the files

    def _files(self):
        (self.folder / "corpus").mkdir(parents=True)
        documents = [self.sentence(self.draw.randint(4, 30)) for _ in range(200)]
        self.corpus.write_text("\n\n".join(documents) + "\n")
        for split, rows in (("train", 40), ("validation", 20)):
            texts = [self.sentence(self.draw.randint(2, 14)) for _ in range(rows)]
            self._table(f"{split}.tsv", [(("sits", "runs")[i % 2], t) for i, t in enumerate(texts)])
            self._table(f"{split}-number.tsv", [(len(t), t) for t in texts])
            pairs = [(i % 2, t, t if i % 2 else texts[i - 1]) for i, t in enumerate(texts)]
            self._table(f"{split}-pair.tsv", pairs)

    def sentence(self, count: int) -> str:
        """Return some words."""
        return " ".join(self.draw.choices(WORDS, k=count))

    def labelled(self, kind: str = "") -> list[str]:
        """Return the flags of a labelled table."""
        names = [str(self.folder / f"{split}{kind}.tsv") for split in ("train", "validation")]
        return ["--data.train", names[0], "--data.validation", names[1]]

    @functools.cached_property
    def pretrained(self) -> Path:
        """Return a run of masked language modelling."""
        out = self.folder / "pretrained"
        words = ("pretrain", "bert-tiny", "--data.files", self.corpus, "--out", out, *TINY)
        return once(out, lambda: command(*words))

    @functools.cached_property
    def classifier(self) -> Path:
        """Return a run that tells two classes apart."""
        return self._finetuned("classify", "classifier")

    @functools.cached_property
    def pairs(self) -> Path:
        """Return a run that tells classes of pairs of texts apart."""
        return self._finetuned("classify", "pair", "--data.text-pair", "second")

    @functools.cached_property
    def regression(self) -> Path:
        """Return a run that gives texts a number."""
        return self._finetuned("regress", "number")

    @functools.cached_property
    def published(self) -> Path:
        """Return a BERT with random weights in a folder as Hugging Face publishes them."""
        return once(self.folder / "published", self._publish)

    def _publish(self):
        folder = self.folder / "published"
        vocabulary = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)
        config = replace(
            preset("bert-tiny"), dim=16, hidden_dim=32, max_length=32, vocab_size=len(vocabulary)
        )
        tfattn.to_huggingface(tfattn.build(config, tfattn.Pool(), tfattn.Tokens()), folder)
        (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in vocabulary))

    def _finetuned(self, task, name, *flags):
        out = self.folder / name
        table = self.labelled("" if name == "classifier" else f"-{name}")
        words = ("finetune", task, "--init", self.pretrained, *table, "--out", out, *flags)
        return once(out, lambda: command(*words, "--train.rate", "1e-2", *SHORT))

    def _table(self, name, rows):
        header = ("label", "text", "second")[: len(rows[0])]
        lines = ("\t".join(map(str, row)) for row in (header, *rows))
        (self.folder / name).write_text("\n".join(lines) + "\n")

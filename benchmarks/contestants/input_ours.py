"""tfattn as its pipelines read: a token store is written, and its rows are packed and masked."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorflow as tf

from benchmarks.work import Reading
from pipelines.core.batches import Batches
from pipelines.text.data.store import write_store
from pipelines.text.masked_lm import MaskedLMRuntime
from pipelines.text.presets import PRESETS
from pipelines.text.sources import TextData
from pipelines.text.tokenization.wordpiece import WordPiece


def contestant(work: dict[str, Any], ids_alone: bool = False) -> Callable[[], Any]:
    """Return a function that reads all texts once, or makes ids of them and no more."""
    given = Reading(**work)
    tokenizer = WordPiece.load(given.vocabulary)
    if ids_alone:
        tokenize, chunks = tokenizer.in_graph().tokenize, map(tf.constant, given.chunks())
        return lambda chunks=list(chunks): [tokenize(chunk) for chunk in chunks]
    recipe = replace(PRESETS["bert-mini"], data=TextData(length=given.length))
    texts = given.texts()

    def read() -> int:
        with tempfile.TemporaryDirectory() as folder:
            store = write_store(Path(folder) / "store", texts, tokenizer)
            runtime = MaskedLMRuntime()
            objective, rows = (
                runtime.objective(recipe, tokenizer),
                runtime.rows(recipe, tokenizer, store),
            )
            how = (given.batch, 0, objective.row_independent)
            batches = Batches(rows, objective.training_batch, *how)
            return sum(1 for _ in batches.stream(0, -(-len(rows) // given.batch)))

    return read

"""From a recipe's data to rows: documents to vocabulary and token stores, tables to labels."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipelines import recipes
from pipelines.data.corpus import read_documents
from pipelines.data.embedded import write_embedded
from pipelines.data.store import Store, write_store
from pipelines.data.table_rows import TableRows
from pipelines.data.tables import Table, classes_of, label_ids, label_values, read_table
from pipelines.data.tokenizers import WordPiece, train_wordpiece
from pipelines.progress import bar
from pipelines.runs import Run
from tfattn.errors import InputError

CACHE = Path("runs") / "embedded"  # the embedded corpus, shared by all runs


def documents(data: recipes.TextData, split: str) -> Iterator[str]:
    """Yield the documents of "train" or "validation".

    Where no validation files are given, a document is held out by the hash of its text, so that
    the split is the same in every run, whatever the order and names of the files.
    """
    if split == "validation" and data.validation:
        yield from _read(data, data.validation, split)
        return
    embedded = data.files == (recipes.EMBEDDED,)
    for document in _read(data, data.files, split):
        if data.validation or embedded:
            yield document
        else:
            digest = hashlib.sha256(document.encode("utf-8", "surrogatepass")).digest()
            held = int.from_bytes(digest[:8], "big") < data.validation_share * 2**64
            if held == (split == "validation"):
                yield document


def embedded_corpus() -> Path:
    """Return the folder of the embedded corpus, made now or by an earlier run."""
    with bar("reading this Python's documentation", None) as report:
        embedded = write_embedded(CACHE, lambda done, total: report(done, f"of {total} files"))
    return embedded.folder


def _read(data, files, split):
    if files == (recipes.EMBEDDED,):
        files, column, separator = (str(embedded_corpus() / f"{split}.jsonl"),), "text", "line"
    else:
        column, separator = data.column, data.separator
    yield from read_documents(
        files, column=column, separator=separator, encoding_errors=data.encoding_errors
    )


def prepare_text(
    run: Run, data: recipes.TextData, tokenizer: WordPiece | None = None
) -> tuple[WordPiece, Store, Store]:
    """Return the vocabulary and the stores of a run, made now or by the run before.

    Args:
        run: keeps them.
        data: where documents come from.
        tokenizer: of the model that the run starts from; default the recipe's, or a new one.

    Raises:
        InputError: no documents, or a file that cannot be read; it is named.
    """
    if (run.tokenizer / "vocab.txt").exists():
        tokenizer = WordPiece.load(run.tokenizer)
    elif tokenizer is None and data.tokenizer is not None:
        tokenizer = WordPiece.load(Path(data.tokenizer))
    if tokenizer is None:
        with bar("vocabulary", None) as report:
            texts = _counted(documents(data, "train"), report)
            tokenizer = train_wordpiece(texts, data.vocab_size, lowercase=data.lowercase)
    if not (run.tokenizer / "vocab.txt").exists():
        tokenizer.save(run.tokenizer)
    stores = []
    for split in ("train", "validation"):
        folder = run.data / split
        if not folder.exists():
            with bar(f"tokenizing {split}", None) as report:
                write_store(
                    folder,
                    documents(data, split),
                    tokenizer,
                    progress=lambda n, tokens: report(n, f"documents, {tokens:,} tokens"),
                )
        stores.append(Store.open(folder, tokenizer))
    return tokenizer, stores[0], stores[1]


def _counted(texts: Iterable[str], report) -> Iterator[str]:
    for number, text in enumerate(texts, 1):
        yield text
        if number % 1000 == 0:
            report(number, "documents")


def read_labelled(data: recipes.TableData, files: tuple[str, ...], flag: str) -> Table:
    """Read a labelled table as the recipe says; `flag` is named where no files are given."""
    if not files:
        raise InputError(f"data.{flag}: expected at least one file or glob. Received none.")
    return read_table(
        files,
        text=data.text,
        text_pair=data.text_pair,
        label=data.label,
        encoding_errors=data.encoding_errors,
    )


def resolve_labels(objective: recipes.Objective, table: Table) -> recipes.Objective:
    """Return the objective with the classes, or the offset and scale, of the training labels.

    Raises:
        InputError: one class only, or labels that are not numbers.
    """
    if isinstance(objective, recipes.Classification):
        return objective if objective.classes else replace(objective, classes=classes_of(table))
    if isinstance(objective, recipes.Regression):
        values = label_values(table)
        if objective.scale:
            return objective
        return replace(objective, offset=float(values.mean()), scale=float(values.std()) or 1.0)
    raise InputError(f"objective: expected one of labelled texts. Received: {objective}.")


def labelled_rows(
    table: Table, objective: recipes.Objective, tokenizer: WordPiece, length: int
) -> TableRows:
    """Return the rows of a table, with labels as the objective counts them."""
    if isinstance(objective, recipes.Classification):
        labels = np.asarray(label_ids(table, objective.classes), np.int32)
    else:
        labels = np.asarray(label_values(table), np.float32)
    return TableRows(tokenizer, table.texts, table.pairs, labels, length)

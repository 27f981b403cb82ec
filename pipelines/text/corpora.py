"""From a recipe's documents to a vocabulary and token stores."""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pipelines.core.progress import Report, bar, say
from pipelines.core.records import EMBEDDED, data_flag
from pipelines.core.run import Run
from pipelines.core.start import keep_processor
from pipelines.text.data.corpus import read_documents
from pipelines.text.data.embedded.write import write_embedded
from pipelines.text.data.store import Store, write_store
from pipelines.text.sources import PairData, TextData
from pipelines.text.tokenization.tokenizer import (
    Tokenizer,
    has_tokenizer,
    load_tokenizer,
    train_tokenizer,
)
from tfattn.errors import InputError

CACHE = Path("runs") / "embedded"  # a folder for each embedded corpus, shared by all runs
DOCUMENTATION = "documentation"


def documents(data: TextData, split: str) -> Iterator[str]:
    """Yield the documents of "train" or "validation".

    Where no validation files are given, a document is held out by the hash of its text, so that
    the split is the same in every run, whatever the order and names of the files.

    Raises:
        InputError: no documents in this split, or a file that cannot be read; it is named.
    """
    apart = split == "validation" and data.validation not in ((), data.files)
    files, flag = (data.validation, "validation") if apart else (data.files, "files")
    all_of_them = data.validation or files == (EMBEDDED,)
    read = found = 0
    with data_flag(flag):
        for document in _read(data, files, split):
            read += 1
            document = document if all_of_them else _share(document, data, split)
            if document:
                found += 1
                yield document
    if not read:
        raise InputError(f"data.{flag}: expected text. Received: none in {', '.join(files)}.")
    if not found:
        raise InputError(
            "data.validation: expected files, or a --data.validation-share that leaves documents "
            f"for both splits. Received: no files, and a share of {data.validation_share} of "
            f"{read} documents in {', '.join(files)}, parted by --data.separator {data.separator}."
        )


def _share(document, data, split):
    """Return the document, its end or what is before its end, or "" where all is the other's."""
    if data.split == "tail":
        cut = round(len(document) * (1 - data.validation_share))
        return document[cut:] if split == "validation" else document[:cut]
    digest = hashlib.sha256(document.encode("utf-8", "surrogatepass")).digest()
    held_out = int.from_bytes(digest[:8], "big") < data.validation_share * 2**64
    return document if held_out == (split == "validation") else ""


def embedded_corpus() -> Path:
    """Return the folder of the embedded corpus, made now or by an earlier run."""
    with bar("reading this Python's documentation", None) as report:
        embedded = write_embedded(
            CACHE / DOCUMENTATION, lambda done, total: report(done, f"of {total} files")
        )
    return embedded.folder


def _read(data, files, split):
    if files == (EMBEDDED,):
        files, column, separator = (str(embedded_corpus() / f"{split}.jsonl"),), "text", "line"
    else:
        column, separator = data.column, data.separator
    yield from read_documents(
        files, column=column, separator=separator, encoding_errors=data.encoding_errors
    )


def prepare_text(
    run: Run, data: TextData, tokenizer: Tokenizer | None = None
) -> tuple[Tokenizer, Store, Store]:
    """Return the vocabulary and the stores of a run, made now or by the run before.

    Args:
        run: keeps them.
        data: where documents come from.
        tokenizer: of the model that the run starts from; default the recipe's, or a new one.

    Raises:
        InputError: no documents, or a file that cannot be read; it is named.
    """
    folders = {split: run.data / split for split in ("train", "validation")}
    for split, folder in folders.items():  # what is missing is said before the long work
        if not folder.exists():
            next(documents(data, split))

    def texts() -> Iterator[str]:
        found = documents(data, "train")
        if data.algorithm == "characters":  # each has to have an id, wherever it occurs
            return itertools.chain(found, documents(data, "validation"))
        return found

    tokenizer = prepare_vocabulary(run, data, texts, tokenizer)
    for split, folder in folders.items():
        if not folder.exists():
            with bar(f"tokenizing {split}", None) as report, data_flag("files"):
                meta = write_store(
                    folder,
                    documents(data, split),
                    tokenizer,
                    progress=lambda n, tokens: report(n, f"documents, {tokens:,} tokens"),
                ).meta
            say(f"{split}: {meta.documents:,} documents, {meta.tokens:,} tokens")
    train, validation = (Store.open(folder, tokenizer) for folder in folders.values())
    return tokenizer, train, validation


def prepare_vocabulary(
    run: Run,
    data: TextData | PairData,
    texts: Callable[[], Iterable[str]],
    tokenizer: Tokenizer | None = None,
) -> Tokenizer:
    """Return the vocabulary of a run: its own, the one given, the recipe's, or a new one.

    Args:
        run: keeps it.
        data: says how a new one is learnt.
        texts: what it is learnt from.
        tokenizer: of the model that the run starts from.
    """
    if has_tokenizer(run.processor):
        tokenizer = load_tokenizer(run.processor)
    elif tokenizer is None and data.tokenizer is not None:
        tokenizer = load_tokenizer(data.tokenizer)
    if tokenizer is None:
        with bar("vocabulary", None) as report, data_flag("files"):
            lowercase = getattr(data, "lowercase", False)
            given = _counted(texts(), report)
            tokenizer = train_tokenizer(data.algorithm, given, data.vocab_size, lowercase)
        short = tokenizer.size < data.vocab_size and data.algorithm != "characters"
        why = f" of {data.vocab_size:,} asked for: no more pieces of words occur twice"
        say(f"vocabulary: {tokenizer.size:,} tokens{why if short else ''}")
    keep_processor(run, tokenizer)
    return tokenizer


def _counted(texts: Iterable[str], report: Report) -> Iterator[str]:
    for number, text in enumerate(texts, 1):
        yield text
        if number % 1000 == 0:
            report(number, "documents")

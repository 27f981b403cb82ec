"""The token store: a corpus as ids on disk, memory-mapped; written once, and whole or not at all.

`tokens.bin` holds the ids of all documents, `offsets.bin` where each begins and the last ends,
`meta.json` the counts, the tokenizer and the checksums. The ids are those of the documents alone:
special tokens come when rows are read.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from pipelines.data.threads import mapped
from tfattn.errors import InputError
from tfattn.spec import Spec

FORMAT = 2
TOKENS, OFFSETS, META = "tokens.bin", "offsets.bin", "meta.json"
CHUNK_DOCUMENTS, CHUNK_CHARACTERS = 1000, 4_000_000  # encoded at once


class Encoder(Protocol):
    """What the store asks of a tokenizer."""

    @property
    def size(self) -> int:
        """Number of tokens."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides on ids."""
        ...

    def encode_batch(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts in one array, and the length of each; from any thread."""
        ...


@dataclass(frozen=True)
class Meta(Spec):
    """What `meta.json` says."""

    format: int
    dtype: str  # of tokens.bin, as numpy writes it
    documents: int
    tokens: int
    bytes: int  # of the documents' text in UTF-8
    vocabulary: int  # size
    tokenizer: str  # fingerprint
    tokens_sha256: str
    offsets_sha256: str
    source: str  # where the documents came from, for people


class Store:
    """A store that is there to be read; `open` it."""

    def __init__(self, folder: Path, meta: Meta):
        self.folder, self.meta = folder, meta
        self.tokens = np.memmap(folder / TOKENS, meta.dtype, "r", shape=(meta.tokens,))
        self.offsets = np.memmap(folder / OFFSETS, "<u8", "r", shape=(meta.documents + 1,))

    @classmethod
    def open(cls, folder: str | Path, tokenizer: Encoder | None = None) -> Self:
        """Check everything and map the files.

        Raises:
            InputError: no store, one of an unknown format, cut short, altered, or of a tokenizer
                other than `tokenizer`.
        """
        folder = Path(folder).expanduser()
        meta = _read_meta(folder / META)
        if tokenizer is not None and meta.tokenizer != tokenizer.fingerprint:
            raise InputError(
                f"{folder / META}, tokenizer: expected {tokenizer.fingerprint}, the one in use. "
                f"Received: {meta.tokenizer}."
            )
        sizes = {
            TOKENS: meta.tokens * np.dtype(meta.dtype).itemsize,
            OFFSETS: 8 * meta.documents + 8,
        }
        sums = {TOKENS: meta.tokens_sha256, OFFSETS: meta.offsets_sha256}
        for name, size in sizes.items():
            path = folder / name
            try:
                received = path.stat().st_size
                if received != size:
                    raise InputError(f"{path}: expected {size} bytes. Received: {received} bytes.")
                with path.open("rb") as file:
                    checksum = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise InputError(f"{path}: expected a readable file. {error}.") from None
            if checksum != sums[name]:
                raise InputError(
                    f"{path}: expected SHA-256 {sums[name]}, as when it was written. "
                    f"Received: {checksum}."
                )
        store = cls(folder, meta)
        steps = np.diff(store.offsets.astype(np.int64))
        if store.offsets[0] != 0 or store.offsets[-1] != meta.tokens or steps.min() < 1:
            raise InputError(
                f"{folder / OFFSETS}: expected rising offsets from 0 to {meta.tokens}."
            )
        return store

    def __len__(self) -> int:
        """Return the number of documents."""
        return self.meta.documents

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each document, int64."""
        return np.diff(self.offsets.astype(np.int64))

    def document(self, index: int) -> np.ndarray:
        """Return the ids of one document, a read-only view."""
        if not 0 <= index < len(self):
            raise IndexError(f"expected a document from 0 to {len(self) - 1}. Received: {index}.")
        return self.tokens[int(self.offsets[index]) : int(self.offsets[index + 1])]


def write_store(
    folder: str | Path,
    documents: Iterable[str],
    tokenizer: Encoder,
    *,
    source: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Store:
    """Encode the documents, in chunks and on all cores, into a new store.

    Documents are read in this thread, no more than a few chunks ahead of what is written; those
    without a token are left out. All is written to a folder beside it, `.NAME.partial`, synced, and
    renamed: no crash leaves what looks like a store, and the next writer clears what a dead one
    left. `progress` is called with the documents read and the tokens written so far.

    Raises:
        InputError: no tokens in the documents, or `folder` is taken or being written.
    """
    folder = Path(folder).expanduser().absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: expected a folder that is new or empty. It is taken.")
    dtype = "<u2" if tokenizer.size < 2**16 else "<u4"
    with _partial(folder) as partial:
        sums = {name: hashlib.sha256() for name in (TOKENS, OFFSETS)}
        read = count = total = size = 0
        with (partial / TOKENS).open("wb") as tokens, (partial / OFFSETS).open("wb") as offsets:
            files = {TOKENS: tokens, OFFSETS: offsets}

            def write(name: str, array: np.ndarray) -> None:
                data = array.tobytes()
                files[name].write(data)
                sums[name].update(data)

            write(OFFSETS, np.zeros(1, "<u8"))
            for chunk, (ids, lengths) in mapped(tokenizer.encode_batch, _chunks(documents)):
                lengths = lengths[lengths > 0]
                write(TOKENS, ids.astype(dtype))
                write(OFFSETS, (total + np.cumsum(lengths)).astype("<u8"))
                read, count, total = read + len(chunk), count + len(lengths), total + len(ids)
                size += sum(len(text.encode("utf-8", "surrogatepass")) for text in chunk)
                if progress is not None:
                    progress(read, total)
        if not total:
            what = f"{read} without any" if read else "none"
            raise InputError(f"documents: expected text to make tokens of. Received: {what}.")
        Meta(
            format=FORMAT,
            dtype=dtype,
            documents=count,
            tokens=total,
            bytes=size,
            vocabulary=tokenizer.size,
            tokenizer=tokenizer.fingerprint,
            tokens_sha256=sums[TOKENS].hexdigest(),
            offsets_sha256=sums[OFFSETS].hexdigest(),
            source=source,
        ).save(partial / META)
        for path in (partial / TOKENS, partial / OFFSETS, partial / META, partial):
            _sync(path)
        partial.rename(folder)
        _sync(folder.parent)
    return Store.open(folder, tokenizer)


def _chunks(documents: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    characters = 0
    for document in documents:
        chunk.append(document)
        characters += len(document)
        if len(chunk) == CHUNK_DOCUMENTS or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


@contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside `folder`, ours alone, and remove it unless it was renamed.

    The lock is the system's: it goes with the process that holds it, however that ends.
    """
    partial, descriptor, locked = folder.with_name(f".{folder.name}.partial"), -1, False

    def ours() -> bool:  # and not renamed in between, nor made anew by someone else
        return partial.exists() and os.path.samestat(os.fstat(descriptor), partial.stat())

    try:
        partial.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_RDONLY)
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = ours()
        if not locked:
            raise InputError(f"{folder}: expected nobody to write it. Another process does.")
        for path in partial.iterdir():
            path.unlink()
        try:
            yield partial
        finally:
            if ours():
                shutil.rmtree(partial)
    except OSError as error:
        raise InputError(f"{folder}: expected to be able to write there. {error}.") from None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _sync(path: Path) -> None:
    """Have the system write to disk what it holds of a file or folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_meta(path: Path) -> Meta:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected the description of a token store. {error}.") from None
    if isinstance(data, dict) and data.get("format") != FORMAT:
        raise InputError(f"{path}, format: expected {FORMAT}. Received: {data.get('format')!r}.")
    meta = Meta.from_json(data, where=str(path))
    if meta.dtype not in ("<u2", "<u4"):
        raise InputError(f"{path}, dtype: expected '<u2' or '<u4'. Received: {meta.dtype!r}.")
    for name in ("documents", "tokens", "bytes", "vocabulary"):
        if getattr(meta, name) < 1:
            raise InputError(f"{path}, {name}: expected a count. Received: {getattr(meta, name)}.")
    return meta

"""The token store: a corpus as ids on disk, memory-mapped; written once, and whole or not at all.

`tokens.bin` holds the ids of all documents, `offsets.bin` where each begins and the last ends,
`meta.json` the counts, the tokenizer and the checksums. The ids are those of the documents alone:
special tokens come when rows are read.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, Self

import numpy as np

from pipelines.core.atomic import InUse, replacing_folder
from pipelines.core.threads import mapped
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
    with _partial(folder) as partial:
        _write_files(partial, documents, tokenizer, source, progress)
    return Store.open(folder, tokenizer)


def _write_files(folder, documents, tokenizer, source, progress):
    """Write the three files of a store."""
    dtype = "<u2" if tokenizer.size < 2**16 else "<u4"
    read = count = total = size = 0
    with _hashed(folder / TOKENS) as tokens, _hashed(folder / OFFSETS) as offsets:
        offsets.write(np.zeros(1, "<u8"))
        for chunk, (ids, lengths) in mapped(tokenizer.encode_batch, _chunks(documents)):
            lengths = lengths[lengths > 0]
            tokens.write(ids.astype(dtype))
            offsets.write((total + np.cumsum(lengths)).astype("<u8"))
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
        tokens_sha256=tokens.sha256,
        offsets_sha256=offsets.sha256,
        source=source,
    ).save(folder / META)


class _HashedFile:
    """A file of arrays that is hashed while it is written."""

    def __init__(self, file: BinaryIO):
        self._file, self._hash = file, hashlib.sha256()

    def write(self, array: np.ndarray) -> None:
        """Append the bytes of an array."""
        data = array.tobytes()
        self._file.write(data)
        self._hash.update(data)

    @property
    def sha256(self) -> str:
        """SHA-256 of all that was written."""
        return self._hash.hexdigest()


@contextmanager
def _hashed(path: Path) -> Iterator[_HashedFile]:
    with path.open("wb") as file:
        yield _HashedFile(file)


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
    """Yield an empty folder, locked for this process, that then becomes `folder`."""
    try:
        with replacing_folder(folder, "partial", exclusive=True) as partial:
            yield partial
    except InUse:
        raise InputError(f"{folder}: expected nobody to write it. Another process does.") from None
    except OSError as error:
        raise InputError(f"{folder}: expected to be able to write there. {error}.") from None


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

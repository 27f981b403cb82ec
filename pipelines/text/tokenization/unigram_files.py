"""The folder of a unigram vocabulary: `spiece.model`, SentencePiece's own, and `spiece.json`.

Published T5 folders have the first file only. How many sentinels their vocabulary holds above the
pieces is said by `tokenizer_config.json`, or by the kind of model in `config.json`.
"""

import functools
import json
import re
from pathlib import Path
from typing import Any

from pipelines.core.atomic import write_bytes
from tfattn.errors import InputError

MODEL, OPTIONS = "spiece.model", "spiece.json"
SENTINELS = 100  # of T5 and mT5: arXiv:1910.10683, section 3.1.4
_FAMILY = ("t5", "mt5")  # kinds of model that count on them
_NAME = re.compile(r"\u2581?<extra_id_(\d+)>")


@functools.lru_cache(maxsize=4)
def parse(model: bytes) -> tuple[Any, tuple[str, ...]]:
    """Return SentencePiece's processor of a serialized model, and the pieces by id.

    Raises:
        InputError: bytes that are no unigram model with <pad>, </s> and <unk>.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import SentencePieceProcessor
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    expected = "expected a SentencePiece model"
    try:
        held: Any = ModelProto.FromString(model)
    except DecodeError:
        raise InputError(f"{expected}. Received: {len(model)} bytes of another kind.") from None
    # Of a file that is cut between two fields the processor would take the rest as default.
    whole = held.HasField("trainer_spec") and held.HasField("normalizer_spec")
    if not (held.pieces and whole):
        raise InputError(f"{expected}. Received: {len(model)} bytes without all its parts.")
    try:
        processor: Any = SentencePieceProcessor(model_proto=model)
    except (RuntimeError, UnicodeError) as error:  # its message may quote what is no UTF-8
        raise InputError(f"{expected}. Received: {' '.join(str(error).split())}") from None
    if held.trainer_spec.model_type != held.trainer_spec.UNIGRAM:
        kind = held.trainer_spec.ModelType.Name(held.trainer_spec.model_type).lower()
        raise InputError(f"{expected} of the kind unigram. Received: {kind}.")
    ids = {"<pad>": processor.pad_id(), "</s>": processor.eos_id(), "<unk>": processor.unk_id()}
    missing = [name for name, i in ids.items() if i < 0]
    if missing:
        raise InputError(f"{expected} with {', '.join(ids)}. Missing: {', '.join(missing)}.")
    return processor, tuple(piece.piece for piece in held.pieces)


def sentinels_among(pieces: tuple[str, ...]) -> tuple[int, ...]:
    """Return the ids of the sentinels that are pieces themselves, as mT5's are, by their number."""
    found = {int(m[1]): i for i, piece in enumerate(pieces) if (m := _NAME.fullmatch(piece))}
    return tuple(found[number] for number in sorted(found))


def write(folder: str | Path, model: bytes, sentinels: int) -> None:
    """Write both files; `spiece.model` last, and whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"sentinels": sentinels}, indent=2)
    (folder / OPTIONS).write_text(text + "\n", encoding="utf-8")
    write_bytes(folder / MODEL, model)


def read(folder: str | Path) -> tuple[bytes, int]:
    """Return the serialized model, and how many sentinels stand above its pieces.

    Raises:
        InputError: a file that is missing or malformed.
    """
    path = Path(folder).expanduser() / MODEL
    try:
        model = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a SentencePiece model. {error}.") from None
    try:
        _, pieces = parse(model)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return model, _sentinels(path.parent, pieces)


def _sentinels(folder: Path, pieces: tuple[str, ...]) -> int:
    """Return what the first file that speaks of sentinels says; transformers' rules after ours."""
    for name, field in ((OPTIONS, "sentinels"), ("tokenizer_config.json", "extra_ids")):
        options = _json(folder / name)
        if options is None or name != OPTIONS and field not in options:
            continue
        count = options.get(field)
        if type(count) is not int or count < 0:
            raise InputError(
                f"{folder / name}, {field}: expected a number of sentinels, 0 or more. "
                f"Received: {json.dumps(count)}."
            )
        return count
    family = (_json(folder / "config.json") or {}).get("model_type") in _FAMILY
    return SENTINELS if family and not sentinels_among(pieces) else 0


def _json(path: Path) -> dict[str, Any] | None:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected options in JSON. {error}.") from None
    if not isinstance(held, dict):
        raise InputError(f"{path}: expected an object of options. Received: {held!r}.")
    return held

"""The folder of a BERT tokenizer: `vocab.txt`, one token a line, and `tokenizer_config.json`."""

import json
import os
from pathlib import Path

from pipelines.core.atomic import write_text
from tfattn.errors import InputError

PAD, UNKNOWN, START, SEPARATOR, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = "vocab.txt"
LONGEST_TOKEN = 256  # bytes without the ##: tensorflow_text takes no more


def write_vocabulary(folder: str | Path, vocabulary: tuple[str, ...], lowercase: bool) -> None:
    """Write both files, as Hugging Face reads them; `vocab.txt` last, and whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    options = json.dumps({"model_type": "bert", "do_lower_case": lowercase}, indent=2)
    (folder / "tokenizer_config.json").write_text(options + "\n", encoding="utf-8")
    write_text(folder / VOCABULARY, "".join(f"{token}\n" for token in vocabulary))


def read_vocabulary(folder: str | Path) -> tuple[tuple[str, ...], bool]:
    """Return the tokens in the order of their ids, and whether text is lowercased.

    Raises:
        InputError: no vocabulary there, one that is malformed, or an option we do not have.
    """
    path = Path(os.path.expanduser(folder)) / VOCABULARY
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: expected UTF-8. Received: {error}.") from None
    except OSError as error:
        raise InputError(f"{path}: expected a vocabulary, one token a line. {error}.") from None
    vocabulary = tuple(text.removesuffix("\n").split("\n"))  # splitlines would also cut at U+2028
    check_vocabulary(vocabulary, str(path))
    return vocabulary, _lowercase(path.with_name("tokenizer_config.json"))


def check_vocabulary(vocabulary: tuple[str, ...], where: str) -> None:
    """Complain about the first line that cannot be a token, and about special tokens missing."""
    seen: dict[str, int] = {}
    for line, token in enumerate(vocabulary, start=1):
        problem = None
        if not token or any(c in token for c in " \n\r\0"):
            problem = f"expected a token without blanks. Received: {token!r}"
        elif token in seen:
            problem = f"expected each token once. Received: {token!r}, as in line {seen[token]}"
        elif (size := token_bytes(token)) > LONGEST_TOKEN:
            problem = f"expected a token of at most {LONGEST_TOKEN} bytes. Received: {size} bytes"
        if problem:
            raise InputError(f"{where}, line {line}: {problem}.")
        seen[token] = line
    missing = [token for token in SPECIAL if token not in seen]
    if missing:
        raise InputError(f"{where}: expected {' '.join(SPECIAL)}. Missing: {' '.join(missing)}.")


def token_bytes(token: str) -> int:
    """Return the length of a token in UTF-8, without its ##."""
    return len(token.removeprefix("##").encode("utf-8", "surrogatepass"))


def _lowercase(path: Path) -> bool:
    """Read `do_lower_case`; what is not said is as Hugging Face has it: uncased."""
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected the options of a tokenizer in JSON. {error}.") from None
    if not isinstance(options, dict):
        raise InputError(f"{path}: expected an object of options. Received: {options!r}.")
    lowercase = options.get("do_lower_case", True)
    if not isinstance(lowercase, bool):
        raise InputError(f"{path}, do_lower_case: expected true or false. Received: {lowercase!r}.")
    for option, ours in (("strip_accents", lowercase), ("tokenize_chinese_chars", True)):
        if options.get(option) not in (None, ours):
            raise InputError(
                f"{path}, {option}: expected {json.dumps(ours)}, the only way we have where "
                f"do_lower_case is {json.dumps(lowercase)}. Received: {options[option]!r}."
            )
    return lowercase

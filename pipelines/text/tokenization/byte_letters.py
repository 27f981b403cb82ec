"""The letters in which the files of byte-level BPE write bytes (Radford et al. 2019)."""

import functools

BYTES = 256


@functools.cache
def letters() -> dict[str, int]:
    """Return the letter that stands for each byte: itself if it can be seen, else one from U+0100.

    Radford et al.'s released encoder; so that files of tokens hold no blanks and no control codes.
    """
    seen = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(BYTES) if byte not in seen)
    return {chr(b): b for b in seen} | {chr(0x100 + i): b for i, b in enumerate(others)}

"""Pairs whose alignment is known: dates and numbers written in two ways, field by field.

A pattern of CLDR (Unicode Technical Standard 35, part 4: "EEEE d MMMM y") says which characters of
a date are its weekday, day, month and year. A date is written from the patterns of two languages,
or of one and ISO 8601, and the fields that mean the same are known by construction:

    Monday, March 3, 2025    weekday 0-6, month 8-13, day 14-15, year 17-21
    lundi 3 mars 2025        weekday 0-5, month 8-12, day 6-7,   year 13-17

Of a number of units or of a currency, the number and the name are the two fields.
"""

import datetime
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

from babel import Locale
from babel.core import get_cldr_version
from babel.dates import get_datetime_format, get_time_format, parse_pattern, tokenize_pattern
from babel.numbers import format_decimal

from pipelines.text.data.embedded.folder import fingerprint, write_folder, write_lines
from pipelines.text.data.embedded.locales import (
    DATE_WIDTHS,
    ROOT,
    Split,
    date_patterns,
    find_locale,
    find_locales,
    plain,
)
from pipelines.text.data.embedded.phrase_kinds import amount, quantity
from pipelines.text.data.embedded.phrase_parts import Draw, Shared
from tfattn.errors import InputError

ISO = "iso"  # the target that is no language
ISO_DATE, ISO_MOMENT = "yyyy-MM-dd", "yyyy-MM-dd'T'HH:mm"
TRAIN, VALIDATION = 6_000, 500
SEED = 13
CODE = ("aligned.py", "locales.py", "phrase_kinds.py", "phrase_parts.py")

# What a field of a pattern says. A 24-hour clock says what an hour and "PM" do together.
MEANINGS = {
    "y": {"year"}, "M": {"month"}, "L": {"month"}, "d": {"day"},
    "E": {"weekday"}, "c": {"weekday"}, "e": {"weekday"},
    "h": {"hour"}, "K": {"hour"}, "H": {"hour", "period"}, "k": {"hour", "period"},
    "a": {"period"}, "b": {"period"}, "B": {"period"}, "m": {"minute"},
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A run of characters and what it says; nothing, where it only joins."""

    text: str
    meanings: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Aligned:
    """A pair of texts and what is known to mean the same in both.

    A span is (source start, source end, target start, target end), in characters, ends excluded.
    Where "2:05 PM" is "14:05", both "2" and "PM" have a span with "14".
    """

    source: str
    target: str
    spans: tuple[tuple[int, int, int, int], ...]


def aligned(
    source: str, target: str, train: int = TRAIN, validation: int = VALIDATION
) -> Split[Aligned]:
    """Return aligned pairs, the same in every call and process.

    Half are dates, a fifth dates with a time of day, the rest whole numbers of units and
    currencies; with the target "iso", of which CLDR has no words, all are dates and times in ISO
    8601. What the target says, the source says too. The days, and the numbers above 12 together
    with what they count, are those that `embedded/phrases.py` trains on in training and holds out
    in validation. Sources are unique, over both parts.

    Args:
        source: locale, such as "en".
        target: another, or "iso".
        train: number of pairs.
        validation: number of pairs.

    Raises:
        InputError: a locale that CLDR does not have or has no words for dates in, or one twice.
    """
    iso = target == ISO
    locales = _locales(source, target)
    widths = [
        {width: pattern for width, pattern in date_patterns(locale).items() if width in DATE_WIDTHS}
        for locale in locales
    ]
    if iso:
        widths[1] = {ISO: ISO_DATE}
    for locale, known in zip(locales, widths, strict=True):
        if not known:
            raise InputError(
                f"locale: expected one in which CLDR has words for dates. Received: {locale}."
            )
    shared = Shared.of(*locales)
    taken: set[str] = set()
    split = []
    for wanted, seed, held_out in ((train, SEED, False), (validation, SEED + 1, True)):
        draw, rows = Draw(Random(seed), shared, held_out), list[Aligned]()
        while len(rows) < wanted:
            parts = _content(draw, locales, widths)
            row = align(*parts)
            # A weekday that the source does not say would have to be reckoned rather than read.
            read = _said(parts[1]) <= _said(parts[0])
            if row.spans and read and row.source not in taken:
                taken.add(row.source)
                rows.append(row)
        split.append(rows)
    return Split(*split)


def write_aligned(folder: Path, source: str, target: str) -> tuple[Path, Path]:
    """Write train.tsv and validation.tsv without the spans, or reuse the folder.

    As `write_phrases` of `embedded/phrases.py`, with whose rows these have nothing in common but
    the languages. Arguments and errors are those of `aligned`.
    """
    folder = Path(folder)
    _locales(source, target)
    files = {name: f"{name}.tsv" for name in ("train", "validation")}

    def make(new: Path) -> dict[str, Any]:
        split = aligned(source, target)
        for name, file in files.items():
            lines = (f"{row.source}\t{row.target}" for row in getattr(split, name))
            write_lines(new / file, [f"{source}\t{target}", *lines])
        return {"babel": version("babel"), "cldr": get_cldr_version(), "locales": [source, target]}

    mark = fingerprint([version("babel"), source, target, TRAIN, VALIDATION], CODE)
    write_folder(folder, mark, files.values(), make)
    return folder / files["train"], folder / files["validation"]


def align(source: list[Part], target: list[Part]) -> Aligned:
    """Join the parts of two texts, with a span for each two that share a meaning."""
    spans = []
    start = 0
    for part in source:
        end, other = start + len(part.text), 0
        for counterpart in target:
            if part.meanings & counterpart.meanings:
                spans.append((start, end, other, other + len(counterpart.text)))
            other += len(counterpart.text)
        start = end
    return Aligned(_text(source), _text(target), tuple(spans))


def _locales(source: str, target: str) -> tuple[Locale, Locale]:
    return (find_locale(source), ROOT) if target == ISO else find_locales(source, target)


def _text(parts: list[Part]) -> str:
    return "".join(part.text for part in parts)


def _said(parts: list[Part]) -> frozenset[str]:
    return frozenset().union(*(part.meanings for part in parts))


def date_parts(pattern: str, value: datetime.date | datetime.time, locale: Locale) -> list[Part]:
    """Write a date or time by a pattern of CLDR, as its parts."""
    parts = []
    for kind, token in tokenize_pattern(pattern):
        if kind == "field":
            char, count = token
            text = parse_pattern(str(char) * int(count)).apply(value, locale)
            parts.append(Part(plain(text), frozenset(MEANINGS.get(str(char), ()))))
        else:
            parts.append(Part(plain(str(token))))
    return parts


def moment_parts(
    width: str, pattern: str, day: datetime.date, time: datetime.time, locale: Locale
) -> list[Part]:
    """Write a date and a time of day, joined as a locale does in this width, as parts."""
    joined = str(get_datetime_format(width, locale=locale)).replace("'", "")
    clock = str(get_time_format("short", locale=locale))
    parts = {"{1}": date_parts(pattern, day, locale), "{0}": date_parts(clock, time, locale)}
    first, second = sorted(parts, key=joined.index)
    before, rest = joined.split(first)
    between, after = rest.split(second)
    return [
        Part(plain(before)), *parts[first], Part(plain(between)), *parts[second], Part(plain(after))
    ]  # fmt: skip


def counted_parts(text: str, number: str) -> list[Part]:
    """Part the text of a counted thing into its number and its name, where both are found.

    The name is what is left on one side of the number; where it is on both sides, or the number is
    not written ("two" as a form of the word), nothing is known.
    """
    before, found, after = plain(text).partition(plain(number))
    if not found or bool(before.strip()) == bool(after.strip()) or plain(number) in after:
        return [Part(plain(text))]
    numeral = Part(found, frozenset({"number"}))
    return [*_name(before), numeral, *_name(after)]


def _name(text: str) -> list[Part]:
    name = text.strip()
    start = text.find(name)
    return [
        Part(text[:start]), Part(name, frozenset({"name"} if name else ())),
        Part(text[start + len(name) :]),
    ]  # fmt: skip


def _content(
    draw: Draw, locales: tuple[Locale, Locale], widths: list[dict[str, str]]
) -> tuple[list[Part], list[Part]]:
    iso = ISO in widths[1]
    chosen = [draw.random.choice(sorted(known)) for known in widths]
    patterns = [known[width] for known, width in zip(widths, chosen, strict=True)]
    kind = draw.random.random() * (0.7 if iso else 1.0)
    day, time = draw.day(), draw.clock()
    if kind < 0.5 or (kind > 0.7 and not (draw.shared.units and draw.shared.currencies)):
        return date_parts(patterns[0], day, locales[0]), date_parts(patterns[1], day, locales[1])
    if kind < 0.7:
        first = moment_parts(chosen[0], patterns[0], day, time, locales[0])
        if iso:
            return first, date_parts(ISO_MOMENT, datetime.datetime.combine(day, time), ROOT)
        return first, moment_parts(chosen[1], patterns[1], day, time, locales[1])
    number, code = draw.quantity() if kind < 0.85 else draw.amount()
    while number != int(number):  # of an amount with cents the number is written otherwise
        number, code = draw.quantity() if kind < 0.85 else draw.amount()
    write = quantity(number, code) if kind < 0.85 else amount(number, code)
    source, target = (
        counted_parts(write(place), format_decimal(number, locale=place)) for place in locales
    )
    return source, target

"""The locales of Unicode's CLDR, as Babel carries them, and what is done to their texts.

Dates and numbers are written with the digits 0 to 9 in every locale, as Babel does.
"""

import difflib
import hashlib
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Generic, TypeVar

from babel import Locale, localedata
from babel.dates import (
    get_date_format,
    get_day_names,
    get_month_names,
    get_quarter_names,
    tokenize_pattern,
)

from tfattn.errors import InputError

HELD_OUT = 0.05  # share of what can be held out
SMALL = 12  # numbers up to it are never held out: they have plural forms of their own

DATE_WIDTHS = ("full", "long", "medium")
DATE_SKELETONS = ("yMMMEd", "MMMMd", "yMMMM", "yQQQQ")
_WIDTHS = {3: "abbreviated", 4: "wide"}
_NAMES = {
    "M": get_month_names, "L": get_month_names, "E": get_day_names, "c": get_day_names,
    "e": get_day_names, "Q": get_quarter_names, "q": get_quarter_names,
}  # fmt: skip

# Marks that set the direction of writing: invisible, and no part of a word. What joins or parts
# letters (U+200B, U+200C, U+200D) is spelling and stays. Spaces of any width become U+0020, one for
# one: CLDR has narrow and no-break ones (U+2009, U+202F, U+00A0), which set type and which nobody
# enters.
_MARKS = dict.fromkeys(map(ord, "\u200e\u200f\u061c\u202a\u202b\u202c\u2066\u2067\u2068\u2069"))
_SPACES = dict.fromkeys(map(ord, "\t\n\u00a0\u2000\u2002\u2003\u2009\u200a\u202f\u3000"), " ")
_PLAIN = _MARKS | _SPACES

Row = TypeVar("Row")


@dataclass(frozen=True)
class Split(Generic[Row]):
    """Rows to train on and rows to validate on."""

    train: list[Row]
    validation: list[Row]


def _load(code: str) -> Locale:
    """Return a locale whose data are its own.

    Babel's locales share what they inherit, and write into it as they look names up: month names of
    one can turn up in another that is loaded later (python-babel/babel, issue 1234). A text would
    then depend on the locales that the process used before.
    """
    with localedata._cache_lock:
        before = dict(localedata._cache)
        localedata._cache.clear()
        try:
            locale = Locale.parse(code)
            locale.territories  # noqa: B018 - loads the data
        finally:
            localedata._cache.clear()
            localedata._cache.update(before)
    return locale


ROOT = _load("root")  # what locales without data of their own fall back to


@lru_cache(maxsize=32)
def find_locale(name: str) -> Locale:
    """Return the locale of a code such as "fr", "pt-BR" or "zh_Hant".

    Raises:
        InputError: a code that CLDR does not have; it names near ones.
    """
    code = name.replace("-", "_")
    known = {identifier.lower(): identifier for identifier in localedata.locale_identifiers()}
    if code.lower() not in known:
        near = difflib.get_close_matches(code.lower(), sorted(known), n=3, cutoff=0.5)
        hint = f" such as {', '.join(known[match] for match in near)}" if near else ""
        raise InputError(f"locale: expected one of CLDR's{hint}. Received: {name!r}.")
    return _load(known[code.lower()])


def find_locales(source: str, target: str) -> tuple[Locale, Locale]:
    """Return two different locales.

    Raises:
        InputError: a code that CLDR does not have, or one locale twice.
    """
    found = find_locale(source), find_locale(target)
    if found[0] == found[1]:
        raise InputError(f"locales: expected two different ones. Received: {found[0]} twice.")
    return found


def plain(text: str) -> str:
    """Return a text with plain spaces and without marks of direction."""
    return text.translate(_PLAIN)


def held_out(kind: str, *content: object) -> bool:
    """Tell by its hash whether a content is for validation, the same in all languages."""
    digest = hashlib.sha256("\t".join((kind, *map(str, content))).encode()).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT * 2**64


def spells(locale: Locale, pattern: str) -> bool:
    """Tell whether a locale has words of its own for all fields of a date pattern.

    Where it has none, Babel takes those of CLDR's root: "M03" for March, "Fri" in any language.
    """
    for kind, token in tokenize_pattern(pattern):
        char, count = str(token[0]), int(token[1]) if kind == "field" else 0
        count = max(3, count) if char == "E" else count  # "E" is short for "EEE"
        if kind == "field" and char in _NAMES and count > 2:
            names = _NAMES[char]
            width, context = (
                _WIDTHS.get(count, "wide"),
                "stand-alone" if char in "Lqc" else "format",
            )
            own, root = (names(width, context, place) for place in (locale, ROOT))
            if dict(own) == dict(root) and locale.language != "en":
                return False
            if any(own[key] == root[key] for key in own) and char not in "Ece":
                return False
    return True


def date_patterns(locale: Locale) -> dict[str, str]:
    """Return the patterns of dates, by width or skeleton, that a locale has the words for."""
    patterns = {width: str(get_date_format(width, locale)) for width in DATE_WIDTHS}
    for skeleton in DATE_SKELETONS:
        if skeleton in locale.datetime_skeletons:
            patterns[skeleton] = str(locale.datetime_skeletons[skeleton])
    return {name: pattern for name, pattern in patterns.items() if spells(locale, pattern)}


def list_style(locale: Locale, style: str) -> str:
    """Return the style of a list, or "standard" where a locale has not all of its own patterns."""
    patterns = dict(locale.list_patterns.get(style, {}))
    borrowed = locale.language != "en" and patterns == dict(ROOT.list_patterns.get(style, {}))
    return style if {"start", "middle", "end"} <= set(patterns) and not borrowed else "standard"


def unit_length(locale: Locale, unit: str, *forms: str) -> str | None:
    """Return the length, "long" or else "short", in which CLDR has all these forms of a unit.

    Patterns that are those of the root are none: they are symbols rather than words.
    A form is a plural category, or "per". The long ones inherit from the short ones in CLDR's
    root, but not in Babel, which would put a pattern of its own in their place; nor has it a public
    way to ask.
    """
    patterns, root = (place._data["unit_patterns"].get(unit, {}) for place in (locale, ROOT))
    for length in ("long", "short"):
        own = dict(patterns.get(length, {}))
        if all(form in own for form in forms) and own != dict(root.get(length, {})):
            return length
    return None


def has_quantity(locale: Locale, number: Decimal, unit: str) -> bool:
    """Tell whether a locale has the plural form that a number of units takes."""
    return unit_length(locale, unit, locale.plural_form(number)) is not None

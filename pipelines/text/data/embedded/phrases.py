"""Short texts in two languages, from Unicode's locale data (CLDR, Unicode Technical Standard 35).

Dates, intervals, relative times, numbers, quantities, amounts of money, rates, the names of places,
languages and currencies, and lists of them: every word of both sides was written by people for
CLDR, and Babel composes them by CLDR's patterns, plural rules and list patterns.

Validation measures composition. Every name, and every unit and currency with a number of each
plural category, is in training; of two names spelt alike in the source (Nauru is a place and a
language) the first. Held out, by a hash of the content that is the same for all languages, are 5%
of the

- days (so a day of validation is in no date, interval or list of training),
- numbers above 12 together with their unit, their currency, or the unit and direction of a relative
  time,
- sets of names in lists,
- months and quarters of a year, days of a year, pairs of times, and bare numbers;

each of the contents of a validation text is a held-out one (clock times and "per unit" aside), and
its source and target are no source and no target of training.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

from babel import Locale
from babel.core import get_cldr_version

from pipelines.text.data.embedded.folder import fingerprint, write_folder, write_lines
from pipelines.text.data.embedded.locales import Split, find_locales, plain
from pipelines.text.data.embedded.phrase_kinds import KINDS, Form, names, plurals
from pipelines.text.data.embedded.phrase_parts import Draw, Shared
from tfattn.errors import InputError

TRAIN, VALIDATION = 30_000, 1_000
TRIES = 10  # drawings for each pair that is wanted, before those that there are must do
SEED = 11
LICENCE = (
    "The words and patterns are those of Unicode's Common Locale Data Repository, under the "
    "Unicode License, as Babel carries them."
)
CODE = ("folder.py", "locales.py", "phrase_kinds.py", "phrase_parts.py", "phrases.py")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Pair:
    """One content in two languages."""

    source: str
    target: str
    kind: str


def phrases(
    source: str,
    target: str,
    train: int = TRAIN,
    validation: int = VALIDATION,
    progress: Progress | None = None,
) -> Split[Pair]:
    """Return pairs of phrases in two languages, the same in every call and process.

    Sources are unique, over both parts. Locales with fewer names give fewer kinds and pairs.

    Args:
        source: locale, such as "en".
        target: locale, such as "fr" or "pt_BR".
        train: number of composed pairs; the vocabulary, some 3,000 pairs, comes to it.
        validation: number of pairs.
        progress: called with the number of composed pairs made and of all wanted.

    Raises:
        InputError: a locale that CLDR does not have or has too little of, or one locale twice.
    """
    locales = find_locales(source, target)
    shared = Shared.of(*locales)
    if not shared.dates and not shared.territories and not shared.languages:
        raise InputError(
            "locales: expected two in which CLDR has words for dates or names. "
            f"Received: {source} and {target}."
        )
    found = _Pairs(locales)
    for kind, form in (*names(shared), *plurals(shared)):
        found.add(kind, form)
    atoms = len(found.rows)
    total = train + validation

    def report(done: int) -> None:
        if progress:
            progress(done, total)

    _compose(found, Draw(Random(SEED), shared, False), train, lambda n: report(n - atoms))
    held = _Pairs(locales, found)
    _compose(held, Draw(Random(SEED + 1), shared, True), validation, lambda n: report(n + train))
    report(total)
    rows = list(found.rows.values())
    Random(SEED).shuffle(rows)
    return Split(rows, list(held.rows.values()))


class _Pairs:
    """Pairs by their source; those with a source or target of `others` are left out."""

    def __init__(self, locales: tuple[Locale, Locale], others: "_Pairs | None" = None):
        self.locales, self.rows = locales, dict[str, Pair]()
        self.taken: set[str] = others.texts() if others else set()

    def add(self, kind: str, form: Form) -> None:
        source, target = (" ".join(plain(form(locale)).split()) for locale in self.locales)
        if source and target and not {source, target} & self.taken:
            self.rows.setdefault(source, Pair(source, target, kind))

    def texts(self) -> set[str]:
        return {text for row in self.rows.values() for text in (row.source, row.target)}


def _compose(pairs: _Pairs, draw: Draw, wanted: int, report: Callable[[int], None]) -> None:
    kinds = {
        kind: (weight, make)
        for kind, (weight, fields, make) in KINDS.items()
        if all(getattr(draw.shared, field) for field in fields.split())
    }
    weights = [weight for weight, _ in kinds.values()]
    full = len(pairs.rows) + wanted
    for number in range(wanted * TRIES):
        if len(pairs.rows) >= full:
            break
        kind = draw.random.choices(list(kinds), weights)[0]
        pairs.add(kind, kinds[kind][1](draw))
        if number % 1000 == 0:
            report(len(pairs.rows))


@dataclass(frozen=True)
class Written:
    """Two written tables, and what `about.json` says of them."""

    train: Path
    validation: Path
    about: dict[str, Any]


def write_phrases(
    folder: Path,
    source: str,
    target: str,
    progress: Progress | None = None,
    train: int = TRAIN,
    validation: int = VALIDATION,
) -> Written:
    """Write train.tsv and validation.tsv, or reuse the folder if it holds just these.

    The header names the two locales as they were given, "en<TAB>fr"; a row is a pair. The folder
    appears whole or not at all; it is written anew when Babel, what is asked or this code changes.
    Arguments and errors are those of `phrases`.

    Raises:
        InputError: also a folder that holds other things.
    """
    folder = Path(folder)
    find_locales(source, target)

    def make(new: Path) -> dict[str, Any]:
        split = phrases(source, target, train, validation, progress)
        counts = {}
        for name, rows in (("train", split.train), ("validation", split.validation)):
            lines = (f"{row.source}\t{row.target}" for row in rows)
            write_lines(new / f"{name}.tsv", [f"{source}\t{target}", *lines])
            counts[name] = dict(sorted(Counter(row.kind for row in rows).items()))
        versions = {"babel": version("babel"), "cldr": get_cldr_version()}
        return {"licence": LICENCE, **versions, "locales": [source, target], "pairs": counts}

    mark = fingerprint([version("babel"), source, target, train, validation], CODE)
    about = write_folder(folder, mark, ("train.tsv", "validation.tsv"), make)
    return Written(folder / "train.tsv", folder / "validation.tsv", about)

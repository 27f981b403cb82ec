"""What phrases are made of: the names that two locales share, and contents drawn from them."""

import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import TypeVar

from babel import Locale
from babel.dates import format_timedelta
from babel.numbers import get_currency_precision

from pipelines.text.data.embedded.locales import (
    DATE_WIDTHS,
    ROOT,
    SMALL,
    date_patterns,
    has_quantity,
    held_out,
    spells,
    unit_length,
)

ENOUGH = 12  # names or units that a kind needs to be drawn from
FIRST, LAST = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)
# The unit of a relative time, and the number from which another unit is used.
RELATIVE = {"year": 1000, "month": 12, "week": 5, "day": 7, "hour": 24, "minute": 60, "second": 60}
SECONDS = {
    "year": 31_536_000, "month": 2_592_000, "week": 604_800, "day": 86_400, "hour": 3600,
    "minute": 60, "second": 1,
}  # fmt: skip
NOTHING = ("ZZ", "XA", "XB", "und", "zxx", "mul", "mis", "Zzzz", "Zxxx", "Zyyy", "Zinh", "XXX")

Content = TypeVar("Content")


@dataclass(frozen=True)
class Shared:
    """The codes of all that both locales have words for, sorted; a few are as good as none."""

    locales: tuple[Locale, Locale]
    territories: tuple[str, ...]
    languages: tuple[str, ...]
    scripts: tuple[str, ...]
    currencies: tuple[str, ...]
    zones: tuple[str, ...]
    units: tuple[str, ...]
    denominators: tuple[str, ...]  # units that have a pattern "per unit"
    widths: tuple[str, ...]  # of dates
    dates: tuple[str, ...]  # widths and skeletons of whole dates
    months: tuple[str, ...]  # skeletons of less than a date
    intervals: tuple[str, ...]  # skeletons, and widths of two whole dates
    relative: tuple[str, ...]  # units of time

    @classmethod
    def of(cls, first: Locale, second: Locale) -> "Shared":
        """Collect the codes."""
        two = (first, second)
        zones = _shared(*(locale.meta_zones for locale in two))
        units = _shared(*(locale.unit_display_names for locale in two))
        patterns = [date_patterns(locale) for locale in two]
        dates = tuple(name for name in patterns[0] if name in patterns[1])
        return cls(
            two,
            _named(*(locale.territories for locale in two)),
            _named(*(locale.languages for locale in two)),
            _named(*(locale.scripts for locale in two)),
            _named(*(locale.currencies for locale in two)),
            tuple(code for code in zones if all(zone_name(code, locale) for locale in two)),
            _enough(c for c in units if all(unit_length(locale, c, "other") for locale in two)),
            _enough(c for c in units if all(unit_length(locale, c, "per") for locale in two)),
            tuple(name for name in dates if name in DATE_WIDTHS),
            tuple(name for name in dates if name in (*DATE_WIDTHS, "yMMMEd")),
            tuple(name for name in dates if name not in (*DATE_WIDTHS, "yMMMEd")),
            tuple(
                skeleton
                for skeleton in ("yMMMEd", "yMMMd")
                if all(_has_interval(locale, skeleton) for locale in two)
            )
            + tuple(width for width in ("full", "long") if width in dates),
            tuple(RELATIVE)
            if all(_has_relative(locale, unit) for locale in two for unit in RELATIVE)
            else (),
        )


def _enough(codes: Iterable[str]) -> tuple[str, ...]:
    found = tuple(codes)
    return found if len(found) >= ENOUGH else ()


def _has_interval(locale: Locale, skeleton: str) -> bool:
    patterns = locale.interval_formats.get(skeleton, {})
    return bool(patterns) and all(spells(locale, p) for parts in patterns.values() for p in parts)


def _has_relative(locale: Locale, unit: str) -> bool:
    return all(relative(number, unit, locale) != relative(number, unit, ROOT) for number in (5, -5))


def relative(number: int, unit: str, locale: Locale) -> str:
    """Return a distance in time: "in 3 days", or "3 days ago" of a number below 0."""
    seconds = number * SECONDS[unit]
    return format_timedelta(seconds, unit, threshold=1, add_direction=True, locale=locale)


def zone_name(code: str, locale: Locale) -> str | None:
    """Return the long name of a time zone ("Central European Standard Time"), None without one."""
    return locale.meta_zones[code].get("long", {}).get("standard")


def _shared(first, second) -> tuple[str, ...]:
    return tuple(sorted(set(first) & set(second) - set(NOTHING)))


def _named(first, second) -> tuple[str, ...]:
    """Leave out codes that stand in for names: which CLDR has not."""
    return _enough(c for c in _shared(first, second) if c not in (first[c], second[c]))


class Draw:
    """Draws contents that are all held out, or all not."""

    def __init__(self, random: Random, shared: Shared, validation: bool):
        self.random, self.shared, self.validation = random, shared, validation

    def until(self, kind: str, draw: Callable[[], Content]) -> Content:
        """Draw until a content belongs to this split."""
        while True:
            content = draw()
            key = content if isinstance(content, tuple) else (content,)
            if held_out(kind, *key) == self.validation:
                return content

    def day(self) -> datetime.date:
        """Return a day of the 20th or 21st century."""
        days = (LAST - FIRST).days + 1
        return self.until("day", lambda: FIRST + datetime.timedelta(self.random.randrange(days)))

    def days(self) -> tuple[datetime.date, datetime.date]:
        """Return the first and last day of an interval: of days, months or years."""
        most = self.random.choice((25, 300, 3000))
        while True:
            start = self.day()
            near = [start + datetime.timedelta(self.random.randint(1, most)) for _ in range(40)]
            for end in near:
                if end <= LAST and held_out("day", end) == self.validation:
                    return start, end

    def clock(self) -> datetime.time:
        """Return a time of the day, to the minute."""
        return datetime.time(self.random.randrange(24), self.random.randrange(60))

    def number(self) -> Decimal:
        """Return a number below a million, small ones more often, one in six with decimals."""
        digits = self.random.choices((1, 2, 3, 4, 5, 6), (3, 9, 4, 2, 2, 1))[0]
        whole = self.random.randrange(1 if digits == 1 else 10 ** (digits - 1), 10**digits)
        if self.random.random() > 1 / 6:
            return Decimal(whole)
        places = self.random.randint(1, 2)
        decimals = Decimal(self.random.randrange(10**places)).scaleb(-places)
        # 7.50 is 7.5: one number has one hash.
        return Decimal(f"{(whole + decimals).normalize():f}")

    def of(self, codes: Sequence[str], kind: str) -> tuple[Decimal, str]:
        """Return a number of something; together they are held out, unless the number is small."""
        code = self.random.choice(codes)
        while True:
            number = self.number()
            held = number > SMALL and held_out(kind, number, code)
            if held == self.validation:
                return number, code

    def quantity(self) -> tuple[Decimal, str]:
        """Return a number of units, in a plural form that both locales have."""
        while True:
            number, unit = self.of(self.shared.units, "quantity")
            if all(has_quantity(locale, number, unit) for locale in self.shared.locales):
                return number, unit

    def amount(self) -> tuple[Decimal, str]:
        """Return a number of a currency, with no more decimals than it has."""
        number, code = self.of(self.shared.currencies, "amount")
        if get_currency_precision(code) < 2 and number != int(number):
            return self.amount()
        return number, code

    def relative(self) -> tuple[int, str]:
        """Return a distance in time and its unit; before now it is negative."""
        while True:
            unit = self.random.choice(self.shared.relative)
            number = self.random.randrange(1, min(RELATIVE[unit], 10 ** self.random.randint(1, 3)))
            number *= self.random.choice((1, -1))
            held = abs(number) > SMALL and held_out("relative", number, unit)
            if held == self.validation:
                return number, unit

    def some(self, kind: str, codes: Sequence[str], most: int) -> tuple[str, ...]:
        """Return two to `most` different codes, held out as a set."""
        while True:
            count = self.random.randint(2, most)
            found = tuple(self.random.sample(codes, min(count, len(codes))))
            if held_out(kind, *sorted(found)) == self.validation:
                return found

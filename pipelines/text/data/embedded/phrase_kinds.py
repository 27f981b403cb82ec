"""The kinds of phrases: what is said, without a language; CLDR writes it in any.

`names` and `plurals` are the vocabulary, all of it for training. KINDS compose: each draws a
content and returns a `Form`, the function from a locale to its text.
"""

import datetime
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

from babel import Locale
from babel.dates import (
    format_date,
    format_interval,
    format_skeleton,
    format_time,
    get_datetime_format,
    get_day_names,
    get_month_names,
    get_time_format,
)
from babel.lists import format_list
from babel.numbers import (
    format_compact_decimal,
    format_currency,
    format_decimal,
    format_percent,
)
from babel.units import format_compound_unit, format_unit

from pipelines.text.data.embedded.locales import (
    DATE_WIDTHS,
    SMALL,
    has_quantity,
    held_out,
    list_style,
    spells,
    unit_length,
)
from pipelines.text.data.embedded.phrase_parts import FIRST, Draw, Shared, relative, zone_name

Form = Callable[[Locale], str]


def names(shared: Shared) -> Iterator[tuple[str, Form]]:
    """Yield the kind and the form of every name that both locales have."""
    for code in shared.territories:
        yield "territory", lambda locale, code=code: locale.territories[code]
    for code in shared.languages:
        yield "language", lambda locale, code=code: locale.languages[code]
    for code in shared.scripts:
        yield "script", lambda locale, code=code: locale.scripts[code]
    for code in shared.currencies:
        yield "currency", lambda locale, code=code: locale.currencies[code]
    for code in shared.zones:
        yield "zone", lambda locale, code=code: zone_name(code, locale) or ""
    if all(spells(locale, "LLLL cccc") for locale in shared.locales):
        for n in range(1, 13):
            yield "month", lambda locale, n=n: get_month_names("wide", "stand-alone", locale)[n]
        for n in range(7):
            yield "weekday", lambda locale, n=n: get_day_names("wide", "stand-alone", locale)[n]


def plurals(shared: Shared) -> Iterator[tuple[str, Form]]:
    """Yield every unit and currency with the first number of each plural category, and "per"."""
    for unit in shared.units:
        for number in _examples(shared, "quantity", unit):
            if all(has_quantity(locale, number, unit) for locale in shared.locales):
                yield "quantity", quantity(number, unit)
    for unit in shared.denominators:
        for number in (Decimal(n) for n in (1, 2, 5)):
            yield "rate", _rate_of(lambda locale, n=number: format_decimal(n, locale=locale), unit)
    for code in shared.currencies:
        for number in _examples(shared, "amount", code):
            yield "amount", amount(number, code)


def _examples(shared: Shared, kind: str, code: str) -> list[Decimal]:
    """Return the smallest number of each pair of plural categories that is not held out."""
    found: dict[tuple[str, ...], Decimal] = {}
    for whole in range(1, 121):
        number = Decimal(whole)
        if number <= SMALL or not held_out(kind, number, code):
            found.setdefault(tuple(locale.plural_form(number) for locale in shared.locales), number)
    return list(found.values())


def quantity(number: Decimal, unit: str) -> Form:
    """Return the form of a number of units."""

    def write(locale: Locale) -> str:
        length = unit_length(locale, unit, locale.plural_form(number))
        return format_unit(number, unit, length=length or "long", locale=locale)

    return write


def amount(number: Decimal, code: str) -> Form:
    """Return the form of a number of a currency, by its name; cents are two digits."""
    cents = number != int(number)

    def write(locale: Locale) -> str:
        return format_currency(
            number, code, format_type="name", currency_digits=cents, locale=locale
        )

    return write


def _rate_of(write: Form, unit: str) -> Form:
    """Return the form of what `write` says, per unit."""

    def write_rate(locale: Locale) -> str:
        length, text = unit_length(locale, unit, "per") or "long", write(locale)
        return format_compound_unit(text, denominator_unit=unit, length=length, locale=locale) or ""

    return write_rate


def _date(draw: Draw) -> Form:
    day, form = draw.day(), draw.random.choice(draw.shared.dates)
    return lambda locale: date(day, form, locale)


def date(day: datetime.date, form: str, locale: Locale) -> str:
    """Return a date in a width, such as "full", or by a skeleton, such as "yMMMEd"."""
    if form in DATE_WIDTHS:
        return format_date(day, form, locale)
    return format_skeleton(form, datetime.datetime.combine(day, datetime.time()), locale=locale)


def _month(draw: Draw) -> Form:
    """Less than a date: a day without its year, or a month or quarter of a year."""
    skeleton = draw.random.choice(draw.shared.months)
    while True:
        day = draw.day()
        month = (day.month - 1) // 3 if skeleton == "yQQQQ" else day.month
        rest = day.day if skeleton == "MMMMd" else day.year
        if held_out("month", skeleton, month, rest) == draw.validation:
            return lambda locale: date(day, skeleton, locale)


def _moment(draw: Draw) -> Form:
    """A date and a time, as `format_datetime`, but without the longer times' seconds and zones."""
    day, time = draw.day(), draw.clock()
    width = draw.random.choice(draw.shared.widths)

    def write(locale: Locale) -> str:
        pattern = str(get_datetime_format(width, locale=locale)).replace("'", "")
        clock = format_time(time, "short", locale=locale)
        return pattern.replace("{0}", clock).replace("{1}", date(day, width, locale))

    return write


def _interval(draw: Draw) -> Form:
    """Two days by a skeleton, which says once what they share, or by CLDR's fallback pattern."""
    (start, end), form = draw.days(), draw.random.choice(draw.shared.intervals)
    if form in DATE_WIDTHS:
        return lambda locale: locale.interval_formats[None].format(
            date(start, form, locale), date(end, form, locale)
        )
    return lambda locale: format_interval(start, end, form, locale=locale)


def _hours(draw: Draw) -> Form:
    start, end = draw.until("hours", lambda: tuple(sorted((draw.clock(), draw.clock()))))

    day = datetime.datetime.combine  # of a bare time Babel would take today's date

    def write(locale: Locale) -> str:
        # Where intervals differ by parts of the day ("in the afternoon"), which Babel cannot tell.
        parts = "B" in locale.interval_formats.get("hm", ())
        skeleton = "Hm" if parts or "H" in str(get_time_format("short", locale=locale)) else "hm"
        return format_interval(day(FIRST, start), day(FIRST, end), skeleton, locale=locale)

    return write


def _relative(draw: Draw) -> Form:
    number, unit = draw.relative()
    return lambda locale: relative(number, unit, locale)


def _quantity(draw: Draw) -> Form:
    return quantity(*draw.quantity())


def _amount(draw: Draw) -> Form:
    return amount(*draw.amount())


def _rate(draw: Draw) -> Form:
    """Units per unit, but for those that are units themselves (kilometres per hour)."""
    while True:
        number, unit = draw.quantity()
        below = draw.random.choice(draw.shared.denominators)
        compound = f"{unit.partition('-')[2]}-per-{below.partition('-')[2]}"
        if unit != below and not any(known.endswith(compound) for known in draw.shared.units):
            return _rate_of(quantity(number, unit), below)


def _price(draw: Draw) -> Form:
    return _rate_of(amount(*draw.amount()), draw.random.choice(draw.shared.denominators))


def _number(draw: Draw) -> Form:
    number = draw.until("number", draw.number)
    match draw.random.choice(("decimal", "percent", "compact")):
        case "decimal":
            return lambda locale: format_decimal(number, locale=locale)
        case "percent":
            return lambda locale: format_percent(
                number.scaleb(-2), locale=locale, decimal_quantization=False
            )
    digits = draw.random.randint(0, 1)
    large = number * 10 ** draw.random.randint(3, 9)

    def write(locale: Locale) -> str:
        known = "long" if "long" in locale.compact_decimal_formats else "short"
        return format_compact_decimal(
            large, format_type=known, locale=locale, fraction_digits=digits
        )

    return write


def _listed(writes: Sequence[Form], style: str) -> Form:
    return lambda locale: format_list(
        [write(locale) for write in writes],
        list_style(locale, style),
        locale,
    )


def _names(field: str) -> Callable[[Draw], Form]:
    def draw_names(draw: Draw) -> Form:
        codes = draw.some(field, getattr(draw.shared, field), draw.random.choice((3, 12, 20)))
        writes = [lambda locale, code=code: getattr(locale, field)[code] for code in codes]
        return _listed(writes, draw.random.choice(("standard", "standard", "or")))

    return draw_names


def _several(one: Callable[[Draw], Form], style: str, most: int) -> Callable[[Draw], Form]:
    def draw_several(draw: Draw) -> Form:
        count = draw.random.randint(2, draw.random.choice((4, most)))
        return _listed([one(draw) for _ in range(count)], style)

    return draw_several


# How often each is drawn, and the fields of `Shared` that it draws from.
KINDS: dict[str, tuple[int, str, Callable[[Draw], Form]]] = {
    "date": (5, "dates", _date),
    "month": (1, "months", _month),
    "moment": (2, "widths", _moment),
    "interval": (3, "intervals", _interval),
    "hours": (1, "", _hours),
    "relative": (2, "relative", _relative),
    "number": (1, "", _number),
    "quantity": (4, "units", _quantity),
    "amount": (4, "currencies", _amount),
    "rate": (2, "units denominators", _rate),
    "price": (2, "currencies denominators", _price),
    "territories": (5, "territories", _names("territories")),
    "languages": (5, "languages", _names("languages")),
    "currencies": (2, "currencies", _names("currencies")),
    "dates": (3, "dates", _several(_date, "standard", 9)),
    "intervals": (2, "intervals", _several(_interval, "or", 5)),
    "quantities": (3, "units", _several(_quantity, "unit", 12)),
    "amounts": (3, "currencies", _several(_amount, "standard", 10)),
}

"""Known alignments: every span is read again, with names taken from CLDR by another way."""

import datetime
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
from babel.dates import format_date, format_datetime, get_day_names, get_month_names
from babel.numbers import get_currency_name

from pipelines.text.data.embedded.aligned import (
    Part,
    align,
    aligned,
    counted_parts,
    date_parts,
    moment_parts,
)
from pipelines.text.data.embedded.locales import date_patterns, find_locale, plain
from tfattn.errors import InputError

EN, FR, DE = (find_locale(code) for code in ("en", "fr", "de"))
DAY = datetime.date(2025, 3, 3)


def names(function, locale):
    """Map every name in any width and context to its number, one further for Monday to Sunday."""
    found = {}
    for width in ("wide", "abbreviated"):
        for context in ("format", "stand-alone"):
            for number, name in function(width, context, locale).items():
                found[plain(name)] = number
    return found


def counted_names():
    """Return all pairs of the English and the French name of a unit or a currency."""
    pairs = set()
    for unit in EN.unit_display_names:
        two = []
        for locale in (EN, FR):
            lengths = locale._data["unit_patterns"].get(unit, {})
            patterns = [lengths[length] for length in ("long", "short") if length in lengths]
            kept = [plain(forms[form]) for forms in patterns for form in forms if form != "per"]
            two.append([pattern.replace("{0}", "").strip() for pattern in kept])
        pairs |= set(itertools.product(*two))
    for code in EN.currencies:
        two = [[plain(get_currency_name(code, n, locale)) for n in (1, 2)] for locale in (EN, FR)]
        pairs |= set(itertools.product(*two))
    return pairs


def number(text):
    return int(re.sub(r"\D", "", text))


def cut(row):
    return [(row.source[a:b], row.target[c:d]) for a, b, c, d in row.spans]


@pytest.fixture(scope="module")
def iso():
    return aligned("en", "iso", 800, 100)


@pytest.fixture(scope="module")
def french():
    return aligned("en", "fr", 800, 100)


def text(parts):
    return "".join(part.text for part in parts)


def test_the_example_of_the_docstring():
    source = date_parts("EEEE, MMMM d, y", DAY, EN)
    target = date_parts("EEEE d MMMM y", DAY, FR)
    row = align(source, target)
    assert (row.source, row.target) == ("Monday, March 3, 2025", "lundi 3 mars 2025")
    assert set(row.spans) == {(0, 6, 0, 5), (8, 13, 8, 12), (14, 15, 6, 7), (17, 21, 13, 17)}


@pytest.mark.parametrize("code", ["en", "fr", "de", "ar", "he", "ja", "zh", "ko", "hi", "th", "fa"])
def test_the_parts_join_to_what_babel_writes(code):
    locale = find_locale(code)
    for width in ("full", "long", "medium"):
        pattern = date_patterns(locale)[width]
        assert text(date_parts(pattern, DAY, locale)) == plain(format_date(DAY, width, locale))
    parts = moment_parts(
        "medium", date_patterns(locale)["medium"], DAY, datetime.time(14, 5), locale
    )
    babels = format_datetime(datetime.datetime(2025, 3, 3, 14, 5, 0), "medium", locale=locale)
    assert text(parts) == plain(babels).replace("05:00", "05").replace("05.00", "05")


def test_spans_of_iso_dates_read_as_the_same_date(iso):
    months, weekdays = names(get_month_names, EN), names(get_day_names, EN)
    for row in (*iso.train, *iso.validation):
        day = datetime.date.fromisoformat(row.target[:10])
        spans = {(c, d): row.source[a:b] for a, b, c, d in row.spans if c < 10}
        assert spans.keys() == {(0, 4), (5, 7), (8, 10)}
        assert number(spans[0, 4]) == day.year and number(spans[8, 10]) == day.day
        assert months[spans[5, 7]] == day.month
        weekday = row.source.split(",")[0]
        assert weekday not in weekdays or weekdays[weekday] == day.weekday()


def test_of_a_clock_of_twelve_hours_the_hour_and_the_half_day_are_one_hour(iso):
    rows = [row for row in iso.train if "T" in row.target]
    assert len(rows) > 150
    for row in rows:
        time = datetime.datetime.fromisoformat(row.target)
        hour, half = (row.source[a:b] for a, b, c, d in row.spans if (c, d) == (11, 13))
        assert int(hour) % 12 + 12 * (half == "PM") == time.hour
        (minute,) = (row.source[a:b] for a, b, c, d in row.spans if (c, d) == (14, 16))
        assert int(minute) == time.minute


def test_spans_of_two_languages_mean_the_same(french):
    tables = [(names(get_month_names, EN), names(get_month_names, FR)),
              (names(get_day_names, EN), names(get_day_names, FR))]  # fmt: skip
    counted = counted_names()
    seen = {"month": 0, "weekday": 0, "number": 0, "name": 0}
    for row in (*french.train, *french.validation):
        dated = bool(re.search(r"\b(19|20)\d\d\b", row.source)) and "," in row.source
        for source, target in cut(row):
            months, weekdays = (s.get(source) for s, _ in tables)
            if dated and months:
                assert tables[0][1][target] == months
                seen["month"] += 1
            elif dated and weekdays is not None:
                assert tables[1][1][target] == weekdays
                seen["weekday"] += 1
            elif re.fullmatch(r"[\d,]+", source):
                hour = int(source) % 12 == number(target) % 12 if len(source) < 3 else False
                assert number(source) == number(target) or hour
                seen["number"] += 1
            elif source not in ("AM", "PM"):
                assert (source, target) in counted
                seen["name"] += 1
    assert min(seen.values()) > 80


def test_the_target_says_nothing_that_the_source_does_not(french):
    weekdays = names(get_day_names, FR)
    for row in french.train:
        first = row.target.split(" ")[0]
        if first in weekdays:
            assert any(c == 0 for _, _, c, _ in row.spans)


def test_days_of_validation_are_other_days(iso):
    train, validation = ({row.target[:10] for row in part} for part in (iso.train, iso.validation))
    assert len(iso.train) == 800 and len(iso.validation) == 100
    assert not train & validation
    sources = [row.source for row in (*iso.train, *iso.validation)]
    assert len(set(sources)) == len(sources)


def test_spans_lie_within_the_texts_of_right_to_left_and_east_asian_languages():
    for pair in (("ar", "ja"), ("he", "zh"), ("fa", "iso")):
        for row in aligned(*pair, 150, 20).train:
            for a, b, c, d in row.spans:
                assert 0 <= a < b <= len(row.source) and 0 <= c < d <= len(row.target)
            assert not re.search(r"[{}\u200e\u200f\u00a0\u202f]", row.source + row.target)


def test_another_process_makes_the_same(french):
    code = (
        "from pipelines.text.data.embedded.aligned import aligned\n"
        "print(ascii(aligned('en', 'fr', 800, 100)))"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True,
        env={"PYTHONPATH": root, "PYTHONHASHSEED": "5"},
    )  # fmt: skip
    assert done.stdout.strip() == ascii(french)


def test_the_number_and_the_name_of_a_counted_thing():
    number, name = frozenset({"number"}), frozenset({"name"})
    filled = lambda parts: [part for part in parts if part.text]  # noqa: E731
    assert filled(counted_parts("1\u202f200 kilomètres", "1\u202f200")) == [
        Part("1 200", number), Part(" "), Part("kilomètres", name)
    ]  # fmt: skip
    assert filled(counted_parts("毎秒5", "5")) == [Part("毎秒", name), Part("5", number)]
    unknown = ["hari 3 iliyopita", "يومان", "5 cubic 5"]
    assert [counted_parts(text, "5" if "5" in text else "3") for text in unknown] == [
        [Part(text)] for text in unknown
    ]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("en", "xx", "expected one of CLDR's.*Received: 'xx'"),
        ("iso", "en", "expected one of CLDR's.*Received: 'iso'"),
        ("fr", "fr", "expected two different ones. Received: fr twice"),
        ("en", "kpe", "CLDR has words for dates. Received: kpe"),
    ],
)
def test_locales_that_cannot_be_used_are_input_errors(source, target, message):
    with pytest.raises(InputError, match=message):
        aligned(source, target)

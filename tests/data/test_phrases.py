"""Phrases in two languages: nothing but CLDR's words, and nothing of validation in training."""

import datetime
import hashlib
import os
import re
import subprocess
import sys
import unicodedata
from decimal import Decimal
from pathlib import Path

import pytest
from babel.dates import format_date, get_month_names

from pipelines.text.data.embedded.folder import ABOUT
from pipelines.text.data.embedded.locales import ROOT, date_patterns, find_locale, held_out, plain
from pipelines.text.data.embedded.phrase_kinds import KINDS, amount, date, quantity
from pipelines.text.data.embedded.phrase_parts import Shared, relative
from pipelines.text.data.embedded.phrases import phrases, write_phrases
from tfattn.errors import InputError

EN, FR, DE = (find_locale(code) for code in ("en", "fr", "de"))
ENGLISH_DATE = re.compile(r"([A-Z][a-z]{2,8}) (\d{1,2}), (\d{4})")
MONTHS = {name[:3]: number for number, name in get_month_names("wide", locale="en").items()}


@pytest.fixture(scope="module")
def french():
    return phrases("en", "fr", 3000, 400)


def days(text):
    return {(int(y), MONTHS[m[:3]], int(d)) for m, d, y in ENGLISH_DATE.findall(text)}


def test_the_numbers_of_pairs_are_those_asked_for(french):
    assert len(french.validation) == 400
    assert len(french.train) > 3000 + 2000  # the vocabulary is more
    assert {row.kind for row in french.train} >= KINDS.keys()
    assert {row.kind for row in french.validation} == KINDS.keys()


def test_every_source_occurs_once_and_no_text_of_validation_in_training(french):
    rows = [*french.train, *french.validation]
    assert len({row.source for row in rows}) == len(rows)
    train = {text for row in french.train for text in (row.source, row.target)}
    assert not any({row.source, row.target} & train for row in french.validation)


def test_a_day_of_validation_is_nowhere_in_training(french):
    train = set().union(*(days(row.source) for row in french.train))
    validation = set().union(*(days(row.source) for row in french.validation))
    assert len(train) > 1000 and len(validation) > 100
    assert not train & validation
    assert all(held_out("day", datetime.date(*day)) for day in validation)
    assert not any(held_out("day", datetime.date(*day)) for day in train)


def test_a_set_of_names_of_validation_is_in_no_order_in_training(french):
    def sets(rows):
        kinds = ("territories", "languages", "currencies")
        texts = [re.split(r", (?:and |or )?| and | or ", r.source) for r in rows if r.kind in kinds]
        return {frozenset(names) for names in texts}

    assert len(sets(french.validation)) > 80
    assert not sets(french.train) & sets(french.validation)


def test_every_word_of_validation_is_in_training(french):
    def words(texts):
        return {word for text in texts for word in re.findall(r"[^\W\d_]+", text)}

    places = set(EN.territories.values())
    twice = [FR.languages[code] for code, name in EN.languages.items()
             if name in places and code in FR.languages]  # fmt: skip
    assert twice == ["nauruan", "tokelau", "tuvalu"]  # which the island comes before
    for side in ("source", "target"):
        train, validation = ([getattr(row, side) for row in part]
                             for part in (french.train, french.validation))  # fmt: skip
        assert not words(validation) - words([*train, *twice])


def test_every_name_that_both_locales_have_is_in_training(french):
    pairs = {(row.source, row.target) for row in french.train}
    targets = {source: target for source, target in pairs}
    for code in ("FR", "DE", "JP", "BR", "150"):
        assert targets[EN.territories[code]] == FR.territories[code]
    assert targets["Swahili"] == "swahili" and targets["Monday"] == "lundi"


def test_lengths_vary_widely(french):
    lengths = [len(row.source.split()) for row in french.validation]
    for low, high in ((1, 5), (5, 10), (10, 20), (20, 30), (30, 60)):
        assert sum(low <= length < high for length in lengths) >= 8


@pytest.mark.parametrize(
    "pair",
    [("ar", "ja"), ("he", "zh"), ("fa", "ko"), ("th", "hi"), ("ru", "cy"), ("ur", "zh_Hant"),
     ("fi", "pt-BR"), ("sw", "naq"), ("de", "es"), ("eo", "km")],
)  # fmt: skip
def test_no_template_and_no_name_of_the_root_is_left_in_any_text(pair):
    split = phrases(*pair, 250, 50)
    assert len(split.train) > 500 and len(split.validation) == 50
    for row in (*split.train, *split.validation):
        for text in (row.source, row.target):
            assert text and text == " ".join(text.split()), row
            assert not re.search(r"[{}\u2205\x00-\x1f]|\bM(0[1-9]|1[0-2])\b", text), row
            assert unicodedata.is_normalized("NFC", text), row
            odd = [c for c in text if unicodedata.category(c) in ("Zs", "Zl", "Zp", "Cf")]
            assert set(odd) <= set(" \u200b\u200c\u200d"), row


def test_two_processes_write_equal_bytes(tmp_path):
    sizes = (200, 50)
    code = (
        "import sys; from pathlib import Path\n"
        "from pipelines.text.data.embedded.phrases import write_phrases\n"
        f"write_phrases(Path(sys.argv[1]), 'de', 'fr', None, *{sizes})\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "LC_ALL": "C", "LANG": "C"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "one")], check=True, env=environment)
    write_phrases(tmp_path / "two", "de", "fr", None, *sizes)
    one, two = (
        [hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((tmp_path / name).iterdir())]
        for name in ("one", "two")
    )
    assert len(one) == 3 and one == two


def test_the_same_contents_are_held_out_for_all_pairs_of_languages(french):
    german = phrases("en", "de", 300, 100)
    train = set().union(*(days(row.source) for row in french.train))
    assert not train & set().union(*(days(row.source) for row in german.validation))


def test_tables_have_a_header_of_codes_and_are_reused(tmp_path):
    calls = []
    written = write_phrases(
        tmp_path / "made", "en", "pt-BR", lambda n, total: calls.append((n, total)), 100, 20
    )
    header, *lines = written.validation.read_text("utf-8").splitlines()
    assert header == "en\tpt-BR" and len(lines) == 20
    assert all(len(line.split("\t")) == 2 for line in lines)
    assert sum(written.about["pairs"]["validation"].values()) == 20
    assert calls[-1] == (120, 120) and calls == sorted(calls)
    before = written.train.stat().st_mtime_ns
    assert write_phrases(tmp_path / "made", "en", "pt-BR", calls.append, 100, 20) == written
    assert written.train.stat().st_mtime_ns == before
    assert write_phrases(tmp_path / "made", "en", "fr", None, 100, 20).about["locales"][1] == "fr"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made"]


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds thesis.txt, which is not of this corpus"):
        write_phrases(tmp_path, "en", "fr")
    assert not (tmp_path / ABOUT).exists()


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("en", "fr_XX", r"expected one of CLDR's such as fr_.*Received: 'fr_XX'"),
        ("en-USA", "fr", r"expected one of CLDR's such as en_.*Received: 'en-USA'"),
        ("", "fr", r"expected one of CLDR's\. Received: ''"),
        ("en", "EN", "expected two different ones. Received: en twice"),
        ("en", "kpe", "CLDR has words for dates or names. Received: en and kpe"),
    ],
)
def test_locales_that_cannot_be_used_are_input_errors(source, target, message):
    with pytest.raises(InputError, match=message):
        phrases(source, target)


def test_locales_are_found_in_any_spelling():
    assert str(find_locale("pt-br")) == "pt_BR" and str(find_locale("zh-Hant-TW")) == "zh_Hant_TW"


def test_contents_are_written_as_each_language_writes_them():
    day = datetime.date(2025, 3, 3)
    assert date(day, "full", DE) == "Montag, 3. März 2025" == format_date(day, "full", "de")
    assert plain(quantity(Decimal("2.5"), "length-kilometer")(FR)) == "2,5 kilomètres"
    assert quantity(Decimal(1), "duration-day")(EN) == "1 day"
    assert quantity(Decimal(3), "length-kilometer")(find_locale("zh")).endswith("公里")
    assert amount(Decimal("12.5"), "USD")(EN) == "12.50 US dollars"
    assert amount(Decimal(12), "USD")(FR) == "12 dollars des États-Unis"
    assert relative(11, "month", EN) == "in 11 months"
    assert relative(-3, "day", FR) == "il y a 3 jours"


def test_dates_without_words_of_their_own_are_not_used():
    assert "yMMMEd" in date_patterns(EN) and "yMMMEd" in date_patterns(find_locale("ko"))
    bare = date_patterns(find_locale("mzn"))  # has months in full, and neither "Mar" nor "Mon"
    assert "long" in bare and "yMMMEd" not in bare
    assert date_patterns(ROOT).keys() <= {"medium"}


def test_locales_used_before_change_nothing():
    # Looking this name up writes the months of Hebrew into what Babel's locales share.
    assert format_date(datetime.date(2025, 10, 15), "LLLL", "he") == "אוקטובר"
    find_locale.cache_clear()
    assert get_month_names("wide", "stand-alone", find_locale("fr"))[10] == "octobre"
    find_locale("yi")
    assert get_month_names("wide", "stand-alone", find_locale("no"))[10] == "oktober"


def test_marks_and_spaces_are_plain_but_joiners_stay():
    assert plain("1\u202f234\u00a0€ \u200f–\u2009x") == "1 234 € – x"
    assert plain("می\u200cروم") == "می\u200cروم"


def test_codes_without_a_name_are_not_shared():
    shared = Shared.of(EN, FR)
    assert "ZZ" not in shared.territories and "FR" in shared.territories
    assert len(shared.units) > 150 and len(shared.denominators) > 20
    assert not Shared.of(EN, find_locale("kpe")).languages

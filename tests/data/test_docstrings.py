import os
import sys

import pytest

from pipelines.text.data.embedded import docstrings
from pipelines.text.data.embedded.docstrings import (
    SHORTEST,
    STANDARD_LIBRARY,
    harvest,
    read,
    source_files,
)
from tfattn.errors import InputError

LONG = "This is the documentation of {}, which is long enough to be kept by all of the filters."


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Make a package that can be found, but must not be imported."""
    folder = tmp_path / "bystander"
    (folder / "tests").mkdir(parents=True)
    witness = tmp_path / "witness"
    (folder / "__init__.py").write_text(
        f'"""{LONG.format("a package")}"""\nopen({str(witness)!r}, "w").close()\nraise SystemExit\n'
    )
    (folder / "tests" / "test_it.py").write_text(f'"""{LONG.format("its tests")}"""\n')
    (folder / "broken.py").write_text(f'"""{LONG.format("nothing")}"""\ndef :\n')
    (folder / "latin.py").write_bytes(f'"""{LONG.format("café")}"""\n'.encode("latin-1"))
    (folder / "null.py").write_bytes(b'"""' + LONG.encode() + b'"""\0\n')
    (folder / "escapes.py").write_text(
        '"""Tell what a file with \\d in its text says.\n\n'
        "Python warns of such an escape, which is of no concern to those who only read it.\n"
        '"""\n'
    )
    (folder / "nested.py").write_text(
        "class Outer:\n"
        "    if True:\n"
        "        async def inner(self):\n"
        '            """Wait for whatever comes of it, and then return what was the\n'
        '            result of it all to those who are still there and listen."""\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    assert not witness.exists()
    assert "bystander" not in sys.modules


def test_packages_are_read_and_not_run(package):
    found = harvest(["bystander"])
    assert [(d.module, d.name) for d in found] == [
        ("bystander", ""),
        ("bystander.escapes", ""),
        ("bystander.nested", "Outer.inner"),
    ]
    assert found[0].text == LONG.format("a package")
    assert found[2].text.endswith("it, and then return what was the result of it all to those who "
                                  "are still there and listen.")  # fmt: skip


def test_files_that_do_not_parse_are_skipped(package):
    sources = source_files("bystander")
    assert {source.path.name for source in sources} >= {"broken.py", "latin.py", "null.py"}
    modules = {docstring.module for docstring in read(sources)}
    assert modules == {"bystander", "bystander.escapes", "bystander.nested"}


def test_missing_and_compiled_packages_are_skipped():
    assert harvest(["no_such_package_anywhere", "sys", ""]) == []


def test_a_package_within_a_package_is_refused():
    with pytest.raises(InputError, match="Received: email.mime"):
        harvest(["email.mime"])


def test_the_standard_library_is_a_package_without_tests_and_site_packages():
    modules = {source.module for source in source_files(STANDARD_LIBRARY)}
    assert {"json.decoder", "argparse", "email"} <= modules
    assert not any(module.startswith(("site-packages", "test.", "idlelib")) for module in modules)


def test_harvest_is_clean_and_the_same_every_time():
    found = harvest(["json", "email"])
    assert found == harvest(["json", "email", "json"])
    assert len(found) > 50
    assert {d.package for d in found} == {"json", "email"}
    assert all(len(d.text) >= SHORTEST and ">>>" not in d.text for d in found)
    assert len({d.text for d in found}) == len(found)


def test_several_processes_find_what_one_finds(monkeypatch):
    monkeypatch.setattr(docstrings, "FILES_PER_TASK", 8)
    assert harvest(["json", "email"], processes=2) == harvest(["json", "email"], processes=1)


def test_progress_counts_files(monkeypatch):
    monkeypatch.setattr(docstrings, "FILES_PER_TASK", 2)
    calls = []
    harvest(["json"], progress=lambda done, total: calls.append((done, total)), processes=1)
    total = len(source_files("json"))
    assert calls == [(done, total) for done in [*range(2, total, 2), total]]


def test_repeated_paragraphs_and_near_copies_are_kept_once(tmp_path, monkeypatch):
    copies = [LONG.format(name) + "\n\nThe name of it is optional." for name in ("this", "that")]
    other = "Nothing here is like the rest of it, so it is kept, but not what all of them end with."
    for name, text in zip("abc", [*copies, other + "\n\nThe name of it is optional."], strict=True):
        (tmp_path / f"copied_{name}.py").write_text(f'"""{text}"""\n')
    monkeypatch.syspath_prepend(tmp_path)
    found = harvest(["copied_a", "copied_b", "copied_c"])
    assert [(d.module, d.text) for d in found] == [("copied_a", copies[0]), ("copied_c", other)]


def test_links_in_a_package_that_go_nowhere_are_skipped(package):
    os.symlink(package / "gone", package / "dangling.py")
    assert len(harvest(["bystander"])) == 3

"""A reader finds the old content or the new one, whatever happened to the writer."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.core import atomic
from pipelines.core.atomic import (
    InUse,
    beside,
    replacing,
    replacing_folder,
    write_bytes,
    write_text,
)

ROOT = Path(__file__).parents[2]
KILLED = """
import os, signal
from pathlib import Path
from pipelines.core import atomic

os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
path = Path({path!r})
if {kind!r} == "file":
    atomic.write_text(path, "new")
else:
    with atomic.replacing_folder(path, exclusive={kind!r} == "locked folder") as temporary:
        (temporary / "a").write_text("new")
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def kill_before_rename(path, kind):
    code = KILLED.format(path=str(path), kind=kind)
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert run.returncode == -signal.SIGKILL


def test_a_file_is_replaced(tmp_path):
    write_text(tmp_path / "a", "old\r\n")
    write_text(tmp_path / "a", "new\r\n½")
    assert (tmp_path / "a").read_bytes() == "new\r\n½".encode()
    write_bytes(tmp_path / "a", b"\xff")
    assert (tmp_path / "a").read_bytes() == b"\xff" and names(tmp_path) == ["a"]


def test_a_file_of_a_killed_writer_is_the_old_one_and_its_leftover_is_replaced(tmp_path):
    write_text(tmp_path / "a", "old")
    kill_before_rename(tmp_path / "a", "file")
    assert (tmp_path / "a").read_text() == "old" and names(tmp_path) == [".a.tmp", "a"]
    write_text(tmp_path / "a", "newer")
    assert (tmp_path / "a").read_text() == "newer" and names(tmp_path) == ["a"]


@pytest.mark.parametrize("kind", ["folder", "locked folder"])
def test_a_folder_of_a_killed_writer_is_absent_and_its_leftover_is_replaced(tmp_path, kind):
    kill_before_rename(tmp_path / "a", kind)
    assert names(tmp_path) == [".a.tmp"]
    (tmp_path / ".a.tmp" / "deep").mkdir()
    with replacing_folder(tmp_path / "a", exclusive=kind != "folder") as temporary:
        assert names(temporary) == []
        (temporary / "b").touch()
    assert names(tmp_path) == ["a"] and names(tmp_path / "a") == ["b"]


def test_an_error_keeps_the_old_file_and_removes_the_temporary(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "a").read_text() == "old" and names(tmp_path) == ["a"]


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_removes_the_temporary_folder(tmp_path, exclusive, error):
    with pytest.raises(error), replacing_folder(tmp_path / "a", exclusive=exclusive) as temporary:
        (temporary / "b").touch()
        raise error
    assert names(tmp_path) == []


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_folder_that_holds_files_is_not_replaced(tmp_path, exclusive):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    with pytest.raises(OSError), replacing_folder(tmp_path / "a", exclusive=exclusive) as temporary:
        (temporary / "new").touch()
    assert names(tmp_path) == ["a"] and names(tmp_path / "a") == ["old"]


def test_an_exclusive_folder_has_one_writer(tmp_path):
    with replacing_folder(tmp_path / "a", "partial", exclusive=True) as temporary:
        assert temporary == beside(tmp_path / "a", "partial")
        again = replacing_folder(tmp_path / "a", "partial", exclusive=True)
        with pytest.raises(InUse, match="another process writes it"), again:
            pass
        (temporary / "b").touch()
    assert names(tmp_path / "a") == ["b"]


def test_all_is_synced_before_the_rename_and_the_parent_after_it(tmp_path, monkeypatch):
    calls, rename = [], os.replace
    monkeypatch.setattr(atomic, "sync", lambda path: calls.append(path.relative_to(tmp_path)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("rename"), rename(*paths)))
    with replacing_folder(tmp_path / "a") as temporary:
        (temporary / "b").mkdir()
        (temporary / "b" / "c").touch()
    rename_at = calls.index("rename")
    assert {*map(str, calls[:rename_at])} == {".a.tmp", ".a.tmp/b", ".a.tmp/b/c"}
    assert calls[rename_at + 1 :] == [Path()]


def test_neither_keras_nor_tensorflow_is_imported():
    code = "import sys, pipelines.core.atomic; print({'keras', 'tensorflow'} & {*sys.modules})"
    run = [sys.executable, "-c", code]
    assert subprocess.check_output(run, cwd=ROOT, text=True) == "set()\n"

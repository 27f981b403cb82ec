"""Notebooks run from start to end, and what is stored of them is what their sources say."""

import subprocess
import sys

import nbformat
import pytest

from notebooks.execute import HERE, read, sources

NAMES = [path.stem for path in sources()]


def test_links_lead_to_files():
    for source in sources():
        for cell in read(source).cells:
            for part in cell.source.split("](")[1:]:
                assert (HERE / part.split(")")[0]).is_file(), (source.name, part)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_stored_is_of_this_source_and_whole(name):
    stored = nbformat.read(HERE / f"{name}.ipynb", as_version=4)
    cells = read(HERE / f"{name}.py").cells
    assert [cell.source for cell in stored.cells] == [cell.source for cell in cells]
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = [kind for cell in code for out in cell.outputs for kind in out.get("data", ())]
    assert "image/png" in kinds


@pytest.mark.notebook
@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name, tmp_path):
    words = [sys.executable, HERE / "execute.py", name, "--quick", "--out", tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / f"{name}.ipynb").exists()


def test_a_name_that_there_is_not_is_told():
    words = [sys.executable, HERE / "execute.py", "12_1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "expected the start of a name" in done.stderr and "12_1" in done.stderr

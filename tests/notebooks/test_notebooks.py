"""Notebooks run from start to end, and what is stored of them is what their sources say."""

import os
import subprocess
import sys
from dataclasses import replace

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


def run_cells(name, folder):
    """Run the cells of a notebook, in a process of its own: IPython does it without a kernel."""
    os.environ["IPYTHONDIR"] = folder
    from IPython.core.interactiveshell import InteractiveShell

    from pipelines.domains import DOMAINS

    for domain in DOMAINS:  # four steps are not worth what XLA takes to compile
        for preset, recipe in domain.presets.items():
            train = replace(recipe.train, compile="graph")
            domain.presets[preset] = replace(recipe, train=train)

    class Shell(InteractiveShell):
        def enable_gui(self, gui=None):
            """Accept `%matplotlib inline`, which needs no event loop."""

    shell = Shell.instance()
    shell.history_manager.enabled = False
    for cell in read(HERE / f"{name}.py", quick=True).cells:
        if cell.cell_type == "code":
            shell.run_cell(cell.source).raise_error()


@pytest.mark.notebook
@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name, fork_server, tmp_path):
    log = tmp_path / "log"
    child = fork_server.start("test_notebooks:run_cells", log, name, str(tmp_path))
    assert child.wait(1200) == 0, log.read_text()[-3000:]


@pytest.mark.notebook
def test_a_notebook_is_written_with_its_outputs(tmp_path):
    """Run the shortest one as a user does: in a process of its own, by a Jupyter kernel."""
    name = "11_2_pooling_by_similarity"
    words = [sys.executable, HERE / "execute.py", name, "--quick", "--out", tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    written = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4)
    code = [cell for cell in written.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert any("image/png" in out.get("data", ()) for cell in code for out in cell.outputs)


def test_a_name_that_there_is_not_is_told():
    words = [sys.executable, HERE / "execute.py", "12_1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "expected the start of a name" in done.stderr and "12_1" in done.stderr

"""Run notebooks: the sources are the `.py` files beside this one, with outputs they are `.ipynb`.

    python notebooks/execute.py                    # all of them
    python notebooks/execute.py 11_2 --quick       # one, with the few steps of a test

A notebook that fails keeps the outputs of its last success.
"""

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
import tyro
from nbclient import NotebookClient
from rich.console import Console
from traitlets.config import Config

HERE = Path(__file__).parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


@dataclass(frozen=True)
class Execute:
    """Run notebooks."""

    names: tyro.conf.Positional[tuple[str, ...]] = ("",)  # how files begin; default all
    quick: bool = False  # few steps, as the tests run them
    out: Path = HERE  # receives the .ipynb files


def sources(start: str = "") -> list[Path]:
    """Return the sources whose names begin so, in order."""
    return sorted(path for path in HERE.glob("11_*.py") if path.stem.startswith(start))


def read(source: Path, quick: bool = False) -> nbformat.NotebookNode:
    """Return a notebook without outputs.

    Args:
        source: its cells.
        quick: whether a cell `# %% quick="..."` is the code that it names: less of the same.
    """
    notebook = jupytext.read(source)
    notebook.metadata = {"kernelspec": KERNEL}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # else drawn at random, and every run a change
        short = cell.metadata.pop("quick", None)
        if quick and short:
            cell.source = short
    return notebook


def execute(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run all cells; raises `nbclient.exceptions.CellExecutionError` where one fails."""
    root = HERE.parent
    os.environ.update(PYTHONPATH=str(root), TF_CPP_MIN_LOG_LEVEL="3")
    with tempfile.TemporaryDirectory() as sockets:  # and no port, that others could ask
        manager = {"transport": "ipc", "ip": f"{sockets}/kernel"}
        client = NotebookClient(
            notebook,
            config=Config({"KernelManager": manager}),
            timeout=1200,
            record_timing=False,
            resources={"metadata": {"path": str(root)}},
        )
        client.execute()
    for cell in notebook.cells:  # what TensorFlow says of missing devices is no output
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    return notebook


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    nbformat.write(notebook, temporary)
    temporary.replace(path)


def main(job: Execute) -> None:
    """Run the notebooks that are named, each with the time it takes."""
    console = Console()
    chosen = sorted({path for name in job.names for path in sources(name)})
    if not chosen:
        raise SystemExit(f"expected the start of a name in {HERE}. Received: {job.names}.")
    for number, source in enumerate(chosen, 1):
        start = time.perf_counter()
        with console.status(f"{source.stem} ({number} of {len(chosen)})"):
            notebook = execute(read(source, job.quick))
        write(notebook, job.out / f"{source.stem}.ipynb")
        console.print(f"{source.stem}  {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(tyro.cli(Execute, description=__doc__))

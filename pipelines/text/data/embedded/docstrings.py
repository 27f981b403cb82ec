"""Real English that is on every machine: the docstrings of Python and of the packages beside it.

The files are read and parsed (`ast`), never imported: no module of theirs runs. Several processes
share the files; the result does not depend on how many, nor on the order in which they finish.
"""

import ast
import gc
import importlib.util
import os
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from pipelines.text.data.embedded.prose import prose
from pipelines.text.data.embedded.shingles import Shingles
from tfattn.errors import InputError

Progress = Callable[[int, int], None]

STANDARD_LIBRARY = "stdlib"
# The standard library, then requirements.txt and its dependencies. Of two copies of a text the
# first is kept, so the carefully written packages come before the generated ones.
# fmt: off
PACKAGES = (
    STANDARD_LIBRARY, "numpy", "scipy", "sklearn", "matplotlib", "narwhals", "joblib", "h5py",
    "PIL", "fontTools", "pyparsing", "dateutil", "keras", "keras_hub", "optree", "opt_einsum",
    "huggingface_hub", "fsspec", "tqdm", "requests", "urllib3", "_pytest", "pluggy", "packaging",
    "setuptools", "click", "rich", "tyro", "werkzeug", "markdown", "absl", "wrapt",
    "safetensors", "tokenizers", "grpc", "tensorboard", "tensorflow_text", "tensorflow",
)
# Tests, re-exports, other projects' copies.
SKIPPED_FOLDERS = frozenset((
    "__pycache__", "_api", "_vendor", "dist-packages", "extern", "idlelib", "lib2to3", "pip",
    "site-packages", "test", "testdata", "tests",
))
# fmt: on
SHORTEST = 80  # characters of prose
NEAR = 0.5  # share of shingles read before from which a docstring counts as a copy
FILES_PER_TASK = 32
MOST_PROCESSES = 8  # starting more takes longer than they save


@dataclass(frozen=True)
class Docstring:
    """The prose of one module, class or function: paragraphs, an empty line between them."""

    text: str
    package: str
    module: str  # "json.decoder"
    name: str  # "JSONDecoder.decode"; empty for the module itself


def harvest(
    packages: Iterable[str] = PACKAGES,
    progress: Progress | None = None,
    processes: int | None = None,
) -> list[Docstring]:
    """Read the docstrings of packages without importing them, cleaned and without copies.

    A package that is not installed is skipped, as is a file that this Python cannot parse.
    `progress` is called with the number of files read and of all files; `processes` defaults to
    one per core, eight at most.
    """
    return distinct(collect(read, packages, progress, processes))


def collect(
    reader: Callable[[list["Source"]], list],
    packages: Iterable[str],
    progress: Progress | None = None,
    processes: int | None = None,
) -> list:
    """Join what `reader`, a function of a module, finds in the files of packages, in their order.

    `progress` and `processes` as for `harvest`.
    """
    files = [file for package in dict.fromkeys(packages) for file in source_files(package)]
    tasks = [
        files[start : start + FILES_PER_TASK] for start in range(0, len(files), FILES_PER_TASK)
    ]
    processes = min(processes or min(os.cpu_count() or 1, MOST_PROCESSES), len(tasks))
    found, done = [], 0
    for task, rows in zip(tasks, _map(reader, tasks, processes), strict=True):
        found += rows
        done += len(task)
        if progress:
            progress(done, len(files))
    return found


@dataclass(frozen=True)
class Source:
    """A file of a package and the name it would be imported by."""

    path: Path
    package: str
    module: str


def source_files(package: str) -> list[Source]:
    """Find the Python files of a top-level package, in the order of their module names."""
    found = {}
    for root in _roots(package):
        base = root if package == STANDARD_LIBRARY else root.parent
        for path in _python_files(root):
            parts = path.relative_to(base).with_suffix("").parts
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found.setdefault(module, Source(path, package, module))
    return [found[module] for module in sorted(found)]


def _python_files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in SKIPPED_FOLDERS]
        for name in names:
            if name.endswith(".py") and not name.endswith("_test.py"):
                yield Path(folder, name)


def _roots(package: str) -> list[Path]:
    if package == STANDARD_LIBRARY:
        return [Path(sysconfig.get_path("stdlib"))]
    if "." in package:  # to find it, its parent would be imported
        raise InputError(f"Packages are top-level names such as email. Received: {package}.")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [path for path in map(Path, spec.submodule_search_locations) if path.is_dir()]
    origin = Path(spec.origin or "")
    return [origin] if spec.has_location and origin.suffix == ".py" else []


def _map(function, tasks: list, processes: int) -> Iterator:
    if processes <= 1:
        yield from map(function, tasks)
        return
    # "spawn", because the caller may have TensorFlow's threads, which a fork would break.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(function, tasks)


def read(sources: list[Source]) -> list[Docstring]:
    """Parse files and return the docstrings that hold enough prose."""
    found = []
    with no_garbage_collection():
        for source in sources:
            for name, docstring in docstrings_of(source.path):
                text = "\n\n".join(prose(docstring)) if len(docstring) >= SHORTEST else ""
                if len(text) >= SHORTEST:
                    found.append(Docstring(text, source.package, source.module, name))
    return found


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Parse three times as fast: the collector walks every new syntax tree over and over."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def docstrings_of(path: Path) -> list[tuple[str, str]]:
    """Return the qualified names and docstrings of a file, none if it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            source = path.read_bytes()
            tree = ast.parse(source if b'"""' in source or b"'''" in source else b"")
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return list(_walk(tree, ""))


def _walk(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        docstring = ast.get_docstring(node, clean=False)
        if docstring:
            yield name, docstring
    for part in ("body", "orelse", "handlers", "finalbody"):
        for child in getattr(node, part, ()):
            if isinstance(child, ast.stmt | ast.ExceptHandler):
                own = getattr(child, "name", None) if hasattr(child, "decorator_list") else None
                yield from _walk(child, f"{name}.{own}".lstrip(".") if own else name)


def distinct(docstrings: list[Docstring]) -> list[Docstring]:
    """Drop paragraphs that came before, then docstrings that are mostly copies of earlier ones."""
    paragraphs: set[str] = set()
    shingles = Shingles()
    kept = []
    for docstring in docstrings:
        new = [p for p in dict.fromkeys(docstring.text.split("\n\n")) if p not in paragraphs]
        text = "\n\n".join(new)
        if len(text) >= SHORTEST and shingles.add_if_new(text, NEAR):
            paragraphs.update(new)
            kept.append(Docstring(text, docstring.package, docstring.module, docstring.name))
    return kept

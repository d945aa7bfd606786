"""`sse check`: notebooks and parameter files against the rules of this suite, and what nbval compares."""

import ast
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pandas as pd
from nbclient import NotebookClient
from nbformat import NotebookNode

from sselib.errors import ParameterError, RunError
from sselib.paths import project_root
from sselib.runfolder import write_whole
from sselib.running.notebooks import (
    COMPARED_TAG,
    PARAMETERS_TAG,
    Notebook,
    cells_with_errors,
    find_notebooks,
    last_line,
    read_notebook,
    read_parameters,
    tags,
)
from sselib.running.parameters import PROFILES, RUN_DIR, values_of_profile

MAX_CELL_LINES = 15
MAX_PARAMETER_LINES = 30  # one option a line, so that each keeps its type, unit and comment
_NETWORK = frozenset(
    {"requests", "urllib", "urllib3", "http", "httpx", "aiohttp", "socket", "ftplib", "pooch", "wget"}
)
_LEAVES_OUT = "leaves the cells after it out without an error", "raise an error that says why"
_FORBIDDEN_CALLS = {
    **dict.fromkeys(("os.chdir", "chdir"), ("moves the working directory", "use the run folder")),
    **dict.fromkeys(("sys.exit", "exit", "quit", "os._exit"), _LEAVES_OUT),
}
_PATH = re.compile(
    r"^(/(home|Users|root|tmp|work|mnt|media|data|opt|var|usr|etc|scratch)\b|~/|[A-Za-z]:[\\/]|\.\.?/)"
)
_MACHINE_PATH = re.compile(r"(?<![\w.])/(home|Users|root|tmp|work|mnt|media|opt|var|usr)/\w|[A-Z]:\\\\?\w")
_ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")
_NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?!\w)")
_SHOWN = ("text/markdown", "text/plain", "text")  # of an output, the first that is there
_PLAIN_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


@dataclass(frozen=True)
class Finding:
    """One breach of a rule; ``cell`` counts all cells from 1, 0 means the file as a whole."""

    file: str
    cell: int
    found: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}, cell {self.cell}" if self.cell else self.file
        return f"{place}: {self.found}: {self.remedy}"


Breach = tuple[int, str, str]  # cell, found, remedy


def lint(paths: Sequence[Path] = ()) -> list[Finding]:
    """Return every finding in the notebooks; without paths in all of them and in all parameter files.

    Raises `RunError` if a path is no readable notebook.
    """
    notebooks, ours = _read(paths), project_root() / "notebooks"
    findings = [Finding(n.path.name, *found) for n in notebooks for rule in RULES for found in rule(n)]
    mine = [n for n in notebooks if n.path.resolve().parent == ours]
    findings += [f for n in mine for f in _parameter_files(n)]
    return findings + ([] if paths else _stray_parameter_files({n.name for n in notebooks}))


def _read(paths: Sequence[Path]) -> list[Notebook]:
    return [read_notebook(p) for p in (paths or find_notebooks())]


def _code_cells(notebook: Notebook) -> list[tuple[int, NotebookNode]]:
    return [(i, c) for i, c in enumerate(notebook.node.cells, start=1) if c.cell_type == "code"]


def _one_parameters_cell(notebook: Notebook) -> Iterator[Breach]:
    tagged = [i for i, c in enumerate(notebook.node.cells, start=1) if PARAMETERS_TAG in tags(c)]
    if len(tagged) != 1:
        found = f"{len(tagged)} cells are tagged 'parameters'"
        yield (tagged[1] if tagged else 0), found, "tag exactly one code cell"
        return
    try:
        parameters = read_parameters(notebook)
    except (ParameterError, SyntaxError) as error:
        yield tagged[0], str(error), "keep the parameters cell to lines 'name: type = literal  # comment'"
        return
    if RUN_DIR not in parameters:
        yield tagged[0], "there is no parameter 'run_dir'", "add 'run_dir: str = \"\"  # run folder'"
    for p in parameters.values():
        if not p.kind:
            yield tagged[0], f"parameter '{p.name}' has no type", f"write '{p.name}: type = ...'"
        if not p.comment:
            yield tagged[0], f"parameter '{p.name}' has no comment", "say after '#' what it is, with its unit"


def _short_cells(notebook: Notebook) -> Iterator[Breach]:
    for number, cell in _code_cells(notebook):
        lines = sum(bool(line.strip()) for line in cell.source.splitlines())
        most = MAX_PARAMETER_LINES if PARAMETERS_TAG in tags(cell) else MAX_CELL_LINES
        if lines > most:
            yield number, f"{lines} lines, at most {most}", "split the cell or move logic to sselib"


def _code_rules(notebook: Notebook) -> Iterator[Breach]:
    for number, cell in _code_cells(notebook):
        commands = [line.strip() for line in cell.source.splitlines() if re.match(r"\s*[!%]", line)]
        for command in commands:
            yield number, f"'{command[:40]}' is a shell or IPython command", "use plain Python from sselib"
        try:
            with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
                tree = ast.parse(cell.source)
        except SyntaxError as error:
            if not commands:
                yield number, f"syntax error in line {error.lineno}: {error.msg}", "correct the line"
            continue
        for node in ast.walk(tree):
            yield from ((number, *found) for found in _node(node))


def _node(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with one node of a cell's syntax tree."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield f"'{node.name}' is defined here", "move it to sselib and import it"
        case ast.Call():
            yield from _call(node)
        case ast.Import() | ast.ImportFrom():
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            for name in names:
                if name.split(".")[0] in _NETWORK:
                    yield f"'{name}' reaches the network", "let sselib.registry fetch files and check hashes"
        case ast.Constant(value=str() as text) if _PATH.match(text):
            yield f"the path '{text[:60]}'", "it holds on one machine only: use a parameter or the run folder"


def _call(node: ast.Call) -> Iterator[tuple[str, str]]:
    name, arguments = ast.unparse(node.func), [ast.unparse(a).strip("'\"") for a in node.args]
    if name in _FORBIDDEN_CALLS:
        what, remedy = _FORBIDDEN_CALLS[name]
        yield f"{name} {what}", remedy
    if name.endswith(("filterwarnings", "simplefilter")) and arguments == ["ignore"] and not node.keywords:
        yield f"{name} silences every warning", "name the category and the message, or mend the cause"


def _file_format(notebook: Notebook) -> Iterator[Breach]:
    node = notebook.node
    if (node.nbformat, node.nbformat_minor) < (4, 5):
        yield 0, f"the format is {node.nbformat}.{node.nbformat_minor}", "save it as 4.5, which has cell ids"
    if node.metadata.get("kernelspec", {}).get("name") != "python3":
        yield 0, "the kernel is not 'python3'", "choose the kernel Python 3 and save"
    extra = sorted(set(node.metadata) - set(_PLAIN_METADATA))
    if extra:
        yield 0, f"metadata {', '.join(extra)}", "run sse check --refresh, which strips them"
    for number, cell in _code_cells(notebook):
        if set(cell.metadata) - {"tags"}:
            names = ", ".join(sorted(set(cell.metadata) - {"tags"}))
            yield number, f"metadata {names}", "run sse check --refresh"
        if "raises-exception" in tags(cell):
            yield number, "the tag 'raises-exception' hides an error", "catch the error and show it"


def _outputs(notebook: Notebook) -> Iterator[Breach]:
    refresh = "run sse check --refresh"
    for number, cell in _code_cells(notebook):
        compared = COMPARED_TAG in tags(cell)
        if cell.outputs and not compared:
            yield number, "outputs in a cell that nbval does not compare", f"clear them, or {refresh}"
        if compared and not cell.outputs:
            yield number, "nbval compares a cell without outputs with nothing", refresh
        if compared and cell.outputs and cell.execution_count is None:
            yield number, "outputs without an execution count, which nbval refuses", refresh
        for output in cell.outputs if compared else ():
            yield from ((number, *found) for found in _output(output))


def _output(output: NotebookNode) -> Iterator[tuple[str, str]]:
    data, text = output.get("data", {}), str(output)
    drawn = any(mime.startswith("image/") or "plotly" in mime or "widget" in mime for mime in data)
    again, address = "mend the cell and run sse check --refresh", "a memory address in the output: it changes"
    breaches = (
        (drawn, "a figure or widget in a compared output", "print numbers there, draw in another cell"),
        (output.output_type == "error", "an error in the stored output", again),
        (output.get("name") == "stderr", "a compared cell writes to stderr", "keep progress in another cell"),
        (_MACHINE_PATH.search(text), "a path of one machine in the output", "print file names only"),
        (_ADDRESS.search(text), address, "print the value, not the object"),
    )
    yield from ((what, remedy) for found, what, remedy in breaches if found)


def _compares_numbers(notebook: Notebook) -> Iterator[Breach]:
    if not any(_values(c) for _, c in _code_cells(notebook)):
        remedy = f"tag a cell that prints rounded numbers '{COMPARED_TAG}' and run sse check --refresh"
        yield 0, "nbval compares no number of this notebook", remedy


RULES: tuple[Callable[[Notebook], Iterator[Breach]], ...] = (
    _one_parameters_cell,
    _short_cells,
    _code_rules,
    _file_format,
    _outputs,
    _compares_numbers,
)


def _parameter_files(notebook: Notebook) -> Iterator[Finding]:
    """Yield what is wrong with the notebook's parameter file of each profile."""
    if list(_one_parameters_cell(notebook)):
        return  # reported already, and the files cannot be judged without the cell
    for profile in PROFILES:
        file = f"params/{profile}/{notebook.name}.yaml"
        try:
            values = values_of_profile(notebook, profile)
        except ParameterError as error:
            yield Finding(file, 0, str(error), "correct the file")
            continue
        defaults = {name: p.default for name, p in read_parameters(notebook).items()}
        for name, value in values.items() if profile == "smoke" else ():
            if value != defaults[name]:
                found = f"'{name}' is {value!r}, the notebook's default is {defaults[name]!r}"
                yield Finding(file, 0, found, "nbval runs the defaults, so the smoke profile equals them")


def _stray_parameter_files(known: set[str]) -> list[Finding]:
    return [
        Finding(f"params/{p.parent.name}/{p.name}", 0, "belongs to no notebook or profile", "remove it")
        for p in sorted((project_root() / "params").glob("*/*"))
        if p.suffix != ".yaml" or p.stem not in known or p.parent.name not in PROFILES
    ]


def compared_values(paths: Sequence[Path] = ()) -> pd.DataFrame:
    """Return ``notebook, cells, values``: the cells that nbval compares and the numbers in them."""
    counts = {
        n.name: [_values(c) for _, c in _code_cells(n) if COMPARED_TAG in tags(c) and c.outputs]
        for n in _read(paths)
    }
    rows = [(name, len(found), sum(found)) for name, found in counts.items()]
    return pd.DataFrame(rows, columns=["notebook", "cells", "values"])


def count_text(paths: Sequence[Path] = ()) -> str:
    """Return the table of `compared_values` with its sum. Raises `RunError` if nbval compares nothing."""
    table = compared_values(paths)
    if table["values"].sum() == 0:
        raise RunError("nbval compares no value in any notebook: run sse check --refresh")
    return (
        f"{table.to_string(index=False)}\nnbval compares {table['values'].sum()} values in "
        f"{table['cells'].sum()} cells of {len(table)} notebooks"
    )


def _values(cell: NotebookNode) -> int:
    """Return the number of numbers in a compared cell's outputs."""
    if COMPARED_TAG not in tags(cell) or cell.execution_count is None:
        return 0
    data = [o.get("data", {}) | {"text": o.get("text", "")} for o in cell.outputs]
    shown = [next(str(d[mime]) for mime in _SHOWN if mime in d) for d in data]
    return sum(len(_NUMBER.findall(text)) for text in shown)


def refresh(paths: Sequence[Path] = (), *, say: Callable[[str], None] = print) -> Iterator[Path]:
    """Execute the notebooks with their defaults, in order, and store what nbval compares; yield each path.

    They run as under nbval: in the notebook's folder, against the default run folder. Only cells
    tagged `nbval-check-output` keep outputs; other metadata than tags are stripped. Raises `RunError`
    if a cell fails, and leaves that notebook as it is.
    """
    for notebook in _read(paths):
        say(f"{notebook.name}: runs")
        executed = _execute(notebook)
        text = nbformat.writes(normalised(executed)) + "\n"
        yield write_whole(notebook.path, lambda p, text=text: p.write_text(text, encoding="utf-8"))


def _execute(notebook: Notebook) -> NotebookNode:
    node, folder = nbformat.from_dict(notebook.node), str(notebook.path.resolve().parent)
    place = {"metadata": {"path": folder}}
    client = NotebookClient(node, kernel_name="python3", allow_errors=True, timeout=None, resources=place)
    client.execute(env=os.environ | {"SSE_PROGRESS": "log", "SSE_PANELS": "static"})
    for number, error in cells_with_errors(node):
        raise RunError(
            f"{notebook.name}, cell {number}: {error.ename}: {last_line(error.evalue)}; "
            "the stored outputs are unchanged"
        )
    return node


def normalised(node: NotebookNode) -> NotebookNode:
    """Return a notebook as it is committed: compared outputs only, of metadata only tags and the kernel."""
    clean = nbformat.from_dict(node)
    clean.metadata, clean.nbformat, clean.nbformat_minor = nbformat.from_dict(_PLAIN_METADATA), 4, 5
    for cell in clean.cells:
        cell.metadata = nbformat.from_dict({"tags": tags(cell)} if tags(cell) else {})
        if cell.cell_type == "code" and COMPARED_TAG not in tags(cell):
            cell.outputs, cell.execution_count = [], None
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
    return clean

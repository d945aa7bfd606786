"""Reading notebooks: which there are, their title, parameters, cells and hashes."""

import ast
import hashlib
import io
import json
import re
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from sselib.errors import ParameterError, RunError, nearest
from sselib.paths import project_root

PARAMETERS_TAG = "parameters"
COMPARED_TAG = "nbval-check-output"
TEMPLATE = "00_template"
FIRST_APPENDIX = 90  # notebooks from this number on run in profile `paper`, or when they are named
_ADDED_BY_PAPERMILL = frozenset({"injected-parameters", "papermill-error-cell-tag"})


@dataclass(frozen=True)
class Parameter:
    """One line of the parameters cell: ``name: kind = default  # comment``."""

    name: str
    kind: str  # the annotation as written, empty if there is none
    default: object
    comment: str


@dataclass(frozen=True)
class Notebook:
    """A notebook file: ``name`` is the file's name without ``.ipynb``, such as ``01_curation``."""

    path: Path
    name: str
    node: NotebookNode

    @property
    def title(self) -> str:
        """The text of the first heading, or the name."""
        return _first(re.compile(r"^#\s+(.+)$", re.MULTILINE), self.node) or self.name

    @property
    def question(self) -> str:
        """The first paragraph below the heading "Question", or an empty text."""
        pattern = re.compile(r"^##\s+Question\s*\n+(.+?)(?:\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
        return " ".join(_first(pattern, self.node).split())

    @property
    def sha256(self) -> str:
        """Hash of the cells' sources, kinds and tags; outputs and other metadata do not count."""
        cells = [(c.cell_type, c.source, sorted(tags(c))) for c in self.node.cells]
        return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def _first(pattern: re.Pattern[str], node: NotebookNode) -> str:
    for cell in node.cells:
        if cell.cell_type == "markdown" and (match := pattern.search(cell.source)):
            return match[1].strip()
    return ""


def tags(cell: NotebookNode) -> list[str]:
    """Return the cell's tags."""
    return list(cell.metadata.get("tags", []))


def read_notebook(path: Path) -> Notebook:
    """Read one notebook. Raises `RunError` if the file is missing or is not a notebook."""
    try:
        node = nbformat.read(path, as_version=4)
    except FileNotFoundError as error:
        raise RunError(f"there is no notebook {path}") from error
    except (ValueError, TypeError, KeyError, AttributeError, nbformat.ValidationError) as error:
        raise RunError(f"{path} is not a readable notebook: {last_line(str(error))}") from error
    return Notebook(path=Path(path), name=Path(path).stem, node=node)


def find_notebooks(folder: Path | None = None) -> list[Path]:
    """Return the numbered notebooks of a folder (default: the suite's ``notebooks/``), in order."""
    folder = folder or project_root() / "notebooks"
    return sorted(p for p in folder.glob("*.ipynb") if re.match(r"\d\d_", p.name))


def select_notebooks(
    wanted: Sequence[str], *, profile: str = "", folder: Path | None = None
) -> list[Notebook]:
    """Return the notebooks named by number (``04``) or name (``04_gbr_shap``), in the order of their numbers.

    Nothing named means all but the template, which is there to be copied, and, unless the ``profile`` is
    "paper", the appendices (from `FIRST_APPENDIX` on). Raises `RunError` for a name that is not there.
    """
    paths = find_notebooks(folder)
    last = 99 if profile == "paper" else FIRST_APPENDIX - 1
    chosen = [p for p in paths if p.stem != TEMPLATE and int(p.stem[:2]) <= last]
    if wanted:
        chosen = sorted({_named(name, paths) for name in wanted})
    if not chosen:
        raise RunError(
            "there is no numbered notebook to run: expected files such as notebooks/01_curation.ipynb"
        )
    return [read_notebook(p) for p in chosen]


def _named(name: str, paths: list[Path]) -> Path:
    stem = name.removesuffix(".ipynb")
    hits = [p for p in paths if stem in (p.stem, p.stem[:2])]
    if len(hits) == 1:
        return hits[0]
    known = [p.stem for p in paths]
    what = f"fits several notebooks ({', '.join(p.stem for p in hits)})" if hits else "is no notebook"
    raise RunError(f"'{name}' {what}: expected one of {', '.join(known)}.{nearest(stem, known)}")


def parameters_cell(notebook: Notebook) -> NotebookNode:
    """Return the cell tagged ``parameters``. Raises `ParameterError` if it is missing or not the only one."""
    found = [c for c in notebook.node.cells if PARAMETERS_TAG in tags(c)]
    if len(found) == 1 and found[0].cell_type == "code":
        return found[0]
    what = f"{len(found)} cells tagged 'parameters'" if found else "no cell tagged 'parameters'"
    raise ParameterError(
        f"{notebook.name} has {what}, so papermill would silently run with the defaults: "
        "tag exactly one code cell 'parameters' (JupyterLab: property inspector, Cell Tags)"
    )


def read_parameters(notebook: Notebook) -> dict[str, Parameter]:
    """Return the notebook's parameters by name.

    Raises `ParameterError` if a line of the cell is not ``name: type = literal``: a value derived
    from another parameter would not follow when that one is overridden.
    """
    source = parameters_cell(notebook).source
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    found = [_parameter(node, comments, notebook.name) for node in ast.parse(source).body]
    return {p.name: p for p in found}


def _parameter(node: ast.stmt, comments: dict[int, str], notebook: str) -> Parameter:
    text = ast.unparse(node)
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    if not isinstance(node, (ast.Assign, ast.AnnAssign)) or not isinstance(target, ast.Name):
        raise ParameterError(
            f"{notebook}: '{text}' in the parameters cell is no parameter: write "
            "'name: type = literal  # comment' and move anything else to the next cell"
        )
    try:
        default = ast.literal_eval(node.value)
    except ValueError as error:
        raise ParameterError(
            f"{notebook}: parameter '{target.id}' has the derived default '{text}', which would "
            "not follow an override: give a literal, and derive values in the next cell"
        ) from error
    kind = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
    return Parameter(name=target.id, kind=kind, default=default, comment=comments.get(node.end_lineno, ""))


def source_cells(node: NotebookNode) -> list[tuple[int, NotebookNode]]:
    """Return the cells of an executed notebook with their number in its source notebook, from 1.

    Cells that papermill added (the injected parameters, its error notes) carry the number 0.
    """
    numbered, number = [], 0
    for cell in node.cells:
        added = bool(_ADDED_BY_PAPERMILL & set(tags(cell)))
        number += not added
        numbered.append((0 if added else number, cell))
    return numbered


def pending_cells(node: NotebookNode) -> list[int]:
    """Return the numbers of the code cells that hold code and were not executed."""
    return [
        number
        for number, cell in source_cells(node)
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None
    ]


def cells_with_errors(node: NotebookNode) -> list[tuple[int, NotebookNode]]:
    """Return (cell number, error output) of every cell that raised."""
    return [
        (number, output)
        for number, cell in source_cells(node)
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "error"
    ]


def last_line(text: str) -> str:
    """Return the last line of an error message that is not empty, without colours, at most 500 characters."""
    lines = [line for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines() if line.strip()]
    return lines[-1].strip().rstrip(".")[:500] if lines else "no message"

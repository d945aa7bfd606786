"""How large the house is, and its ceilings: `make size` prints the table and fails when one is passed."""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
PACKAGES = [p.parent for p in sorted(ROOT.glob("*/__init__.py")) if p.parent.name != "tests"]
# What is counted -> the most that it may be. A ceiling is lowered when the house has shrunk, never raised.
CEILINGS = {
    "lines of sselib": 28_200,
    "lines of all packages": 32_000,
    "public functions named in two modules": 1,
    "classes named in two modules": 0,
    "sselib modules imported by one notebook": 6,
    "cells of the longest notebook": 70,
    "notebook lines that build sentences": 85,
}


def _modules(package: Path) -> dict[Path, ast.Module]:
    return {p: ast.parse(p.read_text(encoding="utf-8")) for p in sorted(package.rglob("*.py"))}


def _lines(package: Path) -> int:
    return sum(len(p.read_text(encoding="utf-8").splitlines()) for p in package.rglob("*.py"))


def _named_twice(*kinds: type) -> list[str]:
    """Return the public names of top-level definitions that stand in more than one module."""
    trees = [tree for package in PACKAGES for tree in _modules(package).values()]
    names = [n.name for tree in trees for n in tree.body if isinstance(n, kinds) and n.name[0] != "_"]
    return sorted(name for name, count in Counter(names).items() if count > 1)


def _notebooks() -> Iterator[tuple[str, nbformat.NotebookNode]]:
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        yield path.stem, nbformat.read(path, as_version=4)


def _code(node: nbformat.NotebookNode) -> list[str]:
    return [c.source for c in node.cells if c.cell_type == "code"]


def _imports(node: nbformat.NotebookNode) -> int:
    """Return how many modules of the suite a notebook imports from; `from sselib import a, b` are two."""
    found = re.findall(r"^from sselib(\.\S+)? import \(?([^)#]+)", "\n".join(_code(node)), re.MULTILINE)
    return len({m or name.strip() for m, names in found for name in ([""] if m else names.split(","))})


def _builds_sentences(cell: str) -> bool:
    """True for a cell that formats values into text and shows it as Markdown."""
    return "Markdown(" in cell and bool(re.search(r"\bf[\"']|\.join\(", cell))


def measured() -> dict[str, tuple[int, str]]:
    """Return (count, what it is about) of everything that has a ceiling."""
    books = dict(_notebooks())
    longest = max(books, key=lambda name: len(books[name].cells))
    widest = max(books, key=lambda name: _imports(books[name]))
    prose = [c for node in books.values() for c in _code(node) if _builds_sentences(c)]
    functions = _named_twice(ast.FunctionDef)
    classes = _named_twice(ast.ClassDef)
    counts = (
        (_lines(ROOT / "sselib"), ""),
        (sum(map(_lines, PACKAGES)), ", ".join(p.name for p in PACKAGES)),
        (len(functions), ", ".join(functions)),
        (len(classes), ", ".join(classes)),
        (_imports(books[widest]), widest),
        (len(books[longest].cells), longest),
        (sum(len([line for line in c.splitlines() if line.strip()]) for c in prose), f"{len(prose)} cells"),
    )
    return dict(zip(CEILINGS, counts, strict=True))


if __name__ == "__main__":
    found = measured()
    for name, (count, about) in found.items():
        print(f"{name:40} {count:7,} of {CEILINGS[name]:7,}  {about}")
    over = [name for name, (count, _) in found.items() if count > CEILINGS[name]]
    sys.exit(f"above the ceiling: {', '.join(over)}" if over else 0)

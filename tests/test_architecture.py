"""The parts of the package build on each other in one direction, and the page that says so names them all."""

import ast
import re
from pathlib import Path

import pytest

import sselib

PACKAGE = Path(sselib.__file__).parent
PAGE = PACKAGE.parent / "docs" / "architecture.md"
PARTS = sorted(p.parent.name for p in PACKAGE.glob("*/__init__.py"))


def _order() -> list[str]:
    """The parts in the order of the page's table."""
    found = re.findall(r"^\| `(\w+)`(?: \(needs[^|]*)? \|", PAGE.read_text(), flags=re.MULTILINE)
    return list(dict.fromkeys(found))


def _imported(path: Path) -> set[str]:
    """The parts that a module imports from."""
    nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)]
    modules = [name for n in nodes for name in (n.module, *(f"{n.module}.{a.name}" for a in n.names))]
    return {m.split(".")[1] for m in modules if m and m.startswith("sselib.")} & set(PARTS)


def test_the_page_names_every_part_and_every_module():
    text = PAGE.read_text()
    assert sorted(_order()) == PARTS
    modules = {p.stem for p in PACKAGE.rglob("*.py") if not p.stem.startswith("_")}
    assert sorted(m for m in modules if f"`{m}`" not in text) == []


@pytest.mark.parametrize("part", PARTS)
def test_a_part_imports_only_from_parts_above_it(part: str):
    allowed = set(_order()[: _order().index(part) + 1])
    found = {p.name: _imported(p) - allowed for p in (PACKAGE / part).rglob("*.py")}
    assert {name: below for name, below in found.items() if below} == {}

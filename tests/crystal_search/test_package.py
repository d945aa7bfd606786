"""The package stands alone, and its public names are there."""

import ast
from pathlib import Path

import pytest

import crystal_search

FILES = sorted(Path(crystal_search.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_nothing_is_imported_from_the_suite(path: Path) -> None:
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    nodes = [n for n in tree if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {a.name for n in nodes for a in n.names} | {getattr(n, "module", "") or "" for n in nodes}
    assert not {n for n in names if n.split(".")[0] == "sselib"}
    assert not any(getattr(n, "level", 0) for n in nodes)


@pytest.mark.parametrize("name", crystal_search.__all__)
def test_public_names_are_there(name: str) -> None:
    assert getattr(crystal_search, name).__module__.startswith("crystal_search.")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="expected one of RelaxationSettings"):
        crystal_search.serach  # noqa: B018

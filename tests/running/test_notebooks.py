"""The committed notebooks: they keep the rules, compare numbers and run with plain papermill."""

import json

import nbformat
import papermill
import pytest
from scratch_project import notebook

from sselib.errors import RunError
from sselib.running.check import compared_values, lint
from sselib.running.notebooks import TEMPLATE, Notebook, find_notebooks, read_notebook, select_notebooks

COMMITTED = [p.stem for p in find_notebooks()]


def test_committed_notebooks_and_parameter_files_keep_the_rules():
    assert [str(f) for f in lint()] == []


@pytest.mark.parametrize("name", COMMITTED)
def test_nbval_compares_numbers_of_every_notebook(name):
    table = compared_values([p for p in find_notebooks() if p.stem == name])
    assert table["values"].sum() >= 3


@pytest.mark.parametrize("name", COMMITTED)
def test_every_notebook_has_title_and_question(name):
    found = next(n for n in map(read_notebook, find_notebooks()) if n.name == name)
    assert found.title != name and found.question.endswith("?")


def test_the_template_runs_only_when_named():
    assert TEMPLATE in COMMITTED
    assert [n.name for n in select_notebooks(["00"])] == [TEMPLATE]
    assert TEMPLATE not in [n.name for n in select_notebooks([])] if len(COMMITTED) > 1 else True


def test_an_appendix_runs_in_the_paper_profile_or_when_named():
    appendix = [name for name in COMMITTED if name[:2] >= "90"]
    assert appendix
    assert not {n.name for n in select_notebooks([], profile="quick")} & set(appendix)
    assert [n.name for n in select_notebooks([], profile="paper")][-len(appendix) :] == appendix
    assert [n.name for n in select_notebooks([appendix[0][:2]], profile="quick")] == appendix[:1]


def test_the_hash_follows_sources_and_tags_only(tmp_path):
    node = notebook("01_a")
    before = Notebook(tmp_path, "01_a", node).sha256
    node.metadata["x"] = 1
    node.cells[1].execution_count = 4
    assert Notebook(tmp_path, "01_a", node).sha256 == before
    node.cells[1].source += "\n"
    assert Notebook(tmp_path, "01_a", node).sha256 != before


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cells": 3}', "\xff"])
def test_files_that_are_no_notebooks_are_named(tmp_path, content):
    (tmp_path / "01_a.ipynb").write_text(content, encoding="latin-1")
    with pytest.raises(RunError, match=r"01_a\.ipynb is not a readable notebook"):
        read_notebook(tmp_path / "01_a.ipynb")


def test_the_template_runs_with_plain_papermill_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = next(p for p in find_notebooks() if p.stem == TEMPLATE)
    papermill.execute_notebook(
        str(source),
        "out.ipynb",
        parameters={"run_dir": "RUN", "confidence": 0.9},
        progress_bar=False,
        kernel_name="python3",
    )
    share = json.loads((tmp_path / "RUN/00_template/share.json").read_text())
    assert (
        share["confidence"] == 0.9
        and 0 <= share["low"] <= share["superionic"] / share["n"] <= share["high"] <= 1
    )
    figures = [
        o
        for c in nbformat.read("out.ipynb", as_version=4).cells
        for o in c.get("outputs", [])
        if "application/vnd.plotly.v1+json" in o.get("data", {})
    ]
    assert len(figures) == 1 and (tmp_path / "RUN/00_template/figures/superionic_by_family.csv").is_file()

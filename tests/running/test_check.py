"""`sse check`: each planted breach of a rule is found, and nbval really compares what is stored."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from scratch_project import RUN_DIR, SECTIONS, code, make, markdown, notebook

from sselib.errors import RunError
from sselib.running.check import compared_values, count_text, lint, normalised, refresh

TAG = "nbval-check-output"


def _compared(text: str = "n = 57, share 0.25\n") -> nbformat.NotebookNode:
    cell = code("print(f'n = {50 + 7}, share {1 / 4:.2f}')", TAG)
    cell.outputs, cell.execution_count = [v4.new_output("stream", name="stdout", text=text)], 5
    return cell


def _with_output(cell: nbformat.NotebookNode, data: dict, count: int | None = 3) -> nbformat.NotebookNode:
    cell.outputs, cell.execution_count = [v4.new_output("display_data", data)], count
    return cell


def _findings(
    root: Path, monkeypatch: pytest.MonkeyPatch, node: nbformat.NotebookNode, **options: object
) -> str:
    monkeypatch.setenv("SSE_HOME", str(make(root, {"01_a": node}, **options)))
    return "\n".join(map(str, lint()))


def test_a_notebook_that_keeps_the_rules_has_no_findings(tmp_path, monkeypatch):
    assert _findings(tmp_path, monkeypatch, notebook("01_a", _compared())) == ""


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (code("def f():\n    return 1"), "'f' is defined here"),
        (code("class C:\n    x = 1"), "'C' is defined here"),
        (code("\n".join(f"x{i} = {i}" for i in range(16))), "16 lines, at most 15"),
        (code("%store x"), "'%store x' is a shell or IPython command"),
        (code("!pip install x"), "'!pip install x' is a shell"),
        (code("x = = 1"), "syntax error in line 1"),
        (code("import os\nos.chdir('x')"), "os.chdir moves"),
        (code("import sys\nsys.exit(0)"), "sys.exit leaves the cells after it out"),
        (code("import warnings\nwarnings.filterwarnings('ignore')"), "silences every warning"),
        (code("import warnings\nwarnings.simplefilter('ignore')"), "silences every warning"),
        (code("open('/home/jo/a.csv')"), "the path '/home/jo/a.csv'"),
        (code("open('../data/a.csv')"), "the path '../data/a.csv'"),
        (code("open(r'C:\\data\\a.csv')"), "the path 'C:"),
        (code("import requests"), "'requests' reaches the network"),
        (code("from urllib.request import urlopen"), "reaches the network"),
        (code("x = 1", "parameters"), "2 cells are tagged 'parameters'"),
        (code("1 / 0", "raises-exception"), "hides an error"),
        (_with_output(code("1"), {"text/plain": "1"}), "outputs in a cell that nbval does not compare"),
        (code("print(1)", TAG), "compares a cell without outputs with nothing"),
        (_with_output(code("1", TAG), {"text/plain": "1"}, count=None), "outputs without an execution count"),
        (_with_output(code("1", TAG), {"image/png": "aGk="}), "a figure or widget"),
        (_with_output(code("1", TAG), {"application/vnd.plotly.v1+json": {}}), "a figure or widget"),
        (_with_output(code("1", TAG), {"text/plain": "/root/x/y.csv"}), "a path of one machine"),
        (_with_output(code("1", TAG), {"text/plain": "<f at 0x7fd1c0ffee>"}), "a memory address"),
    ],
)
def test_planted_cells_are_found(tmp_path, monkeypatch, cell, message):
    found = _findings(tmp_path, monkeypatch, notebook("01_a", _compared(), cell))
    assert message in found and "01_a.ipynb, cell 13" in found and len(found.splitlines()) == 1


def test_a_named_warning_may_be_silenced(tmp_path, monkeypatch):
    cell = code("import warnings\nwarnings.filterwarnings('ignore', category=FutureWarning, message='x')")
    assert _findings(tmp_path, monkeypatch, notebook("01_a", _compared(), cell)) == ""


def _untyped(node):
    node.cells[2].source += "\ncutoff = 4.0  # Angstrom"


def _uncommented(node):
    node.cells[2].source += "\ncutoff: float = 4.0"


def _derived(node):
    node.cells[2].source += "\na: float = 4.0  # x\nb: float = 2 * a  # x"


def _no_run_dir(node):
    node.cells[2].source = node.cells[2].source.replace(RUN_DIR, "n: int = 1  # count")


def _no_tag(node):
    node.cells[2].metadata = nbformat.from_dict({})


def _other_kernel(node):
    node.metadata.kernelspec.name = "my-env"


def _metadata(node):
    node.metadata["papermill"] = {"input_path": "x"}


def _nothing_compared(node):
    node.cells = [c for c in node.cells if TAG not in c.metadata.get("tags", [])]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_untyped, "parameter 'cutoff' has no type"),
        (_uncommented, "parameter 'cutoff' has no comment"),
        (_derived, "derived default"),
        (_no_run_dir, "no parameter 'run_dir'"),
        (_no_tag, "0 cells are tagged 'parameters'"),
        (_other_kernel, "the kernel is not 'python3'"),
        (_metadata, "metadata papermill"),
        (_nothing_compared, "nbval compares no number"),
    ],
)
def test_spoiled_notebooks_are_found(tmp_path, monkeypatch, spoil, message):
    node = notebook("01_a", _compared())
    spoil(node)
    assert message in _findings(tmp_path, monkeypatch, node)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("cutof: 1.0", "Did you mean 'cutoff'"),
        ("cutoff: 1e-4", "write 1.0e-4"),
        ("cutoff: 5.0", "smoke/01_a.yaml: 'cutoff' is 5.0, the notebook's default is 4.0"),
    ],
)
def test_parameter_files_are_checked(tmp_path, monkeypatch, values, message):
    node = notebook("01_a", _compared(), parameters="cutoff: float = 4.0  # Angstrom")
    assert message in _findings(tmp_path, monkeypatch, node, values=values)


def test_missing_and_stray_parameter_files_are_found(tmp_path, monkeypatch):
    (tmp_path / "params/smoke").mkdir(parents=True)
    (tmp_path / "params/smoke/09_gone.yaml").write_text("")
    found = _findings(
        tmp_path, monkeypatch, notebook("01_a", _compared()), profiles=("smoke", "quick", "gpu")
    )
    assert "no parameter file 01_a.yaml for the profile 'paper'" in found and "09_gone.yaml" in found


def _nbval(path: Path) -> subprocess.CompletedProcess:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--nbval",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        str(path),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=path.parent)


@pytest.mark.slow
def test_refresh_stores_what_nbval_compares(tmp_path, monkeypatch):
    cells = [code("print(f'n = {50 + 7}, share {1 / 4:.2f}')", TAG), code("print('not stored', run.root)")]
    make(tmp_path, {"01_a": notebook("01_a", *cells)})
    monkeypatch.setenv("SSE_HOME", str(tmp_path))
    path = tmp_path / "notebooks/01_a.ipynb"
    assert list(refresh(say=lambda _: None)) == [path] and lint() == []
    once = path.read_text()
    assert "57, share 0.25" in once and str(tmp_path) not in once
    assert compared_values().to_dict("records") == [{"notebook": "01_a", "cells": 1, "values": 2}]
    assert "2 values in 1 cells of 1 notebooks" in count_text()
    passed = _nbval(path)
    assert passed.returncode == 0, passed.stdout
    path.write_text(once.replace("share 0.25", "share 0.26"))
    failed = _nbval(path)
    assert failed.returncode == 1 and "Cell outputs differ" in failed.stdout and "1 failed" in failed.stdout


def test_a_failing_notebook_is_left_as_it_is(tmp_path, monkeypatch):
    make(tmp_path, {"01_a": notebook("01_a", _compared(), code("raise ValueError('no')"))})
    monkeypatch.setenv("SSE_HOME", str(tmp_path))
    before = (tmp_path / "notebooks/01_a.ipynb").read_text()
    with pytest.raises(RunError, match="01_a, cell 13: ValueError: no"):
        list(refresh(say=lambda _: None))
    assert (tmp_path / "notebooks/01_a.ipynb").read_text() == before


def test_count_without_values_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("SSE_HOME", str(make(tmp_path, {"01_a": notebook("01_a", code("print(1)", TAG))})))
    with pytest.raises(RunError, match="nbval compares no value"):
        count_text()


def test_normalising_twice_changes_nothing():
    node = notebook("01_a", _compared(), _with_output(code("1"), {"text/plain": "1"}), markdown("x"))
    node.cells[-1].metadata["collapsed"] = True
    once = normalised(node)
    assert normalised(once) == once and [c.id for c in once.cells] == [c.id for c in node.cells]
    assert len(SECTIONS) == 7 and not once.cells[-2].outputs and not once.cells[-1].metadata

"""The runner: every silent failure of papermill is an error, and nothing is lost when a run is cut off."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scratch_project import code, make, notebook

from sselib.errors import ParameterError, RunError
from sselib.running import parameters, runner
from sselib.running.notebooks import Parameter, read_notebook, read_parameters, select_notebooks
from sselib.running.parameters import check_value, parse_assignment, resolve
from sselib.running.runner import RunRecord, RunRequest, changes, is_locked, lock_of, run, without_paths

VALUES = (
    "rate: float = 0.1  # 1/s\nn_rows: int = 3  # rows\nname: str = 'a'  # text\nfast: bool = True  # flag\n"
    "names: list[str] = []  # texts\nlimit: float | None = None  # S/cm\nshares: dict = {}  # by name"
)


def _resolve(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    node: nbformat.NotebookNode,
    *,
    values: str = "",
    overrides: tuple[str, ...] = (),
) -> dict[str, dict[str, object]]:
    monkeypatch.setenv("SSE_HOME", str(make(root, {"01_a": node}, values=values)))
    return resolve(select_notebooks(()), profile="quick", overrides=list(overrides))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("rate: 1e-4", "write 1.0e-4"),
        ("rate: fast", "expected float"),
        ("n_rows: 1.5", "expected int"),
        ("n_rows: true", "expected int"),
        ("name: 3", "expected str"),
        ("name: no", "put the word in quotes"),
        ("fast: 1", "expected bool"),
        ("names: a", "expected list"),
        ("names: [1]", "expected list"),
        ("limit: x", "float | None"),
        ("shares: [1]", "expected dict"),
        ("rates: 0.2", "Did you mean 'rate'"),
        ("rate: 0.1\nrate: 0.2", "given twice"),
        ("- rate", "expected lines"),
        ("rate: [", "not valid YAML"),
        ("run_dir: x", "remove it"),
    ],
)
def test_parameter_file_faults_are_named(tmp_path, monkeypatch, values, message):
    with pytest.raises(ParameterError, match=r".*01_a\.yaml.*|.*run_dir.*") as error:
        _resolve(tmp_path, monkeypatch, notebook("01_a", parameters=VALUES), values=values)
    assert message in str(error.value)


def test_good_values_arrive_with_their_types(tmp_path, monkeypatch):
    text = "rate: 1\nnames: [a, b]\nlimit: 1.0e-4\nshares: {a: 1}"
    got = _resolve(
        tmp_path,
        monkeypatch,
        notebook("01_a", parameters=VALUES),
        values=text,
        overrides=("01.n_rows=5", "fast=false"),
    )["01_a"]
    assert got == {
        "rate": 1.0,
        "names": ["a", "b"],
        "limit": 1e-4,
        "shares": {"a": 1},
        "n_rows": 5,
        "fast": False,
    }
    assert isinstance(got["rate"], float)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rats=1", "Did you mean 'rate'"),
        ("rate=1e-4", "write 1.0e-4"),
        ("rate", "expected -p name=value"),
        ("02.rate=1", "no selected notebook"),
        ("run_dir=x", "--out"),
        ("rate=[", "not valid YAML"),
    ],
)
def test_override_faults_are_named(tmp_path, monkeypatch, override, message):
    with pytest.raises(ParameterError) as error:
        _resolve(tmp_path, monkeypatch, notebook("01_a", parameters=VALUES), overrides=(override,))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([code("n: int = 1")], "no cell tagged 'parameters'"),
        ([code("n: int = 1  # x", "parameters"), code("m: int = 1  # x", "parameters")], "2 cells tagged"),
        ([code("n: int = 1  # x\nm: int = 2 * n  # x", "parameters")], "derived default"),
        ([code("print(1)", "parameters")], "is no parameter"),
        ([code("n: int = 1  # x", "parameters")], "no parameter 'run_dir'"),
    ],
)
def test_parameters_cell_faults_are_named(tmp_path, monkeypatch, cells, message):
    node = nbformat.v4.new_notebook(cells=cells)
    with pytest.raises(ParameterError, match=message):
        _resolve(tmp_path, monkeypatch, node)


def test_missing_parameter_file_and_profile(tmp_path, monkeypatch):
    monkeypatch.setenv("SSE_HOME", str(make(tmp_path, {"01_a": notebook("01_a")}, profiles=("smoke",))))
    with pytest.raises(ParameterError, match=r"no parameter file 01_a\.yaml for the profile 'quick'"):
        resolve(select_notebooks(()), profile="quick", overrides=[])
    with pytest.raises(ParameterError, match="Did you mean 'smoke'"):
        resolve(select_notebooks(()), profile="smok", overrides=[])


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_the_remedy_for_a_number_read_as_text_is_right(value):
    text = f"{value:e}".replace(".", "", 1) if value < 1 else f"{int(value % 9) + 1}e7"
    wanted = Parameter("x", "float", 0.0, "")
    if isinstance(yaml.safe_load(text), str):
        with pytest.raises(ParameterError) as error:
            check_value(wanted, text, where="here")
        assert check_value(wanted, yaml.safe_load(str(error.value).rsplit(" ", 1)[1]), where="here") == float(
            text
        )


@given(st.integers() | st.booleans() | st.text("abc", min_size=1) | st.lists(st.integers()))
def test_an_assignment_reads_back(value):
    assert parse_assignment(f"x={json.dumps(value)}") == ("x", value)


def test_names_of_this_machine_are_replaced_at_word_ends():
    names = {"/home/jo/run": "RUN", "/home/jo": "~"}
    got = without_paths({"a": ["/home/jo/run/x", "/home/jo/runs", "/home/joanna", "'/home/jo'"]}, names)
    assert got == {"a": ["RUN/x", "~/runs", "/home/joanna", "'~'"]}


def test_a_second_run_is_refused_while_the_first_holds_the_folder(tmp_path):
    with lock_of(tmp_path):
        assert is_locked(tmp_path)
        with pytest.raises(RunError, match=f"another 'sse run' writes to {tmp_path}"), lock_of(tmp_path):
            pass
    assert not is_locked(tmp_path)


GOOD = [
    code("import sys\nfrom pathlib import Path"),
    code("run.write_json('metrics', [{'metric': 'x', 'value': n_rows}])"),
    code("print(run.root, Path.cwd().name)\nprint('stage: 3 done', file=sys.stderr)"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> dict[str, object]:
    """One run of four notebooks that end in four ways, started from an unrelated folder."""
    root, elsewhere = tmp_path_factory.mktemp("suite{braces}"), tmp_path_factory.mktemp("elsewhere")
    make(
        root,
        {
            "01_good": notebook(
                "01_good", *GOOD, parameters="n_rows: int = 3  # rows\nseed: int = 7  # seed"
            ),
            "02_exit": notebook("02_exit", code("import sys\nsys.exit(0)"), code("x = 1")),
            "03_raises": notebook(
                "03_raises", code("raise KeyError('gone')", "raises-exception"), code("x = 1")
            ),
            "04_dies": notebook("04_dies", code("import os\nos._exit(3)"), code("x = 1")),
        },
    )
    lines: list[str] = []
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSE_HOME", str(root))
        os.chdir(elsewhere)
        try:
            with pytest.raises(RunError) as error:
                run(
                    RunRequest(
                        out=Path("out"), profile="quick", overrides=("n_rows=5",), keep_going=True, pngs=False
                    ),
                    say=lines.append,
                )
        finally:
            os.chdir(before)
    out = elsewhere / "out"
    return {
        "root": root,
        "out": out,
        "error": str(error.value),
        "lines": lines,
        "record": json.loads((out / "run.json").read_text()),
    }


def test_a_good_run_is_recorded(finished):
    record, entry = finished["record"], finished["record"]["notebooks"]["01_good"]
    assert entry["status"] == "done" and entry["seed"] == 7 and entry["duration_s"] > 0
    assert entry["parameters"] == {"n_rows": 5, "seed": 7} and entry["profile"] == "quick"
    assert list(entry["outputs"]) == ["01_good/metrics.json"]
    assert json.loads((finished["out"] / "01_good/metrics.json").read_text())[0]["value"] == 5
    assert {"python", "numpy", "papermill"} <= set(record["versions"]) and record["machine"]["cpu_count"] >= 1
    assert record["notebooks"]["02_exit"]["inputs"] == entry["outputs"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("02_exit", "SystemExit"),
        ("03_raises", "The tag 'raises-exception' hides errors"),
        ("04_dies", "ran out of memory, or a compiled library"),
    ],
)
def test_silent_ends_are_failures(finished, name, message):
    entry = finished["record"]["notebooks"][name]
    line = next(x for x in finished["error"].splitlines() if x.startswith(name))
    assert entry["status"] == "failed" and entry["failure"]["cell"] == 12
    assert message in line and "cell 12 (section 'Outputs written')" in line and "--resume" in line


def test_executed_notebooks_hold_no_path_of_this_machine(finished):
    for path in finished["out"].glob("*/notebook.ipynb"):
        text = path.read_text()
        assert (
            str(finished["out"]) not in text
            and str(finished["root"]) not in text
            and str(Path.home()) not in text
        )
        assert "papermill" not in nbformat.reads(text, as_version=4).metadata
    assert "RUN elsewhere" in (finished["out"] / "01_good/notebook.ipynb").read_text()
    assert not list(finished["out"].rglob(".*.ipynb"))


def test_run_json_names_neither_host_nor_folder(finished):
    text = (finished["out"] / "run.json").read_text()
    assert platform.node() not in text.replace(platform.platform(), "")
    assert str(finished["out"]) not in text and str(finished["root"]) not in text


def test_resume_runs_again_only_what_changed(finished, monkeypatch):
    monkeypatch.setenv("SSE_HOME", str(finished["root"]))
    entry = finished["record"]["notebooks"]["01_good"]
    out = finished["out"]
    assert changes(out, entry, entry) == []
    assert changes(out, None, entry) == ["not run yet"]
    assert changes(out, entry, entry | {"parameters": {"n_rows": 6}}) == ["parameters changed"]
    assert changes(out, entry, entry | {"notebook_sha256": "0"}) == ["notebook sha256 changed"]
    assert changes(out, entry, entry | {"code_sha256": "0"}) == ["code sha256 changed"]
    assert changes(out, entry, entry | {"inputs": {"00/x": "1"}}) == ["inputs changed"]
    assert changes(out, entry | {"status": "interrupted"}, entry) == ["was interrupted"]
    other = entry | {"outputs": {"01_good/metrics.json": "0"}}
    assert changes(out, other, entry) == ["01_good/metrics.json is gone or was changed"]


def test_an_own_file_that_changes_counts_as_a_change(tmp_path):
    from sselib.provenance import path_state

    (tmp_path / "own.csv").write_text("a")
    before, folder = path_state(tmp_path / "own.csv"), path_state(tmp_path)
    (tmp_path / "own.csv").write_text("bc")
    assert path_state(tmp_path / "own.csv") != before and path_state(tmp_path) != folder


WAITS = [
    code("if not (run.folder / 'part.json').exists():\n    run.write_json('part', {'at': time.time()})"),
    code("while not (run.root / 'go').exists():\n    time.sleep(0.05)"),
    code("run.write_json('end', {'x': 1})"),
]


def _start(home: Path, out: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "sselib", "run", "--out", str(out), "--resume", "--no-png"]
    return subprocess.Popen(
        command,
        env=os.environ | {"SSE_HOME": str(home)},
        text=True,
        cwd=out.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _wait(condition, seconds: float = 180.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def _waiting(out: Path) -> bool:
    """True while the second notebook is in its waiting cell."""
    partial = out / "02_waits" / ".notebook.running.ipynb"
    return (
        partial.is_file()
        and (out / "02_waits/part.json").is_file()
        and '"execution_count": 5' in partial.read_text()
    )


def _record(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())["notebooks"]


@pytest.mark.slow
def test_cut_off_runs_lose_nothing_and_resume(tmp_path):
    home = make(
        tmp_path / "suite",
        {
            "01_first": notebook("01_first", code("run.write_json('a', 1)")),
            "02_waits": notebook("02_waits", *WAITS),
        },
    )
    out = tmp_path / "out"
    for signum, status, code_ in ((signal.SIGINT, "interrupted", 130), (signal.SIGKILL, "running", -9)):
        process = _start(home, out)
        _wait(lambda: _waiting(out))
        if signum == signal.SIGKILL:
            second = _start(home, out)
            assert "another 'sse run'" in second.communicate()[1] and second.returncode == 1
        kernels = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signum)
        stdout, stderr = process.communicate(timeout=180)
        assert (
            process.returncode == code_ and "sselib/running/runner.py" not in stderr
        )  # no traceback of ours
        assert signum == signal.SIGKILL or "sse: interrupted" in stderr
        _wait(lambda kernels=kernels: not any(k.is_running() for k in kernels), 10)
        assert (
            kernels
            and _record(out)["02_waits"]["status"] == status
            and _record(out)["01_first"]["status"] == "done"
        )
        assert not is_locked(out)
    written = (out / "02_waits/part.json").read_text()
    (out / "go").touch()
    process = _start(home, out)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert "01_first: unchanged, kept" in stdout and "was interrupted" in stdout
    assert (out / "02_waits/part.json").read_text() == written and (out / "02_waits/end.json").is_file()
    assert not list(out.rglob(".notebook*")) and _record(out)["02_waits"]["status"] == "done"


def test_a_damaged_record_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SSE_HOME", str(make(tmp_path, {"01_a": notebook("01_a")})))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json is not valid JSON"):
        run(RunRequest(out=tmp_path / "out"))


def test_multiline_defaults_and_comments_are_read(tmp_path):
    node = notebook(
        "01_a", parameters="names: list[str] = [  # first\n    'a',\n]  # texts\nb: str = 'x = 1'  # odd"
    )
    nbformat.write(node, tmp_path / "01_a.ipynb")
    found = read_parameters(read_notebook(tmp_path / "01_a.ipynb"))
    assert (
        found["names"].default == ["a"]
        and found["names"].comment == "texts"
        and found["b"].default == "x = 1"
    )
    assert set(parameters.PROFILES) == {"smoke", "quick", "paper", "gpu"}


@pytest.mark.parametrize("file", ["../victim", "/tmp/victim", "01_a/../../victim", "01_a/.lock", "01_a\\x"])
def test_a_record_that_lists_files_outside_the_folder_is_refused(tmp_path, monkeypatch, file):
    monkeypatch.setenv("SSE_HOME", str(make(tmp_path / "home", {"01_a": notebook("01_a", code("x = 1"))})))
    (tmp_path / "victim").write_text("keep me")
    (tmp_path / "RUN").mkdir()
    entry = {"status": "done", "outputs": {file: "ab"}}
    (tmp_path / "RUN" / "run.json").write_text(json.dumps({"notebooks": {"01_a": entry}}))
    with pytest.raises(RunError, match="was not written by sse run"):
        run(RunRequest(out=tmp_path / "RUN"))
    assert (tmp_path / "victim").read_text() == "keep me"


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "victim").write_text("keep me")
    (tmp_path / "RUN").mkdir()
    (tmp_path / "RUN" / "01_a").symlink_to(tmp_path / "elsewhere")
    entry = {"status": "done", "outputs": {"01_a/victim": "ab"}}
    runner._clear(RunRecord(tmp_path / "RUN", {"notebooks": {"01_a": entry}}), "01_a", {}, resume=False)
    assert (tmp_path / "elsewhere" / "victim").read_text() == "keep me"


@pytest.mark.parametrize("content", ["[]", "null", '{"notebooks": []}', '{"notebooks": {"01_a": 1}}'])
def test_a_record_of_another_shape_is_named(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match="was not written by sse run"):
        RunRecord.open(tmp_path)


def test_long_texts_and_homes_of_nobody_are_no_files():
    assert runner._existing("x" * 5000) is None and runner._existing("~nobody-of-that-name/x") is None

"""The command line: exit codes, one-line errors, and what each command prints."""

import json

import pytest
from scratch_project import code, make, notebook

from sselib import cli, registry


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """A suite with two notebooks; nothing in it is executed by these tests."""
    make(
        tmp_path / "suite", {"00_template": notebook("00_template"), "01_a": notebook("01_a", code("x = 1"))}
    )
    monkeypatch.setenv("SSE_HOME", str(tmp_path / "suite"))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "07", "--out", "RUN"], "'07' is no notebook: expected one of 00_template, 01_a"),
        (["run", "01_b", "--out", "RUN"], "Did you mean '01_a'"),
        (["run", "--out", "RUN", "--profile", "qick"], "Did you mean 'quick'"),
        (
            ["run", "--out", "RUN", "-p", "run_dirr=1"],
            "no selected notebook (01_a) has a parameter 'run_dirr'",
        ),
        (["report", "nowhere"], "there is no run folder"),
        (["data", "get", "obelix/al.csv"], "is not registered"),
        (["check", "nowhere.ipynb"], "there is no notebook nowhere.ipynb"),
        (["check", "--count"], "nbval compares no value"),
    ],
)
def test_errors_are_one_line_on_stderr(suite, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(suite)
    assert cli.main(arguments) == 1
    printed = capsys.readouterr()
    assert (
        message in printed.err
        and printed.err.startswith("sse: error: ")
        and len(printed.err.splitlines()) == 1
    )


def test_nothing_is_started_before_everything_is_checked(suite):
    assert cli.main(["run", "--out", str(suite / "RUN"), "-p", "x=1"]) == 1
    assert not (suite / "RUN").exists()


@pytest.mark.parametrize("arguments", [[], ["run"], ["data"], ["unknown"]])
def test_wrong_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2 and "usage: sse" in capsys.readouterr().err


def test_debug_shows_the_traceback(suite):
    from sselib.errors import RunError

    with pytest.raises(RunError):
        cli.main(["report", str(suite / "nowhere"), "--debug"])


def test_ctrl_c_ends_with_130(suite, monkeypatch, capsys):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sselib.running.runner.run", interrupted)
    assert cli.main(["run", "--out", str(suite / "RUN")]) == 130
    assert "--resume continues" in capsys.readouterr().err


def test_check_prints_findings_and_fails(suite, capsys):
    assert cli.main(["check"]) == 1
    assert "2 findings" in capsys.readouterr().out


def test_data_list_and_verify(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("SSE_CACHE", str(tmp_path))
    monkeypatch.delenv("SSE_DATA_MIRROR", raising=False)
    assert cli.main(["data", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(f.key in listed for s in registry.sources() for f in s.files) and "not at hand" in listed
    assert cli.main(["data", "verify"]) == 0
    wrong = tmp_path / "obelix/all.csv"
    wrong.parent.mkdir()
    wrong.write_text("not the file")
    assert cli.main(["data", "verify"]) == 1
    assert "wrong sha256" in capsys.readouterr().out


@pytest.mark.mirror
def test_data_get_names_the_verified_file(mirror, capsys):
    assert cli.main(["data", "get", "liion"]) == 0
    assert "sha256 verified" in capsys.readouterr().out


def test_report_prints_its_pages(suite, capsys):
    import nbformat

    folder = suite / "RUN/01_a"
    folder.mkdir(parents=True)
    nbformat.write(notebook("01_a"), folder / "notebook.ipynb")
    (suite / "RUN/run.json").write_text(json.dumps({"notebooks": {}}))
    assert cli.main(["report", str(suite / "RUN")]) == 0
    assert "index.html" in capsys.readouterr().out


def test_errors_of_the_system_are_one_line(suite, capsys):
    (suite / "a_file").write_text("x")
    assert cli.main(["run", "01", "--out", str(suite / "a_file")]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("sse: error: ") and "a_file: " in printed and len(printed.splitlines()) == 1

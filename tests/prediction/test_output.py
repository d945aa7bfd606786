"""The output file: whole or not at all, and continued where it stopped."""

from pathlib import Path

import pytest

from sselib.errors import DataError, RunError
from sselib.prediction.output import PredictionFile

COLUMNS = ("id", "note")


def opened(out: Path, *, resume: bool = False, **basis: object) -> PredictionFile:
    return PredictionFile(out, columns=COLUMNS, basis=basis, resume=resume)


def test_nothing_has_the_name_until_all_is_written(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.csv"
    with opened(out) as file:
        file.append([("a", "x; y"), ("b", 'quoted "," comma')], scored=1)
        assert not out.exists()
        file.finish()
    assert out.read_text() == 'id,note\na,x; y\nb,"quoted "","" comma"\n'
    assert [p.name for p in out.parent.iterdir()] == ["out.csv"]


def test_an_interrupted_output_continues_after_its_last_complete_chunk(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with opened(out, model=1) as file:
        file.append([("a", "")], scored=1)
        file._file.write(b"half a row")
    with opened(out, model=1, resume=True) as file:
        assert (file.done.rows, file.done.scored, file.restarted_because) == (1, 1, "")
        file.append([("b", "")], scored=0)
        file.finish()
    assert out.read_text() == "id,note\na,\nb,\n"


def test_what_rests_on_something_else_starts_anew_and_says_why(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with opened(out, model=1, run="x") as file:
        file.append([("a", "")], scored=1)
    with opened(out, model=2, run="x", resume=True) as file:
        assert file.done.rows == 0 and file.restarted_because == "changed since then: model"
    with opened(out, model=2, run="x") as file:
        assert file.done.rows == 0 and file.restarted_because == ""
    (tmp_path / ".out.csv.partial.json").write_text("{")
    with opened(out, model=2, run="x", resume=True) as file:
        assert "cannot be read" in file.restarted_because
        file.finish()
    assert out.read_text() == "id,note\n"
    with opened(out, resume=True) as file:
        assert file.restarted_because == "nothing to resume"


def test_an_older_output_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("older")
    with opened(out) as file:
        file.append([("a", "")], scored=0)
        assert out.read_text() == "older"
        file.finish()
    assert out.read_text() == "id,note\na,\n"


def test_two_writers_of_one_output_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "out.csv"), pytest.raises(RunError, match="another 'sse predict'"):
        opened(tmp_path / "out.csv")


def test_where_nothing_can_be_written_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        opened(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        opened(tmp_path / "file" / "out.csv")

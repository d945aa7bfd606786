"""Excel and parquet tables of formulas: the same rows as the CSV of the same content, one error otherwise."""

import csv
import random
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from sselib.errors import DataError, SchemaError, SSEError
from sselib.materials.structure_input import CifLimits
from sselib.prediction.inputs import FormulaInputs, open_inputs
from sselib.sources.spreadsheet_input import as_text_table

ROWS = [
    ("name", "Formula", "id"),
    ("x", "Li₆PS₅Cl", 7),
    (None, "Li1,3Al0,3Ti1,7(PO4)3", "b"),
    ("y", None, 9.5),
]


def opened(path: Path, scratch: Path, said: list[str] | None = None) -> FormulaInputs:
    scratch.mkdir(exist_ok=True)
    options = {"formula_column": "formula", "id_column": "id", "limits": CifLimits()}
    return open_inputs(path, **options, scratch=scratch, say=(said if said is not None else []).append)


def excel(path: Path, rows: list[tuple], *more: str) -> Path:
    book = Workbook()
    for row in rows:
        book.active.append(row)
    for title in more:
        book.create_sheet(title)
    book.save(path)
    return path


def rows_of(inputs: FormulaInputs) -> list[tuple[str, str, bool]]:
    return [(c.id, c.formula, bool(c.problem)) for c in inputs.candidates(0)]


def test_excel_parquet_and_csv_of_one_table_give_the_same_inputs(tmp_path: Path) -> None:
    with (tmp_path / "t.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(ROWS)
    excel(tmp_path / "t.xlsx", ROWS)
    frame = pd.DataFrame(ROWS[1:], columns=ROWS[0])
    frame.assign(id=frame["id"].astype(str)).to_parquet(tmp_path / "t.parquet")
    expected = [("7", "Li₆PS₅Cl", False), ("b", "Li1,3Al0,3Ti1,7(PO4)3", False), ("9.5", "", True)]
    for name in ("t.csv", "t.xlsx", "t.parquet"):
        assert rows_of(opened(tmp_path / name, tmp_path / f"scratch-{name}")) == expected, name


def test_the_first_sheet_is_read_and_empty_rows_are_no_rows(tmp_path: Path) -> None:
    path = excel(tmp_path / "t.XLSX", [("formula", "id"), (), ("LiF", 1), (None, None), ("LiCl", 2), ()], "b")
    said: list[str] = []
    assert [r[:2] for r in rows_of(opened(path, tmp_path / "s", said))] == [("1", "LiF"), ("2", "LiCl")]
    assert "2 sheets: the first, 'Sheet'" in said[0]


def test_a_list_without_header_is_read(tmp_path: Path) -> None:
    path = excel(tmp_path / "t.xlsx", [("Li2S",), (None,), ("LiF",)])
    assert [r[1] for r in rows_of(opened(path, tmp_path / "s"))] == ["Li2S", "", "LiF"]


def test_the_record_to_resume_names_the_users_file(tmp_path: Path) -> None:
    path = excel(tmp_path / "t.xlsx", [("formula",), ("LiF",)])
    first, again = (opened(path, tmp_path / s).basis for s in ("one", "two"))
    assert first == again and first["input"] == str(path.resolve())


def _archive(path: Path) -> bytes:
    return excel(path.with_name("good.xlsx"), ROWS).read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.xlsx", b"", "t.xlsx is empty"),
        ("t.xlsx", b"formula\nLiF\n", "cannot be read as an Excel file"),
        ("t.xlsx", b"PK\x03\x04 cut", "cannot be read as an Excel file"),
        ("t.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1", "old Excel file .* or has a password"),
        ("t.parquet", b"", "t.parquet is empty"),
        ("t.parquet", b"PAR1 no", "cannot be read as a parquet file"),
        ("t.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", "spreadsheet or archive"),
        ("t.csv", b"PK\x03\x04", "end in .xlsx if"),
    ],
)
def test_bad_files_give_one_clear_error(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        opened(tmp_path / name, tmp_path / "s")


def test_a_missing_column_names_those_that_are_there(tmp_path: Path) -> None:
    excel(tmp_path / "t.xlsx", [("fromula", "id"), ("LiF", 1)])
    pd.DataFrame({"fromula": ["LiF"]}).to_parquet(tmp_path / "t.parquet")
    for name in ("t.xlsx", "t.parquet"):
        with pytest.raises(
            SchemaError, match=r"no column 'formula': found 'fromula'.*Did you mean 'fromula'"
        ):
            opened(tmp_path / name, tmp_path / "s")


def test_an_excel_file_without_any_cell_is_empty(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty"):
        opened(excel(tmp_path / "t.xlsx", []), tmp_path / "s")


@given(st.integers(0, 2**32))
def test_a_damaged_archive_is_an_error_of_the_suite_or_is_read(tmp_path_factory, seed: int) -> None:
    """No damage of a few bytes gets past as an error of a library."""
    folder, rng = tmp_path_factory.mktemp("x"), random.Random(seed)
    content = bytearray(_archive(folder / "a"))
    for _ in range(3):
        content[rng.randrange(len(content))] = rng.randrange(256)
    (folder / "t.xlsx").write_bytes(content)
    try:
        rows_of(opened(folder / "t.xlsx", folder / "s"))
    except SSEError as error:
        assert "t.xlsx" in str(error)


def test_a_large_table_is_written_in_order(tmp_path: Path) -> None:
    frame = pd.DataFrame({"formula": [f"Li{k}S" for k in range(1, 25_001)], "other": "x" * 50})
    frame.to_parquet(tmp_path / "t.parquet")
    path, _ = as_text_table(tmp_path / "t.parquet", _folder(tmp_path), columns=["formula", "id"])
    assert path.read_text().split() == ["formula", *frame["formula"]]


def _folder(parent: Path) -> Path:
    (parent / "scratch").mkdir()
    return parent / "scratch"

"""Tables of formulas: encodings, separators, broken rows, one row out for each row in."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sselib.errors import DataError, SchemaError, SSEError
from sselib.sources.table_input import (
    FormulaRow,
    count_rows,
    read_table,
    read_text_table,
    sniff_table,
    spool,
)


def read(path: Path, content: str | bytes, **options: str) -> list[FormulaRow]:
    """Write a table and read it."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_table(path, sniff_table(path, **options)))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_separators_and_encodings_are_recognised(table: Path, separator: str, encoding: str) -> None:
    text = f"Id{separator} Formula \r\na{separator}Li₂O\r\nb{separator}LiF\r\n"
    assert read(table, text.encode(encoding)) == [FormulaRow(1, "a", "Li₂O"), FormulaRow(2, "b", "LiF")]


def test_what_is_not_utf8_is_windows_1252(table: Path) -> None:
    rows = read(table, "formula,source\nLiI·3H2O,Müller\n".encode("cp1252"))
    assert rows[0].formula == "LiI·3H2O" and sniff_table(table).encoding == "cp1252"


def test_decimal_commas_survive_in_a_table_with_semicolons(table: Path) -> None:
    rows = read(table, "sep=;\nid;formula\n1;Li1,3Al0,3Ti1,7(PO4)3\n")
    assert [row.formula for row in rows] == ["Li1,3Al0,3Ti1,7(PO4)3"]


def test_a_row_with_too_many_fields_is_kept_with_its_problem(table: Path) -> None:
    rows = read(table, 'id,formula\na,Li1,3O\nb,"Li1,3O"\nc,LiF,\nd\n')
    assert [bool(row.problem) for row in rows] == [True, False, False, False]
    assert "3 fields and the header 2" in rows[0].problem and rows[3].formula == ""


def test_missing_formulas_of_a_single_column_are_rows_and_the_last_lines_are_not(table: Path) -> None:
    assert [r.formula for r in read(table, "formula\nLi2O\n\n\nLiF\n\n\n")] == ["Li2O", "", "", "LiF"]
    assert [r.formula for r in read(table, "id,formula\na,Li2O\n\nb,LiF\n")] == ["Li2O", "LiF"]


def test_a_list_of_formulas_needs_no_header(table: Path) -> None:
    rows = read(table, "Li1,3Al0,3Ti1,7(PO4)3\n Li₂O \nnonsense\n")
    assert [row.formula for row in rows] == ["Li1,3Al0,3Ti1,7(PO4)3", "Li₂O", "nonsense"]
    assert [row.id for row in rows] == ["1", "2", "3"]


def test_other_names_of_columns(table: Path) -> None:
    rows = read(table, "Sample,Composition\ns1,LiF\n", formula_column="composition", id_column="sample")
    assert rows == [FormulaRow(1, "s1", "LiF")]


@pytest.mark.parametrize("closing", ["", '"'])
def test_a_quote_that_is_never_closed_is_no_silent_loss(table: Path, closing: str) -> None:
    content = f'id,formula,note\na,Li2O,x\nb,LiF,"y\nc,LiCl,z\nd,LiBr,{closing}w\n'
    rows = read(table, content)
    assert [(row.id, row.formula) for row in rows] == [
        ("a", "Li2O"),
        ("b", "LiF"),
        ("c", "LiCl"),
        ("d", "LiBr"),
    ]
    assert [bool(row.problem) for row in rows][:3] == [False, True, False]
    assert "quote" in rows[1].problem
    many = read(table, 'id,formula\na,Li2O\nb,"LiF\n' + "c,LiCl\n" * 20_000)
    assert len(many) == 20_002 and sum(bool(row.problem) for row in many) == 1


def test_a_quoted_field_may_span_lines(table: Path) -> None:
    rows = read(table, 'formula,id,note\nLi2O,a,"first\nsecond line"\nLiF,b,\n')
    assert [(row.id, row.problem) for row in rows] == [("a", ""), ("b", "")]


def test_a_title_above_the_header_is_left_out(table: Path) -> None:
    rows = read(table, "Table S3. Formulas,,\n\nid,formula,\n1,LiF,\n2,LiCl,\n")
    assert [row.formula for row in rows] == ["LiF", "LiCl"]


def test_a_whole_table_is_read_with_its_faults_and_remarks(table: Path) -> None:
    table.write_bytes("Table 1,,,\nformula,σ,,\nLiF,1,,\nLiCl\nLiBr,2,,\n".encode("utf-16"))
    found = read_text_table(table, is_header=lambda names: "formula" in names)
    assert found.frame.to_dict("list") == {"formula": ["LiF", "LiCl", "LiBr"], "σ": ["1", "", "2"]}
    assert list(found.faults) == [2] and "line 4 has 1 fields" in found.faults[2]
    assert found.remarks == ("the header is line 2: what stands above it is left out",)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", DataError, "is empty"),
        (b" \n \n", DataError, "is empty"),
        (b"PK\x03\x04....", DataError, "save the sheet as CSV"),
        (b"\x89PNG\r\n\x00\x00", DataError, "binary"),
        (b"id,formulla\n1,LiF\n", SchemaError, "Did you mean 'formulla'"),
        (b"formula,id,Formula\nLiF,1,LiCl\n", SchemaError, "several columns 'formula'"),
        (b"<html><body>not found</body></html>", SchemaError, "no column 'formula'"),
    ],
)
def test_what_is_no_table_of_formulas_is_refused(
    table: Path, content: bytes, error: type[SSEError], message: str
) -> None:
    with pytest.raises(error, match=message):
        read(table, content)


def test_standard_input_becomes_a_file(tmp_path: Path) -> None:
    path = spool(io.BytesIO(b"Li2O\nLiF\n"), tmp_path)
    assert count_rows(path) == 2 and len(list(read_table(path, sniff_table(path)))) == 2


CELL = st.text(
    alphabet=st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\n\x00"), max_size=12
)


@settings(max_examples=60)
@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8), separator=st.sampled_from(",;\t|"))
def test_what_a_csv_writer_wrote_is_read_back(tmp_path_factory, rows, separator) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerows([("formula", "other"), *rows])
    found = list(read_table(path, sniff_table(path)))
    assert [row.formula for row in found] == [formula.strip() for formula, _ in rows]
    assert not any(row.problem for row in found)


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_any_bytes_give_rows_or_the_one_error(tmp_path_factory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "t.csv"
    for start in (b"", b"id,formula\n"):
        path.write_bytes(start + content)
        try:
            rows = list(read_table(path, sniff_table(path)))
        except SSEError:
            continue
        assert [row.number for row in rows] == list(range(1, len(rows) + 1))

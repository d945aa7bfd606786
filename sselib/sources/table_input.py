"""Tables of formulas, read line by line: encoding and separator are recognised, nothing is held in memory."""

import codecs
import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

from sselib.errors import DataError, FormulaError, SchemaError, nearest
from sselib.materials.formula_input import read_formula

_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SEPARATORS = "\t;,|"
_BLOCK = 1 << 20  # bytes read at a time while looking for the encoding
_SHOWN = 10  # columns that an error names
_EXPECTED = "expected a text table (CSV or TSV) with a header line and a column 'formula'"


@dataclass(frozen=True)
class FormulaRow:
    """One row of the table: its 1-based number, its id (the number where the table has none) and formula.

    ``problem`` says why the row cannot be read, empty otherwise.
    """

    number: int
    id: str
    formula: str
    problem: str = ""


@dataclass(frozen=True)
class TableFormat:
    """How a table is written: encoding, separator, position of the formula and id, and rows before data.

    ``columns`` is 0 for a plain list of formulas, one per line, without a header.
    """

    encoding: str
    separator: str
    formula_at: int
    id_at: int | None
    columns: int
    skip_lines: int


def sniff_table(path: Path, *, formula_column: str = "formula", id_column: str = "id") -> TableFormat:
    """Return how the table at ``path`` is written.

    A file that is not UTF-8 (or UTF-16 with its mark) counts as Windows-1252. The separator is that of
    tab, semicolon, comma and bar which the header has most of. Column names are compared without regard
    to case. A single column without header, whose first line is a formula, is a plain list. Raises
    `DataError` for an empty or binary file and `SchemaError` where no column has the name.
    """
    encoding = _encoding(path)
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        head = list(itertools.islice(file, 2))
    return _table_format(head, encoding, formula_column, id_column, name=path.name)


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(4096)
        _require_text(start, path.name)
        for mark, encoding in _BOMS:
            if start.startswith(mark):
                return encoding
        file.seek(0)
        return "utf-8" if _is_utf8(file) else "cp1252"


def _require_text(start: bytes, name: str) -> None:
    """Raise `DataError` for what is not a text table."""
    if not start.strip():
        raise DataError(f"{name} is empty: {_EXPECTED}")
    if start.startswith(b"PK\x03\x04") or start.startswith(b"\xd0\xcf\x11\xe0"):
        raise DataError(
            f"{name} is a spreadsheet or archive, not text: let its name end in .xlsx if it is Excel's, "
            "or save the sheet as CSV (UTF-8)"
        )
    if b"\x00" in start and not start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{name} is a binary file: {_EXPECTED}")


def _is_utf8(file: BinaryIO) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while block := file.read(_BLOCK):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _table_format(
    head: Sequence[str], encoding: str, formula_column: str, id_column: str, *, name: str
) -> TableFormat:
    """Return the format that the first two lines suggest."""
    skip = 1 if head and head[0].lower().startswith("sep=") else 0  # a line that Excel understands
    header = head[skip] if len(head) > skip else ""
    separator = head[0].strip()[4:5] if skip else max(_SEPARATORS, key=header.count)
    names = next(csv.reader([header], delimiter=separator or ","), [])
    columns = [column.strip().lower() for column in names]
    if formula_column.strip().lower() in columns:
        wanted = id_column.strip().lower()
        if columns.count(formula_column.strip().lower()) > 1:
            raise SchemaError(
                f"{name} has several columns '{formula_column}': expected one; rename the others"
            )
        return TableFormat(
            encoding,
            separator,
            columns.index(formula_column.strip().lower()),
            columns.index(wanted) if wanted in columns else None,
            len(columns),
            skip + 1,
        )
    if _is_formula(header):
        return TableFormat(encoding, separator, 0, None, 0, skip)
    shown = ", ".join(repr(n.strip()[:60]) for n in names[:_SHOWN]) or "nothing"
    raise SchemaError(
        f"{name} has no column '{formula_column}': found {shown}.{nearest(formula_column, columns)} "
        "Name the column with --formula-column"
    )


def _is_formula(line: str) -> bool:
    try:
        return bool(read_formula(line).plain)
    except FormulaError:
        return False


def read_table(path: Path, layout: TableFormat) -> Iterator[FormulaRow]:
    """Yield the rows of a table in order.

    A row with more fields than the header, or a formula that spans lines, is yielded with its problem.
    Empty lines are skipped, except between the formulas of a single column, where they are missing
    formulas. Raises `DataError` where the file ends the reading, such as a quote that is never closed.
    """
    with path.open(encoding=layout.encoding, errors="replace", newline="") as file:
        yield from _rows(file, layout, name=path.name)


def _rows(file: TextIO, layout: TableFormat, *, name: str) -> Iterator[FormulaRow]:
    for _ in range(layout.skip_lines):
        file.readline()
    for number, (fields, lines) in enumerate(_records(file, layout, name=name), start=1):
        yield _row(fields, lines, number, layout)


def _records(file: TextIO, layout: TableFormat, *, name: str) -> Iterator[tuple[list[str], int]]:
    """Yield the fields of each record and how many lines it spans."""
    if layout.columns == 0:
        records = (([line.strip()] if line.strip() else [], 1) for line in file)
    else:
        records = _csv_records(file, layout, name=name)
    blank = 0
    for fields, lines in records:
        if not fields:
            blank += 1
            continue
        yield from itertools.repeat(([""], 1), blank if layout.columns <= 1 else 0)
        blank = 0
        yield fields, lines


def _csv_records(file: TextIO, layout: TableFormat, *, name: str) -> Iterator[tuple[list[str], int]]:
    reader, before = csv.reader(file, delimiter=layout.separator), 0
    try:
        for fields in reader:
            yield fields, reader.line_num - before
            before = reader.line_num
    except csv.Error as error:
        at = layout.skip_lines + before + 1
        raise DataError(
            f"{name} cannot be read from line {at} on ({error}): is a quote not closed?"
        ) from error


def _row(fields: list[str], lines: int, number: int, layout: TableFormat) -> FormulaRow:
    formula = fields[layout.formula_at].strip() if len(fields) > layout.formula_at else ""
    given = fields[layout.id_at].strip() if layout.id_at is not None and len(fields) > layout.id_at else ""
    return FormulaRow(number, given or str(number), formula, _problem(fields, formula, lines, layout))


def _problem(fields: list[str], formula: str, lines: int, layout: TableFormat) -> str:
    if "\n" in formula or "\r" in formula:
        return f"the formula spans {lines} lines of the table: is a quote not closed?"
    if layout.columns and len(fields) > layout.columns and any(f.strip() for f in fields[layout.columns :]):
        return (
            f"the row has {len(fields)} fields and the header {layout.columns}: "
            f"put quotes around a field that holds '{layout.separator}'"
        )
    return ""


def spool(stream: BinaryIO, folder: Path) -> Path:
    """Copy a stream that can be read only once (standard input) to a file in ``folder``."""
    path = folder / "standard_input"
    with path.open("wb") as file:
        while block := stream.read(_BLOCK):
            file.write(block)
    return path


def count_rows(path: Path) -> int:
    """Return the number of lines of a file, which is about the number of rows, for a progress bar."""
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))

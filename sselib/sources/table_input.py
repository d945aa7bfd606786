"""The one reader of tables: encoding, separator and header are recognised, rows are read one by one.

Excel and parquet become text first (`sselib.sources.spreadsheet_input`), so that all commands read the same.
"""

import codecs
import csv
import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TextIO

import pandas as pd

from sselib.errors import DataError, FormulaError, SchemaError, nearest
from sselib.materials.formula_input import read_formula
from sselib.sources.spreadsheet_input import as_text_table, is_spreadsheet

KINDS_OF_FILE = ".csv, .tsv, .txt, .xlsx or .parquet"
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SEPARATORS = "\t;,|"
_BLOCK = 1 << 20  # bytes read at a time while looking for the encoding
_SHOWN = 10  # columns that an error names
_HEAD = 12  # lines in which the header is looked for
_QUOTED_LINES = 50  # lines that one quoted field may span
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


@dataclass(frozen=True)
class TextTable:
    """A whole table as text: ``faults`` by row (number from 1), ``remarks`` on how it was read."""

    frame: pd.DataFrame
    faults: dict[int, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Header:
    """A header line: its names (stripped), separator and the lines up to and with it."""

    names: tuple[str, ...]
    separator: str
    skip_lines: int


def sniff_table(path: Path, *, formula_column: str = "formula", id_column: str = "id") -> TableFormat:
    """Return how the table at ``path`` is written.

    A file that is not UTF-8 (or UTF-16 with its mark) counts as Windows-1252. The separator is that of
    tab, semicolon, comma and bar which the header has most of; lines above the header (a title) are skipped.
    Column names are compared without regard to case. A single column without header, whose first line is a
    formula, is a plain list. Raises `DataError` for an empty or binary file and `SchemaError` where no
    column has the name.
    """
    encoding = _encoding(path)
    wanted, id_name = formula_column.strip().lower(), id_column.strip().lower()
    first, header = _find_header(path, encoding, lambda names: wanted in _lower(names))
    if header is None:
        if _is_formula(first.line):
            return TableFormat(encoding, first.separator, 0, None, 0, first.skip_lines - 1)
        shown = ", ".join(repr(n[:60]) for n in first.names[:_SHOWN]) or "nothing"
        raise SchemaError(
            f"{path.name} has no column '{formula_column}': found {shown}."
            f"{nearest(formula_column, _lower(first.names))} Name the column with --formula-column"
        )
    names = _lower(header.names)
    if names.count(wanted) > 1:
        raise SchemaError(
            f"{path.name} has several columns '{formula_column}': expected one; rename the others"
        )
    return TableFormat(
        encoding,
        header.separator,
        names.index(wanted),
        names.index(id_name) if id_name in names else None,
        len(names),
        header.skip_lines,
    )


@dataclass(frozen=True)
class _FirstLine(_Header):
    line: str = ""


def _find_header(
    path: Path, encoding: str, is_header: Callable[[Sequence[str]], bool]
) -> tuple[_FirstLine, _Header | None]:
    """Return the first line that is not empty, and the first that ``is_header`` accepts, if any."""
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        head = list(itertools.islice(file, _HEAD))
    declared, first = "", None
    for number, line in enumerate(head, start=1):
        if number == 1 and line.lower().startswith("sep="):  # a line that Excel understands
            declared = line.strip("\r\n")[4:5]
            continue
        if not line.strip():
            continue
        separator = declared or max(_SEPARATORS, key=line.count)
        names = tuple(name.strip() for name in next(csv.reader([line], delimiter=separator), []))
        first = first or _FirstLine(names, separator, number, line)
        if is_header(names):
            return first, _Header(names, separator, number)
    if first is None:
        raise DataError(f"{path.name} is empty: {_EXPECTED}")
    return first, None


def _lower(names: Iterable[str]) -> list[str]:
    return [name.lower() for name in names]


def _is_formula(line: str) -> bool:
    try:
        return bool(read_formula(line).plain)
    except FormulaError:
        return False


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


def read_table(path: Path, layout: TableFormat) -> Iterator[FormulaRow]:
    """Yield the rows of a table of formulas in order.

    A row with more fields than the header, or with a quote that is never closed, is yielded with its problem.
    Empty lines are skipped, except between the formulas of a single column, where they are missing formulas.
    """
    with path.open(encoding=layout.encoding, errors="replace", newline="") as file:
        for _ in range(layout.skip_lines):
            file.readline()
        for number, (fields, problem) in enumerate(_rows(file, layout), start=1):
            yield _row(fields, problem, number, layout)


def _rows(file: TextIO, layout: TableFormat) -> Iterator[tuple[list[str], str]]:
    """Yield the fields of each row and what is wrong with it."""
    if layout.columns == 0:
        records = (([line.strip()] if line.strip() else [], "", 0) for line in file)
    else:
        records = _records(file, layout.separator, layout.columns, start=layout.skip_lines + 1)
    blank = 0
    for fields, problem, _ in records:
        if not fields:
            blank += 1
            continue
        yield from itertools.repeat(([""], ""), blank if layout.columns <= 1 else 0)
        blank = 0
        yield fields, problem


def _records(
    file: Iterable[str], separator: str, columns: int, *, start: int
) -> Iterator[tuple[list[str], str, int]]:
    """Yield the fields of each record, what is wrong with it and its line (``start`` is the first).

    A quoted field may span lines, unless one of them is a record by itself: then the quote was never closed,
    and the lines after it are rows of their own.
    """
    pending: list[str] = []
    number = start - 1
    for number, line in enumerate(file, start=start):
        if pending and (len(_fields(line, separator)[0]) == columns or len(pending) >= _QUOTED_LINES):
            yield from _unclosed(pending, separator, number - len(pending))
            pending = []
        pending.append(line)
        fields, closed = _fields("".join(pending), separator)
        if closed:
            yield fields, "", number - len(pending) + 1
            pending = []
    yield from _unclosed(pending, separator, number - len(pending) + 1)


def _fields(text: str, separator: str) -> tuple[list[str], bool]:
    """Return the fields of a record and whether its quotes are closed."""
    try:
        return next(csv.reader([text], delimiter=separator, strict=True), []), True
    except csv.Error as error:
        if "unexpected end" not in str(error):  # a quote inside a field, or one that is very long
            return _lenient(text, separator), True
        return _lenient(text, separator), False


def _lenient(text: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=separator), [])
    except csv.Error:
        return text.split(separator)


def _unclosed(lines: Sequence[str], separator: str, number: int) -> Iterator[tuple[list[str], str, int]]:
    """Yield lines with an open quote as records of their own, which say so."""
    for at, line in enumerate(lines, start=number):
        fields = [x.strip().strip('"') for x in line.rstrip("\r\n").split(separator)]
        yield fields, "a quote in this line is not closed", at


def _row(fields: list[str], problem: str, number: int, layout: TableFormat) -> FormulaRow:
    formula = fields[layout.formula_at].strip() if len(fields) > layout.formula_at else ""
    given = fields[layout.id_at].strip() if layout.id_at is not None and len(fields) > layout.id_at else ""
    return FormulaRow(number, given or str(number), formula, problem or _too_many(fields, formula, layout))


def _too_many(fields: list[str], formula: str, layout: TableFormat) -> str:
    if "\n" in formula or "\r" in formula:
        return "the formula spans several lines of the table: is a quote not closed?"
    if layout.columns and len(fields) > layout.columns and any(f.strip() for f in fields[layout.columns :]):
        return (
            f"the row has {len(fields)} fields and the header {layout.columns}: "
            f"put quotes around a field that holds '{layout.separator}'"
        )
    return ""


def read_text_table(path: Path, *, is_header: Callable[[Sequence[str]], bool]) -> TextTable:
    """Return a whole table as text; an empty cell is an empty text.

    ``is_header`` says which line can be the header; without one the first line is. Raises `DataError` for a
    file that cannot be read, holds no rows or names a column twice.
    """
    suffixes = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm", ".parquet")
    if path.suffix.lower() not in suffixes:
        raise DataError(f"{path.name} is of an unknown kind: expected {KINDS_OF_FILE}")
    with tempfile.TemporaryDirectory() as scratch:
        said = ""
        if is_spreadsheet(path):
            path, said = as_text_table(path, Path(scratch))
        table = _whole(path, is_header)
    return TextTable(table.frame, table.faults, (*([said] if said else []), *table.remarks))


def _whole(path: Path, is_header: Callable[[Sequence[str]], bool]) -> TextTable:
    encoding = _encoding(path)
    first, header = _find_header(path, encoding, is_header)
    header = header or first
    named = [i for i, name in enumerate(header.names) if name]
    _require_unique([header.names[i] for i in named], path)
    rows, faults = [], {}
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        for _ in range(header.skip_lines):
            file.readline()
        records = _records(file, header.separator, len(header.names), start=header.skip_lines + 1)
        for fields, problem, line in records:
            if any(fields):
                rows.append([fields[i] if i < len(fields) else "" for i in named])
                wrong = problem or _wrong_width(fields, named[-1] + 1, header)
                faults |= {len(rows): f"line {line} {wrong}"} if wrong else {}
    if not rows:
        raise DataError(f"{path.name} holds no rows: expected one header line and one line per measurement")
    remarks = _reading_remarks(encoding, header, first, path)
    return TextTable(pd.DataFrame(rows, columns=[header.names[i] for i in named]), faults, remarks)


def _require_unique(names: Sequence[str], path: Path) -> None:
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise DataError(f"{path.name} names a column twice ({', '.join(twice)}): rename one of them")
    if not names:
        raise DataError(f"{path.name} has no header: expected one that names each column once")


def _wrong_width(fields: Sequence[str], needed: int, header: _Header) -> str:
    extra = any(cell.strip() for cell in fields[len(header.names) :])
    if len(fields) >= needed and not extra:
        return ""
    return (
        f"has {len(fields)} fields and the header {len(header.names)}; "
        f"put quotes around a field that holds '{header.separator}'"
    )


def _reading_remarks(encoding: str, header: _Header, first: _Header, path: Path) -> tuple[str, ...]:
    remarks = [f"{path.name} is not UTF-8: read as Windows-1252"] if encoding == "cp1252" else []
    if header.skip_lines != first.skip_lines:
        remarks.append(f"the header is line {header.skip_lines}: what stands above it is left out")
    return tuple(remarks)


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

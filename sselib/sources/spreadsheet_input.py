"""Excel and parquet tables as text tables: written out row by row, so that memory does not grow with them."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from openpyxl import load_workbook

from sselib.errors import DataError, SchemaError, nearest

EXCEL, PARQUET = (".xlsx", ".xlsm"), (".parquet",)
MAX_COLUMNS, MAX_GAP = 256, 10_000  # columns of a sheet that are read; empty rows after which it ends
_BATCH = 10_000  # rows of a parquet file held at a time
_SHOWN = 10  # columns that an error names


def is_spreadsheet(path: Path) -> bool:
    """Return whether a file is one that `as_text_table` converts, by the end of its name."""
    return path.suffix.lower() in (*EXCEL, *PARQUET)


def as_text_table(path: Path, folder: Path, *, columns: Sequence[str] = ()) -> tuple[Path, str]:
    """Write the table at ``path`` as UTF-8 text under the same name into ``folder``.

    Returns that file and a sentence about what was read (empty if there is nothing to say). Of an Excel file
    the first sheet is read, formulas of cells as the values that Excel saved; of a parquet file those of
    ``columns`` that it has (names without regard to case), all where none is named. Raises
    `DataError` for a file that cannot be read or holds nothing, `SchemaError` for a parquet file without the
    first of ``columns``.
    """
    if not path.stat().st_size:
        raise DataError(f"{path.name} is empty: expected a table with a column of formulas")
    target = folder / path.name
    rows, said = _excel_rows(path) if path.suffix.lower() in EXCEL else _parquet_rows(path, columns)
    with target.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(_guarded(rows, path))
    return target, said


def _guarded(rows: Iterable[Sequence[str]], path: Path) -> Iterator[Sequence[str]]:
    """Yield the rows; a file that turns out to be broken further on is one clear error."""
    try:
        yield from rows
    except Exception as error:  # a damaged archive raises whatever zlib, XML or openpyxl stumble over
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> DataError:
    kind = "an Excel file (.xlsx)" if path.suffix.lower() in EXCEL else "a parquet file"
    reason = " ".join(str(error).split())[:150] or type(error).__name__
    return DataError(f"{path.name} cannot be read as {kind} ({reason}): save the table as CSV (UTF-8)")


def _excel_rows(path: Path) -> tuple[Iterator[list[str]], str]:
    """Return the rows of the first sheet as text, and a sentence where there are more sheets."""
    with path.open("rb") as file:
        if file.read(4) == b"\xd0\xcf\x11\xe0":
            raise DataError(
                f"{path.name} is an old Excel file (.xls) or has a password: save the sheet as .xlsx or CSV"
            )
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # as in `_guarded`
        raise _unreadable(path, error) from error
    if not book.worksheets:
        raise DataError(f"{path.name} holds no sheet with cells: expected a table with a column of formulas")
    sheet, n = book.worksheets[0], len(book.worksheets)
    said = f"{path.name} has {n} sheets: the first, '{sheet.title}', is read" if n > 1 else ""
    return _filled_rows(sheet.iter_rows(values_only=True, max_col=MAX_COLUMNS)), said


def _filled_rows(rows: Iterable[Sequence[object]]) -> Iterator[list[str]]:
    """Yield the rows as text, one without any content as an empty line, up to a long gap without content."""
    gap = width = 0
    for row in rows:
        cells = [_text(value) for value in row]
        used = max((i for i, cell in enumerate(cells, start=1) if cell.strip()), default=0)
        gap, width = (0 if used else gap + 1), max(width, used)
        if gap > MAX_GAP:
            return
        yield cells[:width] if used else []


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return "" if value is None or value != value else str(value)


def _parquet_rows(path: Path, columns: Sequence[str]) -> tuple[Iterator[list[str]], str]:
    """Return the wanted columns as rows of text, the header first."""
    try:
        table = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    names = table.schema_arrow.names
    lower = {name.lower().strip(): name for name in reversed(names)}
    wanted = [lower[c.lower().strip()] for c in columns if c.lower().strip() in lower]
    if not columns:
        return _batches(table, names), ""
    if columns[0].lower().strip() not in lower:
        shown = ", ".join(repr(name[:60]) for name in names[:_SHOWN]) or "nothing"
        raise SchemaError(
            f"{path.name} has no column '{columns[0]}': found {shown}.{nearest(columns[0], list(lower))} "
            "Name the column with --formula-column"
        )
    return _batches(table, wanted), ""


def _batches(table: pq.ParquetFile, columns: list[str]) -> Iterator[list[str]]:
    yield columns
    for batch in table.iter_batches(batch_size=_BATCH, columns=columns):
        lists = [batch.column(name).to_pylist() for name in columns]
        yield from ([_text(v) for v in row] for row in zip(*lists, strict=True))

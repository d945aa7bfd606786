"""What every source returns: one table of measurements, one of rejects, one of structures.

In the tables a missing text is None, a missing number NaN (`pandas.NA` for the space-group number);
after a trip through parquet a missing text may be NaN instead, so test with `pandas.isna`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pandas as pd

from sselib.columns import Entry, Reject, StructureTable
from sselib.errors import DataError, SchemaError, SSEError, nearest
from sselib.registry import Located

TEXT_LENGTH = 200  # characters of the offending text that a rejects table keeps
_FLOATS = {
    Entry.LOG10_SIGMA,
    Entry.TEMPERATURE_C,
    Entry.A_ANGSTROM,
    Entry.B_ANGSTROM,
    Entry.C_ANGSTROM,
    Entry.ALPHA_DEG,
    Entry.BETA_DEG,
    Entry.GAMMA_DEG,
}
_BOOLS = {Entry.CENSORED, Entry.CLOSE_MATCH}
_INTEGERS = {Entry.SPACE_GROUP_NUMBER, Reject.ROW}


@dataclass(frozen=True)
class SourceFile:
    """One file that a source was read from."""

    name: str  # registry key such as "obelix/all.csv", or the user's file name
    origin: str  # mirror, cache, download, embedded or user
    sha256: str
    n_bytes: int


@dataclass(frozen=True)
class SourceTable:
    """One source as read: nothing merged, nothing dropped in silence.

    ``entries`` has the columns of `Entry`, one row per measurement; ``rejects`` those of `Reject`,
    one row per input that could not be used; ``structures`` those of `StructureTable`.
    """

    name: str
    entries: pd.DataFrame
    rejects: pd.DataFrame
    structures: pd.DataFrame
    files: tuple[SourceFile, ...]


def entries_frame(records: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Return measurements with every column of `Entry`, in its order and with its type.

    A key that a record lacks becomes missing (False for the two flags, "unknown" for
    ``conductivity_kind``). Raises `SchemaError` for a key that is no column.
    """
    filled = [{Entry.CONDUCTIVITY_KIND: "unknown", **record} for record in records]
    return _frame(filled, Entry)


def rejects_frame(records: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Return rejected inputs with every column of `Reject`; the text is cut to 200 characters."""
    return _frame([{**r, Reject.TEXT: str(r.get(Reject.TEXT) or "")[:TEXT_LENGTH]} for r in records], Reject)


def structures_frame(records: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Return structures with every column of `StructureTable`."""
    return _frame(records, StructureTable)


def _frame(records: Sequence[Mapping[str, object]], columns: type[StrEnum]) -> pd.DataFrame:
    """Build a typed table from records; the columns are those of the enumeration."""
    _refuse_unknown((key for record in records for key in record), columns)
    data = {str(c): _typed([record.get(c) for record in records], c) for c in columns}
    return pd.DataFrame(data)


def _refuse_unknown(keys: Iterable[str], columns: type[StrEnum]) -> None:
    """Raise `SchemaError` for the first key that is not a column."""
    valid = [str(c) for c in columns]
    for key in dict.fromkeys(keys):
        if key not in valid:
            raise SchemaError(
                f"'{key}' is no column of {columns.__name__}: expected one of "
                f"{', '.join(valid)}.{nearest(key, valid)}"
            )


def _typed(values: list[object], column: StrEnum) -> pd.Series:
    """Return one column with the type that its name stands for."""
    present = [None if v is None or pd.isna(v) else v for v in values]
    if column in _FLOATS:
        return pd.Series(present, dtype=float)
    if column in _BOOLS:
        return pd.Series([bool(v) for v in present], dtype=bool)
    if column in _INTEGERS:
        return pd.Series(present, dtype="Int64")
    return pd.Series([None if v is None else str(v) for v in present], dtype=object)


def read_rows(
    rows: Iterable[Mapping[str, str]],
    *,
    source: str,
    id_column: str,
    to_record: Callable[[Mapping[str, str], int], dict[str, object]],
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Return (records of `Entry`, records of `Reject`) of the rows of a table.

    ``to_record(row, number)`` reads one row, ``number`` counts from 1; where it raises an `SSEError`
    the row goes to the rejects with the error as its reason.
    """
    records, rejects = [], []
    for number, row in enumerate(rows, start=1):
        try:
            records.append({Entry.SOURCE: source, **to_record(row, number)})
        except SSEError as error:
            rejects.append(
                reject(
                    source,
                    reason=str(error),
                    row=number,
                    source_id=row.get(id_column),
                    text=" | ".join(row.values()),
                )
            )
    return records, rejects


def reject(
    source: str, *, reason: str, row: int | None = None, source_id: str | None = None, text: str = ""
) -> dict[str, object]:
    """Return one row of the rejects table."""
    return {
        Reject.SOURCE: source,
        Reject.SOURCE_ID: source_id,
        Reject.ROW: row,
        Reject.REASON: reason,
        Reject.TEXT: text,
    }


def clean_doi(text: str) -> str | None:
    """Return a DOI in lower case without its address, several joined by ``|``; None if it is none.

    DOIs do not depend on case, and sources differ in it; groups by publication need one form. A
    semicolon may be part of an old DOI, so only blanks and bars separate.
    """
    parts = [part.strip(",;") for part in re.split(r"[|\s]+", text.lower())]
    dois = [re.sub(r"^(https?://(dx\.)?doi\.org/|doi:)", "", part) for part in parts]
    return "|".join(d for d in dois if re.fullmatch(r"10\.\d{4,9}/\S+", d)) or None


def read_number(text: str, *, column: str, low: float, high: float) -> float | None:
    """Return a number between ``low`` and ``high``, None for an empty text.

    A comma is a decimal comma. Raises `DataError`, which names column, text and range.
    """
    if not text.strip():
        return None
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise DataError(f"column '{column}' holds {text!r}: expected a number from {low:g} to {high:g}")
    return value


def source_file(located: Located) -> SourceFile:
    """Return the provenance of a file of the registry."""
    return SourceFile(name=located.key, origin=located.origin, sha256=located.sha256, n_bytes=located.n_bytes)

"""What every source returns: one table of measurements, one of rejects, one of structures.

In the tables a missing text is None, a missing number NaN (`pandas.NA` for the space-group number);
after a trip through parquet a missing text may be NaN instead, so test with `pandas.isna`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pandas as pd

from sselib.columns import Entry, Reject, StructureTable
from sselib.errors import SchemaError, nearest

TEXT_LENGTH = 200  # characters of the offending text that a rejects table keeps
_FLOATS = {Entry.LOG10_SIGMA, Entry.TEMPERATURE_C, Entry.A_ANGSTROM, Entry.B_ANGSTROM, Entry.C_ANGSTROM,
           Entry.ALPHA_DEG, Entry.BETA_DEG, Entry.GAMMA_DEG}
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
            raise SchemaError(f"'{key}' is no column of {columns.__name__}: expected one of "
                              f"{', '.join(valid)}.{nearest(key, valid)}")


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

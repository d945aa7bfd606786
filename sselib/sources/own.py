"""The user's own table (CSV or parquet) and folder of CIFs, joined by an id."""

import csv
import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pandas as pd
from pymatgen.symmetry.groups import SpaceGroup, sg_symbol_from_int_number

from sselib.columns import Entry
from sselib.composition import canonical, parse_formula
from sselib.conductivity import parse_conductivity
from sselib.errors import DataError, ParameterError, SchemaError, SSEError, nearest
from sselib.registry import sha256_of
from sselib.schemas import ENTRIES, REJECTS, STRUCTURES, validate
from sselib.sources.table import (
    SourceFile,
    SourceTable,
    clean_doi,
    entries_frame,
    read_number,
    read_rows,
    reject,
    rejects_frame,
    structures_frame,
)
from sselib.structures import read_cif, structure_record

REQUIRED = ("formula", "conductivity")
LATTICE_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("a_angstrom", "b_angstrom", "c_angstrom"), (0.5, 1000.0)),
    **dict.fromkeys(("alpha_deg", "beta_deg", "gamma_deg"), (1.0, 179.0)),
}
# What a column map may name, on its left side.
COLUMNS = ("id", *REQUIRED, "temperature_c", "doi", "family", "space_group", *LATTICE_RANGES, "note")
_EXPECTED = "one header line, each column named once, and one line per measurement"
RESERVED_NAMES = ("obelix", "liion", "reference", "generated")


def load(
    table: str, *, name: str, column_map: Mapping[str, str], sigma_unit: str = "S/cm", cif_folder: str = ""
) -> SourceTable:
    """Return the user's measurements, with structures where ``cif_folder`` holds ``<id>.cif``.

    ``table`` is a path to a .csv, .tsv or .parquet file; ``name`` becomes the source's name and the
    start of each id. ``column_map`` maps the names in `COLUMNS` to the table's columns, for example
    ``{"formula": "Composition", "conductivity": "sigma_RT"}``; a column that already carries one of
    these names needs no entry. ``formula`` and ``conductivity`` are required; without ``id`` the row
    number serves. ``sigma_unit`` is one of `sselib.conductivity.UNITS`.

    A row, or a CIF, that cannot be used goes to the rejects with its reason; a row whose CIF is
    broken stays, without structure. Raises `DataError` for a file that cannot be read or holds no
    usable row, `SchemaError` for a missing column, `ParameterError` for a wrong name or map.
    """
    _require_name(name)
    path = _require_file(table)
    rows = _renamed(_read(path), column_map, path=path)
    cifs = _list_cifs(cif_folder)
    to_record = partial(_to_record, name=name, unit=sigma_unit, seen={})
    records, rejects = read_rows(rows.to_dict("records"), source=name, id_column="id", to_record=to_record)
    _require_usable(records, rejects, path=path, unit=sigma_unit)
    usable = {record[Entry.SOURCE_ID] for record in records}
    structures, unread = _read_cifs(cifs, name=name, usable=usable, given=set(rows["id"]))
    entries = entries_frame(_with_structures(records, structures))
    return SourceTable(
        name=name,
        entries=validate(entries, ENTRIES, what=path.name),
        rejects=validate(rejects_frame(rejects + unread), REJECTS, what=path.name),
        structures=validate(structures_frame(structures), STRUCTURES, what=cif_folder),
        files=tuple(_source_file(p) for p in (path, *cifs.values())),
    )


def _require_name(name: str) -> None:
    """Raise `ParameterError` unless ``name`` can start an id and is not that of another source."""
    if not name or not name.replace("_", "").replace("-", "").isalnum() or name in RESERVED_NAMES:
        raise ParameterError(
            f"the name {name!r} cannot be used for your data: expected letters, digits, '-' "
            f"and '_' only, and none of {', '.join(RESERVED_NAMES)}"
        )


def _require_file(table: str) -> Path:
    path = Path(table).expanduser()
    if not path.is_file():
        raise DataError(f"no table at '{table}': expected the path of a .csv, .tsv or .parquet file")
    return path


def _read(path: Path) -> pd.DataFrame:
    """Return the table as text; an empty cell is an empty text."""
    readers = {".csv": _read_csv, ".tsv": _read_csv, ".txt": _read_csv, ".parquet": pd.read_parquet}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path.name} is of an unknown kind: expected .csv, .tsv or .parquet")
    try:
        frame = readers[path.suffix.lower()](path)
    except (ValueError, OSError, csv.Error) as error:
        raise DataError(f"{path.name} cannot be read ({error}): expected {_EXPECTED}, in UTF-8") from error
    if frame.empty or not frame.columns.is_unique:
        found = "holds no rows" if frame.empty else "names a column twice"
        raise DataError(f"{path.name} {found}: expected {_EXPECTED}")
    return frame.astype(object).where(frame.notna(), "").astype(str)


def _read_csv(path: Path) -> pd.DataFrame:
    """Read a text table; the separator is that of tab, semicolon and comma which the header has most of.

    Lines without any content are skipped. Raises `ValueError` for a line longer or shorter than the
    header.
    """
    text = path.read_text(encoding="utf-8-sig").lstrip()
    separator = max("\t;,", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    lines = [(reader.line_num, line) for line in reader if any(line)]
    if not lines:
        raise ValueError("it is empty")
    header = [column.strip() for column in lines[0][1]]
    for number, line in lines:
        if len(line) != len(header):
            raise ValueError(
                f"line {number} has {len(line)} fields and the header {len(header)}; "
                f"put quotes around a field that holds '{separator}'"
            )
    return pd.DataFrame([line for _, line in lines[1:]], columns=header)


def _renamed(frame: pd.DataFrame, column_map: Mapping[str, str], *, path: Path) -> pd.DataFrame:
    """Return the columns of `COLUMNS` that the table has, under those names, and an ``id``."""
    found = [str(c) for c in frame.columns]
    unknown = [key for key in column_map if key not in COLUMNS]
    if unknown:
        raise ParameterError(
            f"the column map names '{unknown[0]}', which is not known here: expected "
            f"{{suite's name: your column}} with names from {', '.join(COLUMNS)}."
            f"{nearest(unknown[0], list(COLUMNS))}"
        )
    wanted = {key: key for key in (*REQUIRED, *(c for c in COLUMNS if c in found))} | dict(column_map)
    for key, column in wanted.items():
        if column not in found:
            raise SchemaError(
                f"{path.name} has no column '{column}' for '{key}': found {', '.join(found)}."
                f"{nearest(column, found)} Name it in the column map: {{'{key}': '...'}}"
            )
    renamed = pd.DataFrame({key: frame[column] for key, column in wanted.items()})
    if "id" not in renamed:
        renamed["id"] = [str(number) for number in range(1, len(renamed) + 1)]
    return renamed.assign(id=renamed["id"].str.strip())


def _to_record(
    row: Mapping[str, str], number: int, *, name: str, unit: str, seen: dict[str, int]
) -> dict[str, object]:
    """Read one row; raises an `SSEError` that gives the reason if it cannot be used."""
    key = row["id"]
    if not key:
        raise DataError("the id is empty: expected a text that no other row has")
    if key in seen:
        raise DataError(f"the id '{key}' is already that of row {seen[key]}: expected one row per id")
    seen[key] = number
    conductivity = parse_conductivity(row["conductivity"], unit=unit)
    return {
        Entry.ID: f"{name}:{key}",
        Entry.SOURCE_ID: key,
        Entry.FORMULA: row["formula"].strip(),
        Entry.COMPOSITION: canonical(parse_formula(row["formula"])),
        Entry.LOG10_SIGMA: conductivity.log10_sigma,
        Entry.CENSORED: conductivity.censored,
        **_optional(row),
    }


def _optional(row: Mapping[str, str]) -> dict[str, object]:
    """Return what a row may give beside formula and conductivity."""
    ranges = {"temperature_c": (-273.15, 3000.0), **LATTICE_RANGES}
    numbers = {
        column: read_number(row.get(column, ""), column=column, low=low, high=high)
        for column, (low, high) in ranges.items()
    }
    symbol, group = _space_group(row.get("space_group", ""))
    return {
        Entry.DOI: clean_doi(row.get("doi", "")),
        Entry.FAMILY_RAW: row.get("family") or None,
        Entry.SPACE_GROUP_SYMBOL: symbol,
        Entry.SPACE_GROUP_NUMBER: group,
        Entry.NOTE: row.get("note") or None,
        **numbers,
    }


def _space_group(text: str) -> tuple[str | None, int | None]:
    """Return (symbol, number) for a number or a Hermann-Mauguin symbol such as ``Fm-3m``."""
    plain = text.replace(" ", "").removesuffix(".0")
    if not plain:
        return None, None
    try:
        number = int(plain) if plain.isdigit() else SpaceGroup(plain).int_number
        return sg_symbol_from_int_number(number) if plain.isdigit() else plain, number
    except ValueError as error:
        raise DataError(
            f"column 'space_group' holds {text!r}: expected a number from 1 to 230 or a "
            "Hermann-Mauguin symbol such as 'Fm-3m'"
        ) from error


def _require_usable(records: list[dict], rejects: list[dict], *, path: Path, unit: str) -> None:
    """Raise `DataError` where no row could be used, or where the unit is evidently wrong."""
    if not records:
        raise DataError(
            f"none of the {len(rejects)} rows of {path.name} can be used; the first: {rejects[0]['reason']}"
        )
    if unit == "log10" and min(record[Entry.LOG10_SIGMA] for record in records) >= 0:
        raise DataError(
            f"{path.name} is said to give log10(S/cm), yet no value is below 0: expected values "
            "such as -4.2. Choose the unit they are written in, for example 'S/cm'"
        )


def _list_cifs(folder: str) -> dict[str, Path]:
    """Return the CIFs of a folder by the id in their name, in alphabetical order."""
    if not folder:
        return {}
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise DataError(f"no folder of CIFs at '{folder}': expected a folder with files named <id>.cif")
    return {file.stem: file for file in sorted(path.iterdir()) if file.suffix.lower() == ".cif"}


def _read_cifs(
    cifs: Mapping[str, Path], *, name: str, usable: set[str], given: set[str]
) -> tuple[list[dict[str, str]], list[dict[str, object]]]:
    """Return (records of the structures table, rejects)."""
    records, rejects = [], []
    for key, path in cifs.items():
        try:
            _require_row(key, usable=usable, given=given)
            text = path.read_text(encoding="utf-8", errors="replace")
            structure = read_cif(text, name=path.name)
            records.append(
                structure_record(
                    structure, structure_id=f"{name}:{key}", source=name, text=text, origin=path.name
                )
            )
        except SSEError as error:
            rejects.append(reject(name, source_id=key, reason=str(error), text=path.name))
    return records, rejects


def _require_row(key: str, *, usable: set[str], given: set[str]) -> None:
    """Raise `DataError` unless a usable row has the id of a CIF."""
    if key in given - usable:
        raise DataError(f"the row with the id '{key}' was rejected, so its CIF is not used")
    if key not in usable:
        raise DataError(f"no row has the id '{key}': expected a row for each CIF")


def _with_structures(records: list[dict], structures: list[dict[str, str]]) -> list[dict]:
    """Return the records, with a reference to the structure where one was read."""
    ids = {structure["structure_id"] for structure in structures}
    return [{**r, Entry.STRUCTURE_ID: r[Entry.ID] if r[Entry.ID] in ids else None} for r in records]


def _source_file(path: Path) -> SourceFile:
    return SourceFile(name=path.name, origin="user", sha256=sha256_of(path), n_bytes=path.stat().st_size)

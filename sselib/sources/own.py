"""The user's own table (CSV, TSV, XLSX or parquet) and folder of CIFs, joined by id or by formula."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from zipfile import BadZipFile

import pandas as pd
from pymatgen.symmetry.groups import SpaceGroup, sg_symbol_from_int_number

from sselib.columns import Entry
from sselib.errors import DataError, ParameterError, SchemaError, SSEError, nearest
from sselib.materials.composition import canonical, parse_formula
from sselib.materials.structure_input import CifLimits, CifReaders
from sselib.materials.structures import structure_record
from sselib.registry import sha256_of
from sselib.schemas import ENTRIES, REJECTS, STRUCTURES, validate
from sselib.sources import cif_matching
from sselib.sources.cif_matching import Cif
from sselib.sources.quantities import read_conductivity, read_temperature
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

REQUIRED = ("formula", "conductivity")
LATTICE_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("a_angstrom", "b_angstrom", "c_angstrom"), (0.5, 1000.0)),
    **dict.fromkeys(("alpha_deg", "beta_deg", "gamma_deg"), (1.0, 179.0)),
}
# What a column map may name, on its left side.
COLUMNS = (
    "id",
    *REQUIRED,
    "temperature_c",
    "doi",
    "family",
    "space_group",
    *LATTICE_RANGES,
    "conductivity_kind",
    "cif",
    "note",
)
KINDS = ("bulk", "total", "unknown")
KINDS_OF_FILE = ".csv, .tsv, .txt, .xlsx or .parquet"
_EXPECTED = "one header line, each column named once, and one line per measurement"
RESERVED_NAMES = ("obelix", "liion", "reference", "recent", "generated")


@dataclass(frozen=True)
class RawTable:
    """A table as text: ``frame`` holds every line, ``faults`` what is wrong with a line (number from 1)."""

    frame: pd.DataFrame
    faults: dict[int, str] = field(default_factory=dict)


def load(
    table: str,
    *,
    name: str,
    column_map: Mapping[str, str],
    sigma_unit: str = "S/cm",
    temperature_unit: str = "C",
    cif_folder: str = "",
) -> SourceTable:
    """Return the user's measurements, with structures where ``cif_folder`` holds CIFs of them.

    ``table`` is a path to a .csv, .tsv, .xlsx or .parquet file; ``name`` becomes the source's name and
    the start of each id. ``column_map`` maps the names in `COLUMNS` to the table's columns, for example
    ``{"formula": "Composition", "conductivity": "sigma_RT"}``; a column that already carries one of
    these names needs no entry. ``formula`` and ``conductivity`` are required; without ``id`` the row
    number serves. ``sigma_unit`` is one of `sselib.materials.conductivity.UNITS`, ``temperature_unit`` C or
    K; a unit in a cell goes before them. A CIF belongs to the row that names it in the column ``cif``, else
    to the row whose id is its name, else to the row of its formula (see `sselib.sources.cif_matching`); a row
    without space group or lattice takes those of its CIF.

    A row, or a CIF, that cannot be used goes to the rejects with its reason; a row whose CIF is
    broken stays, without structure. Raises `DataError` for a file that cannot be read or holds no
    usable row, `SchemaError` for a missing column, `ParameterError` for a wrong name or map.
    """
    require_name(name)
    path = require_file(table)
    raw = read_table(path)
    rows = _renamed(raw.frame, column_map, path=path)
    cifs = cif_matching.list_cifs(cif_folder)
    to_record = partial(
        _to_record,
        name=name,
        sigma_unit=sigma_unit,
        temperature_unit=temperature_unit,
        faults=raw.faults,
        seen={},
    )
    records, rejects = read_rows(rows.to_dict("records"), source=name, id_column="id", to_record=to_record)
    _require_usable(records, rejects, path=path, unit=sigma_unit)
    joined = _join_cifs(cifs, rows=rows, records=records, name=name)
    return SourceTable(
        name=name,
        entries=validate(entries_frame(joined.records), ENTRIES, what=path.name),
        rejects=validate(rejects_frame(rejects + joined.rejects), REJECTS, what=path.name),
        structures=validate(structures_frame(joined.structures), STRUCTURES, what=cif_folder),
        files=tuple(_source_file(p) for p in (path, *cifs)),
    )


def require_name(name: str) -> None:
    """Raise `ParameterError` unless ``name`` can start an id and is not that of another source."""
    if not name or not name.replace("_", "").replace("-", "").isalnum() or name in RESERVED_NAMES:
        raise ParameterError(
            f"the name {name!r} cannot be used for your data: expected letters, digits, '-' "
            f"and '_' only, and none of {', '.join(RESERVED_NAMES)}"
        )


def require_file(table: str) -> Path:
    """Return the path of a table, ``~`` expanded; raises `DataError` if there is no such file."""
    path = Path(table).expanduser()
    if not path.is_file():
        raise DataError(f"no table at '{table}': expected the path of a {KINDS_OF_FILE} file")
    return path


def read_table(path: Path) -> RawTable:
    """Return a table as text; an empty cell is an empty text.

    Raises `DataError` for a file that cannot be read, holds no rows or names a column twice.
    """
    readers = {
        **dict.fromkeys((".csv", ".tsv", ".txt"), _read_csv),
        **dict.fromkeys((".xlsx", ".xlsm"), _read_excel),
        ".parquet": lambda file: RawTable(pd.read_parquet(file)),
    }
    if path.suffix.lower() not in readers:
        raise DataError(f"{path.name} is of an unknown kind: expected {KINDS_OF_FILE}")
    try:
        raw = readers[path.suffix.lower()](path)
    except (ValueError, OSError, csv.Error, KeyError) as error:
        raise DataError(f"{path.name} cannot be read ({error}): expected {_EXPECTED}, in UTF-8") from error
    frame = raw.frame
    if frame.empty or not frame.columns.is_unique:
        found = "holds no rows" if frame.empty else "names a column twice"
        raise DataError(f"{path.name} {found}: expected {_EXPECTED}")
    return RawTable(frame.astype(object).where(frame.notna(), "").astype(str), raw.faults)


def _read_csv(path: Path) -> RawTable:
    """Read a text table; the separator is that of tab, semicolon and comma which the header has most of.

    Lines without any content are skipped. A line longer or shorter than the header is cut or filled up
    and noted as a fault. Raises `ValueError` for an empty file.
    """
    text = path.read_text(encoding="utf-8-sig").lstrip()
    separator = max("\t;,", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    lines = [(reader.line_num, line) for line in reader if any(line)]
    if not lines:
        raise ValueError("it is empty")
    header = [column.strip() for column in lines[0][1]]
    width = len(header)
    faults = {
        number: f"line {place} has {len(line)} fields and the header {width}; "
        f"put quotes around a field that holds '{separator}'"
        for number, (place, line) in enumerate(lines[1:], start=1)
        if len(line) != width
    }
    rows = [(line + [""] * width)[:width] for _, line in lines[1:]]
    return RawTable(pd.DataFrame(rows, columns=header), faults)


def _read_excel(path: Path) -> RawTable:
    """Read the first sheet of an Excel file; lines without any content are skipped."""
    if find_spec("openpyxl") is None:
        raise DataError(
            f"{path.name} is an Excel file, and the package openpyxl, which reads it, is not installed: "
            "run 'pip install openpyxl', or save the sheet as CSV (UTF-8)"
        )
    try:
        frame = pd.read_excel(path, dtype=str, engine="openpyxl").dropna(how="all")
    except BadZipFile as error:
        raise ValueError("it is no .xlsx file") from error
    return RawTable(frame.rename(columns=lambda column: str(column).strip()).reset_index(drop=True))


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
    row: Mapping[str, str],
    number: int,
    *,
    name: str,
    sigma_unit: str,
    temperature_unit: str,
    faults: Mapping[int, str],
    seen: dict[str, int],
) -> dict[str, object]:
    """Read one row; raises an `SSEError` that gives the reason if it cannot be used."""
    if number in faults:
        raise DataError(faults[number])
    key = row["id"]
    if not key:
        raise DataError("the id is empty: expected a text that no other row has")
    if key in seen:
        raise DataError(f"the id '{key}' is already that of row {seen[key]}: expected one row per id")
    seen[key] = number
    conductivity = read_conductivity(row["conductivity"], unit=sigma_unit)
    return {
        Entry.ID: f"{name}:{key}",
        Entry.SOURCE_ID: key,
        Entry.FORMULA: row["formula"].strip(),
        Entry.COMPOSITION: canonical(parse_formula(row["formula"])),
        Entry.LOG10_SIGMA: conductivity.log10_sigma,
        Entry.CENSORED: conductivity.censored,
        Entry.TEMPERATURE_C: read_temperature(row.get("temperature_c", ""), unit=temperature_unit),
        **_optional(row),
    }


def _optional(row: Mapping[str, str]) -> dict[str, object]:
    """Return what a row may give beside formula, conductivity and temperature."""
    numbers = {
        column: read_number(row.get(column, ""), column=column, low=low, high=high)
        for column, (low, high) in LATTICE_RANGES.items()
    }
    kind = row.get("conductivity_kind", "").strip().lower() or "unknown"
    if kind not in KINDS:
        raise DataError(f"column 'conductivity_kind' holds {kind!r}: expected one of {', '.join(KINDS)}")
    symbol, group = _space_group(row.get("space_group", ""))
    return {
        Entry.DOI: clean_doi(row.get("doi", "")),
        Entry.FAMILY_RAW: row.get("family") or None,
        Entry.SPACE_GROUP_SYMBOL: symbol,
        Entry.SPACE_GROUP_NUMBER: group,
        Entry.CONDUCTIVITY_KIND: kind,
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


@dataclass(frozen=True)
class _Joined:
    """Rows with what their CIFs add, the structures, and the CIFs that could not be used."""

    records: list[dict]
    structures: list[dict[str, str]]
    rejects: list[dict[str, object]]


def _join_cifs(cifs: list[Path], *, rows: pd.DataFrame, records: list[dict], name: str) -> _Joined:
    """Give each CIF to its rows; a CIF that fits none, or cannot be read, becomes a reject."""
    column = dict(zip(rows["id"], rows["cif"].str.strip(), strict=True)) if "cif" in rows else {}
    owners = cif_matching.by_name(cifs, records=records, cif_column=column)
    named = {key for keys in owners.values() for key in keys}
    read, reasons, usable = {}, {}, {str(record[Entry.SOURCE_ID]) for record in records}
    given = set(rows["id"])
    with CifReaders(limits=CifLimits()) as readers:
        for path, reading in zip(cifs, readers.read(cifs), strict=True):
            try:
                _require_row(path.stem, usable=usable, given=given)
                read[path] = cif_matching.usable(path, reading)
            except SSEError as error:
                reasons[path] = str(error)
    chosen, refused = cif_matching.decide(
        [cif for path, cif in read.items() if path not in owners],
        records=[record for record in records if record[Entry.SOURCE_ID] not in named],
    )
    by_id = {key: read[p] for p, keys in {**chosen, **owners}.items() if p in read for key in keys}
    reasons |= refused
    return _Joined(
        records=[_with_cif(record, by_id.get(str(record[Entry.SOURCE_ID]))) for record in records],
        structures=[_structure_row(key, by_id[key], name=name) for key in sorted(by_id)],
        rejects=[
            reject(name, source_id=p.stem, reason=reasons[p], text=p.name) for p in cifs if p in reasons
        ],
    )


def _require_row(key: str, *, usable: set[str], given: set[str]) -> None:
    """Raise `DataError` where the row with the id of a CIF was rejected."""
    if key in given - usable:
        raise DataError(f"the row with the id '{key}' was rejected, so its CIF is not used")


def _structure_row(key: str, cif: Cif, *, name: str) -> dict[str, str]:
    return structure_record(
        cif.structure, structure_id=f"{name}:{key}", source=name, text=cif.text, origin=cif.path.name
    )


def _with_cif(record: dict, cif: Cif | None) -> dict:
    """Return the record with a reference to its structure, and what the row does not say from the CIF.

    The lattice is taken over as a whole, and only where the row gives none of it.
    """
    if cif is None:
        return record
    symbol, number = cif.space_group
    added: dict[str, object] = {
        Entry.STRUCTURE_ID: record[Entry.ID],
        Entry.CELL_FORMULA: cif_matching.formula_text(cif.structure.composition.element_composition),
    }
    if record[Entry.SPACE_GROUP_NUMBER] is None:
        added |= {Entry.SPACE_GROUP_SYMBOL: symbol, Entry.SPACE_GROUP_NUMBER: number}
    if all(record[column] is None for column in LATTICE_RANGES):
        added |= dict(zip(LATTICE_RANGES, cif.structure.lattice.parameters, strict=True))
    return record | added


def _source_file(path: Path) -> SourceFile:
    return SourceFile(name=path.name, origin="user", sha256=sha256_of(path), n_bytes=path.stat().st_size)

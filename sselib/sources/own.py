"""The user's own table (CSV, TSV, XLSX or parquet) and folder of CIFs, joined by id or by formula."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from pymatgen.symmetry.groups import SpaceGroup, sg_symbol_from_int_number

from sselib.columns import Entry
from sselib.errors import DataError, ParameterError, SchemaError, SSEError, nearest
from sselib.materials.composition import canonical
from sselib.materials.conductivity import parse_conductivity, require_sigma_unit, sigma_unit_of
from sselib.materials.formula_input import read_formula
from sselib.materials.structure_input import CifLimits, CifReaders
from sselib.materials.structures import structure_record
from sselib.registry import sha256_of
from sselib.schemas import ENTRIES, REJECTS, STRUCTURES, validate
from sselib.sources import RESERVED_NAMES, cif_matching
from sselib.sources.cif_matching import Cif
from sselib.sources.column_mapping import COLUMNS, LATTICE_RANGES, REQUIRED, guess, is_header, parse_pairs
from sselib.sources.quantities import (
    has_unit,
    read_temperature,
    require_temperature_unit,
    temperature_unit_of,
)
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
from sselib.sources.table_input import KINDS_OF_FILE, TextTable, read_text_table

KINDS = ("bulk", "total", "unknown")


IMPLAUSIBLE_LOG10_SIGMA, IMPLAUSIBLE_BELOW_C = (
    -1.0,
    100.0,
)  # no solid lithium conductor reaches 0.1 S/cm there
QUESTIONABLE_TEMPERATURES = (250.0, 400.0)  # without a unit these may be K or deg C
N_NOTES = 5  # formulas read with a choice that a remark names


@dataclass(frozen=True)
class OwnTable:
    """The user's table as read: the source, which column is what, the units, and what to look at."""

    source: SourceTable
    mapping: dict[str, str]
    sigma_unit: str
    temperature_unit: str
    remarks: tuple[str, ...]
    raw: pd.DataFrame


def load(table: str, *, name: str, column_map: Mapping[str, str], **options: str) -> SourceTable:
    """Return the user's measurements as a source; see `read`."""
    return read(table, name=name, column_map=column_map, **options).source


def read(
    table: str,
    *,
    name: str,
    column_map: Mapping[str, str] | None = None,
    pairs: Sequence[str] = (),
    sigma_unit: str = "",
    temperature_unit: str = "",
    cif_folder: str = "",
) -> OwnTable:
    """Read the user's measurements, with structures where ``cif_folder`` holds CIFs of them.

    ``table`` is a path to a .csv, .tsv, .xlsx or .parquet file; ``name`` becomes the source's name and
    the start of each id. ``column_map`` maps the names in `sselib.sources.column_mapping.COLUMNS` to the
    table's columns, for example ``{"formula": "Composition", "conductivity": "sigma_RT"}`` (``pairs`` say the
    same in the words of the command line); a column that already carries one of these names, or a common one,
    needs no entry. ``formula`` and ``conductivity`` are required; without ``id`` the row number serves.
    ``sigma_unit``: see `sselib.materials.conductivity.parse_conductivity`; ``temperature_unit``: C or K;
    empty: what the header names. A unit in a cell goes before them. A CIF belongs to the row that names it in
    the column ``cif``, else to the row whose id is its name, else to the row of its formula (see
    `sselib.sources.cif_matching`); a row without space group or lattice takes those of its CIF.

    A row, or a CIF, that cannot be used goes to the rejects with its reason; a row whose CIF is
    broken stays, without structure. Raises `DataError` for a file that cannot be read or holds no
    usable row, `SchemaError` for a missing column, `ParameterError` for a wrong name or map.
    """
    require_name(name)
    path = require_file(table)
    wanted = [*(column_map or {}).values(), *(pair.rpartition("=")[0].strip() for pair in pairs)]
    raw = read_text_table(path, is_header=partial(is_header, given=wanted))
    columns = [str(column) for column in raw.frame.columns]
    given = parse_pairs(pairs, columns=columns) | dict(column_map or {})
    mapping = {**guess(columns, given=given), **given}
    raw, in_units_row = _without_units_row(raw, mapping)
    units, remarks = _units(raw.frame, mapping, in_units_row, sigma=sigma_unit, temperature=temperature_unit)
    rows = _renamed(raw.frame, mapping, path=path)
    cifs = cif_matching.cifs_beside_table(cif_folder)
    choices: dict[str, str] = {}
    to_record = partial(_to_record, name=name, units=units, faults=raw.faults, seen={}, choices=choices)
    records, rejects = read_rows(rows.to_dict("records"), source=name, id_column="id", to_record=to_record)
    if not records:
        raise DataError(
            f"none of the {len(rejects)} rows of {path.name} can be used; the first: {rejects[0]['reason']}"
        )
    joined = _join_cifs(cifs, rows=rows, records=records, name=name)
    source = SourceTable(
        name=name,
        entries=validate(entries_frame(joined.records), ENTRIES, what=path.name),
        rejects=validate(rejects_frame(rejects + joined.rejects), REJECTS, what=path.name),
        structures=validate(structures_frame(joined.structures), STRUCTURES, what=cif_folder),
        files=tuple(_source_file(p) for p in (path, *cifs)),
    )
    said = (*raw.remarks, *remarks, *_choice_remarks(choices))
    return OwnTable(source, mapping, units["conductivity"], units["temperature_c"], said, raw.frame)


def _without_units_row(raw: TextTable, mapping: Mapping[str, str]) -> tuple[TextTable, dict[str, str]]:
    """Take out a row of units below the header; return {column: unit} of it."""
    first = raw.frame.iloc[0]
    formula, sigma = (first.get(mapping.get(key, key), "").strip() for key in REQUIRED)
    if formula or not sigma or sigma_unit_of(sigma) is None:
        return raw, {}
    found = {str(column): text.strip() for column, text in first.items() if text.strip()}
    faults = {number - 1: fault for number, fault in raw.faults.items() if number > 1}
    remark = f"the first row holds units: {', '.join(found.values())}"
    return TextTable(raw.frame.iloc[1:].reset_index(drop=True), faults, (*raw.remarks, remark)), found


def _units(
    frame: pd.DataFrame, mapping: Mapping[str, str], row: Mapping[str, str], *, sigma: str, temperature: str
) -> tuple[dict[str, str], list[str]]:
    """Return the units to read with, and remarks where header and request disagree or say nothing."""
    units, remarks = {}, []
    for key, asked, reader, default in (
        ("conductivity", sigma, sigma_unit_of, "S/cm"),
        ("temperature_c", temperature, temperature_unit_of, "C"),
    ):
        column = mapping.get(key, "")
        said = (reader(column) or reader(row.get(column, ""))) if column and not asked else None
        units[key] = asked or said or default
        if column and not (asked or said):
            if key == "temperature_c":
                _require_celsius(frame.get(column, []), column)
            remarks.append(
                f"neither the header '{column}' nor the command names a unit: {default} is assumed"
            )
        elif column and asked:
            remarks += _contradiction(reader, column, asked)
    require_sigma_unit(units["conductivity"])
    require_temperature_unit(units["temperature_c"])
    return units, remarks


def _contradiction(reader: Callable[[str], str | None], column: str, asked: str) -> list[str]:
    try:
        header = reader(column)
    except SSEError:  # what the header means is not clear, which is why the unit is asked for
        return []
    text = f"the header '{column}' says {header}; it was read in {asked}, as asked"
    return [text] if header and header != asked else []


def _require_celsius(cells: Iterable[str], column: str) -> None:
    """Raise `DataError` where numbers without a unit may be K as well as deg C."""
    bare = [cell.strip().replace(",", ".") for cell in cells if not has_unit(cell)]
    values = [float(cell) for cell in bare if re.fullmatch(r"\d+(?:\.\d+)?", cell)]
    low, high = QUESTIONABLE_TEMPERATURES
    if values and all(low <= value <= high for value in values):
        raise DataError(
            f"the column '{column}' names no unit and holds {min(values):g} to {max(values):g}: say whether "
            "these are K or deg C (--temperature-unit K, or own_temperature_unit in notebook 01)"
        )


def _choice_remarks(choices: Mapping[str, str]) -> list[str]:
    """Return remarks on the formulas that could be read in more than one way."""
    shown = [f"{formula!r}: {note}" for formula, note in itertools.islice(choices.items(), N_NOTES)]
    more = len(choices) - len(shown)
    return [*shown, *([f"{more} more formulas are read with a choice like these"] if more > 0 else [])]


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


def _renamed(frame: pd.DataFrame, mapping: Mapping[str, str], *, path: Path) -> pd.DataFrame:
    """Return the columns of `COLUMNS` that the table has, under those names, and an ``id``."""
    found = [str(c) for c in frame.columns]
    unknown = [key for key in mapping if key not in COLUMNS]
    if unknown:
        raise ParameterError(
            f"the column map names '{unknown[0]}', which is not known here: expected names from "
            f"{', '.join(COLUMNS)}."
            f"{nearest(unknown[0], list(COLUMNS))}"
        )
    wanted = {key: key for key in (*REQUIRED, *(c for c in COLUMNS if c in found))} | dict(mapping)
    for key, column in wanted.items():
        if column not in found:
            raise SchemaError(
                f"{path.name} has no column '{column}' for '{key}': found {', '.join(found)}."
                f"{nearest(column, found)} Say which it is: --map 'COLUMN={key}' "
                "(own_columns in notebook 01)"
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
    units: Mapping[str, str],
    faults: Mapping[int, str],
    seen: dict[str, int],
    choices: dict[str, str],
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
    conductivity = parse_conductivity(row["conductivity"], unit=units["conductivity"])
    temperature = read_temperature(row.get("temperature_c", ""), unit=units["temperature_c"])
    _require_plausible(conductivity.log10_sigma, temperature, text=row["conductivity"])
    formula = read_formula(row["formula"])
    if formula.notes:
        choices[row["formula"].strip()] = "; ".join(formula.notes)
    return {
        Entry.ID: f"{name}:{key}",
        Entry.SOURCE_ID: key,
        Entry.FORMULA: row["formula"].strip(),
        Entry.COMPOSITION: canonical(formula.composition),
        Entry.LOG10_SIGMA: conductivity.log10_sigma,
        Entry.CENSORED: conductivity.censored,
        Entry.TEMPERATURE_C: temperature,
        **_optional(row),
    }


def _require_plausible(log10_sigma: float, temperature_c: float | None, *, text: str) -> None:
    """Raise `DataError` for a conductivity that no solid lithium conductor has near room temperature."""
    cold = temperature_c is None or temperature_c < IMPLAUSIBLE_BELOW_C
    if cold and log10_sigma > IMPLAUSIBLE_LOG10_SIGMA:
        raise DataError(
            f"conductivity {text!r} is {10**log10_sigma:.3g} S/cm: no solid lithium conductor reaches "
            "0.1 S/cm near room temperature. Is the unit right (--units)?"
        )


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

"""Importing the user's own table: check it, report on it, and store it as a source that notebooks find.

An import is a folder `<own data>/<name>` with the measurements, structures and rejects as parquet, the
rejects once more as CSV for people, and `import.json`, which says what was read and how.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from sselib import __version__
from sselib.columns import Entry, Reject, StructureTable
from sselib.errors import DataError, ParameterError
from sselib.materials.composition import parse_formula
from sselib.materials.structures import FINDINGS, quality_findings, structure_from_json
from sselib.paths import own_data_folder
from sselib.registry import sha256_of
from sselib.runfolder import to_json
from sselib.schemas import ENTRIES, REJECTS, STRUCTURES, validate
from sselib.sources import own
from sselib.sources.table import SourceFile, SourceTable, clean_doi

RECORD = "import.json"
TABLES = {"entries": ENTRIES, "structures": STRUCTURES, "rejects": REJECTS}
REJECTS_CSV = "rejects.csv"
N_SHOWN = 20  # rejects that the report lists; all of them are in rejects.csv
TEMPERATURE_WINDOW_C = (20.0, 34.0)  # what notebook 01 takes for room temperature by default


@dataclass(frozen=True)
class ImportRequest:
    """What to import. ``pairs`` are texts COLUMN=NAME; a unit of None is taken from the header."""

    table: str
    name: str = "mine"
    pairs: tuple[str, ...] = ()
    sigma_unit: str | None = None
    temperature_unit: str | None = None
    cif_folder: str = ""
    to: str = ""
    replace: bool = False


@dataclass(frozen=True)
class Imported:
    """An import that was stored: the source, the folder, how the table was read, what to look at."""

    table: SourceTable
    folder: Path
    mapping: dict[str, str]
    sigma_unit: str
    temperature_unit: str
    remarks: tuple[str, ...]


def import_table(request: ImportRequest) -> Imported:
    """Read the user's table, store it and return what was found.

    Columns that carry one of the suite's names or a common one (`sselib.sources.column_mapping.SYNONYMS`)
    need no pair. Raises what `sselib.sources.own.load` raises, and `DataError` where the name is already in
    use and ``replace`` is not set.
    """
    own.require_name(request.name)
    folder = (Path(request.to).expanduser().resolve() if request.to else own_data_folder()) / request.name
    if folder.exists() and not request.replace:
        raise DataError(
            f"own data named '{request.name}' are already stored in {folder}: give --replace to overwrite "
            "them, or another --name"
        )
    read = own.read(
        request.table,
        name=request.name,
        pairs=request.pairs,
        sigma_unit=request.sigma_unit or "",
        temperature_unit=request.temperature_unit or "",
        cif_folder=request.cif_folder,
    )
    columns = [str(column) for column in read.raw.columns]
    found = Imported(
        table=read.source,
        folder=folder,
        mapping=read.mapping,
        sigma_unit=read.sigma_unit,
        temperature_unit=read.temperature_unit,
        remarks=(
            *read.remarks,
            *_unused(columns, read.mapping),
            *_without_doi(read.raw, read.mapping),
            *_remarks(read.source),
        ),
    )
    _store(found)
    return found


def _unused(columns: Sequence[str], mapping: Mapping[str, str]) -> list[str]:
    unused = [column for column in columns if column not in mapping.values()]
    return [f"columns not used: {', '.join(unused)}"] if unused else []


def _without_doi(raw: pd.DataFrame, mapping: Mapping[str, str]) -> list[str]:
    """Return a remark on texts in the column of DOIs that hold none."""
    texts = raw[mapping["doi"]] if "doi" in mapping else pd.Series(dtype=str)
    lost = [text for text in texts if text.strip() and clean_doi(text) is None]
    example = (
        f"{len(lost)} texts of the column '{mapping.get('doi')}' hold no DOI and are left out: {lost[:1]}"
    )
    return [example] if lost else []


def _remarks(table: SourceTable) -> list[str]:
    """Return what the user should look at: temperatures, repeats, and findings about structures."""
    return [*_temperature_remarks(table.entries), *_repeats(table.entries), *_structure_remarks(table)]


def _temperature_remarks(entries: pd.DataFrame) -> list[str]:
    known = entries[Entry.TEMPERATURE_C].dropna()
    low, high = TEMPERATURE_WINDOW_C
    outside = (~known.between(low, high)).sum()
    remarks = []
    if outside:
        remarks.append(
            f"{outside} of {len(entries)} measurements lie outside {low:g} to {high:g} deg C: notebook 01 "
            "drops them unless its temperature window is widened"
        )
    return remarks


def _repeats(entries: pd.DataFrame) -> list[str]:
    repeated = entries.duplicated([Entry.COMPOSITION, Entry.SPACE_GROUP_NUMBER], keep=False).sum()
    text = (
        f"{repeated} measurements share composition and space group with another one: notebook 01 merges them"
    )
    return [text] if repeated else []


def _structure_remarks(table: SourceTable) -> list[str]:
    """Return one remark per finding of `sselib.materials.structures.FINDINGS`, with the ids it concerns."""
    formulas = table.entries.set_index(Entry.STRUCTURE_ID)[Entry.FORMULA]
    concerned: dict[str, list[str]] = {}
    for row in table.structures.to_dict("records"):
        key = row[StructureTable.STRUCTURE_ID]
        structure = structure_from_json(row[StructureTable.STRUCTURE_JSON])
        for finding in quality_findings(structure, expected=parse_formula(formulas[key])):
            concerned.setdefault(finding, []).append(key)
    return [f"{FINDINGS[finding]}: {', '.join(keys)}" for finding, keys in concerned.items()]


def _store(found: Imported) -> None:
    """Write the import aside and rename it into place, whole or not at all."""
    parent = found.folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=f".{found.folder.name}.") as aside:
        fresh = Path(aside) / "new"
        fresh.mkdir()
        for name in TABLES:
            getattr(found.table, name).to_parquet(fresh / f"{name}.parquet", index=False)
        found.table.rejects.to_csv(fresh / REJECTS_CSV, index=False)
        (fresh / RECORD).write_text(to_json(_record(found, fresh)), encoding="utf-8")
        if found.folder.exists():
            found.folder.rename(Path(aside) / "old")
        shutil.move(fresh, found.folder)


def _record(found: Imported, folder: Path) -> dict[str, object]:
    """Return what `import.json` holds."""
    return {
        "name": found.table.name,
        "imported": datetime.now(UTC).isoformat(timespec="seconds"),
        "sselib": __version__,
        "rows": len(found.table.entries),
        "rejected": len(found.table.rejects),
        "structures": len(found.table.structures),
        "columns": found.mapping,
        "sigma_unit": found.sigma_unit,
        "temperature_unit": found.temperature_unit,
        "files": [asdict(file) for file in found.table.files],
        "sha256": {name: sha256_of(folder / f"{name}.parquet") for name in TABLES},
    }


def stored(folder: Path | None = None) -> dict[str, dict[str, object]]:
    """Return {name: content of its `import.json`} of every import in the folder of own data."""
    root = folder or own_data_folder()
    records = [_read_record(path) for path in sorted(root.glob(f"[!.]*/{RECORD}"))]
    return {str(record["name"]): record for record in records}


def load_stored(name: str, *, folder: Path | None = None) -> SourceTable:
    """Return an imported source by its name.

    Raises `ParameterError` if there is none, `DataError` if its files are missing or were changed.
    """
    root = (folder or own_data_folder()) / name
    if not (root / RECORD).is_file():
        known = ", ".join(stored(folder)) or "none yet"
        raise ParameterError(f"no own data named '{name}' in {root.parent}: imported are {known}")
    record = _read_record(root / RECORD)
    tables = {key: _read_stored(root / f"{key}.parquet", record) for key in TABLES}
    return SourceTable(name=name, **tables, files=tuple(SourceFile(**file) for file in record["files"]))


def fingerprint(name: str, *, folder: Path | None = None) -> str:
    """Return a text that changes when the import of that name does; empty if there is none."""
    record = stored(folder).get(name)
    return json.dumps(record["sha256"], sort_keys=True) if record else ""


def _read_record(path: Path) -> dict[str, object]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {key: record[key] for key in ("name", "rows", "rejected", "structures", "imported")} | record
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}): {_again(path.parent.name)}") from error


def _read_stored(path: Path, record: Mapping[str, object]) -> pd.DataFrame:
    """Read one table of an import, whose sha256 must be that of `import.json`."""
    expected = record["sha256"].get(path.stem)
    if not path.is_file() or sha256_of(path) != expected:
        found = "was changed" if path.is_file() else "is missing"
        raise DataError(f"{path} {found} since the import: {_again(str(record['name']))}")
    return validate(pd.read_parquet(path), TABLES[path.stem], what=path.name)


def _again(name: str) -> str:
    return f"import it again with 'sse data import TABLE --name {name} --replace'"


def report_lines(found: Imported) -> list[str]:
    """Return the report on an import, one line each, as the command line prints it."""
    table = found.table
    rejected_rows = table.rejects[Reject.ROW].notna().sum()
    n_rows = len(table.entries) + rejected_rows
    columns = ", ".join(f"{column} -> {name}" for name, column in found.mapping.items())
    lines = [
        f"{table.files[0].name}: {n_rows} rows, {len(table.entries)} measurements, {rejected_rows} rejected",
        f"columns: {columns}",
        f"units: conductivity {found.sigma_unit}, temperature {found.temperature_unit}",
        _structure_line(table),
        _range_line(table.entries),
        *(f"look at: {remark}" for remark in found.remarks),
        *_reject_lines(table.rejects),
        f"stored in {found.folder}",
    ]
    return [line for line in lines if line]


def usage_lines(found: Imported) -> list[str]:
    """Return how the notebooks find the import."""
    name, lines = found.table.name, []
    if found.folder.parent != own_data_folder():
        lines.append(f"set SSE_OWN_DATA={found.folder.parent} so that the notebooks find it")
    command = f"sse run --profile quick --out runs/{name} -p '01.sources=[obelix, liion, reference, {name}]'"
    return [*lines, f"use it: {command}"]


def stored_lines() -> list[str]:
    """Return one line per import in the folder of own data, for `sse data list`."""
    records = stored().values()
    lines = [
        f"own data '{r['name']}': {r['rows']} measurements, {r['structures']} structures, {r['rejected']} "
        f"rejected, imported {r['imported']}"
        for r in records
    ]
    return lines or ["own data: none yet; 'sse data import TABLE' makes your table a source"]


def _structure_line(table: SourceTable) -> str:
    n_files = len(table.files) - 1
    unused = table.rejects[Reject.ROW].isna().sum()
    text = f"structures: {len(table.structures)} measurements have one; {n_files} CIFs, {unused} not used"
    return text if n_files else ""


def _range_line(entries: pd.DataFrame) -> str:
    values = entries[Entry.LOG10_SIGMA]
    return (
        f"conductivity: 10^{values.min():.1f} to 10^{values.max():.1f} S/cm, "
        f"{entries[Entry.CENSORED].sum()} of them upper bounds"
    )


def _reject_lines(rejects: pd.DataFrame) -> list[str]:
    lines = [
        f"rejected: {_place(row)}: {row[Reject.REASON]}" for row in rejects.head(N_SHOWN).to_dict("records")
    ]
    more = len(rejects) - len(lines)
    return [*lines, f"rejected: {more} more, see {REJECTS_CSV}"] if more > 0 else lines


def _place(row: Mapping[str, object]) -> str:
    if pd.isna(row[Reject.ROW]):
        return f"file {row[Reject.TEXT]}"
    return f"row {row[Reject.ROW]} (id {row[Reject.SOURCE_ID] or 'empty'})"

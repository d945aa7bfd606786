"""Rows of the conductor files that ship with the suite: YAML lists of measured lithium conductors.

A fault in these files is a fault of the suite: each raises one `DataError` that names file and row.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import yaml
from pymatgen.core import Composition

from sselib.columns import Entry
from sselib.errors import DataError, FormulaError, nearest
from sselib.materials.composition import canonical, parse_formula
from sselib.paths import project_root
from sselib.sources.table import SourceFile, clean_doi

Row = Mapping[str, object]
CONDUCTORS = "conductors.yaml"
KINDS = ("bulk", "total", "unknown")
ROW_KEYS = {
    "id": True,
    "formula": True,
    "log10_sigma": True,
    "censored": False,
    "temperature_c": False,
    "kind": True,
    "family": True,
    "doi": False,
    "note": False,
}  # fields of every such file; True: required


def entries(path: Path, keys: Mapping[str, bool]) -> list[Row]:
    """Return a YAML list of mappings with unique ids; ``keys`` maps a field to whether it is required."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path} cannot be read ({error}): restore it from the repository") from error
    if not isinstance(found, list) or not found:
        raise DataError(f"{path} holds {type(found).__name__}: expected a list of entries, each with an id")
    for number, entry in enumerate(found, start=1):
        require_keys(entry, keys, file=path.name, name=name_of(entry, number))
    repeated = [slug for slug, count in Counter(str(e["id"]) for e in found).items() if count > 1]
    if repeated:
        raise fault(path.name, repeated[0], "appears more than once: expected unique ids")
    return found


def name_of(entry: object, number: int, *, key: str = "id") -> str:
    """Return what to call an entry in an error."""
    name = entry.get(key) if isinstance(entry, dict) else None
    return str(name) if name else f"number {number}"


def require_keys(entry: object, keys: Mapping[str, bool], *, file: str, name: str) -> None:
    """Raise `DataError` unless ``entry`` is a mapping with all required and no unknown keys."""
    if not isinstance(entry, dict):
        raise fault(file, name, f"holds {entry!r}: expected the fields {', '.join(keys)}")
    missing = [key for key, required in keys.items() if required and entry.get(key) is None]
    if missing:
        raise fault(file, name, f"lacks {', '.join(missing)}")
    for key in entry:
        if key not in keys:
            raise fault(file, name, f"has the unknown field '{key}'.{nearest(str(key), list(keys))}")


def fault(file: str, name: str, what: str) -> DataError:
    """Return the error that names file and row."""
    return DataError(f"{file}: '{name}' {what}")


def record(row: Row, *, source: str) -> dict[str, object]:
    """Return the fields of `Entry` that a row states itself; its id is ``<source>:<slug>``."""
    slug, formula = str(row["id"]), str(row["formula"])
    if row["kind"] not in KINDS:
        raise fault(CONDUCTORS, slug, f"has kind {row['kind']!r}: expected one of {', '.join(KINDS)}")
    return {
        Entry.ID: f"{source}:{slug}",
        Entry.SOURCE: source,
        Entry.SOURCE_ID: slug,
        Entry.FORMULA: formula,
        Entry.COMPOSITION: canonical(composition(formula, slug)),
        Entry.LOG10_SIGMA: parsed_number(row, "log10_sigma", slug),
        Entry.CENSORED: _flag(row, "censored", slug),
        Entry.TEMPERATURE_C: parsed_number(row, "temperature_c", slug),
        Entry.DOI: _doi(row, slug),
        Entry.FAMILY_RAW: str(row["family"]),
        Entry.CONDUCTIVITY_KIND: str(row["kind"]),
        Entry.NOTE: row.get("note"),
    }


def composition(formula: str, slug: str) -> Composition:
    """Return the composition of a row."""
    try:
        return parse_formula(formula)
    except FormulaError as error:
        raise fault(CONDUCTORS, slug, f"cannot be used: {error}") from error


def parsed_number(row: Row, key: str, slug: str) -> float | None:
    """Return a number of a row; None where the field is left out."""
    value = row.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise fault(CONDUCTORS, slug, f"has {key} {value!r}: expected a number")
    return value


def _flag(row: Row, key: str, slug: str) -> bool:
    if not isinstance(row.get(key, False), bool):
        raise fault(CONDUCTORS, slug, f"has {key} {row[key]!r}: expected true or false")
    return bool(row.get(key, False))


def _doi(row: Row, slug: str) -> str | None:
    """Return the DOI in the form that all sources share."""
    written = row.get("doi")
    doi = clean_doi(str(written)) if written is not None else None
    if written is not None and doi is None:
        raise fault(CONDUCTORS, slug, f"has doi {written!r}: expected for example 10.1038/nmat3066")
    return doi


def data_folder(name: str) -> Path:
    """Return the folder of an embedded source."""
    return project_root() / "data" / name


def provenance(path: Path) -> SourceFile:
    """Return the embedded file as `SourceFile`."""
    content = path.read_bytes()
    return SourceFile(
        name=f"data/{path.parent.name}/{path.name}",
        origin="embedded",
        sha256=hashlib.sha256(content).hexdigest(),
        n_bytes=len(content),
    )

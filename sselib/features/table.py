"""All features of all rows.

Structures are worked on in parallel, results are cached by content, and one that fails stops nothing.
"""

import hashlib
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from pymatgen.core import Structure

from sselib.columns import Entry, StructureTable
from sselib.errors import FormulaError, ParameterError, SchemaError
from sselib.features import lattice, occupancy, pores, stoichiometry, symmetry, void_grid, zeopp
from sselib.features.description import Feature, Group
from sselib.features.pores import DEFAULT_PORES, PoreSettings
from sselib.materials.structures import structure_from_json
from sselib.paths import project_root
from sselib.progress import progress
from sselib.registry import cache_folder
from sselib.runfolder import write_whole
from sselib.schemas import FAILURES, FEATURE_GROUPS, FEATURES, validate

_NEEDED = (Entry.ID, Entry.COMPOSITION, Entry.STRUCTURE_ID)
_Z_TOLERANCE = 0.05  # relative; how well cell contents must differ by a whole number to be a slip in Z
_SPHERES = {
    "largest_included_sphere_angstrom": "diameter of the largest sphere that fits somewhere (Di)",
    "largest_free_sphere_angstrom": "diameter of the largest sphere that can travel through (Df)",
    "included_along_free_path_angstrom": "diameter of the largest sphere in the channels that it opens (Dif)",
}


@dataclass(frozen=True)
class FeatureTable:
    """Features of a curated table.

    ``features``: id and one float column per feature, one row per curated row in its order, NaN where a
    value could not be had. ``groups``: feature, group, kim, unit, description. ``failures``: id, block,
    reason, one row for each thing that failed or had to be corrected. ``n_computed`` and ``n_cached``
    count structures, ``seconds`` is wall time.
    """

    features: pd.DataFrame
    groups: pd.DataFrame
    failures: pd.DataFrame
    n_computed: int
    n_cached: int
    seconds: float


@dataclass(frozen=True)
class StructureRecord:
    """What a structure gives, whatever table row it belongs to; this is what the cache holds."""

    numbers: dict[str, float]
    failures: list[list[str]]  # [block, reason]


def compute_features(
    curated: pd.DataFrame,
    structures: pd.DataFrame,
    *,
    settings: PoreSettings = DEFAULT_PORES,
    n_jobs: int = 2,
    cache_dir: Path | str | None = None,
) -> FeatureTable:
    """Return every feature of every curated row.

    ``curated`` has the columns of `Entry`, ``structures`` those of `StructureTable`. Structures are
    worked on by ``n_jobs`` processes; results are kept in ``cache_dir`` (the user's cache by default)
    under a hash of structure, settings and code. Raises `SchemaError` if a column is missing and
    `ParameterError` for an unknown mobile ion; a structure that fails gives NaN and a row in failures.
    """
    start = time.perf_counter()
    _require(curated, _NEEDED, what="the curated table")
    _require(structures, (StructureTable.STRUCTURE_ID, StructureTable.STRUCTURE_JSON), what="the structures")
    if settings.mobile_ion not in stoichiometry.element_table().index:
        raise ParameterError(f"mobile_ion = {settings.mobile_ion!r} is no element: expected for example 'Li'")
    texts = dict(
        zip(structures[StructureTable.STRUCTURE_ID], structures[StructureTable.STRUCTURE_JSON], strict=True)
    )
    wanted = {key: texts[key] for key in curated[Entry.STRUCTURE_ID].dropna().unique() if key in texts}
    folder = Path(cache_dir) if cache_dir else cache_folder() / "features"
    records, n_computed = _records(wanted, settings, folder=folder, n_jobs=n_jobs)
    features, groups, failures = _assemble(curated, records, settings)
    return FeatureTable(
        features, groups, failures, n_computed, len(wanted) - n_computed, time.perf_counter() - start
    )


def _require(table: pd.DataFrame, columns: Sequence[str], *, what: str) -> None:
    missing = [str(c) for c in columns if c not in table]
    if missing:
        raise SchemaError(f"{what} lacks {', '.join(missing)}: found {', '.join(map(str, table.columns))}")


def _records(
    texts: Mapping[str, str], settings: PoreSettings, *, folder: Path, n_jobs: int
) -> tuple[dict[str, StructureRecord], int]:
    """Return the record of every structure and how many had to be computed."""
    paths = {key: _cache_path(text, settings, folder) for key, text in texts.items()}
    found = {key: record for key, path in paths.items() if (record := _read_cached(path)) is not None}
    todo = [key for key in texts if key not in found]
    work = Parallel(n_jobs=min(n_jobs, max(len(todo), 1)), return_as="generator", batch_size=4)(
        delayed(describe_structure)(texts[key], settings) for key in todo
    )
    for key, record in zip(
        todo, progress(_unless_empty(work, todo), stage="structures", total=len(todo)), strict=True
    ):
        found[key] = record
        if not any("longer than" in reason for _, reason in record.failures):
            _write_cached(paths[key], record)
    return found, len(todo)


def _unless_empty(work: Iterator[StructureRecord], todo: Sequence[str]) -> Iterator[StructureRecord]:
    """Yield the results; start no worker where there is nothing to do."""
    if todo:
        yield from work


@lru_cache(maxsize=1)
def _code_version() -> str:
    """Return a hash of the code that a cached record depends on, and the versions of its libraries."""
    modules = (lattice, occupancy, pores, symmetry, void_grid, zeopp)
    text = "".join(Path(m.__file__).read_text(encoding="utf-8") for m in modules)
    text += (project_root() / zeopp.RADII).read_text(encoding="utf-8")
    versions = [importlib.metadata.version(name) for name in ("pyzeo", "pymatgen", "spglib")]
    return hashlib.sha256("|".join([text, *versions]).encode()).hexdigest()


def _cache_path(text: str, settings: PoreSettings, folder: Path) -> Path:
    """Return where the record of a structure lies: a hash of its text, the settings and the code."""
    content = json.dumps([text, settings.key(), _code_version()], sort_keys=True)
    name = hashlib.sha256(content.encode()).hexdigest()
    return folder / name[:2] / f"{name}.json"


def _read_cached(path: Path) -> StructureRecord | None:
    """Return a cached record, None where there is none or it cannot be read."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return StructureRecord({k: float(v) for k, v in stored["numbers"].items()}, stored["failures"])
    except (FileNotFoundError, ValueError, KeyError):
        return None


def _write_cached(path: Path, record: StructureRecord) -> None:
    known = {name: value for name, value in record.numbers.items() if np.isfinite(value)}
    text = json.dumps({"numbers": known, "failures": record.failures})
    write_whole(path, lambda p: p.write_text(text, encoding="utf-8"))


def describe_structure(structure_json: str, settings: PoreSettings) -> StructureRecord:
    """Return what one structure gives. Never raises: what fails is named in ``failures``."""
    values: dict[str, float] = {}
    failures: list[list[str]] = []
    try:
        structure = structure_from_json(structure_json)
    except Exception as error:  # any malformed text; the row goes on without its structure
        return StructureRecord({}, [["structure", _reason(error)]])
    blocks: dict[str, Callable[[Structure, PoreSettings], dict[str, float]]] = {
        "lattice": _lattice_block,
        "disorder": _disorder_block,
        "symmetry": _symmetry_block,
    }
    for name, block in blocks.items():
        try:
            values |= block(structure, settings)
        except Exception as error:  # whatever a library raises on an odd structure is its reason
            failures.append([name, _reason(error)])
    found = pores.pore_features(structure, settings)
    failures += [["pores", reason] for reason in found.reasons]
    return StructureRecord(values | found.numbers(), failures)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _lattice_block(structure: Structure, settings: PoreSettings) -> dict[str, float]:
    cell = lattice.cell_of_structure(structure)
    return {
        "atoms_per_cell": structure.composition.num_atoms,
        "cell_volume_angstrom3": structure.volume,
        **lattice.geometric_features(cell, mobile_ion=settings.mobile_ion),
        **lattice.invariant_features(cell),
    }


def _disorder_block(structure: Structure, settings: PoreSettings) -> dict[str, float]:
    return occupancy.disorder_features(structure, mobile_ion=settings.mobile_ion)


def _symmetry_block(structure: Structure, settings: PoreSettings) -> dict[str, float]:
    return symmetry.symmetry_features(symmetry.space_group_of(structure))


def _assemble(
    curated: pd.DataFrame, records: Mapping[str, StructureRecord], settings: PoreSettings
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Join features of compositions, cells and structures, in the order of the curated table."""
    ids = curated[Entry.ID].astype(str).reset_index(drop=True).rename("id")
    formulas = curated[Entry.COMPOSITION].tolist()
    fractions, fraction_list = stoichiometry.fraction_features(formulas)
    elemental, elemental_list = stoichiometry.elemental_features(formulas, mobile_ion=settings.mobile_ion)
    rows = [
        _row_features(row, records.get(row[Entry.STRUCTURE_ID]), settings)
        for row in curated.to_dict("records")
    ]
    described = structure_descriptions(settings)
    cells = pd.DataFrame([values for values, _ in rows], columns=[f.name for f in described], dtype=float)
    features = pd.concat([ids, fractions, elemental, cells], axis=1)
    failures = pd.DataFrame(
        [(i, *found) for i, (_, all_found) in zip(ids, rows, strict=True) for found in all_found],
        columns=["id", "block", "reason"],
        dtype=object,
    )
    return (
        validate(features, FEATURES, what="the feature table"),
        validate(
            groups_frame([*fraction_list, *elemental_list, *described]),
            FEATURE_GROUPS,
            what="the feature groups",
        ),
        validate(failures, FAILURES, what="the failures"),
    )


def groups_frame(features: Sequence[Feature]) -> pd.DataFrame:
    """Return one row per feature: feature, group, kim, unit, description."""
    rows = [(f.name, str(f.group), f.kim, f.unit, f.description) for f in features]
    return pd.DataFrame(rows, columns=["feature", "group", "kim", "unit", "description"])


def _row_features(
    row: Mapping[str, object], record: StructureRecord | None, settings: PoreSettings
) -> tuple[dict[str, float], list[list[str]]]:
    """Return the features of cell and structure of one row, and what failed.

    What the table gives about the cell goes before what the structure gives.
    """
    failures = list(record.failures) if record else []
    if record is None and isinstance(row[Entry.STRUCTURE_ID], str):
        failures.append(["structure", f"structure {row[Entry.STRUCTURE_ID]} is not in the structures table"])
    from_structure = record.numbers if record else {}
    from_table, more = _table_cell(row, from_structure, settings)
    values = {**from_structure, **{k: v for k, v in from_table.items() if np.isfinite(v)}}
    number = row.get(Entry.SPACE_GROUP_NUMBER)
    if not pd.isna(number):
        values |= symmetry.symmetry_features(int(number))
    return values | _per_gram(values), failures + more


def _table_cell(
    row: Mapping[str, object], from_structure: Mapping[str, float], settings: PoreSettings
) -> tuple[dict[str, float], list[list[str]]]:
    """Return the features of the cell that the table gives, and what is wrong with it."""
    failures: list[list[str]] = []
    try:
        cell = lattice.cell_of_row(row)
    except (FormulaError, ValueError) as error:
        return {}, [["lattice", _reason(error)]]
    if cell is None:
        return {}, []
    factor = _z_slip(cell, from_structure)
    if factor != 1:
        failures.append(
            [
                "lattice",
                f"corrected: the structure holds {factor:g} times the atoms that the "
                f"table gives for the same cell, so Z was multiplied by {factor:g}",
            ]
        )
        cell = lattice.Cell(cell.lattice, cell.primitive, cell.content * factor)
    if problem := lattice.implausible(cell):
        failures.append(["lattice", problem])
        cell = lattice.Cell(cell.lattice, cell.primitive, None)
    return {
        **lattice.geometric_features(cell, mobile_ion=settings.mobile_ion),
        **lattice.invariant_features(cell),
    }, failures


def _z_slip(cell: lattice.Cell, from_structure: Mapping[str, float]) -> float:
    """Return the whole number (or its inverse) by which the table's Z is off, 1 where it is not.

    Only where table and structure describe the same cell (volumes within 5 %) and the contents differ by
    that number within 5 %; other differences are differences in composition and stay as they are.
    """
    volume = from_structure.get("cell_volume_angstrom3", np.nan)
    if cell.content is None or not abs(cell.lattice.volume / volume - 1) < _Z_TOLERANCE:
        return 1.0
    ratio = from_structure["atoms_per_cell"] / cell.content.num_atoms
    factor = float(round(ratio)) if ratio >= 1 else 1.0 / round(1 / ratio)
    return factor if abs(ratio / factor - 1) < _Z_TOLERANCE else 1.0


def _per_gram(values: Mapping[str, float]) -> dict[str, float]:
    """Return volumes in cm3/g from shares of the cell and the density of the true composition."""
    density = values.get("density_g_cm3", np.nan)
    pairs = (
        ("poav_cm3_g", "poav_fraction"),
        ("pov_cm3_g", "pov_fraction"),
        ("accessible_volume_cm3_g", "accessible_volume_fraction"),
    )
    return {name: values.get(share, np.nan) / density for name, share in pairs}


def structure_descriptions(settings: PoreSettings) -> list[Feature]:
    """Return the descriptions of all features that need a cell or a structure."""
    g, ion = Group.PORES, settings.mobile_ion
    probe = f"probe radius {settings.probe_radius_angstrom:g} Angstrom, without {ion}"
    volumes = (
        ("accessible_volume", "centres of the probe, channels only"),
        ("poav", "what the probe covers, channels only"),
        ("pov", "what the probe covers, pockets too"),
    )
    cells = lattice.lattice_descriptions(ion)
    return [
        *(f for f in cells if f.group == Group.GEOMETRIC),
        Feature(
            "poav_cm3_g", Group.GEOMETRIC, "cm3/g", f"probe-occupiable accessible volume, {probe}", kim=True
        ),
        *(Feature(name, g, "Angstrom", f"{text}, without {ion}") for name, text in _SPHERES.items()),
        Feature("channel_dimensionality", g, "1", f"directions in which channels run, 0 to 3, {probe}"),
        *(
            Feature(f"{name}_fraction", g, "1", f"share of the cell: {text}, {probe}")
            for name, text in volumes
        ),
        *(
            Feature(f"{name}_cm3_g", g, "cm3/g", f"{text}, {probe}")
            for name, text in volumes
            if name != "poav"
        ),
        *(f for f in cells if f.group == Group.LATTICE_INVARIANT),
        *occupancy.DISORDER_FEATURES,
        *symmetry.SYMMETRY_FEATURES,
    ]

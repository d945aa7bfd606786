"""All features of all rows.

Structures are worked on in parallel, results are kept under their content, one that fails stops nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from pymatgen.core import Structure

from sselib.columns import Entry, StructureTable
from sselib.errors import FormulaError, ParameterError, SchemaError
from sselib.features import lattice, pores, stoichiometry, symmetry
from sselib.features.description import Group, described, groups_frame
from sselib.features.occupancy import disorder_features
from sselib.features.pores import DEFAULT_PORES, PoreSettings
from sselib.kept import kept_json
from sselib.materials.structures import structure_from_json
from sselib.progress import progress
from sselib.registry import cache_folder
from sselib.schemas import FAILURES, FEATURE_GROUPS, FEATURES, validate

_STRUCTURAL = (Group.GEOMETRIC, Group.PORES, Group.LATTICE_INVARIANT, Group.DISORDER, Group.SYMMETRY)
_NEEDED = (Entry.ID, Entry.COMPOSITION, Entry.STRUCTURE_ID)
_Z_TOLERANCE = 0.05  # relative; how well cell contents must differ by a whole number to be a slip in Z
_PER_PROCESS = 8  # structures for which another process is worth its start


@dataclass(frozen=True)
class FeatureTable:
    """Features of a curated table.

    ``features``: id and one float column per feature, one row per curated row in its order, NaN where a
    value could not be had. ``groups``: feature, group, kim, unit, description. ``failures``: id, block,
    reason, one row for each thing that failed or had to be corrected. ``seconds`` is wall time.
    """

    features: pd.DataFrame
    groups: pd.DataFrame
    failures: pd.DataFrame
    n_structures: int
    seconds: float


@dataclass(frozen=True)
class StructureRecord:
    """What a structure gives, whatever table row it belongs to; this is what is kept."""

    numbers: dict[str, float]
    failures: list[list[str]]  # [block, reason]


class _NotToKeepError(Exception):
    """Carries a record that another run, with more time, may better."""


def compute_features(
    curated: pd.DataFrame,
    structures: pd.DataFrame,
    *,
    settings: PoreSettings = DEFAULT_PORES,
    n_jobs: int = 2,
    cache_dir: Path | str | None = None,
) -> FeatureTable:
    """Return every feature of every curated row.

    ``curated`` has the columns of `Entry`, ``structures`` those of `StructureTable`. Structures are worked on
    by ``n_jobs`` processes; results are kept in ``cache_dir`` (`sselib.kept`; by default in the user's
    cache). Raises `SchemaError` if a column is missing and `ParameterError` for an unknown mobile ion; a
    structure that fails gives NaN and a row in failures.
    """
    start = time.perf_counter()
    _require(curated, _NEEDED, what="the curated table")
    _require(structures, (StructureTable.STRUCTURE_ID, StructureTable.STRUCTURE_JSON), what="the structures")
    if settings.mobile_ion not in stoichiometry.element_table().index:
        raise ParameterError(f"mobile_ion = {settings.mobile_ion!r} is no element: expected for example 'Li'")
    texts = structures.set_index(StructureTable.STRUCTURE_ID)[StructureTable.STRUCTURE_JSON].to_dict()
    wanted = [key for key in curated[Entry.STRUCTURE_ID].dropna().unique() if key in texts]
    folder = Path(cache_dir) if cache_dir else cache_folder() / "features"
    work = Parallel(min(n_jobs, max(1, len(wanted) // _PER_PROCESS)), return_as="generator", batch_size=4)(
        delayed(_kept_record)(texts[key], settings, folder) for key in wanted
    )
    records = dict(zip(wanted, progress(work, stage="structures", total=len(wanted)), strict=True))
    tables = _assemble(curated, records, settings)
    return FeatureTable(*tables, n_structures=len(wanted), seconds=time.perf_counter() - start)


def _require(table: pd.DataFrame, columns: Sequence[str], *, what: str) -> None:
    missing = [str(c) for c in columns if c not in table]
    if missing:
        raise SchemaError(f"{what} lacks {', '.join(missing)}: found {', '.join(map(str, table.columns))}")


def _kept_record(text: str, settings: PoreSettings, folder: Path) -> StructureRecord:
    """Return the record of a structure, computed or kept; one that ran out of time is not kept."""

    def make() -> dict[str, object]:
        record = describe_structure(text, settings)
        if any("longer than" in reason for _, reason in record.failures):
            raise _NotToKeepError(record)
        return asdict(record)

    try:
        return StructureRecord(**kept_json(folder, [text, settings.key()], make))
    except _NotToKeepError as error:
        return error.args[0]


def describe_structure(structure_json: str, settings: PoreSettings) -> StructureRecord:
    """Return what one structure gives. Never raises: what fails is named in ``failures``."""
    try:
        structure = structure_from_json(structure_json)
    except Exception as error:  # any malformed text; the row goes on without its structure
        return StructureRecord({}, [["structure", _reason(error)]])
    blocks: dict[str, Callable[[Structure, PoreSettings], dict[str, float]]] = {
        "lattice": _lattice_block,
        "disorder": lambda s, settings: disorder_features(s, mobile_ion=settings.mobile_ion),
        "symmetry": _symmetry_block,
    }
    values, failures = {}, []
    for name, block in blocks.items():
        try:
            values |= block(structure, settings)
        except Exception as error:  # whatever a library raises on an odd structure is its reason
            failures.append([name, _reason(error)])
    volumes, reasons = pores.pore_features(structure, settings)
    values, failures = values | volumes, [*failures, *(["pores", reason] for reason in reasons)]
    return StructureRecord({k: float(v) for k, v in values.items() if np.isfinite(v)}, failures)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _lattice_block(structure: Structure, settings: PoreSettings) -> dict[str, float]:
    return {
        "atoms_per_cell": structure.composition.num_atoms,
        "cell_volume_angstrom3": structure.volume,
        **lattice.cell_features(lattice.cell_of_structure(structure), mobile_ion=settings.mobile_ion),
    }


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
    ion, radius = settings.mobile_ion, settings.probe_radius_angstrom
    probe = f"probe radius {radius:g} Angstrom, without {ion}"
    structural = described(*_STRUCTURAL, ion=ion, probe=probe)
    cells = pd.DataFrame([values for values, _ in rows], columns=[f.name for f in structural], dtype=float)
    features = pd.concat([ids, fractions, elemental, cells], axis=1)
    groups = groups_frame([*fraction_list, *elemental_list, *structural])
    found = [(i, *failure) for i, (_, failures) in zip(ids, rows, strict=True) for failure in failures]
    failures = pd.DataFrame(found, columns=["id", "block", "reason"], dtype=object)
    return (
        validate(features, FEATURES, what="the feature table"),
        validate(groups, FEATURE_GROUPS, what="the feature groups"),
        validate(failures, FAILURES, what="the failures"),
    )


def _row_features(
    row: Mapping[str, object], record: StructureRecord | None, settings: PoreSettings
) -> tuple[dict[str, float], list[list[str]]]:
    """Return the features of cell and structure of one row, and what failed.

    What the table gives about the cell goes before what the structure gives.
    """
    failures = list(record.failures) if record else []
    if record is None and isinstance(row[Entry.STRUCTURE_ID], str):
        failures.append(["structure", f"structure {row[Entry.STRUCTURE_ID]} is not in the structures table"])
    values = dict(record.numbers) if record else {}
    from_table, more = _table_cell(row, values, settings)
    values |= {k: v for k, v in from_table.items() if np.isfinite(v)}
    number = row.get(Entry.SPACE_GROUP_NUMBER)
    if not pd.isna(number):
        values |= symmetry.symmetry_features(int(number))
    density = values.get("density_g_cm3", np.nan)  # of the true composition
    for name in ("poav", "pov", "accessible_volume"):
        values[f"{name}_cm3_g"] = values.get(f"{name}_fraction", np.nan) / density
    return values, failures + more


def _table_cell(
    row: Mapping[str, object], from_structure: Mapping[str, float], settings: PoreSettings
) -> tuple[dict[str, float], list[list[str]]]:
    """Return the features of the cell that the table gives, and what is wrong with it."""
    problems: list[str] = []
    try:
        cell = lattice.cell_of_row(row)
    except (FormulaError, ValueError) as error:
        return {}, [["lattice", _reason(error)]]
    if cell is None:
        return {}, []
    factor = _z_slip(cell, from_structure)
    if factor != 1:
        problems.append(
            f"corrected: the structure holds {factor:g} times the atoms that the "
            f"table gives for the same cell, so Z was multiplied by {factor:g}"
        )
        cell = lattice.Cell(cell.lattice, cell.primitive, cell.content * factor)
    if problem := lattice.implausible(cell):
        problems.append(problem)
        cell = lattice.Cell(cell.lattice, cell.primitive, None)
    found = lattice.cell_features(cell, mobile_ion=settings.mobile_ion)
    return found, [["lattice", problem] for problem in problems]


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

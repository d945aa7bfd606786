"""Generated structures as a source: they give a structure to measurements that have none.

Notebook 02 writes `generated.parquet`; curation takes it up beside the measured sources. A generated
structure has no conductivity of its own: its row repeats the measurement of the same composition
(``same_as`` names it), so that nothing is counted twice.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from sselib.columns import Entry
from sselib.errors import DataError, SSEError
from sselib.materials.composition import canonical, element_fractions, l1_distances, parse_formula
from sselib.materials.structures import structure_from_json, structure_record
from sselib.registry import sha256_of
from sselib.schemas import ENTRIES, GENERATED, REJECTS, STRUCTURES, validate
from sselib.sources.table import (
    SourceFile,
    SourceTable,
    entries_frame,
    reject,
    rejects_frame,
    structures_frame,
)

NAME = "generated"
SAME_COMPOSITION_L1 = 0.002  # as in sselib.curation.merging
_COPIED = (
    Entry.LOG10_SIGMA,
    Entry.CENSORED,
    Entry.TEMPERATURE_C,
    Entry.DOI,
    Entry.FAMILY_RAW,
    Entry.CONDUCTIVITY_KIND,
)
_LATTICE = (
    Entry.A_ANGSTROM,
    Entry.B_ANGSTROM,
    Entry.C_ANGSTROM,
    Entry.ALPHA_DEG,
    Entry.BETA_DEG,
    Entry.GAMMA_DEG,
)


def load(path: str, *, measured: Sequence[SourceTable]) -> SourceTable:
    """Return the generated structures, each with the measurements of its composition.

    ``path``: `generated.parquet`, or the run folder that notebook 02 wrote. ``measured``: the sources read
    before. A measurement takes the lowest structure of its composition, unless it has a structure or
    belongs to OBELiX's official split, whose rows stay as they are. Structures without such a
    measurement go to the rejects. Raises `DataError` if the file is missing or is no such table.
    """
    file = _file(path)
    table = validate(pd.read_parquet(file), GENERATED, what=file.name)
    table = table.sort_values(["enthalpy_ev_atom", "id"]).reset_index(drop=True)
    entries = pd.concat([t.entries for t in measured], ignore_index=True)
    open_rows = entries[entries[Entry.STRUCTURE_ID].isna() & entries[Entry.OFFICIAL_SPLIT].isna()]
    records, rejects, structures = [], [], []
    taken: set[str] = set()
    for row in table.to_dict("records"):
        try:
            found = _measurements(row, open_rows, taken)
            taken.update(found[Entry.ID])
            records += [_record(row, m, k) for k, m in enumerate(found.to_dict("records"))]
            structures.append(_structure(row))
        except SSEError as error:
            rejects.append(reject(NAME, source_id=row["id"], reason=str(error), text=row["formula"]))
    return SourceTable(
        name=NAME,
        entries=validate(entries_frame(records), ENTRIES, what=file.name),
        rejects=validate(rejects_frame(rejects), REJECTS, what=file.name),
        structures=validate(structures_frame(structures), STRUCTURES, what=file.name),
        files=(SourceFile(file.name, "user", sha256_of(file), file.stat().st_size),),
    )


def generated_table(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """Return rows as the table that this source reads, checked; see `GENERATED` for its columns."""
    table = pd.DataFrame(rows, columns=list(GENERATED.columns))
    return validate(table, GENERATED, what="generated.parquet")


def _file(path: str) -> Path:
    given = Path(path).expanduser()
    for candidate in (
        given,
        given / "02_structure_generation" / "generated.parquet",
        given / "generated.parquet",
    ):
        if candidate.is_file():
            return candidate
    raise DataError(
        f"no generated structures at '{path}': expected generated.parquet or the run folder in which "
        "notebook 02_structure_generation wrote it"
    )


def _measurements(row: dict[str, object], entries: pd.DataFrame, taken: set[str]) -> pd.DataFrame:
    """Return the measurements without structure of a row's composition; raises if there is none."""
    if entries.empty:
        raise DataError("no measurement without a structure was read: nothing to learn from it")
    mine = element_fractions([str(row["formula"])]).to_numpy()
    others = element_fractions(list(entries[Entry.COMPOSITION])).to_numpy()
    near = entries[l1_distances(mine, others)[0] <= SAME_COMPOSITION_L1]
    free = near[~near[Entry.ID].isin(taken)]
    if near.empty:
        raise DataError(
            "no measurement without a structure has its composition: screening can use it, training cannot"
        )
    if free.empty:
        raise DataError("a lower generated structure of its composition was taken")
    return free


def _record(row: dict[str, object], measured: dict[str, object], k: int) -> dict[str, object]:
    """Return the measurement as an entry of this source, with space group and lattice of the structure."""
    structure = structure_from_json(str(row["structure_json"]))
    cell = SpacegroupAnalyzer(structure, symprec=0.1)
    conventional = cell.get_conventional_standard_structure()
    source_id = f"{row['id']}-{k + 1}" if k else str(row["id"])
    content = conventional.composition.get_el_amt_dict()
    return {
        Entry.ID: f"{NAME}:{source_id}",
        Entry.SOURCE: NAME,
        Entry.SOURCE_ID: source_id,
        Entry.FORMULA: measured[Entry.FORMULA],
        Entry.COMPOSITION: canonical(parse_formula(str(row["formula"]))),
        **{c: measured[c] for c in _COPIED},
        Entry.SPACE_GROUP_SYMBOL: cell.get_space_group_symbol(),
        Entry.SPACE_GROUP_NUMBER: cell.get_space_group_number(),
        **dict(zip(_LATTICE, np.round(conventional.lattice.parameters, 5).tolist(), strict=True)),
        Entry.CELL_FORMULA: "".join(f"{e}{n:.6g}" for e, n in content.items()),
        Entry.STRUCTURE_ID: f"{NAME}:{row['id']}",
        Entry.SAME_AS: measured[Entry.ID],
        Entry.NOTE: str(row["provenance"]),
    }


def _structure(row: dict[str, object]) -> dict[str, str]:
    text = str(row["structure_json"])
    return structure_record(
        structure_from_json(text),
        structure_id=f"{NAME}:{row['id']}",
        source=NAME,
        text=text,
        origin=str(row["provenance"]),
    )

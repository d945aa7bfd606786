"""Candidates for screening: a stream of formulas, with or without a structure, from several sources.

A source is an iterator, so that thousands of candidates need no more memory than one. What cannot be used
comes through the same stream as a candidate with a ``problem``: nothing is lost in silence. Structures are
built when they are asked for.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.core import Element, Structure

from sselib.columns import Entry, StructureTable
from sselib.errors import DataError, FormulaError
from sselib.materials.composition import parse_formula
from sselib.materials.structure_input import CifLimits, CifReaders, CifReading
from sselib.materials.structures import structure_from_json
from sselib.sources import materials_project
from sselib.sources.table_input import formula_rows

_GENERATED = Path("02_structure_generation") / "generated.parquet"
_HULL = "energy_above_hull_ev_atom"


@dataclass(frozen=True)
class Candidate:
    """One material to screen.

    ``parent`` is the id of the host it was made from (empty if it was not), ``change`` says what was done
    to it, ``probability`` is the data-mined probability of that substitution (NaN without one).
    ``structure`` builds the structure, None where there is none. ``energy_above_hull_ev_atom`` is NaN
    unless a database gave it. ``problem`` is why the candidate cannot be scored, empty if it can.
    """

    id: str
    formula: str
    source: str
    parent: str = ""
    change: str = ""
    probability: float = float("nan")
    structure: Callable[[], Structure] | None = None
    energy_above_hull_ev_atom: float = float("nan")
    problem: str = ""


def from_formulas(path: Path, *, column: str = "formula", source: str = "table") -> Iterator[Candidate]:
    """Yield the formulas of a table; a column ``id`` names them, else the row number does.

    Raises `DataError` if the file is not there, is empty, or has no such column.
    """
    if not path.is_file():
        raise DataError(f"there is no table {path}: expected a CSV, Excel or parquet file with formulas")
    for row in formula_rows(path, formula_column=column):
        candidate = Candidate(f"{source}:{row.id}", row.formula, source, problem=row.problem)
        yield candidate if row.problem else checked(candidate)


def from_cifs(folder: Path, *, source: str = "cif") -> Iterator[Candidate]:
    """Yield the structures of every ``*.cif`` of a folder, in the order of their names.

    Raises `DataError` if the folder is not there or holds no CIF; a bad file is a candidate with a problem.
    """
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() == ".cif") if folder.is_dir() else []
    if not paths:
        raise DataError(f"{folder} holds no CIF: expected a folder with files named <id>.cif")
    with CifReaders(limits=CifLimits()) as readers:
        for path, reading in zip(paths, readers.read(paths), strict=True):
            yield _from_cif(f"{source}:{path.stem}", reading, source)


def _from_cif(name: str, reading: CifReading, source: str) -> Candidate:
    crystal, problem = reading.structure, reading.problem or reading.doubt
    if crystal is None or problem:
        return Candidate(name, "", source, problem=f"{' '.join(problem.split())[:200]}")
    return checked(Candidate(name, formula_of(crystal), source, structure=lambda: crystal))


def from_curated(
    table: pd.DataFrame, structures: pd.DataFrame, *, sources: Iterable[str] = ("obelix",)
) -> Iterator[Candidate]:
    """Yield the materials of notebook 01 from some of its sources; no label is read.

    ``structures`` is the structures table. These rows trained the models: the novelty filter drops them.
    """
    texts = structures.set_index(StructureTable.STRUCTURE_ID)[StructureTable.STRUCTURE_JSON]
    rows = table[table[Entry.SOURCE].isin(list(sources))]
    for row_id, formula, key in zip(
        rows[Entry.ID], rows[Entry.FORMULA], rows[Entry.STRUCTURE_ID], strict=True
    ):
        text = texts.get(key) if isinstance(key, str) else None
        build = partial(structure_from_json, text) if text else None
        yield checked(Candidate(f"known:{row_id}", formula, "known", parent=row_id, structure=build))


def from_structure_table(table: pd.DataFrame, *, source: str) -> Iterator[Candidate]:
    """Yield the rows of a table with id and structure_json, and energy_above_hull_ev_atom if it has that."""
    energies = table.get(_HULL, pd.Series(np.nan, index=table.index)).astype(float)
    for key, text, energy in zip(table["id"], table[StructureTable.STRUCTURE_JSON], energies, strict=True):
        yield checked(
            Candidate(
                f"{source}:{key}",
                formula_of(structure_from_json(text)),
                source,
                parent=str(key),
                structure=partial(structure_from_json, text),
                energy_above_hull_ev_atom=energy,
            )
        )


def from_generated(run: Path) -> Iterator[Candidate]:
    """Yield the structures that notebook 02 left in a run folder.

    Raises `DataError` where there are none.
    """
    path = run / _GENERATED
    if not path.is_file():
        raise DataError(
            f"the run has no generated structures ({_GENERATED}): run notebook 02 first, or leave "
            "'generated' out of the sources"
        )
    yield from from_structure_table(pd.read_parquet(path), source="generated")


def from_materials_project(*, max_energy_above_hull_ev_atom: float = 0.05) -> Iterator[Candidate]:
    """Yield the lithium compounds of the Materials Project near its convex hull (needs a key).

    Raises `DataError` with what to do where it cannot be asked.
    """
    materials_project.require_access()
    table = materials_project.candidates(max_energy_above_hull_ev_atom=max_energy_above_hull_ev_atom)
    yield from from_structure_table(table, source="materials_project")


def checked(candidate: Candidate) -> Candidate:
    """Return the candidate, with a problem if its formula cannot be read or holds no lithium."""
    try:
        if parse_formula(candidate.formula)["Li"] <= 0:
            return replace(candidate, problem="no lithium in the formula")
    except FormulaError as error:
        return replace(candidate, problem=str(error))
    return candidate


def formula_of(structure: Structure) -> str:
    """Return the formula of a cell divided by its common whole divisor, amounts to three decimals."""
    amounts = structure.composition.element_composition.get_el_amt_dict()
    whole = [round(x) for x in amounts.values() if abs(x - round(x)) < 1e-3]
    divisor = int(np.gcd.reduce(whole)) if len(whole) == len(amounts) and min(whole) > 0 else 1
    return formula_text({el: x / divisor for el, x in amounts.items()})


def formula_text(amounts: dict[str, float]) -> str:
    """Return a formula such as ``Li6.4La3Zr1.4Ta0.6O12``: lithium first, anions last, no zero amounts."""
    kept = {el: round(x, 3) for el, x in amounts.items() if round(x, 3) > 0}
    order = sorted(kept, key=lambda el: (el != "Li", np.nan_to_num(Element(el).X), el))
    return "".join(el + (f"{kept[el]:.3f}".rstrip("0").rstrip(".") if kept[el] != 1 else "") for el in order)


@dataclass
class Deduplicator:
    """Passes each composition on once, and counts what it held back as ``n_dropped``.

    Compositions are the same if their mole fractions agree to three decimals. With a structure of the
    user's own (``by_structure``) the volume per atom must agree too, so that polymorphs stay.
    """

    by_structure: bool = False
    n_dropped: int = 0

    def __call__(self, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
        """Yield the candidates that are new; those with a problem always pass."""
        seen: set[int] = set()
        for candidate in candidates:
            key = 0 if candidate.problem else hash(self._key(candidate))
            if candidate.problem or key not in seen:
                seen.add(key)
                yield candidate
            else:
                self.n_dropped += 1

    def _key(self, candidate: Candidate) -> str:
        fractions = parse_formula(candidate.formula).get_el_amt_dict()
        total = sum(fractions.values())
        text = " ".join(f"{el}{fractions[el] / total:.3f}" for el in sorted(fractions))
        if self.by_structure and candidate.structure:
            crystal = candidate.structure()
            text += f" {crystal.volume / crystal.composition.num_atoms:.2f}"
        return text

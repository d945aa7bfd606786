"""Candidates for screening: a stream of formulas, with or without a structure, from several sources.

A source is an iterator, so that thousands of candidates need no more memory than one. What cannot be used
comes through the same stream as a candidate with a ``problem``: nothing is lost in silence. Structures are
built when they are asked for.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.core import Element, Structure

from sselib.columns import Entry, StructureTable
from sselib.errors import DataError, FormulaError
from sselib.materials.composition import parse_formula
from sselib.materials.structure_input import CifLimits
from sselib.materials.structures import structure_from_json
from sselib.prediction.inputs import open_inputs
from sselib.sources import materials_project

_GENERATED = Path("02_structure_generation") / "generated.parquet"
_HULL = "energy_above_hull_ev_atom"


@dataclass(frozen=True)
class Material:
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


def from_inputs(path: Path, *, source: str = "own") -> Iterator[Material]:
    """Yield what a table of formulas, a CIF or a folder of CIFs holds, read as `sse predict` reads it.

    Raises `DataError` or `SchemaError` if there is nothing to read; a bad row or file is a material with
    a problem.
    """
    if not path.exists():
        raise DataError(f"no input at '{path}': expected a table, a CIF or a folder of CIFs")
    with tempfile.TemporaryDirectory(prefix="sse-screening-") as folder:
        inputs = open_inputs(
            path,
            formula_column="formula",
            id_column="id",
            limits=CifLimits(),
            scratch=Path(folder),
            say=lambda text: None,
        )
        for found in inputs.candidates(0):
            build = partial(_itself, found.structure) if found.structure else None
            shown = found.plain or found.formula
            material = Material(f"{source}:{found.id}", shown, source, structure=build, problem=found.problem)
            yield material if material.problem else checked(material)


def _itself(structure: Structure) -> Structure:
    return structure


def from_curated(
    table: pd.DataFrame, crystals: Mapping[str, Structure], *, sources: Iterable[str] = ("obelix",)
) -> Iterator[Material]:
    """Yield the materials of notebook 01 from some of its sources; no label is read.

    ``crystals`` are its structures by id. These rows trained the models: the novelty filter drops them.
    """
    rows = table[table[Entry.SOURCE].isin(list(sources))]
    columns = [rows[c] for c in (Entry.ID, Entry.FORMULA, Entry.STRUCTURE_ID)]
    for row_id, formula, key in zip(*columns, strict=True):
        build = partial(_itself, crystals[key]) if key in crystals else None
        yield checked(Material(f"known:{row_id}", formula, "known", parent=row_id, structure=build))


def from_structure_table(table: pd.DataFrame, *, source: str) -> Iterator[Material]:
    """Yield the rows of a table with id and structure_json, and energy_above_hull_ev_atom if it has that."""
    energies = table.get(_HULL, pd.Series(np.nan, index=table.index)).astype(float)
    for key, text, energy in zip(table["id"], table[StructureTable.STRUCTURE_JSON], energies, strict=True):
        crystal = structure_from_json(text)
        material = Material(f"{source}:{key}", formula_of(crystal), source, parent=str(key))
        build = partial(_itself, crystal)
        yield checked(replace(material, structure=build, energy_above_hull_ev_atom=energy))


def from_generated(run: Path) -> Iterator[Material]:
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


def from_materials_project(*, max_energy_above_hull_ev_atom: float = 0.05) -> Iterator[Material]:
    """Yield the lithium compounds of the Materials Project near its convex hull (needs a key).

    Raises `DataError` with what to do where it cannot be asked.
    """
    materials_project.require_access()
    table = materials_project.candidates(max_energy_above_hull_ev_atom=max_energy_above_hull_ev_atom)
    yield from from_structure_table(table, source="materials_project")


def checked(candidate: Material) -> Material:
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
    return formula_of_amounts({el: x / divisor for el, x in amounts.items()})


def formula_of_amounts(amounts: dict[str, float]) -> str:
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

    def __call__(self, candidates: Iterable[Material]) -> Iterator[Material]:
        """Yield the candidates that are new; those with a problem always pass."""
        seen: set[int] = set()
        for candidate in candidates:
            key = 0 if candidate.problem else hash(self._key(candidate))
            if candidate.problem or key not in seen:
                seen.add(key)
                yield candidate
            else:
                self.n_dropped += 1

    def _key(self, candidate: Material) -> str:
        fractions = parse_formula(candidate.formula).get_el_amt_dict()
        total = sum(fractions.values())
        text = " ".join(f"{el}{fractions[el] / total:.3f}" for el in sorted(fractions))
        if self.by_structure and candidate.structure:
            crystal = candidate.structure()
            text += f" {crystal.volume / crystal.composition.num_atoms:.2f}"
        return text

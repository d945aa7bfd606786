"""Several compositions and seeds at once: what notebook 02 runs, and the structures that come out of it."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import pandas as pd
from ase import Atoms
from pymatgen.core import Composition, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from crystal_search.benchmark_results import stored_results
from crystal_search.database import SearchCandidate, SearchDatabase, candidate_table
from crystal_search.evolution import find_crystals
from crystal_search.known_crystals import known_structure
from crystal_search.population import survivors
from crystal_search.potentials import make_calculator
from crystal_search.relaxation import Relaxation, relax_together
from crystal_search.search_settings import EVOLUTIONARY, OPTIMISE, RANDOM, SearchSettings, random_search
from sselib.errors import DataError, ParameterError
from sselib.generation.dynamics import Trajectory, relax_by_npt
from sselib.generation.formula_units import CellContent
from sselib.generation.validation import SYMMETRY_PRECISION_ANGSTROM, validation_record
from sselib.materials.oxidation import IMBALANCED, METALLIC, assign_oxidation_states
from sselib.materials.structures import structure_to_json
from sselib.paths import project_root
from sselib.progress import bars_are_shown, progress

RELAXERS = {"npt": relax_by_npt}  # protocols beside the engine's own "optimise"
FINAL_FMAX_EV_ANGSTROM = 0.01  # truncated relaxations hide up to 26 meV/atom
FINAL_MAX_STEPS = 300


@dataclass(frozen=True, kw_only=True)
class SearchCase:
    """One search of a campaign."""

    formula: str
    arm: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class LowestCrystal:
    """The lowest structure that the evolutionary searches of a composition found, relaxed to the end."""

    formula: str
    relaxed: Relaxation
    candidate: SearchCandidate
    seed: int

    @property
    def structure(self) -> Structure:
        """Return the relaxed crystal as a pymatgen structure."""
        return structure_of(self.relaxed.atoms)


def structure_of(atoms: Atoms) -> Structure:
    """Return ASE atoms as a pymatgen structure without calculator results."""
    plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    return AseAtomsAdaptor.get_structure(plain)


def run_campaign(
    contents: Sequence[CellContent],
    *,
    seeds: Sequence[int],
    settings: SearchSettings,
    database: SearchDatabase,
    n_jobs: int = 1,
    solved: Mapping[str, Callable[[SearchCandidate], bool]] | None = None,
) -> dict[SearchCase, list[SearchCandidate]]:
    """Run an evolutionary and a random search with equal budget for each composition and seed.

    The random search stops with the relaxation in which it reaches the energy evaluations that the
    evolutionary one with the same seed spent. ``solved``: by
    formula, when a search may stop early. Names in the database carry a hash of the settings, so that
    changed settings begin anew and unchanged ones continue.
    """
    if settings.protocol not in (OPTIMISE, *RELAXERS):
        raise ParameterError(f"protocol '{settings.protocol}': expected {OPTIMISE}, {', '.join(RELAXERS)}")
    found: dict[SearchCase, list[SearchCandidate]] = {}
    cases = [(c, s) for c in contents for s in seeds]
    for content, seed in progress(cases, stage="searches"):
        stop = (solved or {}).get(content.formula)
        charges = assign_oxidation_states(Composition(content.amounts))
        states = {} if charges.rule in (METALLIC, IMBALANCED) else dict(charges.states)  # none: no ions
        case = replace(settings, seed=seed, oxidation_states=states)
        common = {"database": database, "n_jobs": n_jobs, "solved": stop}
        mine = _search(content, EVOLUTIONARY, case, **common)
        spent = max(1, sum(c.n_evaluations for c in mine))
        control = replace(random_search(case), max_evaluations=spent, patience=10_000, max_generations=10_000)
        theirs = _search(content, RANDOM, control, **common)
        for arm, candidates in ((EVOLUTIONARY, mine), (RANDOM, theirs)):
            found[SearchCase(formula=content.formula, arm=arm, seed=seed)] = candidates
    return found


def _search(
    content: CellContent, arm: str, settings: SearchSettings, **options: object
) -> list[SearchCandidate]:
    text = json.dumps([dict(content.amounts), asdict(settings)], sort_keys=True)
    name = f"{content.formula} Z={content.z} {arm} seed {settings.seed} "
    name += hashlib.sha256(text.encode()).hexdigest()[:8]
    options |= {"relaxer": RELAXERS.get(settings.protocol), "show_progress": bars_are_shown()}
    return find_crystals(content.amounts, name=name, settings=settings, **options)


def best_structure(
    formula: str,
    searches: Mapping[SearchCase, Sequence[SearchCandidate]],
    *,
    settings: SearchSettings,
    n_final: int = 3,
) -> LowestCrystal:
    """Relax the ``n_final`` lowest candidates of a composition to the end; return the lowest.

    Raises `DataError` if no search of the composition ended with a relaxed structure.
    """
    ours = [k for k in searches if (k.formula, k.arm) == (formula, EVOLUTIONARY)]
    mine = [(k.seed, c) for k in ours for c in searches[k]]
    lowest = survivors([c for _, c in mine], size=n_final)
    if not lowest:
        raise DataError(
            f"no structure of {formula} could be relaxed: allow more energy evaluations or another volume"
        )
    relaxed = _relaxed_to_the_end([c.atoms for c in lowest], settings)
    pairs = zip(lowest, relaxed, strict=True)
    candidate, result = min(pairs, key=lambda pair: pair[1].enthalpy_ev_atom)
    seed = next(s for s, c in mine if c is candidate)
    return LowestCrystal(formula=formula, relaxed=result, candidate=candidate, seed=seed)


def reference_crystal(name: str) -> Structure:
    """Return a known crystal of the suite (`data/benchmark`, `data/reference`) by its id."""
    return known_structure(name, folder=project_root() / "data")


def benchmark_results() -> pd.DataFrame:
    """Return the searches of the suite's benchmark, `data/benchmark`."""
    return stored_results(project_root() / "data")


def relaxed_reference(structure: Structure, *, settings: SearchSettings) -> Relaxation:
    """Relax a reference crystal (primitive cell) with the potential and pressure of a search."""
    raw = AseAtomsAdaptor.get_atoms(structure.get_primitive_structure())
    atoms = Atoms(raw.numbers, raw.positions, cell=raw.cell, pbc=True)
    return _relaxed_to_the_end([atoms], settings)[0]


def _relaxed_to_the_end(batch: Sequence[Atoms], settings: SearchSettings) -> list[Relaxation]:
    calculator = make_calculator(settings.potential, settings.potential_options)
    final = replace(settings.relaxation, fmax_ev_angstrom=FINAL_FMAX_EV_ANGSTROM, max_steps=FINAL_MAX_STEPS)
    return relax_together(batch, calculator=calculator, settings=final)


def validation_table(best: Sequence[LowestCrystal], references: Mapping[str, Relaxation]) -> pd.DataFrame:
    """Return one row per composition: `validation_record` and the energy above the reference."""
    rows = []
    for b in best:
        reference = references.get(b.formula)
        crystal = structure_of(reference.atoms) if reference else None
        record = validation_record(b.structure, energy_ev_atom=b.relaxed.energy_ev_atom, reference=crystal)
        above = b.relaxed.enthalpy_ev_atom - reference.enthalpy_ev_atom if reference else float("nan")
        rows.append({**record, "above_reference_ev_atom": above, "relaxation": b.relaxed.status})
    return pd.DataFrame(rows)


def generated_rows(
    best: Sequence[LowestCrystal], validation: pd.DataFrame, *, settings: SearchSettings
) -> list[dict[str, object]]:
    """Return the rows of `generated.parquet`: structure, enthalpy and where it came from."""
    rows = []
    for b, plausible in zip(best, validation["plausible"], strict=True):
        structure, origin = b.structure, b.candidate
        group = SpacegroupAnalyzer(structure, symprec=SYMMETRY_PRECISION_ANGSTROM).get_space_group_number()
        found = ("enthalpy_ev_atom", "energy_ev_atom", "volume_angstrom3_atom")
        rows.append(
            {
                "id": f"{b.formula}-{len(structure)}-seed{b.seed}-{origin.number}",
                "formula": b.formula,
                "n_atoms": len(structure),
                **{name: getattr(b.relaxed, name) for name in found},
                "pressure_gpa": settings.relaxation.pressure_gpa,
                "space_group_number": int(group),
                "plausible": bool(plausible),
                "potential": settings.potential,
                "provenance": f"evolutionary search, {settings.potential}, seed {b.seed}, candidate "
                f"{origin.number} of generation {origin.generation} by {origin.operator}",
                "structure_json": structure_to_json(structure),
            }
        )
    return rows


def all_candidates(searches: Mapping[SearchCase, Sequence[SearchCandidate]]) -> pd.DataFrame:
    """Return one row per candidate of every search, without structures."""
    parts = [candidate_table(v).assign(**asdict(k)) for k, v in searches.items()]
    return pd.concat(parts, ignore_index=True)


def dynamics_table(runs: Mapping[str, Trajectory]) -> pd.DataFrame:
    """Return the records of every molecular dynamics run with its formula; no rows where none was made."""
    parts = [t.table.assign(formula=f) for f, t in runs.items()]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["formula"])

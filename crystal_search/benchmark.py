"""How fast known crystals are found again: evolutionary against random search, evaluations counted.

`python -m crystal_search.benchmark --out FOLDER` runs what is not yet in FOLDER/benchmark.sqlite and
writes FOLDER/benchmark_results.csv; interrupt and repeat it at will.
"""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from crystal_search.benchmark_results import PLAIN, RESULTS_FILE, arm_table, compound_table
from crystal_search.database import SearchCandidate, SearchDatabase, candidate_table
from crystal_search.errors import SearchError
from crystal_search.evolution import find_crystals
from crystal_search.known_crystals import COMPOUNDS, known_structure
from crystal_search.population import same_structure
from crystal_search.potentials import make_calculator
from crystal_search.relaxation import RELAXED, Relaxation, relax
from crystal_search.search_settings import EVOLUTIONARY, RANDOM, SearchSettings, random_search
from crystal_search.seeds import sorted_atoms

ENERGY_TOLERANCE_EV_ATOM = 0.001  # at or below the relaxed reference, up to what a relaxation leaves
MATCH_WINDOW_EV_ATOM = 0.05  # candidates further above the reference are not compared with it
REFERENCE_FMAX_EV_ANGSTROM = 0.02
UNLIMITED = 10_000


@dataclass(frozen=True, kw_only=True)
class Target:
    """A known crystal and its relaxed form under the potential of the search."""

    name: str
    structure: Structure  # as published, primitive cell
    relaxed: Relaxation

    @property
    def content(self) -> dict[str, int]:
        """Return the number of atoms of each element in the primitive cell."""
        return dict(Counter(self.relaxed.atoms.get_chemical_symbols()))

    def how_solved(self, candidate: SearchCandidate) -> str:
        """Return "structure" for a match, "energy" for an enthalpy at or below, else an empty text."""
        if candidate.status not in RELAXED:
            return ""
        above = candidate.enthalpy_ev_atom - self.relaxed.enthalpy_ev_atom
        if above < MATCH_WINDOW_EV_ATOM and same_structure(candidate.atoms, self.relaxed.atoms):
            return "structure"
        return "energy" if above <= ENERGY_TOLERANCE_EV_ATOM else ""


def target(name: str, settings: SearchSettings) -> Target:
    """Return a known crystal, relaxed with the potential and pressure of the search."""
    primitive = known_structure(name).get_primitive_structure()
    raw = AseAtomsAdaptor.get_atoms(primitive)
    atoms = sorted_atoms(Atoms(raw.numbers, raw.positions, cell=raw.cell, pbc=True))
    relaxation = replace(settings.relaxation, fmax_ev_angstrom=REFERENCE_FMAX_EV_ANGSTROM)
    calculator = make_calculator(settings.potential, settings.potential_options)
    relaxed = relax(atoms, calculator=calculator, settings=relaxation)
    return Target(name=name, structure=primitive, relaxed=relaxed)


def benchmark_settings(budget: int) -> SearchSettings:
    """Return the settings of a benchmark search: the defaults, ended by success or budget alone."""
    return SearchSettings(max_evaluations=budget, patience=UNLIMITED, max_generations=UNLIMITED)


def arms(settings: SearchSettings) -> dict[str, SearchSettings]:
    """Return the settings of the arms; relaxation and budget are the same in all.

    The random arm takes the random crystals as they come, relaxed by the pair model; the plain one without.
    """
    random = random_search(settings)
    return {EVOLUTIONARY: settings, RANDOM: random, PLAIN: replace(random, as_ions_first=())}


def run_case(
    compound: Target, *, arm: str, settings: SearchSettings, database: SearchDatabase, n_jobs: int = 1
) -> dict[str, object]:
    """Run or continue one search until the crystal is found or the budget is spent; return its result."""
    candidates = find_crystals(
        compound.content,
        name=f"{compound.name} {arm} {settings.seed}",
        settings=arms(settings)[arm],
        database=database,
        n_jobs=n_jobs,
        solved=lambda c: bool(compound.how_solved(c)),
    )
    return case_result(compound, candidates, arm=arm, seed=settings.seed)


def case_result(
    compound: Target, candidates: Sequence[SearchCandidate], *, arm: str, seed: int
) -> dict[str, object]:
    """Return one row of the results table; missing where the crystal was not found.

    Of several candidates that are the crystal, the one counts that was done with first.
    """
    table = candidate_table(candidates)
    in_time = [candidates[i] for i in np.argsort(table["evaluations_so_far"], kind="stable")]
    first, how = next(((c, how) for c in in_time if (how := compound.how_solved(c))), (None, ""))
    best = table.loc[table["status"].isin(RELAXED), "enthalpy_ev_atom"].min()
    total = table[["n_evaluations", "seconds", "n_model_relaxations", "model_seconds"]].sum()
    return {
        "compound": compound.name,
        "formula": compound.structure.composition.reduced_formula,
        "n_atoms": len(compound.structure),
        "arm": arm,
        "seed": seed,
        "solved": first is not None,
        "how": how,
        "evaluations_to_solution": float(table["evaluations_so_far"][first.number]) if first else np.nan,
        "generation_of_solution": float(first.generation) if first else np.nan,
        "operator_of_solution": first.operator if first else "",
        "evaluations": int(total["n_evaluations"]),
        "structures": len(table),
        "seconds": round(float(total["seconds"]), 1),
        "model_relaxations": int(total["n_model_relaxations"]),
        "model_seconds": round(float(total["model_seconds"]), 1),
        "ended": True,
        "best_above_reference_ev_atom": round(float(best - compound.relaxed.enthalpy_ev_atom), 4),
    }


def run_benchmark(
    compounds: Sequence[str], *, seeds: Sequence[int], settings: SearchSettings, folder: Path, n_jobs: int = 1
) -> pd.DataFrame:
    """Run the arms for each seed and compound; the results file is written after each compound.

    All compounds come with the first seed before the next seed begins, so that an interrupted benchmark
    is broad rather than deep. Both random arms may spend what `random_budget` says.
    """
    database, rows = SearchDatabase(folder / "benchmark.sqlite"), []
    known: dict[str, Target] = {}
    for seed, name in product(seeds, compounds):
        compound = known[name] = known.get(name) or target(name, settings)
        case = replace(settings, seed=seed)
        common = {"database": database, "n_jobs": n_jobs}
        mine = run_case(compound, arm=EVOLUTIONARY, settings=case, **common)
        control = replace(case, max_evaluations=random_budget(mine, settings.max_evaluations))
        new = [mine, *(run_case(compound, arm=a, settings=control, **common) for a in (PLAIN, RANDOM))]
        for row in new:
            print(", ".join(f"{k} {v}" for k, v in row.items() if k != "formula"), flush=True)
        rows += new
        aside = folder / f".{RESULTS_FILE}"  # written whole or not at all
        pd.DataFrame(rows).to_csv(aside, index=False)
        aside.replace(folder / RESULTS_FILE)
    return pd.DataFrame(rows)


def random_budget(evolutionary: Mapping[str, object], budget: int) -> int:
    """Return the evaluations that a random search may spend beside an evolutionary one.

    The same budget, or three times what the evolutionary search needed if that is more: enough to decide
    whether that was at most a third.
    """
    needed = evolutionary["evaluations_to_solution"]
    return max(budget, ceil(3 * needed)) if evolutionary["solved"] else budget


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m crystal_search.benchmark", description=__doc__)
    parser.add_argument("compounds", nargs="*", default=list(COMPOUNDS), help="names; none means all")
    parser.add_argument("--out", type=Path, default=Path("benchmark"), metavar="FOLDER")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budget", type=int, default=9000, help="energy evaluations per search")
    parser.add_argument("--jobs", type=int, default=1, help="relaxations at a time")
    options = parser.parse_args(arguments)
    like = {"seeds": options.seeds, "folder": options.out, "n_jobs": options.jobs}
    try:
        results = run_benchmark(options.compounds, settings=benchmark_settings(options.budget), **like)
    except SearchError as error:
        print(f"error: {error}")
        return 1
    print(arm_table(results).round(2).to_string(), compound_table(results).to_string(), sep="\n\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command())

"""How fast known crystals are found again: evolutionary against random search, evaluations counted.

`python -m crystal_search.benchmark --out FOLDER` runs what is not yet in FOLDER/benchmark.sqlite and
writes FOLDER/benchmark_results.csv; interrupt and repeat it at will.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from crystal_search.benchmark_results import (
    OPERATORS_FILE,
    PLAIN,
    RESULT_COLUMNS,
    RESULTS_BLOCK,
    RESULTS_FILE,
    operator_success,
    results_text,
)
from crystal_search.database import Candidate, SearchDatabase, candidate_table
from crystal_search.errors import SearchError
from crystal_search.evolution import generation_of_patience, search
from crystal_search.known_crystals import COMPOUNDS, known_structure
from crystal_search.population import matcher, same_structure
from crystal_search.potentials import make_calculator
from crystal_search.relaxation import CONVERGED, UNCONVERGED, Relaxation, relax
from crystal_search.search_settings import EVOLUTIONARY, RANDOM, SearchSettings, random_search
from crystal_search.seeds import sorted_atoms

ENERGY_TOLERANCE_EV_ATOM = 0.001  # at or below the relaxed reference, up to what a relaxation leaves
MATCH_WINDOW_EV_ATOM = 0.05  # candidates further above the reference are not compared with it
REFERENCE_FMAX_EV_ANGSTROM = 0.02


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

    def how_solved(self, candidate: Candidate) -> str:
        """Return "structure" for a match, "energy" for an enthalpy at or below, else an empty text."""
        if candidate.status not in (CONVERGED, UNCONVERGED):
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
    return Target(
        name=name, structure=primitive, relaxed=relax(atoms, calculator=calculator, settings=relaxation)
    )


def reference_table(names: Sequence[str], settings: SearchSettings) -> pd.DataFrame:
    """Return how far each known crystal moves when it is relaxed: a check of its coordinates.

    Columns compound, formula, n_atoms, enthalpy_ev_atom, volume_change (relative), rms (StructureMatcher's,
    without unit; NaN: no longer the same structure), space_group before and after.
    """
    rows = []
    for name in names:
        known = target(name, settings)
        after = AseAtomsAdaptor.get_structure(known.relaxed.atoms)
        volume = known.relaxed.volume_angstrom3_atom * len(known.structure) / known.structure.volume
        rms = matcher().get_rms_dist(known.structure, after)
        rows.append(
            {
                "compound": name,
                "formula": after.composition.reduced_formula,
                "n_atoms": len(after),
                "enthalpy_ev_atom": round(known.relaxed.enthalpy_ev_atom, 4),
                "volume_change": round(volume - 1, 3),
                "rms": round(float(rms[0]), 3) if rms else np.nan,
                "space_group": known.structure.get_space_group_info(0.05)[0],
                "space_group_relaxed": after.get_space_group_info(0.05)[0],
            }
        )
    return pd.DataFrame(rows)


def arms(settings: SearchSettings) -> dict[str, SearchSettings]:
    """Return the settings of the arms; relaxation and budget are the same in all.

    The random arm takes the random crystals as they come, relaxed by the pair model; the plain one without.
    """
    random = random_search(settings)
    return {EVOLUTIONARY: settings, RANDOM: random, PLAIN: replace(random, as_ions_first=())}


def search_name(compound: str, arm: str, seed: int) -> str:
    """Return the name of one search in the database."""
    return f"{compound} {arm} {seed}"


def run_case(
    compound: Target, *, arm: str, settings: SearchSettings, database: SearchDatabase, n_jobs: int = 1
) -> dict[str, object]:
    """Run or continue one search until the crystal is found or the budget is spent; return its result."""
    candidates = search(
        compound.content,
        name=search_name(compound.name, arm, settings.seed),
        settings=arms(settings)[arm],
        database=database,
        n_jobs=n_jobs,
        solved=lambda c: bool(compound.how_solved(c)),
    )
    return case_result(compound, candidates, arm=arm, seed=settings.seed)


def case_result(
    compound: Target, candidates: Sequence[Candidate], *, arm: str, seed: int, ended: bool = True
) -> dict[str, object]:
    """Return one row of the results table; missing where the crystal was not found.

    Of several candidates that are the crystal, the one counts that was done with first. ``ended``: whether
    the search came to its end, or was interrupted before. The column generation_of_patience says after which
    generation the default patience would have ended the search; missing if it had not.
    """
    table = candidate_table(candidates)
    in_time = [candidates[i] for i in np.argsort(table["evaluations_so_far"], kind="stable")]
    found = next(((c, how) for c in in_time if (how := compound.how_solved(c))), None)
    relaxed = table[table["status"].isin([CONVERGED, UNCONVERGED])]
    best = relaxed["enthalpy_ev_atom"].min() - compound.relaxed.enthalpy_ev_atom
    first = found[0] if found else None
    values = (
        compound.name,
        compound.structure.composition.reduced_formula,
        len(compound.structure),
        arm,
        seed,
        found is not None,
        found[1] if found else "",
        float(table["evaluations_so_far"][first.number]) if first else np.nan,
        float(first.generation) if first else np.nan,
        first.operator if first else "",
        int(table["n_evaluations"].sum()),
        len(table),
        round(float(table["seconds"].sum()), 1),
        int(table["n_model_relaxations"].sum()),
        round(float(table["model_seconds"].sum(min_count=1)), 1),
        ended,
        round(float(best), 4),
        generation_of_patience(candidates, SearchSettings()),
    )
    return dict(zip(RESULT_COLUMNS, values, strict=True))


def run_benchmark(
    compounds: Sequence[str],
    *,
    seeds: Sequence[int],
    settings: SearchSettings,
    folder: Path,
    n_jobs: int = 1,
    say: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Run the arms for each seed and compound; the results file is written after each compound.

    All compounds come with the first seed before the next seed begins, so that an interrupted benchmark
    is broad rather than deep. Both random arms may spend what `random_budget` says.
    """
    database, rows = SearchDatabase(folder / "benchmark.sqlite"), []
    known: dict[str, Target] = {}
    for seed, name in product(seeds, compounds):
        if name not in known:
            known[name] = target(name, settings)
        compound = known[name]
        case = replace(settings, seed=seed)
        common = {"database": database, "n_jobs": n_jobs}
        mine = run_case(compound, arm=EVOLUTIONARY, settings=case, **common)
        control = replace(case, max_evaluations=random_budget(mine, settings.max_evaluations))
        new = [mine, *(run_case(compound, arm=a, settings=control, **common) for a in (PLAIN, RANDOM))]
        for row in new:
            say(", ".join(f"{k} {v}" for k, v in row.items() if k != "formula"))
        rows += new
        results = pd.DataFrame(rows)
        _write(results, folder / RESULTS_FILE)
    return pd.DataFrame(rows, columns=list(RESULT_COLUMNS))


def _write(table: pd.DataFrame, path: Path) -> None:
    """Write a table whole or not at all."""
    aside = path.with_suffix(".new")
    table.to_csv(aside, index=False)
    aside.replace(path)


def random_budget(evolutionary: Mapping[str, object], budget: int) -> int:
    """Return the evaluations that a random search may spend beside an evolutionary one.

    The same budget, or three times what the evolutionary search needed if that is more: enough to decide
    whether that was at most a third.
    """
    needed = evolutionary["evaluations_to_solution"]
    return max(budget, ceil(3 * needed)) if evolutionary["solved"] else budget


def collect_results(database: SearchDatabase, settings: SearchSettings) -> pd.DataFrame:
    """Return the results of every search of a database, without running anything but references.

    Searches that have not ended are among them: without them the results would favour the easy ones.
    """
    rows, known = [], {}
    for name in database.searches():
        compound, arm, seed = name.split()
        found = database.candidates(name)
        if not found:
            continue
        if compound not in known:
            known[compound] = target(compound, settings)
        ended = bool(database.note(name))
        rows.append(case_result(known[compound], found, arm=arm, seed=int(seed), ended=ended))
    return pd.DataFrame(rows, columns=list(RESULT_COLUMNS))


def collect_operators(database: SearchDatabase) -> pd.DataFrame:
    """Return `operator_success` over the children of every ended evolutionary search of a database."""
    ended = [n for n in database.searches() if f" {EVOLUTIONARY} " in n and database.note(n)]
    return operator_success([c for name in ended for c in database.candidates(name)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m crystal_search.benchmark", description=__doc__)
    parser.add_argument("compounds", nargs="*", default=list(COMPOUNDS), help="names; none means all")
    parser.add_argument("--out", type=Path, default=Path("benchmark"), metavar="FOLDER")
    parser.add_argument("--collect", action="store_true", help="only write the results of ended searches")
    parser.add_argument(
        "--into", type=Path, metavar="FOLDER", help="where --collect writes, such as data/benchmark"
    )
    parser.add_argument("--references", action="store_true", help="only relax the known crystals, and show")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budget", type=int, default=9000, help="energy evaluations per search")
    parser.add_argument("--jobs", type=int, default=1, help="relaxations at a time")
    options = parser.parse_args(arguments)
    settings = benchmark_settings(options.budget)
    try:
        if options.references:
            print(reference_table(options.compounds, settings).to_string(index=False))
            return 0
        if options.collect:
            _collect(options.out, settings, into=options.into or options.out)
            return 0
        run_benchmark(
            options.compounds,
            seeds=options.seeds,
            settings=settings,
            folder=options.out,
            n_jobs=options.jobs,
            say=lambda text: print(text, flush=True),
        )
    except SearchError as error:
        print(f"error: {error}")
        return 1
    return 0


def _collect(folder: Path, settings: SearchSettings, *, into: Path) -> None:
    """Write and print the results of the ended searches of a folder.

    A README.md in ``into`` gets them between its lines "results:begin" and "results:end".
    """
    database = SearchDatabase(folder / "benchmark.sqlite")
    results, operators = collect_results(database, settings), collect_operators(database).round(3)
    _write(results, into / RESULTS_FILE)
    _write(operators, into / OPERATORS_FILE)
    text, page = results_text(results, operators), into / "README.md"
    if page.is_file():
        old = page.read_text(encoding="utf-8")
        page.write_text(RESULTS_BLOCK.sub(lambda m: m[1] + text + m[2], old), encoding="utf-8")
    print(text)


def benchmark_settings(budget: int) -> SearchSettings:
    """Return the settings of a benchmark search: the defaults, ended by success or budget alone."""
    unlimited = 10_000
    return SearchSettings(max_evaluations=budget, patience=unlimited, max_generations=unlimited)


if __name__ == "__main__":
    raise SystemExit(main())

"""How fast known crystals are found again: evolutionary against random search, evaluations counted.

`python -m sselib.generation.benchmark --out FOLDER` runs what is not yet in FOLDER/benchmark.sqlite and
writes FOLDER/benchmark_results.csv; interrupt and repeat it at will.
"""

import argparse
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil
from pathlib import Path
from textwrap import wrap

import numpy as np
import pandas as pd
import yaml
from ase import Atoms
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.stats import binomtest

from sselib.errors import DataError, SSEError, nearest
from sselib.generation.campaign import EVOLUTIONARY, RANDOM
from sselib.generation.database import Candidate, SearchDatabase, candidate_table
from sselib.generation.effort import SUCCESS_COLUMNS, operator_success
from sselib.generation.evaluations import evaluate_many
from sselib.generation.formula_units import cell_content
from sselib.generation.ionic import relax_as_ions
from sselib.generation.population import matcher, same_structure
from sselib.generation.potentials import make_calculator
from sselib.generation.relaxation import CONVERGED, UNCONVERGED, Relaxation, relax, relax_together
from sselib.generation.search import SearchSettings, random_search, search
from sselib.generation.seeds import random_seed, sorted_atoms
from sselib.paths import project_root
from sselib.runfolder import write_whole
from sselib.sources import reference

# Ordered lithium compounds with at most 24 atoms in the primitive cell, smallest first. None of them was
# used while the search was set up; that was done on those of DEVELOPMENT.
COMPOUNDS: tuple[str, ...] = (
    "li3n-alpha",
    "li3ocl",
    "lipn2",
    "linbo3",
    "li2co3",
    "li6ps5cl-ordered",
    "lialo2-gamma",
    "li2zngeo4",
    "li3po4-beta",
    "li3ps4-gamma",
    "libh4",
    "lialcl4",
)
FURTHER: tuple[str, ...] = ("lino3", "liyf4", "li3bn2-tetragonal", "ligao2", "lialsi2o6")  # run if named
DEVELOPMENT: tuple[str, ...] = (
    "li3p", "liino2", "lisco2", "calcite", "li2sio3", "li2zro3", "zircon", "li3vo4",
)  # fmt: skip
ENERGY_TOLERANCE_EV_ATOM = 0.001  # at or below the relaxed reference, up to what a relaxation leaves
MATCH_WINDOW_EV_ATOM = 0.05  # candidates further above the reference are not compared with it
REFERENCE_FMAX_EV_ANGSTROM = 0.02
RESULTS_BLOCK = re.compile(r"(<!-- results:begin[^>]*-->\n).*?(<!-- results:end -->)", re.DOTALL)
RESULTS_FILE, OPERATORS_FILE = "benchmark_results.csv", "benchmark_operators.csv"
PLAIN = "plain"  # random search whose crystals are not relaxed as ions first, with volumes of covalent radii
RESULT_COLUMNS: tuple[str, ...] = (
    "compound", "formula", "n_atoms", "arm", "seed", "solved", "how", "evaluations_to_solution",
    "generation_of_solution", "operator_of_solution", "evaluations", "structures", "seconds",
    "pair_relaxations", "pair_seconds", "ended",
    "best_above_reference_ev_atom",
)  # fmt: skip


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


def known_structure(name: str) -> Structure:
    """Return a benchmark or reference structure by name, as published, conventional cell.

    Raises `DataError` if there is none of that name.
    """
    folder = project_root() / "data" / "benchmark"
    listed = [e["id"] for e in yaml.safe_load((folder / "structures.yaml").read_text(encoding="utf-8"))]
    if name in listed:
        return reference.structure(name, folder=folder)
    known = [*COMPOUNDS, *FURTHER, *DEVELOPMENT]
    if name not in known:
        raise DataError(
            f"the benchmark has no compound '{name}': expected one of {', '.join(known)}."
            f"{nearest(name, known)}"
        )
    return reference.structure(name)


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
    the search came to its end, or was interrupted before.
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
        int(table["n_pair_relaxations"].sum()),
        round(float(table["pair_seconds"].sum(min_count=1)), 1),
        ended,
        round(float(best), 4),
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
    is broad rather than deep. The random arm may spend what `random_budget` says. Where the evolutionary
    one found the crystal, a plain one may spend three times as much: enough to decide about a third.
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
        new = [mine, run_case(compound, arm=RANDOM, settings=control, **common)]
        if mine["solved"]:
            plain = replace(case, max_evaluations=random_budget(mine, 0))
            new.append(run_case(compound, arm=PLAIN, settings=plain, **common))
        for row in new:
            say(", ".join(f"{k} {v}" for k, v in row.items() if k != "formula"))
        rows += new
        results = pd.DataFrame(rows)
        write_whole(folder / RESULTS_FILE, lambda p, t=results: t.to_csv(p, index=False))
    return pd.DataFrame(rows, columns=list(RESULT_COLUMNS))


def random_budget(evolutionary: Mapping[str, object], budget: int) -> int:
    """Return the evaluations of the random search beside an evolutionary one.

    Its own budget, or three times what the evolutionary search needed if that is more: enough to decide
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


def evaluation_cost(formula: str, *, z: int, n_seeds: int = 4, n_steps: int = 10) -> dict[str, object]:
    """Return the process time of an energy evaluation (ms) while random crystals are relaxed together."""
    content = dict(cell_content(formula, z=z).amounts)
    rng, settings = np.random.default_rng(0), SearchSettings()
    like = {"symmetric_share": settings.symmetric_share, "volume_angstrom3": None, "rng": rng}
    seeds = [relax_as_ions(random_seed(content, **like).atoms) for _ in range(n_seeds)]
    calculator = make_calculator(settings.potential, settings.potential_options)
    evaluate_many(calculator, seeds[:1])  # the first call loads and warms up
    shortened = replace(settings.relaxation, max_steps=n_steps)
    start = time.process_time()
    done = relax_together(seeds, calculator=calculator, settings=shortened)
    seconds, n = time.process_time() - start, sum(r.n_evaluations for r in done)
    return {"formula": formula, "n_atoms": len(seeds[0]), "evaluations": n, "ms_each": 1000 * seconds / n}


def collect_operators(database: SearchDatabase) -> pd.DataFrame:
    """Return `operator_success` over the children of every ended evolutionary search of a database."""
    ended = [n for n in database.searches() if f" {EVOLUTIONARY} " in n and database.note(n)]
    return operator_success([c for name in ended for c in database.candidates(name)])


def compare_arms(results: pd.DataFrame) -> pd.DataFrame:
    """Return one row per compound: how often each arm found it, and the ratio of mean evaluations.

    The ratio is evolutionary over random; a search that did not find the crystal counts with what it
    spent, so such a mean is a lower bound, and ``bound`` names the arm: with "random" alone the true ratio
    is at most the one given. Only seeds that both arms ran take part.
    """
    wide = _paired(results)
    rows = []
    for name in dict.fromkeys(results["compound"]):
        part = wide[wide.index.get_level_values("compound") == name]
        if part.empty:
            continue
        means, solved = part["spent"].astype(float).mean(), part["solved"].astype(bool)
        arms_of = (EVOLUTIONARY, RANDOM)
        rows.append(
            {
                "compound": name,
                "n_seeds": len(part),
                **{f"solved_{a}": int(solved[a].sum()) for a in arms_of},
                **{f"mean_evaluations_{a}": round(means[a]) for a in arms_of},
                "ratio": means[EVOLUTIONARY] / means[RANDOM],
                "bound": ", ".join(a for a in arms_of if not solved[a].all()),
            }
        )
    return pd.DataFrame(rows)


def _paired(results: pd.DataFrame) -> pd.DataFrame:
    """Return evaluations spent and success by compound and seed, both arms side by side."""
    both = results[results["arm"].isin([EVOLUTIONARY, RANDOM]) & results["ended"].astype(bool)]
    spent = both["evaluations_to_solution"].fillna(both["evaluations"])
    wide = both.assign(spent=spent).pivot_table(
        index=["compound", "seed"], columns="arm", values=["spent", "solved"], aggfunc="first"
    )
    return wide.dropna()


def for_reading(comparison: pd.DataFrame) -> pd.DataFrame:
    """Return `compare_arms` with short names, for a page of usual width: "evo" is evolutionary."""
    short = {"evolutionary": "evo", "mean_evaluations": "evaluations", "_": " "}
    named = comparison.round(2).rename(columns=lambda name: _replaced(name, short))
    return named.assign(bound=named["bound"].map(lambda text: _replaced(text, short)))


def _replaced(text: str, short: Mapping[str, str]) -> str:
    for long, brief in short.items():
        text = text.replace(long, brief)
    return text


def cost_table(results: pd.DataFrame) -> pd.DataFrame:
    """Return evaluations and process time to the solution, one row per arm beside the evolutionary one.

    Means over the pairs in which both searches found the crystal: evaluations, seconds of the potential and
    total seconds, with making and relaxing random crystals. Where a search did not record the latter (those
    stored before it was recorded), a pair relaxation counts with the evolutionary searches' mean.
    """
    done = results[results["solved"].astype(bool) & results["ended"].astype(bool)]
    mine = done[done["arm"] == EVOLUTIONARY]
    each = mine["pair_seconds"].sum() / max(1, mine["pair_relaxations"].sum())
    total = done["seconds"] + done["pair_seconds"].fillna(each * done["pair_relaxations"])
    done = done.assign(total=total)
    rows = []
    for arm in (RANDOM, PLAIN):
        pairs = done[done["arm"] == EVOLUTIONARY].merge(
            done[done["arm"] == arm], on=["compound", "seed"], suffixes=("", "_other")
        )
        row: dict[str, object] = {"beside": arm, "pairs": len(pairs)}
        for label, column in (("evaluations", "evaluations_to_solution"), ("s potential", "seconds"),
                              ("s in all", "total")):  # fmt: skip
            row[f"{label}, evolutionary"] = pairs[column].astype(float).mean()
            row[f"{label}, {arm}"] = pairs[f"{column}_other"].astype(float).mean()
        rows.append({k.replace(f", {arm}", ", other"): v for k, v in row.items()})
    return pd.DataFrame(rows).round(1)


def paired_ratio(results: pd.DataFrame, *, n_bootstrap: int = 2000, seed: int = 0) -> dict[str, float]:
    """Return the geometric mean of evolutionary over random evaluations with its 95 % interval.

    The bootstrap resamples compounds, then their seeds. Searches without success count as in
    `compare_arms`, so the number is a mixture of values and bounds: read it with the counts.
    """
    spent = np.log(_paired(results)["spent"].astype(float))
    logs = spent[EVOLUTIONARY] - spent[RANDOM]
    groups = [g.to_numpy() for _, g in logs.groupby(level=0)]
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(n_bootstrap):
        chosen = [groups[i] for i in rng.integers(len(groups), size=len(groups))]
        means.append(np.mean([rng.choice(g, size=len(g)).mean() for g in chosen]))
    low, high = np.exp(np.quantile(means, [0.025, 0.975]))
    value = float(np.exp(np.mean([g.mean() for g in groups])))
    return {"ratio": value, "ci_low": float(low), "ci_high": float(high), "n": len(logs)}


def stored_results() -> pd.DataFrame:
    """Return `data/benchmark/benchmark_results.csv`, the searches made so far; empty if there is none."""
    path = project_root() / "data" / "benchmark" / RESULTS_FILE
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=list(RESULT_COLUMNS))


def stored_operators() -> pd.DataFrame:
    """Return `data/benchmark/benchmark_operators.csv`: what the operators achieved in those searches."""
    path = project_root() / "data" / "benchmark" / OPERATORS_FILE
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=list(SUCCESS_COLUMNS))


def summary(results: pd.DataFrame) -> str:
    """Return in a few sentences how often each arm found the known crystal and at what cost."""
    comparison = compare_arms(results)
    if comparison.empty:
        return "No search of the benchmark has been stored yet."
    ratio = paired_ratio(results)
    always = comparison[f"solved_{EVOLUTIONARY}"] == comparison["n_seeds"]
    third = (comparison["ratio"] <= 1 / 3) & always
    goal = "reached" if _goal_reached(comparison["n_seeds"], third) else "not reached"
    solved = {a: int(comparison[f"solved_{a}"].sum()) for a in (EVOLUTIONARY, RANDOM)}
    n = int(comparison["n_seeds"].sum())
    first = int(((results["arm"] == EVOLUTIONARY) & (results["generation_of_solution"] == 0)).sum())
    shares = ", ".join(f"{a} {k} of {n} {_wilson(k, n)}" for a, k in solved.items())
    return (
        f"{len(comparison)} of {len(COMPOUNDS)} compounds and {n} pairs of searches are stored. "
        f"Found: {shares}; {first} of the evolutionary ones among the first, chosen random crystals. "
        f"At most a third of the evaluations of random search from unselected crystals of the pair model, "
        f"and found with every seed that ended: {int(third.sum())} of {len(comparison)}. Evaluations, "
        f"evolutionary over random: {ratio['ratio']:.2f} [{ratio['ci_low']:.2f}, {ratio['ci_high']:.2f}] "
        "(geometric mean; a search without success counts with what it spent). The goal, within a third "
        f"for two of three compounds with three seeds each, is {goal} against this search. "
        f"{_plain_summary(results)}{_interrupted(results)}"
    )


def _interrupted(results: pd.DataFrame) -> str:
    """Return a sentence on evolutionary searches that have not ended, empty if there is none."""
    cut = results[~results["ended"].astype(bool) & (results["arm"] == EVOLUTIONARY)]
    if cut.empty:
        return ""
    named = ", ".join(
        f"{r.compound} seed {r.seed} after {r.evaluations} evaluations" for r in cut.itertuples()
    )
    return (
        f" Interrupted and in no count above are the evolutionary searches for {named}. They had not found "
        "the crystal: the shares above are of the searches that ended, which are the easier ones."
    )


def against_plain(results: pd.DataFrame) -> pd.DataFrame:
    """Return one row per compound and seed that the evolutionary and a plain random search were run for.

    Columns compound, seed, evaluations (evolutionary, to the solution) and within_a_third: whether the plain
    one needed at least three times as many, or had not found the crystal when it had spent them. Pairs whose
    plain search has not got that far yet are left out.
    """
    found = results[results["solved"].astype(bool) & (results["arm"] == EVOLUTIONARY)]
    found = found[found["ended"].astype(bool)]
    pairs = found.merge(results[results["arm"] == PLAIN], on=["compound", "seed"], suffixes=("", "_plain"))
    thrice = 3 * pairs["evaluations_to_solution"].astype(float)
    decided = pairs["solved_plain"].astype(bool) | (pairs["evaluations_plain"] >= thrice)
    pairs, thrice = pairs[decided], thrice[decided]
    within = thrice <= pairs["evaluations_to_solution_plain"].astype(float).fillna(np.inf)
    named = pairs.rename(columns={"evaluations_to_solution": "evaluations"})
    return named[["compound", "seed", "evaluations"]].assign(within_a_third=within)


def _plain_summary(results: pd.DataFrame) -> str:
    pairs = against_plain(results)
    if pairs.empty:
        return "Random search without the pair model has not been run."
    searches = results[results["arm"] == EVOLUTIONARY].groupby("compound")["seed"].size()
    wins = pairs.groupby("compound")["within_a_third"].sum().reindex(searches.index, fill_value=0)
    k, n = int(pairs["within_a_third"].sum()), len(pairs)
    always = wins == searches
    goal = "reached" if _goal_reached(searches, always) else "not reached"
    return (
        "Against plain random search, without the pair model, the evolutionary one needed at most a third in "
        f"{k} of the {n} pairs in which it found the crystal {_wilson(k, n)}: with every seed for "
        f"{int(always.sum())} of {len(searches)} compounds, with most seeds for "
        f"{int((2 * wins > searches).sum())}, with at least one for {int((wins > 0).sum())}; against it "
        f"the goal, with every seed, is {goal}."
    )


def _goal_reached(n_seeds: pd.Series, within_a_third: pd.Series) -> bool:
    """Return whether 8 of 12 or as large a share of more compounds are within a third, over three seeds."""
    complete = n_seeds >= 3
    n, k = int(complete.sum()), int((within_a_third & complete).sum())
    return n >= 12 and 3 * k >= 2 * n


def _wilson(k: int, n: int) -> str:
    interval = binomtest(k, n).proportion_ci(method="wilson")
    return f"[{interval.low:.2f}, {interval.high:.2f}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m sselib.generation.benchmark", description=__doc__)
    parser.add_argument("compounds", nargs="*", default=list(COMPOUNDS), help="names; none means all")
    parser.add_argument("--out", type=Path, default=Path("benchmark"), metavar="FOLDER")
    parser.add_argument("--collect", action="store_true", help="only write the results of ended searches")
    parser.add_argument(
        "--into", type=Path, metavar="FOLDER", help="where --collect writes, such as data/benchmark"
    )
    parser.add_argument("--references", action="store_true", help="only relax the known crystals, and show")
    parser.add_argument("--cost", nargs="+", metavar="FORMULA=Z", help="only time an energy evaluation")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budget", type=int, default=1500, help="energy evaluations per search")
    parser.add_argument("--jobs", type=int, default=1, help="relaxations at a time")
    options = parser.parse_args(arguments)
    settings = benchmark_settings(options.budget)
    try:
        if options.references:
            print(reference_table(options.compounds, settings).to_string(index=False))
            return 0
        if options.cost:
            cells = [c.rpartition("=") for c in options.cost]
            costs = [evaluation_cost(formula, z=int(z)) for formula, _, z in cells]
            print(pd.DataFrame(costs).round(1).to_string(index=False))
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
    except SSEError as error:
        print(f"error: {error}")
        return 1
    return 0


def _collect(folder: Path, settings: SearchSettings, *, into: Path) -> None:
    """Write and print the results of the ended searches of a folder.

    A README.md in ``into`` gets them between its lines "results:begin" and "results:end".
    """
    database = SearchDatabase(folder / "benchmark.sqlite")
    results, operators = collect_results(database, settings), collect_operators(database).round(3)
    write_whole(into / RESULTS_FILE, lambda p: results.to_csv(p, index=False))
    write_whole(into / OPERATORS_FILE, lambda p: operators.to_csv(p, index=False))
    text, page = results_text(results, operators), into / "README.md"
    if page.is_file():
        old = page.read_text(encoding="utf-8")
        page.write_text(RESULTS_BLOCK.sub(lambda m: m[1] + text + m[2], old), encoding="utf-8")
    print(text)


def results_text(results: pd.DataFrame, operators: pd.DataFrame) -> str:
    """Return the results as Markdown: the summary, one row per compound, the operators."""
    lines = [*wrap(summary(results), 110), "", *_markdown(compare_arms(results).round(2)), ""]
    if len(operators):
        shares = "; ".join(
            f"{r.operator.replace('_', ' ')} {r.below_parent} of {r.n} [{r.ci_low:.2f}, {r.ci_high:.2f}]"
            for r in operators.itertuples()
        )
        lines += wrap(f"Children below their better parent: {shares}.", 110)
    return "\n".join(lines).rstrip() + "\n"


def _markdown(table: pd.DataFrame) -> list[str]:
    head = [str(c).replace("_", " ") for c in table.columns]
    rows = [head, ["---"] * len(head), *table.astype(str).to_numpy().tolist()]
    return [f"| {' | '.join(row)} |" for row in rows]


def benchmark_settings(budget: int) -> SearchSettings:
    """Return the settings of a benchmark search: the defaults, ended by success or budget alone."""
    unlimited = 10_000
    return SearchSettings(max_evaluations=budget, patience=unlimited, max_generations=unlimited)


if __name__ == "__main__":
    raise SystemExit(main())

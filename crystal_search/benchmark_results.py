"""What the searches of the benchmark say: how often each arm found the known crystal, and at what cost.

``ended``: false for a search that was interrupted for good.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from crystal_search.database import SearchCandidate
from crystal_search.known_crystals import DATA
from crystal_search.population import SEED
from crystal_search.relaxation import ABANDONED, FAILED, RELAXED
from crystal_search.search_settings import EVOLUTIONARY, RANDOM

RESULTS_FILE = "benchmark_results.csv"
PLAIN = "plain"  # random search whose crystals are not relaxed as ions first, with volumes of covalent radii
ARMS = (EVOLUTIONARY, PLAIN, RANDOM)
N_BOOTSTRAP = 2000
_SUCCESS = (  # columns of `operator_success`
    "operator", "n", "relaxed", "given_up", "failed", "below_parent", "share", "ci_low", "ci_high",
    "evaluations_per_child",
)  # fmt: skip


def stored_results(folder: Path = DATA) -> pd.DataFrame:
    """Return ``folder``/benchmark/benchmark_results.csv, the searches made so far."""
    return pd.read_csv(folder / "benchmark" / RESULTS_FILE)


def arm_table(results: pd.DataFrame) -> pd.DataFrame:
    """Return one row per arm: searches that ended, how many found the crystal, with a 95 % Wilson interval.

    ``ratio``: geometric mean of the evolutionary over the arm's evaluations, with its 95 % interval by
    `paired_ratio`; ``within_a_third``: pairs in which the evolutionary search took at most a third.
    """
    rows = []
    for arm in ARMS:
        ended = results[(results["arm"] == arm) & results["ended"].astype(bool)]
        if ended.empty:
            continue
        k, n = int(ended["solved"].astype(bool).sum()), len(ended)
        interval = binomtest(k, n).proportion_ci(method="wilson")
        row = {"arm": arm, "searches": n, "found": k, "found_low": interval.low, "found_high": interval.high}
        if arm != EVOLUTIONARY:
            pairs = within_a_third(results, beside=arm)
            row |= paired_ratio(results, beside=arm)
            row |= {"pairs": len(pairs), "within_a_third": int(pairs["within_a_third"].sum())}
        rows.append(row)
    return pd.DataFrame(rows)


def compound_table(results: pd.DataFrame) -> pd.DataFrame:
    """Return one row per compound: the evaluations of every seed to the solution, arm by arm.

    A search that ended without the crystal stands as ">" and what it spent, one that was interrupted in
    brackets, one that was not run as "-". ``n_atoms``: of the primitive cell.
    """
    rows = []
    for name, part in results.groupby("compound", sort=False):
        seeds = sorted(part.loc[part["arm"] == EVOLUTIONARY, "seed"])
        each = {arm: ", ".join(_spent(part, arm, s) for s in seeds) for arm in ARMS}
        rows.append({"compound": name, "n_atoms": part["n_atoms"].iloc[0], **each})
    return pd.DataFrame(rows, columns=["compound", "n_atoms", *ARMS])


def _spent(results: pd.DataFrame, arm: str, seed: int) -> str:
    for row in results[(results["arm"] == arm) & (results["seed"] == seed)].itertuples():
        if row.solved:
            return f"{row.evaluations_to_solution:.0f}"
        return f">{row.evaluations}" if row.ended else f"(>{row.evaluations})"
    return "-"


def paired_ratio(results: pd.DataFrame, *, beside: str = PLAIN, seed: int = 0) -> dict[str, float]:
    """Return the geometric mean of evolutionary over the other evaluations with its 95 % interval.

    The bootstrap resamples compounds, then their seeds. Only seeds that both arms ended take part; a search
    without success counts with what it spent, so the number is a mixture of values and bounds.
    """
    both = results[results["arm"].isin([EVOLUTIONARY, beside]) & results["ended"].astype(bool)]
    spent = both["evaluations_to_solution"].fillna(both["evaluations"]).astype(float)
    wide = both.assign(log=np.log(spent)).pivot_table(index=["compound", "seed"], columns="arm", values="log")
    logs = (wide[EVOLUTIONARY] - wide[beside]).dropna()
    groups = [g.to_numpy() for _, g in logs.groupby(level=0)]
    rng, means = np.random.default_rng(seed), []
    for _ in range(N_BOOTSTRAP):
        chosen = [groups[i] for i in rng.integers(len(groups), size=len(groups))]
        means.append(np.mean([rng.choice(g, size=len(g)).mean() for g in chosen]))
    low, high = np.exp(np.quantile(means, [0.025, 0.975]))
    value = float(np.exp(np.mean([g.mean() for g in groups])))
    return {"ratio": value, "ratio_low": float(low), "ratio_high": float(high)}


def within_a_third(results: pd.DataFrame, *, beside: str = PLAIN) -> pd.DataFrame:
    """Return compound, seed and within_a_third of each pair whose evolutionary search found the crystal.

    True where the other search needed at least three times as many evaluations, or had not found the
    crystal when it had spent them. Pairs whose other search has not got that far yet are left out.
    """
    found = results[results["solved"].astype(bool) & (results["arm"] == EVOLUTIONARY)]
    found = found[found["ended"].astype(bool)]
    pairs = found.merge(results[results["arm"] == beside], on=["compound", "seed"], suffixes=("", "_other"))
    thrice = 3 * pairs["evaluations_to_solution"].astype(float)
    decided = pairs["solved_other"].astype(bool) | (pairs["evaluations_other"] >= thrice)
    within = thrice <= pairs["evaluations_to_solution_other"].astype(float).fillna(np.inf)
    return pairs.assign(within_a_third=within).loc[decided, ["compound", "seed", "within_a_third"]]


def operator_success(
    candidates: Sequence[SearchCandidate], *, tolerance_ev_atom: float = 0.001
) -> pd.DataFrame:
    """Return for each operator the share of children below their better parent, with a Wilson interval.

    A child that was given up or failed counts as no success. Seeds have no parents and are left out.
    """
    rows = []
    children = [c for c in candidates if c.operator != SEED]
    for operator in dict.fromkeys(c.operator for c in children):
        mine = [c for c in children if c.operator == operator]
        states, relaxed = [c.status for c in mine], [c for c in mine if c.status in RELAXED]
        below = sum(c.enthalpy_ev_atom < c.parent_enthalpy_ev_atom - tolerance_ev_atom for c in relaxed)
        interval = binomtest(below, len(mine)).proportion_ci(method="wilson")
        row = (operator, len(mine), len(relaxed), states.count(ABANDONED), states.count(FAILED), below)
        cost = float(np.mean([c.n_evaluations for c in mine]))
        rows.append((*row, below / len(mine), interval.low, interval.high, cost))
    return pd.DataFrame(rows, columns=list(_SUCCESS))

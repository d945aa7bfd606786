"""What the searches of the benchmark say: counts, ratios and costs, of results that are stored.

`crystal_search.benchmark` makes them.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from crystal_search.database import Candidate
from crystal_search.known_crystals import COMPOUNDS, DATA
from crystal_search.population import SEED
from crystal_search.relaxation import ABANDONED, CONVERGED, FAILED, UNCONVERGED
from crystal_search.search_settings import EVOLUTIONARY, RANDOM, SearchSettings

RESULTS_BLOCK = re.compile(r"(<!-- results:begin[^>]*-->\n).*?(<!-- results:end -->)", re.DOTALL)
RESULTS_FILE, OPERATORS_FILE = "benchmark_results.csv", "benchmark_operators.csv"
PLAIN = "plain"  # random search whose crystals are not relaxed as ions first, with volumes of covalent radii
RESULT_COLUMNS: tuple[str, ...] = (
    "compound", "formula", "n_atoms", "arm", "seed", "solved", "how", "evaluations_to_solution",
    "generation_of_solution", "operator_of_solution", "evaluations", "structures", "seconds",
    "model_relaxations", "model_seconds", "ended",
    "best_above_reference_ev_atom", "generation_of_patience",
)  # fmt: skip
SUCCESS_COLUMNS: tuple[str, ...] = (
    "operator", "n", "relaxed", "given_up", "failed", "below_parent", "share", "ci_low", "ci_high",
    "evaluations_per_child",
)  # fmt: skip


def operator_success(candidates: Sequence[Candidate], *, tolerance_ev_atom: float = 0.001) -> pd.DataFrame:
    """Return for each operator the share of children below their better parent, with a Wilson interval.

    A child that was given up or failed counts as no success. Columns operator, n, relaxed, given_up, failed,
    below_parent, share, ci_low, ci_high, evaluations_per_child. Seeds have no parents and are left out.
    """
    children = [c for c in candidates if c.operator != SEED]
    rows = []
    for operator in dict.fromkeys(c.operator for c in children):
        mine = [c for c in children if c.operator == operator]
        states = [c.status for c in mine]
        below = sum(
            c.status in (CONVERGED, UNCONVERGED)
            and c.enthalpy_ev_atom < c.parent_enthalpy_ev_atom - tolerance_ev_atom
            for c in mine
        )
        interval = binomtest(below, len(mine)).proportion_ci(method="wilson")
        rows.append(
            {
                "operator": operator,
                "n": len(mine),
                "relaxed": states.count(CONVERGED) + states.count(UNCONVERGED),
                "given_up": states.count(ABANDONED),
                "failed": states.count(FAILED),
                "below_parent": below,
                "share": below / len(mine),
                "ci_low": interval.low,
                "ci_high": interval.high,
                "evaluations_per_child": float(np.mean([c.n_evaluations for c in mine])),
            }
        )
    return pd.DataFrame(rows, columns=list(SUCCESS_COLUMNS))


def compare_arms(results: pd.DataFrame, *, beside: str = PLAIN) -> pd.DataFrame:
    """Return one row per compound: how often each arm found it, and the ratio of mean evaluations.

    The ratio is evolutionary over the random search ``beside``; a search that did not find the crystal counts
    with what it spent, so such a mean is a lower bound, and ``bound`` names the arm: with the random one
    alone the true ratio is at most the one given. Only seeds that both arms ran take part.
    """
    wide = _paired(results, beside)
    rows = []
    for name in dict.fromkeys(results["compound"]):
        part = wide[wide.index.get_level_values("compound") == name]
        if part.empty:
            continue
        means, solved = part["spent"].astype(float).mean(), part["solved"].astype(bool)
        arms_of = (EVOLUTIONARY, beside)
        rows.append(
            {
                "compound": name,
                "n_seeds": len(part),
                **{f"solved_{a}": int(solved[a].sum()) for a in arms_of},
                **{f"mean_evaluations_{a}": round(means[a]) for a in arms_of},
                "ratio": means[EVOLUTIONARY] / means[beside],
                "bound": ", ".join(a for a in arms_of if not solved[a].all()),
            }
        )
    return pd.DataFrame(rows)


def _paired(results: pd.DataFrame, beside: str) -> pd.DataFrame:
    """Return evaluations spent and success by compound and seed, both arms side by side."""
    both = results[results["arm"].isin([EVOLUTIONARY, beside]) & results["ended"].astype(bool)]
    spent = both["evaluations_to_solution"].fillna(both["evaluations"])
    wide = both.assign(spent=spent).pivot_table(
        index=["compound", "seed"], columns="arm", values=["spent", "solved"], aggfunc="first"
    )
    columns = pd.MultiIndex.from_product([["spent", "solved"], [EVOLUTIONARY, beside]])
    return wide.reindex(columns=columns).dropna()


def cost_table(results: pd.DataFrame) -> pd.DataFrame:
    """Return evaluations and process time to the solution, one row per arm beside the evolutionary one.

    Means over the pairs in which both searches found the crystal: evaluations, seconds of the potential and
    total seconds, with making and relaxing random crystals. Where a search did not record the latter (those
    stored before it was recorded), a pair relaxation counts with the mean of the evolutionary searches that
    ended in their first generation, before they had learned a potential.
    """
    done = results[results["solved"].astype(bool) & results["ended"].astype(bool)]
    mine = done[(done["arm"] == EVOLUTIONARY) & (done["generation_of_solution"] == 0)]
    each = mine["model_seconds"].sum() / max(1, mine["model_relaxations"].sum())
    total = done["seconds"] + done["model_seconds"].fillna(each * done["model_relaxations"])
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


def paired_ratio(
    results: pd.DataFrame, *, beside: str = PLAIN, n_bootstrap: int = 2000, seed: int = 0
) -> dict[str, float]:
    """Return the geometric mean of evolutionary over the other evaluations with its 95 % interval.

    The bootstrap resamples compounds, then their seeds. Searches without success count as in
    `compare_arms`, so the number is a mixture of values and bounds: read it with the counts.
    """
    spent = np.log(_paired(results, beside)["spent"].astype(float))
    logs = spent[EVOLUTIONARY] - spent[beside]
    groups = [g.to_numpy() for _, g in logs.groupby(level=0)]
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(n_bootstrap):
        chosen = [groups[i] for i in rng.integers(len(groups), size=len(groups))]
        means.append(np.mean([rng.choice(g, size=len(g)).mean() for g in chosen]))
    low, high = np.exp(np.quantile(means, [0.025, 0.975]))
    value = float(np.exp(np.mean([g.mean() for g in groups])))
    return {"ratio": value, "ci_low": float(low), "ci_high": float(high), "n": len(logs)}


def seed_table(results: pd.DataFrame) -> pd.DataFrame:
    """Return one row per compound with the evaluations of every seed, in the order of the seeds.

    A search that did not find the crystal stands as ">" and what it spent, one that was not run as "-".
    The last column counts the seeds within a third of plain random search (`against_plain`).
    """
    ended = results[results["ended"].astype(bool)]
    wins = against_plain(results).groupby("compound")["within_a_third"].sum()
    rows = []
    for name, part in ended.groupby("compound", sort=False):
        seeds = sorted(part.loc[part["arm"] == EVOLUTIONARY, "seed"])
        each = {a: ", ".join(_spent(part, a, s) for s in seeds) for a in (EVOLUTIONARY, PLAIN, RANDOM)}
        won = f"{int(wins.get(name, 0))} of {len(seeds)}"
        rows.append({"compound": name, **each, "within a third of plain": won})
    return pd.DataFrame(rows)


def _spent(results: pd.DataFrame, arm: str, seed: int) -> str:
    rows = results[(results["arm"] == arm) & (results["seed"] == seed)]
    if rows.empty:
        return "-"
    row = rows.iloc[0]
    return f"{row['evaluations_to_solution']:.0f}" if row["solved"] else f">{row['evaluations']}"


def stored_results(folder: Path = DATA) -> pd.DataFrame:
    """Return ``folder``/benchmark/benchmark_results.csv, the searches made so far; empty if there is none."""
    path = folder / "benchmark" / RESULTS_FILE
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=list(RESULT_COLUMNS))


def stored_operators(folder: Path = DATA) -> pd.DataFrame:
    """Return ``folder``/benchmark/benchmark_operators.csv: what the operators achieved in those searches."""
    path = folder / "benchmark" / OPERATORS_FILE
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=list(SUCCESS_COLUMNS))


def summary(results: pd.DataFrame) -> str:
    """Return in a few sentences how often each arm found the known crystal and at what cost."""
    mine = results[(results["arm"] == EVOLUTIONARY) & results["ended"].astype(bool)]
    if mine.empty:
        return "No search of the benchmark has been stored yet."
    first = int((mine["generation_of_solution"] == 0).sum())
    found = ", ".join(_found(results, arm) for arm in (EVOLUTIONARY, PLAIN, RANDOM))
    sentences = [
        f"{mine['compound'].nunique()} of {len(COMPOUNDS)} compounds, {len(mine)} evolutionary searches. "
        f"Found: {found}; {first} of the evolutionary ones among the first, chosen random crystals.",
        _arm_summary(results, PLAIN, "plain random search"),
        _pair_summary(results),
        _arm_summary(results, RANDOM, "random search from crystals relaxed by the pair model"),
        _patience_summary(mine) + _interrupted(results),
    ]
    return " ".join(sentences)


def _found(results: pd.DataFrame, arm: str) -> str:
    ended = results[(results["arm"] == arm) & results["ended"].astype(bool)]
    n, k = len(ended), int(ended["solved"].astype(bool).sum())
    return f"{arm} {k} of {n} {_wilson(k, n)}" if n else f"{arm} not run"


def _arm_summary(results: pd.DataFrame, arm: str, name: str) -> str:
    """Return the comparison of means over seeds with one random search.

    Whether the goal is reached beside plain random search is for `_pair_summary` to say, the stricter count.
    """
    comparison = compare_arms(results, beside=arm)
    if comparison.empty:
        return f"Beside {name}: not run."
    ratio = paired_ratio(results, beside=arm)
    always = comparison[f"solved_{EVOLUTIONARY}"] == comparison["n_seeds"]
    third = (comparison["ratio"] <= 1 / 3) & always
    goal = "reached" if _goal_reached(comparison["n_seeds"], third) else "not reached"
    verdict = f" (in this count the goal, two of three, is {goal})" if arm == RANDOM else ""
    return (
        f"Beside {name}: found with every seed, and with at most a third of its evaluations in the mean over "
        f"seeds, {int(third.sum())} of {len(comparison)} compounds{verdict}; "
        f"evolutionary over random {ratio['ratio']:.2f} [{ratio['ci_low']:.2f}, {ratio['ci_high']:.2f}] "
        "(geometric mean; a search without success counts with what it spent)."
    )


def _patience_summary(mine: pd.DataFrame) -> str:
    """Return how many evolutionary searches had found the crystal before the default patience was over."""
    late = mine["generation_of_solution"].astype(float) > mine["generation_of_patience"].astype(float)
    in_time = int((mine["solved"].astype(bool) & ~late).sum())
    patience = SearchSettings().patience
    return (
        f"The benchmark goes on without patience; a search with the default one ends after {patience} "
        f"generations without a lower enthalpy, and {in_time} of {len(mine)} had found the crystal by then."
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
        f" Interrupted, without the crystal, are the evolutionary searches for {named}. With every seed and "
        "with most seeds, pair by pair, they count as not found; all other counts are of searches that "
        "ended, which are the easier ones."
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


def _pair_summary(results: pd.DataFrame) -> str:
    """Return how many single pairs of an evolutionary and a plain random search are within a third."""
    pairs = against_plain(results)
    if pairs.empty:
        return "No single pair is decided."
    searches = results[results["arm"] == EVOLUTIONARY].groupby("compound")["seed"].size()
    wins = pairs.groupby("compound")["within_a_third"].sum().reindex(searches.index, fill_value=0)
    k, n, always = int(pairs["within_a_third"].sum()), len(pairs), wins == searches
    goal = "reached" if _goal_reached(searches, always) else "not reached"
    return (
        f"Pair by pair, within a third in {k} of the {n} pairs in which the evolutionary one found the "
        f"crystal {_wilson(k, n)}: with every seed for {int(always.sum())} of {len(searches)} compounds (by "
        f"this count the goal, two of three, is {goal}), with most seeds for "
        f"{int((2 * wins > searches).sum())}, with at least one for {int((wins > 0).sum())}."
    )


def _goal_reached(n_seeds: pd.Series, within_a_third: pd.Series) -> bool:
    """Return whether 8 of 12 or as large a share of more compounds are within a third, over three seeds.

    A compound with fewer seeds, or none, counts as not within.
    """
    k = int((within_a_third & (n_seeds >= 3)).sum())
    return 3 * k >= 2 * max(len(COMPOUNDS), len(n_seeds))


def _wilson(k: int, n: int) -> str:
    interval = binomtest(k, n).proportion_ci(method="wilson")
    return f"[{interval.low:.2f}, {interval.high:.2f}]"


def results_text(results: pd.DataFrame, operators: pd.DataFrame) -> str:
    """Return the results as Markdown: the summary, one row per compound, the operators."""
    lines = [*wrap(summary(results), 110), "", *_markdown(compare_arms(results).round(2)), ""]
    lines += [*_markdown(compare_arms(results, beside=RANDOM).round(2)), ""]
    lines += ["Evaluations of each seed:", "", *_markdown(seed_table(results)), ""]
    lines += wrap(operator_sentence(operators), 110)
    return "\n".join(lines).rstrip() + "\n"


def operator_sentence(operators: pd.DataFrame) -> str:
    """Return how often the children of each operator ended below their better parent, with intervals."""
    shares = [
        f"{r.operator.replace('_', ' ')} {r.below_parent} of {r.n} [{r.ci_low:.2f}, {r.ci_high:.2f}]"
        for r in operators.itertuples()
    ]
    if not shares:
        return "No operators have been stored yet."
    return f"Children below their better parent: {'; '.join(shares)}."


def _markdown(table: pd.DataFrame) -> list[str]:
    head = [str(c).replace("_", " ") for c in table.columns]
    rows = [head, ["---"] * len(head), *table.astype(str).to_numpy().tolist()]
    return [f"| {' | '.join(row)} |" for row in rows]

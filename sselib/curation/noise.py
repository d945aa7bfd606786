"""Label noise: how far repeated measurements of one material lie apart, the floor of every model's error."""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from sselib.columns import Entry

N_BOOTSTRAP = 2000
GROUPINGS: dict[str, list[str]] = {
    "composition": [Entry.COMPOSITION],
    "composition and space group": [Entry.COMPOSITION, Entry.SPACE_GROUP_NUMBER],
}


def label_noise(measurements: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Return the label noise of each source.

    ``measurements`` has the columns of `Entry`, one row per measurement; upper bounds are left out.
    Sources are not pooled, because they hold copies of the same measurements (see
    `source_disagreement`). One row per source, grouping and measure, with ``value``, ``ci_low``,
    ``ci_high`` (95 %, bootstrap over groups, log units), ``n_groups`` and ``n_measurements``.
    Measures: ``mean_abs_deviation`` from the group's median, pooled over measurements;
    ``mean_pair_difference`` pooled over all pairs of a group. A grouping by space group uses the rows
    that give one. A large group weighs more in both.
    """
    exact = measurements[~measurements[Entry.CENSORED].astype(bool)]
    rng = np.random.default_rng(seed)
    rows = [
        {"source": source, "grouping": grouping, "measure": measure, **_summary(groups, pool, rng)}
        for source, table in exact.groupby(Entry.SOURCE, sort=False)
        for grouping, keys in GROUPINGS.items()
        for groups in [_repeats(table, keys)]
        for measure, pool in _MEASURES.items()
    ]
    return pd.DataFrame(rows)


def source_disagreement(measurements: pd.DataFrame, *, first: str, second: str, seed: int) -> pd.DataFrame:
    """Return how far two sources lie apart on shared compositions, in log units.

    Columns ``pairs``, ``value``, ``ci_low``, ``ci_high``, ``n``: the median absolute difference of the
    sources' medians per composition, with a 95 % bootstrap interval. ``all shared compositions`` holds
    measurements that one source copied from the other; ``different publications`` compares
    measurements whose DOIs are both known and differ, and takes the median over such pairs.
    """
    exact = measurements[~measurements[Entry.CENSORED].astype(bool)]
    columns = [Entry.COMPOSITION, Entry.LOG10_SIGMA, Entry.DOI]
    left, right = (exact.loc[exact[Entry.SOURCE] == s, columns] for s in (first, second))
    medians = [t.groupby(Entry.COMPOSITION)[Entry.LOG10_SIGMA].median() for t in (left, right)]
    shared = (medians[0] - medians[1]).dropna().abs().to_numpy()
    pairs = left.merge(right, on=Entry.COMPOSITION, suffixes=("_1", "_2")).dropna()
    pairs = pairs[pairs[f"{Entry.DOI}_1"].str.lower() != pairs[f"{Entry.DOI}_2"].str.lower()]
    pairs = pairs.assign(difference=(pairs[f"{Entry.LOG10_SIGMA}_1"] - pairs[f"{Entry.LOG10_SIGMA}_2"]).abs())
    apart = pairs.groupby(Entry.COMPOSITION)["difference"].median().to_numpy()
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        [
            _median_row("all shared compositions", shared, rng),
            _median_row("different publications", apart, rng),
        ]
    )


def disagreements(measurements: pd.DataFrame, sources: Sequence[str], *, seed: int) -> pd.DataFrame:
    """Return `source_disagreement` of each two sources, with a column ``sources``; no row for one source."""
    parts = [
        source_disagreement(measurements, first=a, second=b, seed=seed).assign(sources=f"{a}, {b}")
        for a, b in combinations(sources, 2)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["pairs", "sources"])


def _repeats(table: pd.DataFrame, keys: list[str]) -> list[np.ndarray]:
    """Return the values of each group with at least two measurements."""
    groups = table.dropna(subset=keys).groupby(keys, sort=True)[Entry.LOG10_SIGMA]
    return [values.to_numpy() for _, values in groups if len(values) > 1]


def _deviations(values: np.ndarray) -> tuple[float, int]:
    """Return the sum of the distances from the median and their number."""
    return float(np.abs(values - np.median(values)).sum()), len(values)


def _pair_differences(values: np.ndarray) -> tuple[float, int]:
    """Return the sum of the differences of all pairs and their number, from the ranks of the values."""
    n = len(values)
    return float(((2 * np.arange(n) - n + 1) * np.sort(values)).sum()), n * (n - 1) // 2


_MEASURES: dict[str, Callable[[np.ndarray], tuple[float, int]]] = {
    "mean_abs_deviation": _deviations,
    "mean_pair_difference": _pair_differences,
}


def _summary(
    groups: list[np.ndarray], pool: Callable[[np.ndarray], tuple[float, int]], rng: np.random.Generator
) -> dict[str, float]:
    """Return the pooled mean with its bootstrap interval over groups; NaN without repeats."""
    counts = {"n_groups": len(groups), "n_measurements": sum(len(g) for g in groups)}
    if not groups:
        return {"value": np.nan, "ci_low": np.nan, "ci_high": np.nan, **counts}
    sums, sizes = np.array([pool(g) for g in groups]).T
    means = [sums[k].sum() / sizes[k].sum() for k in _draws(len(groups), rng)]
    low, high = np.quantile(means, [0.025, 0.975])
    return {"value": sums.sum() / sizes.sum(), "ci_low": low, "ci_high": high, **counts}


def _draws(n: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the rows of `N_BOOTSTRAP` draws with replacement."""
    return (rng.integers(n, size=n) for _ in range(N_BOOTSTRAP))


def _median_row(pairs: str, values: np.ndarray, rng: np.random.Generator) -> dict[str, object]:
    """Return the median of ``values`` with its bootstrap interval; NaN without values."""
    if len(values) == 0:
        return {"pairs": pairs, "value": np.nan, "ci_low": np.nan, "ci_high": np.nan, "n": 0}
    medians = [np.median(values[k]) for k in _draws(len(values), rng)]
    low, high = np.quantile(medians, [0.025, 0.975])
    middle = float(np.median(values))
    return {"pairs": pairs, "value": middle, "ci_low": low, "ci_high": high, "n": len(values)}

"""What a test set already shares with its training set: near-duplicates, publications, clusters."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from scipy.stats import binomtest

from sselib.columns import Curated, Entry
from sselib.errors import DataError
from sselib.materials.composition import element_fractions
from sselib.validation.splits import Split, protocol_splits, why_unavailable

NEAR_L1 = (0.02, 0.05)  # "within 2 %" and "within 5 %" in composition
_NOISE = -1  # cluster number of rows in no cluster
_SHARED = {  # criterion -> column whose value a training row must share
    "same DOI": Entry.DOI,
    "same cluster": Curated.CLUSTER,
    "same chemical system": Curated.CHEMICAL_SYSTEM,
    "same near-duplicate group": Curated.DUPLICATE_GROUP,
}


def audit_split(table: pd.DataFrame, train_ids: Collection[str], test_ids: Collection[str]) -> pd.DataFrame:
    """Return how much of a test set has a counterpart in its training set.

    ``table`` holds `Entry` and `Curated` columns; both collections hold values of its ``id``. The
    result has one row per criterion: ``criterion``, ``share`` of the test rows that meet it,
    ``ci_low``, ``ci_high`` (95 % Wilson interval) and ``n``, the test rows that could meet it: rows
    without a DOI or outside every cluster do not count for those. Raises `DataError` for an empty
    set, an id that the table lacks and an id on both sides.
    """
    train, test = _rows(table, train_ids, "training"), _rows(table, test_ids, "test")
    both = set(train[Entry.ID]) & set(test[Entry.ID])
    if both:
        raise DataError(
            f"{len(both)} ids are on both sides of the split, for example {sorted(both)[0]!r}: "
            "a row can train or test, not both"
        )
    records = [_record(criterion, hits) for criterion, hits in _all_hits(train, test).items()]
    return pd.DataFrame(records)


def audit_protocol(table: pd.DataFrame, splits: Sequence[Split]) -> pd.DataFrame:
    """Return `audit_split` for a whole protocol, with a column ``protocol`` in front.

    The folds of one repeat are pooled, so that each test row counts once. Over repeats, ``share`` is
    the mean and ``n`` the test rows of one repeat, so that repeats do not narrow the interval.
    """
    tables = []
    for split in splits:
        hits = _all_hits(table.iloc[split.train], table.iloc[split.test])
        tables += [
            {"criterion": c, "hits": h.sum(), "n": len(h), "repeat": split.repeat} for c, h in hits.items()
        ]
    pooled = pd.DataFrame(tables).groupby(["criterion", "repeat"], sort=False)[["hits", "n"]].sum()
    mean = pooled.groupby("criterion", sort=False).mean()
    rows = [_interval(c, row["hits"], row["n"]) for c, row in mean.iterrows()]
    return pd.DataFrame(rows).assign(protocol=splits[0].protocol)[["protocol", *rows[0]]]


def audit_protocols(table: pd.DataFrame, names: Sequence[str], *, seed: int) -> pd.DataFrame:
    """Return `audit_protocol` of those protocols that the table allows, one below the other."""
    possible = [name for name in names if not why_unavailable(name, table)]
    audits = [audit_protocol(table, protocol_splits(name, table, seed=seed)) for name in possible]
    return pd.concat(audits, ignore_index=True)


def _rows(table: pd.DataFrame, ids: Collection[str], what: str) -> pd.DataFrame:
    """Return the rows with these ids."""
    wanted = set(ids)
    unknown = wanted - set(table[Entry.ID])
    expected = f"expected values of the table's '{Entry.ID}' column"
    if not wanted:
        raise DataError(f"the {what} set has no id: {expected}")
    if unknown:
        raise DataError(
            f"the {what} set has {len(unknown)} ids that the table lacks, "
            f"for example {sorted(unknown)[0]!r}: {expected}"
        )
    return table[table[Entry.ID].isin(wanted)]


def _all_hits(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return for each criterion which of its test rows have a counterpart in the training set."""
    nearest = _nearest_l1(train, test)
    hits = {f"within {limit:.0%} in composition": nearest <= limit + 1e-9 for limit in NEAR_L1}
    for criterion, column in _SHARED.items():
        values, known = test[column], set(train[column].dropna()) - {_NOISE}
        countable = values.notna() & (values != _NOISE)
        hits[criterion] = values[countable].isin(known).to_numpy()
    return hits


def _nearest_l1(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Return the L1 distance of each test row to the nearest training row, infinite beyond `NEAR_L1`."""
    first, second = (element_fractions(list(t[Entry.COMPOSITION])).to_numpy() for t in (test, train))
    return cKDTree(second).query(first, p=1, distance_upper_bound=2 * max(NEAR_L1))[0]


def _record(criterion: str, hits: np.ndarray) -> dict[str, object]:
    return _interval(criterion, hits.sum(), len(hits))


def _interval(criterion: str, hits: float, n: float) -> dict[str, object]:
    """Return one row of the audit with its 95 % Wilson interval; without countable rows all is NaN."""
    if n < 1:
        return {"criterion": criterion, "share": np.nan, "ci_low": np.nan, "ci_high": np.nan, "n": 0}
    limits = binomtest(round(hits), round(n)).proportion_ci(method="wilson")
    share = {"share": hits / n, "ci_low": limits.low, "ci_high": limits.high}
    return {"criterion": criterion, **share, "n": round(n)}

"""What features are worth: for how many rows they are known, and how they go with the conductivity.

That they do not depend on how a crystal is written down, and that volumes are converged, is tested
(`tests/features/test_table.py`, `test_pores.py`).
"""

import numpy as np
import pandas as pd

from sselib.columns import Curated, Entry
from sselib.features.table import FeatureTable
from sselib.progress import progress
from sselib.validation.metrics import resample_counts, srcc

_MIN_ROWS = 20  # for a rank correlation


def coverage(features: pd.DataFrame, groups: pd.DataFrame, *, by: pd.Series | None = None) -> pd.DataFrame:
    """Return the share of rows that have a feature of each group, on average over its features.

    ``by`` (one value per row, such as the family) splits the rows; without it all rows count as "all".
    Columns: group, by, share, n (rows).
    """
    labels = pd.Series("all", index=features.index)
    if by is not None:
        labels = by.fillna("unknown").set_axis(features.index)
    parts = []
    for group, names in groups.groupby("group", sort=False)["feature"]:
        present = features[list(names)].notna().mean(axis=1).groupby(labels)
        found = pd.DataFrame({"group": group, "share": present.mean(), "n": present.size()})
        parts.append(found.rename_axis("by").reset_index())
    return pd.concat(parts, ignore_index=True)[["group", "by", "share", "n"]]


def rank_correlations(
    curated: pd.DataFrame,
    features: pd.DataFrame,
    groups: pd.DataFrame,
    *,
    n_bootstrap: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Return Spearman's rank correlation of each feature with log10(sigma), with a 95 % interval.

    Upper bounds enter with their bound. The bootstrap draws groups of near-duplicates, not rows, because
    copies of one material are no independent evidence. Columns: feature, group, rho, ci_low, ci_high, n.
    Features with fewer than 20 rows or a single value are left out; strongest first.
    """
    target = curated[Entry.LOG10_SIGMA].to_numpy(float)
    blocks = curated[Curated.DUPLICATE_GROUP].to_numpy()
    rows = []
    pairs = list(zip(groups["feature"], groups["group"], strict=True))
    for name, group in progress(pairs, stage="correlations"):
        values = features[name].to_numpy(float)
        known = np.isfinite(values)
        if known.sum() < _MIN_ROWS or np.ptp(values[known]) == 0:
            continue
        units, names = pd.factorize(blocks[known])
        counts = resample_counts(len(names), n_bootstrap=n_bootstrap, seed=seed)[units]
        rho = srcc(values[known], target[known], counts)
        rows.append((name, group, rho[0], *np.quantile(rho[1:], [0.025, 0.975]), int(known.sum())))
    table = pd.DataFrame(rows, columns=["feature", "group", "rho", "ci_low", "ci_high", "n"])
    return table.sort_values("rho", key=np.abs, ascending=False, ignore_index=True)


def feature_records(found: FeatureTable, *, dataset: str, seed: int) -> list[dict[str, object]]:
    """Return what `metrics.json` holds: coverage by group, time, failures."""
    shares = coverage(found.features, found.groups)
    rows = [
        *[("coverage", row.group, row.share, row.n, "1") for row in shares.itertuples()],
        ("seconds", "all", found.seconds, found.n_structures, "s"),
        ("failed_or_corrected", "all", found.failures["id"].nunique(), len(found.features), "1"),
    ]
    names = ("metric", "features", "value", "n", "unit")
    rest = {"dataset": dataset, "model": "none", "protocol": "all_rows", "seed": seed}
    rest |= {"ci_low": None, "ci_high": None}
    return [dict(zip(names, row, strict=True)) | rest for row in rows]

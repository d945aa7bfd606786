"""What a tree model uses: SHAP values of held-out rows, their spread over folds, and the axis-label test.

SHAP values add up, with the model's mean, to its prediction in log10(S/cm). On correlated features they
move between folds; so the spread is given, and values summed over groups of features. Source: Lundberg
et al., Nat. Mach. Intell. 2, 56 (2020), doi 10.1038/s42256-019-0138-9.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from sselib.columns import Entry
from sselib.errors import DataError
from sselib.progress import progress
from sselib.regression.models import DEFAULT_OPTIONS, ModelOptions, make_model
from sselib.threads import in_threads
from sselib.validation.splits import Split

AXES: tuple[str, ...] = (Entry.A_ANGSTROM, Entry.B_ANGSTROM, Entry.C_ANGSTROM)


def shap_out_of_fold(
    table: pd.DataFrame,
    features: pd.DataFrame,
    columns: Sequence[str],
    *,
    splits: Sequence[Split],
    model: str = "xgb_single",
    options: ModelOptions = DEFAULT_OPTIONS,
    seed: int = 0,
    n_jobs: int = 1,
) -> pd.DataFrame:
    """Return SHAP values of a boosted-tree ``model`` for the test rows of each split, log10(S/cm).

    Long format, one row per test row and feature: id, repeat, fold, feature, value (of the feature, in
    its unit), shap, and y_true, y_pred of the row.
    """
    import shap  # takes seconds to import

    X = features.set_index("id").loc[table[Entry.ID], list(columns)].reset_index(drop=True).astype(float)
    y = table[Entry.LOG10_SIGMA].to_numpy(float)

    def explain(k: int, split: Split) -> pd.DataFrame:
        """Return the SHAP values of a split's test rows by a model of its training rows."""
        fitted = make_model(model, options=options, seed=seed + k).fit(X.iloc[split.train], y[split.train])
        explainer = shap.TreeExplainer(fitted)
        values = explainer.shap_values(X.iloc[split.test])
        return _long(
            values,
            X.iloc[split.test],
            ids=table[Entry.ID].to_numpy()[split.test],
            y_true=y[split.test],
            y_pred=values.sum(axis=1) + explainer.expected_value,
            split=split,
        )

    parts = in_threads(explain, enumerate(splits), n_jobs=n_jobs)
    return pd.concat(parts, ignore_index=True)


def _long(
    values: np.ndarray,
    X: pd.DataFrame,
    *,
    ids: np.ndarray,
    y_true: np.ndarray,
    y_pred: np.ndarray,
    split: Split,
) -> pd.DataFrame:
    n, f = values.shape
    return pd.DataFrame(
        {
            "id": np.repeat(ids, f),
            "repeat": split.repeat,
            "fold": split.fold,
            "feature": np.tile(np.asarray(X.columns, dtype=object), n),
            "value": X.to_numpy().ravel(),
            "shap": values.ravel().astype(float),
            "y_true": np.repeat(y_true, f),
            "y_pred": np.repeat(np.asarray(y_pred, float), f),
        }
    )


def importance(values: pd.DataFrame, *, by: str = "feature") -> pd.DataFrame:
    """Return mean |SHAP| per feature, or per group with ``by="group"``, with its spread over folds.

    Columns: ``by``, mean, std (over repeats and folds, ddof 1), lowest, highest (log10(S/cm)), rank
    (1 = largest mean), best_rank and worst_rank over folds. A group's value is |sum of its features'
    SHAP values| of a row, so that correlated features that share or cancel a contribution count once.
    """
    per_row = values.groupby([by, "repeat", "fold", "id"], sort=False)["shap"].sum().abs().reset_index()
    per_fold = per_row.pivot_table(index=by, columns=["repeat", "fold"], values="shap", aggfunc="mean")
    ranks = per_fold.rank(ascending=False, method="min")
    table = pd.DataFrame(
        {
            "mean": per_fold.mean(axis=1),
            "std": per_fold.std(axis=1, ddof=1),
            "lowest": per_fold.min(axis=1),
            "highest": per_fold.max(axis=1),
            "best_rank": ranks.min(axis=1).astype(int),
            "worst_rank": ranks.max(axis=1).astype(int),
        }
    )
    table = table.sort_values("mean", ascending=False).reset_index()
    return table.assign(rank=np.arange(1, len(table) + 1))


def rank_stability(values: pd.DataFrame, *, top: int = 20) -> float:
    """Return the mean Spearman correlation between folds of the mean |SHAP| of the ``top`` features.

    1: the ranking is the same in every fold. NaN where there is one fold only.
    """
    per_fold = values.assign(size=values["shap"].abs()).pivot_table(
        index="feature", columns=["repeat", "fold"], values="size", aggfunc="mean"
    )
    leading = per_fold.loc[per_fold.mean(axis=1).nlargest(top).index].to_numpy()
    pairs = list(itertools.combinations(range(leading.shape[1]), 2))
    return (
        float(np.mean([spearmanr(leading[:, i], leading[:, j]).statistic for i, j in pairs]))
        if pairs
        else float("nan")
    )


def relabel_axes(features: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Return the features with the labels a, b, c of every row permuted at random."""
    missing = [c for c in AXES if c not in features]
    if missing:
        raise DataError(f"the features lack {', '.join(missing)}: axis labels cannot be permuted")
    lengths = features[list(AXES)].to_numpy(float)
    return features.assign(
        **dict(zip(AXES, np.random.default_rng(seed).permuted(lengths, axis=1).T, strict=True))
    )


def axis_relabelling(
    table: pd.DataFrame,
    features: pd.DataFrame,
    columns: Sequence[str],
    *,
    invariant: Sequence[str],
    splits: Sequence[Split],
    n_relabellings: int = 3,
    model: str = "xgb_single",
    options: ModelOptions = DEFAULT_OPTIONS,
    seed: int = 0,
    n_jobs: int = 1,
) -> pd.DataFrame:
    """Return what becomes of the lattice parameters when their labels mean nothing.

    ``columns`` hold a, b, c. Variants: ``raw`` as tabulated; ``relabelled`` with a, b, c permuted at
    random in each row, once per relabelling; ``invariant`` with a, b, c replaced by the columns
    ``invariant``; ``none`` without them. One row per variant, run and lattice feature: mean_abs_shap
    (log10(S/cm)), rank among n_features, and mae_bound of the variant on the same held-out rows.
    """
    others = [c for c in columns if c not in AXES]
    variants = [
        ("raw", 0, features, list(columns)),
        *[
            ("relabelled", k, relabel_axes(features, seed=seed + k), list(columns))
            for k in range(n_relabellings)
        ],
        ("invariant", 0, features, [*others, *invariant]),
        ("none", 0, features, others),
    ]
    parts = []
    for name, run, frame, chosen in progress(variants, stage="axis labels"):
        values = shap_out_of_fold(
            table, frame, chosen, splits=splits, model=model, options=options, seed=seed, n_jobs=n_jobs
        )
        lattice = [c for c in chosen if c not in others]
        parts.append(_lattice_rows(values, lattice).assign(variant=name, run=run))
    return pd.concat(parts, ignore_index=True)


def _lattice_rows(values: pd.DataFrame, lattice: Sequence[str]) -> pd.DataFrame:
    rows = values.drop_duplicates(["repeat", "id"])
    ranked = importance(values)
    kept = ranked[ranked["feature"].isin(lattice)][["feature", "mean", "std", "rank"]]
    nothing = pd.DataFrame({"feature": [None], "mean": np.nan, "std": np.nan, "rank": np.nan})
    kept = kept if len(kept) else nothing
    return kept.rename(columns={"mean": "mean_abs_shap", "std": "std_over_folds"}).assign(
        n_features=len(ranked), mae_bound=(rows["y_true"] - rows["y_pred"]).abs().mean(), n=len(rows)
    )

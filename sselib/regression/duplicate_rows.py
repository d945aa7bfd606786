"""What a compound listed twice does to an error on random folds.

Two sources often report the same measurement, or two groups the same compound. If both rows stay, a random
fold tests a model on compounds that it was trained on. The same model on the same measurements is judged
here with the rows merged, kept once per source, and all kept; on random folds and on folds that keep a
composition together.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from joblib import parallel_backend
from scipy.stats import spearmanr
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict

from sselib.columns import Entry
from sselib.errors import ParameterError
from sselib.features.formula import formula_features
from sselib.materials.composition import element_fractions
from sselib.progress import progress
from sselib.regression.models import DEFAULT_OPTIONS, ModelOptions, make_model
from sselib.validation.metrics import resample_counts

FOLDS: tuple[str, ...] = ("random", "composition together")
_N_FOLDS = 5
_DECIMALS = 2  # of a mole fraction: compositions that round to the same are one
_FEATURES = {"composition": element_fractions, "formula": formula_features}


def row_tables(curated: pd.DataFrame, measurements: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the same measurements with repeats merged, kept once per source, and all kept.

    ``curated`` and ``measurements`` are those of notebook 01. Upper bounds are left out. "once per source"
    is the median of the rows of a source whose mole fractions round to the same at 0.01. Each table has
    composition, log10_sigma in log10(S/cm) and compound (a number, the same for the same rounded fractions).
    """
    rows = measurements[~measurements[Entry.CENSORED].astype(bool)]
    merged = curated[~curated[Entry.CENSORED].astype(bool)]
    keys = [rows[Entry.SOURCE], same_compound(list(rows[Entry.COMPOSITION]))]
    once = rows.groupby(keys, sort=False).agg({Entry.COMPOSITION: "first", Entry.LOG10_SIGMA: "median"})
    tables = {"merged over sources": merged, "once per source": once, "every measurement": rows}
    return {
        name: t[[Entry.COMPOSITION, Entry.LOG10_SIGMA]]
        .reset_index(drop=True)
        .assign(compound=same_compound(list(t[Entry.COMPOSITION])))
        for name, t in tables.items()
    }


def same_compound(formulas: Sequence[str]) -> np.ndarray:
    """Return a number per formula, shape (n,), the same where mole fractions round to the same at 0.01."""
    rounded = element_fractions(formulas).to_numpy().round(_DECIMALS)
    return np.unique(rounded, axis=0, return_inverse=True)[1].ravel()


def effect_of_duplicates(
    tables: Mapping[str, pd.DataFrame],
    *,
    models: Sequence[str],
    options: ModelOptions = DEFAULT_OPTIONS,
    seed: int = 0,
    n_bootstrap: int = 1000,
    n_jobs: int = 1,
) -> pd.DataFrame:
    """Return the error of models ("extra_trees/composition") on each table of `row_tables`.

    Columns: model, rows (the table), folds (see `FOLDS`), n, n_compounds, mae with its 95 % interval over
    compounds (ci_low, ci_high) in log10(S/cm), srcc. Features are "composition" (mole fractions) or
    "formula". Raises `ParameterError` for others.
    """
    cases = [(m, t, f) for m in models for t in tables for f in FOLDS]
    rows = []
    for name, which, folds in progress(cases, stage="what a duplicate does"):
        table = tables[which]
        predicted = _held_out(table, name, folds=folds, options=options, seed=seed, n_jobs=n_jobs)
        y = table[Entry.LOG10_SIGMA].to_numpy(float)
        mae, low, high = mean_by_unit(np.abs(predicted - y), table["compound"], seed, n_bootstrap)
        n_compounds = table["compound"].nunique()
        rows.append((name, which, folds, len(y), n_compounds, mae, low, high, spearmanr(y, predicted)[0]))
    columns = ["model", "rows", "folds", "n", "n_compounds", "mae", "ci_low", "ci_high", "srcc"]
    return pd.DataFrame(rows, columns=columns)


def _held_out(
    table: pd.DataFrame, name: str, *, folds: str, options: ModelOptions, seed: int, n_jobs: int
) -> np.ndarray:
    """Return the prediction of each row from five folds, shape (n,)."""
    model, _, features = name.partition("/")
    if features not in _FEATURES:
        raise ParameterError(
            f"{name!r}: expected features {' or '.join(_FEATURES)}, as in extra_trees/formula"
        )
    X = _FEATURES[features](list(table[Entry.COMPOSITION])).to_numpy(float)
    y = table[Entry.LOG10_SIGMA].to_numpy(float)
    together = folds == FOLDS[1]
    splitter = GroupKFold(_N_FOLDS) if together else KFold(_N_FOLDS, shuffle=True, random_state=seed)
    splits = list(splitter.split(X, groups=table["compound"] if together else None))
    estimator = make_model(model, options=options, seed=seed)
    with parallel_backend("threading"):
        return cross_val_predict(estimator, X, y, cv=splits, n_jobs=n_jobs)


def mean_by_unit(
    errors: np.ndarray, units: pd.Series, seed: int, n_bootstrap: int
) -> tuple[float, float, float]:
    """Return the mean of the errors and its 95 % interval from a bootstrap over units."""
    sums = pd.Series(errors).groupby(units.to_numpy()).agg(["sum", "count"]).to_numpy(float)
    total, number = sums.T @ resample_counts(len(sums), n_bootstrap=n_bootstrap, seed=seed)
    low, high = np.percentile(total[1:] / number[1:], (2.5, 97.5))
    return float(total[0] / number[0]), float(low), float(high)

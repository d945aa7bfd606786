"""Where a model errs: by class of conductivity, compound, family, and where its own doubt says so.

Intervals are 95 % of a bootstrap over what the protocol holds out whole (publications, chemical systems,
families), else over materials.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from sselib.columns import Curated, Entry, StructureTable
from sselib.columns import Prediction as P
from sselib.materials.composition import element_fractions, l1_distances
from sselib.materials.conductivity import CLASS_LIMITS
from sselib.regression.duplicate_rows import mean_by_unit
from sselib.validation.metrics import metrics_from_predictions, resample_counts, score_table, srcc

CLASSES: tuple[str, ...] = (*CLASS_LIMITS, "superionic")
_N_BINS = 5
_KEYS = [P.PROTOCOL, P.MODEL, P.FEATURES]


def class_errors(
    predictions: pd.DataFrame,
    table: pd.DataFrame,
    *,
    groups: Mapping[str, pd.Series],
    seed: int = 0,
    n_bootstrap: int = 1000,
) -> pd.DataFrame:
    """Return the error per class of the measured conductivity, from low to superionic (Kim et al.).

    ``predictions`` is of one data set, ``groups`` as of `metrics.metrics_from_predictions`. Columns:
    conductivity_class, protocol, model, features, value (mae_bound), ci_low, ci_high, bias (mean of
    prediction minus label; all log10(S/cm)), n (rows of a repeat). A bound counts as its value; a row whose
    bound leaves the class open is left out.
    """
    classes = table.set_index(Entry.ID)[Curated.CONDUCTIVITY_CLASS].reindex(predictions[P.ID]).to_numpy()
    frames = []
    for name in CLASSES:
        rows = predictions[classes == name]
        if rows.empty:
            continue
        records = metrics_from_predictions(
            rows, seed=seed, n_bootstrap=n_bootstrap, groups=groups, controls=()
        )
        found = pd.DataFrame(records).query("metric == 'mae_bound'").assign(conductivity_class=name)
        bias = (rows[P.Y_PRED] - rows[P.Y_TRUE]).groupby([rows[k] for k in _KEYS]).mean().rename("bias")
        frames.append(found.join(bias, on=_KEYS))
    columns = ["conductivity_class", *_KEYS, "value", "ci_low", "ci_high", "bias", "n"]
    return pd.concat(frames, ignore_index=True)[[str(c) for c in columns]]


def interval_widths(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return protocol, repeat, id, width of the interval, and absolute error; log10(S/cm).

    ``predictions`` is of one model with intervals and of one data set; bounds are left out.
    """
    exact = predictions[~predictions[P.CENSORED].astype(bool)].dropna(subset=[P.LOWER, P.UPPER])
    error = (exact[P.Y_PRED] - exact[P.Y_TRUE]).abs()
    found = exact.assign(width=exact[P.UPPER] - exact[P.LOWER], error=error)
    return found[[P.PROTOCOL, P.REPEAT, P.ID, "width", "error"]].reset_index(drop=True)


def rank_of_width(
    widths: pd.DataFrame, *, groups: Mapping[str, pd.Series], seed: int = 0, n_bootstrap: int = 1000
) -> pd.DataFrame:
    """Return Spearman's correlation of width and error: protocol, srcc, ci_low, ci_high, n.

    ``widths`` is of `interval_widths`; repeats are pooled. 1: the largest errors are where the interval is
    widest.
    """
    rows = []
    for protocol, part in widths.groupby("protocol", sort=False):
        units, names = pd.factorize(_units(part, groups))
        counts = resample_counts(len(names), n_bootstrap=n_bootstrap, seed=seed)[units]
        values = srcc(part["width"].to_numpy(), part["error"].to_numpy(), counts)
        rows.append((protocol, values[0], *np.percentile(values[1:], (2.5, 97.5)), len(part)))
    return pd.DataFrame(rows, columns=["protocol", "srcc", "ci_low", "ci_high", "n"])


def binned_by_width(
    widths: pd.DataFrame, *, groups: Mapping[str, pd.Series], seed: int = 0, n_bootstrap: int = 1000
) -> pd.DataFrame:
    """Return the error in fifths of the rows, from the narrowest to the widest interval.

    Columns: protocol, fifth (1 to 5), width (mean), value (mean absolute error), ci_low, ci_high (all
    log10(S/cm)), n. ``widths`` is of `interval_widths`.
    """
    rows = []
    for protocol, part in widths.groupby("protocol", sort=False):
        fifth = np.ceil(part["width"].rank(method="first") * _N_BINS / len(part)).astype(int)
        for k, rows_of in part.groupby(fifth):
            found = mean_by_unit(rows_of["error"].to_numpy(), _units(rows_of, groups), seed, n_bootstrap)
            rows.append((protocol, k, rows_of["width"].mean(), *found, len(rows_of)))
    columns = ["protocol", "fifth", "width", "value", "ci_low", "ci_high", "n"]
    return pd.DataFrame(rows, columns=columns)


def _units(part: pd.DataFrame, groups: Mapping[str, pd.Series]) -> pd.Series:
    """Return what is resampled as one: the group of each row where the protocol has groups, else its id."""
    group = groups.get(part["protocol"].iloc[0])
    return part["id"] if group is None else part["id"].map(group)


def coverage_by_family(predictions: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return how often the interval holds the label: protocol, family, n, coverage, mean width.

    ``predictions`` is of one model and one data set; rows without an interval and bounds are left out, and
    repeats are pooled (``n`` counts predictions). Widths in log10(S/cm).
    """
    family = table.set_index(Entry.ID)[Curated.FAMILY].astype(object).fillna("unknown")
    known = predictions[~predictions[P.CENSORED].astype(bool)].dropna(subset=[P.LOWER, P.UPPER])
    inside = (known[P.LOWER] <= known[P.Y_TRUE]) & (known[P.Y_TRUE] <= known[P.UPPER])
    long = known.assign(family=known[P.ID].map(family), inside=inside, width=known[P.UPPER] - known[P.LOWER])
    return (
        long.groupby([P.PROTOCOL, "family"], sort=False)
        .agg(n=("inside", "size"), coverage=("inside", "mean"), width=("width", "mean"))
        .reset_index()
    )


def compounds(
    predictions: pd.DataFrame, table: pd.DataFrame, *, formulas: Sequence[str], tolerance: float = 0.02
) -> pd.DataFrame:
    """Return the held-out prediction for each formula: that of the nearest row within ``tolerance`` (L1).

    One row per formula: formula, id, row_formula, distance_l1, y_true, censored, y_pred (log10(S/cm)). A
    formula with no such row stays, with missing values. ``predictions`` is of one model, one protocol.
    """
    rows = table[table[Entry.ID].isin(predictions[P.ID])].reset_index(drop=True)
    distance = l1_distances(
        element_fractions(list(formulas)).to_numpy(),
        element_fractions(list(rows[Entry.COMPOSITION])).to_numpy(),
    )
    best = distance.argmin(axis=1)
    near = distance.min(axis=1) <= tolerance
    found = pd.DataFrame(
        {
            "formula": list(formulas),
            P.ID: rows[Entry.ID].to_numpy()[best],
            "row_formula": rows[Entry.FORMULA].to_numpy()[best],
            "distance_l1": distance.min(axis=1),
        }
    )
    found.loc[~near, [P.ID, "row_formula", "distance_l1"]] = None
    means = predictions.groupby(P.ID)[[P.Y_TRUE, P.CENSORED, P.Y_PRED]].mean().reset_index()
    return found.merge(means, on=P.ID, how="left")


def structure_gain(
    predictions: pd.DataFrame,
    table: pd.DataFrame,
    *,
    structures: pd.DataFrame,
    groups: Mapping[str, pd.Series],
    seed: int = 0,
    n_bootstrap: int = 1000,
) -> pd.DataFrame:
    """Return the scores of the routed models on the rows that have a structure, for reading.

    ``predictions`` is of one data set, ``table`` its rows. Columns as of `metrics.score_table`, ``change`` is
    the paired difference in mae_bound to the model without structures. The official test is left out, where
    models are scored once. Empty where no row has a structure.
    """
    known = table.loc[table[Entry.STRUCTURE_ID].isin(structures[StructureTable.STRUCTURE_ID]), Entry.ID]
    rows = predictions[(predictions[P.MODEL] == "routed") & predictions[P.ID].isin(known)]
    rows = rows[rows[P.PROTOCOL] != "obelix_official"]
    if rows.empty:
        return pd.DataFrame()
    with_it, without_it = "routed/formula_environment", "routed/formula"
    records = metrics_from_predictions(
        rows, seed=seed, n_bootstrap=n_bootstrap, pairs=[(with_it, without_it)], controls=(), groups=groups
    )
    change = f"delta_mae_bound_vs_{without_it}"
    wanted = ["mae_bound", "mae_uncensored", "coverage", change]
    found = score_table(records, dataset=rows[P.DATASET].iloc[0], metrics=wanted)
    return found.rename(columns={change: "change"})

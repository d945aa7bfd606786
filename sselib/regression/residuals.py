"""Where a model errs: by class of conductivity, and where its own doubt says so.

Intervals are 95 % of a bootstrap over what the protocol holds out whole (publications, chemical systems,
families), else over materials.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from sselib.columns import Curated, Entry
from sselib.columns import Prediction as P
from sselib.errors import ParameterError
from sselib.materials.conductivity import CLASS_LIMITS
from sselib.regression.duplicate_rows import mean_by_unit
from sselib.validation.metrics import metrics_from_predictions, resample_counts, srcc

CLASSES: tuple[str, ...] = (*CLASS_LIMITS, "superionic")
WIDTH, DISAGREEMENT = "width of the interval", "disagreement of the models"
UNLIKE_MODELS: tuple[str, ...] = ("gp/formula", "extra_trees/formula", "xgb_single/formula")
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


def spreads(predictions: pd.DataFrame, *, judged: str, members: Sequence[str]) -> pd.DataFrame:
    """Return what the model ``judged`` ("model/features") says of its own doubt, beside its error.

    Columns: protocol, repeat, id, measure, spread, error (absolute, log10(S/cm)). Measures: `WIDTH` of its
    interval, and `DISAGREEMENT`, the standard deviation of the predictions of ``members``, under the
    protocols that all of them share. Bounds are left out. Raises `ParameterError` where ``judged`` has no
    prediction.
    """
    exact = predictions[~predictions[P.CENSORED].astype(bool)]
    names = exact[P.MODEL] + "/" + exact[P.FEATURES]
    own = exact[names == judged]
    if own.empty:
        raise ParameterError(f"no predictions of {judged}: expected one of {', '.join(sorted(set(names)))}")
    keys = [P.PROTOCOL, P.REPEAT, P.ID]
    own = own.assign(error=(own[P.Y_PRED] - own[P.Y_TRUE]).abs())[[*keys, "error", P.LOWER, P.UPPER]]
    of_members = exact[names.isin(members)].groupby(keys)[P.Y_PRED].agg(["std", "size"])
    apart = of_members.loc[of_members["size"] == len(set(members)), "std"].rename("spread")
    parts = [
        own.assign(measure=WIDTH, spread=own[P.UPPER] - own[P.LOWER]),
        own.join(apart, on=keys).assign(measure=DISAGREEMENT),
    ]
    found = pd.concat(parts, ignore_index=True).dropna(subset="spread")
    return found[[*map(str, keys), "measure", "spread", "error"]]


def rank_of_spread(
    spread: pd.DataFrame, *, groups: Mapping[str, pd.Series], seed: int = 0, n_bootstrap: int = 1000
) -> pd.DataFrame:
    """Return Spearman's correlation of spread and error: protocol, measure, srcc, ci_low, ci_high, n.

    ``spread`` is of `spreads`; repeats are pooled. 1: the largest errors are where the spread is largest.
    """
    rows = []
    for (protocol, measure), part in spread.groupby(["protocol", "measure"], sort=False):
        units, names = pd.factorize(_units(part, groups))
        counts = resample_counts(len(names), n_bootstrap=n_bootstrap, seed=seed)[units]
        values = srcc(part["spread"].to_numpy(), part["error"].to_numpy(), counts)
        rows.append((protocol, measure, values[0], *np.percentile(values[1:], (2.5, 97.5)), len(part)))
    return pd.DataFrame(rows, columns=["protocol", "measure", "srcc", "ci_low", "ci_high", "n"])


def binned_by_spread(
    spread: pd.DataFrame, *, groups: Mapping[str, pd.Series], seed: int = 0, n_bootstrap: int = 1000
) -> pd.DataFrame:
    """Return the error in fifths of the rows, from the smallest to the largest spread.

    Columns: protocol, measure, fifth (1 to 5), spread (mean), value (mean absolute error), ci_low, ci_high
    (all log10(S/cm)), n. ``spread`` is of `spreads`.
    """
    rows = []
    for (protocol, measure), part in spread.groupby(["protocol", "measure"], sort=False):
        order = part["spread"].rank(method="first")
        fifth = np.ceil(order * _N_BINS / len(part)).astype(int)
        for k, rows_of in part.groupby(fifth):
            errors = rows_of["error"].to_numpy()
            found = mean_by_unit(errors, _units(rows_of, groups), seed, n_bootstrap)
            rows.append((protocol, measure, k, rows_of["spread"].mean(), *found, len(rows_of)))
    columns = ["protocol", "measure", "fifth", "spread", "value", "ci_low", "ci_high", "n"]
    return pd.DataFrame(rows, columns=columns)


def _units(part: pd.DataFrame, groups: Mapping[str, pd.Series]) -> pd.Series:
    """Return what is resampled as one: the group of each row where the protocol has groups, else its id."""
    group = groups.get(part["protocol"].iloc[0])
    return part["id"] if group is None else part["id"].map(group)

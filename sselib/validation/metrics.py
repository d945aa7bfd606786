"""Regression metrics with bootstrap intervals, computed from predictions only.

Upper bounds ("below 1e-10 S/cm") are treated in three ways, because that choice moves the error more
than most models do: ``_floor`` counts a bound as 1e-15 S/cm (OBELiX's convention), ``_bound`` as the
bound itself, ``_uncensored`` leaves those rows out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sselib.columns import Prediction as P
from sselib.errors import DataError

FLOOR_LOG10_SIGMA = -15.0  # Therrien et al., arXiv 2502.14234: bounds are set to 1e-15 S/cm
LOG_UNIT = "log10(S/cm)"
KEYS = [P.DATASET, P.MODEL, P.FEATURES, P.PROTOCOL]
_CI = (2.5, 97.5)  # percentiles of the bootstrap distribution
_CHUNK = 64  # resamples computed at a time: they fit the processor's cache
_UNITS = {"r2": "1", "srcc": "1", "coverage": "1"}


@dataclass(frozen=True)
class Rows:
    """What the metrics of one repeat need, one entry per predicted row, and the rows' resampling unit."""

    y_true: np.ndarray
    y_floor: np.ndarray
    y_pred: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    uncensored: np.ndarray  # bool
    unit: np.ndarray  # int: index of the row's resampling unit


def mae(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the weighted mean absolute error; y, p of shape (n,), weights (n, b), result (b,)."""
    return np.abs(y - p) @ w / w.sum(axis=0)


def rmse(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the weighted root mean squared error, shape (b,); see `mae`."""
    return np.sqrt((y - p) ** 2 @ w / w.sum(axis=0))


def r2(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the weighted coefficient of determination (Kim et al., equation 1), shape (b,)."""
    spread = y**2 @ w - (y @ w) ** 2 / w.sum(axis=0)
    return 1 - (y - p) ** 2 @ w / np.where(spread > 1e-12, spread, np.nan)


def srcc(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation with mean ranks for ties, shape (b,).

    Integer weights count how often a row was drawn; a row drawn twice is a tie with itself. Constant
    predictions have no rank order: the result is then 0, so that the mean as a model can be listed.
    """
    mean_rank = (w.sum(axis=0) + 1) / 2
    a, b = _weighted_ranks(y, w) - mean_rank, _weighted_ranks(p, w) - mean_rank
    scale = np.sqrt(np.einsum("ij,ij,ij->j", w, a, a) * np.einsum("ij,ij,ij->j", w, b, b))
    return np.divide(np.einsum("ij,ij,ij->j", w, a, b), scale, out=np.zeros_like(scale), where=scale > 1e-9)


def _weighted_ranks(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return mean ranks of each row in the sample that the counts ``w`` (n, b) describe, shape (n, b)."""
    values, tie = np.unique(x, return_inverse=True)
    order = np.argsort(tie, kind="stable")
    starts = np.searchsorted(tie[order], np.arange(len(values)))
    per_value = np.add.reduceat(w[order], starts, axis=0)
    mean_ranks = np.cumsum(per_value, axis=0) - (per_value - 1) / 2
    return mean_ranks[tie]


def interval_score(y: np.ndarray, lower: np.ndarray, upper: np.ndarray, *, nominal: float) -> np.ndarray:
    """Return the interval score of each row, lower is better, shape (n,).

    The width plus 2/alpha times the distance by which the value lies outside. Source: Gneiting and
    Raftery, J. Am. Stat. Assoc. 102, 359 (2007), equation 43, doi 10.1198/016214506000001437.
    """
    outside = np.clip(lower - y, 0, None) + np.clip(y - upper, 0, None)
    return upper - lower + 2 / (1 - nominal) * outside


Metric = Callable[[Rows, np.ndarray], np.ndarray]


def _score(function: Callable[..., np.ndarray], bounds: str) -> Metric:
    """Apply ``function`` with the bounds as floor, as bound, or left out."""

    def metric(rows: Rows, w: np.ndarray) -> np.ndarray:
        """Return the score for each column of weights ``w``, bounds treated as asked."""
        if bounds == "uncensored":
            keep = rows.uncensored
            return function(rows.y_true[keep], rows.y_pred[keep], w[keep])
        return function(rows.y_floor if bounds == "floor" else rows.y_true, rows.y_pred, w)

    return metric


def _interval_metrics(nominal: float) -> dict[str, Metric]:
    """Metrics of the interval on uncensored rows: share covered, mean width, mean interval score."""

    def mean_of(value: Callable[[Rows], np.ndarray]) -> Metric:
        """Return the metric that averages a value over the rows without bounds."""

        def metric(rows: Rows, w: np.ndarray) -> np.ndarray:
            """Return the mean for each column of weights ``w``."""
            keep = rows.uncensored
            return value(rows)[keep] @ w[keep] / w[keep].sum(axis=0)

        return metric

    return {
        "coverage": mean_of(lambda r: ((r.lower <= r.y_true) & (r.y_true <= r.upper)).astype(float)),
        "interval_width": mean_of(lambda r: r.upper - r.lower),
        "interval_score": mean_of(lambda r: interval_score(r.y_true, r.lower, r.upper, nominal=nominal)),
    }


POINT_METRICS: dict[str, Metric] = {
    "mae_floor": _score(mae, "floor"),
    **{
        f"{f.__name__}_{bounds}": _score(f, bounds)
        for f in (mae, rmse, r2, srcc)
        for bounds in ("bound", "uncensored")
    },
}


def metrics_from_predictions(
    predictions: pd.DataFrame,
    *,
    seed: int = 0,
    n_bootstrap: int = 1000,
    nominal: float = 0.9,
    groups: Mapping[str, pd.Series] | None = None,
    controls: Sequence[str] = ("mean", "median", "1nn", "shuffled"),
    pairs: Sequence[tuple[str, str]] = (),
) -> list[dict]:
    """Return records: dataset, model, features, protocol, metric, value, ci_low, ci_high, n, unit, seed.

    ``predictions`` has the columns of `Prediction`. Folds of a repeat are pooled. With several repeats
    the value is the mean over them, and a record ``<metric>_std`` gives their standard deviation.
    ``ci_low, ci_high`` span 95 % of ``n_bootstrap`` resamples: of whole groups where ``groups`` gives
    the protocol's group of each id (cluster bootstrap: rows of a group are not independent), else of
    materials. ``n`` is the number of rows in a repeat. Intervals are judged on uncensored rows against
    ``nominal``. ``delta_mae_bound_vs_<other>`` is the paired difference, negative where the model is
    better, from the same resamples: against every control, and for each pair of "model/features" in
    ``pairs``. Raises `DataError` for missing predictions or models that predict different rows.
    """
    _check(predictions)
    records = []
    for (dataset, protocol), block in predictions.groupby([P.DATASET, P.PROTOCOL], sort=False):
        unit_of = (groups or {}).get(protocol)
        weights, units = _bootstrap_weights(block, unit_of, n_bootstrap=n_bootstrap, seed=seed)
        samples, found = {}, []
        for (model, features), table in block.groupby([P.MODEL, P.FEATURES], sort=False):
            repeats = [_rows(part, units) for _, part in table.groupby(P.REPEAT)]
            values = _values(repeats, weights, nominal=nominal)
            samples[(model, features)] = values["mae_bound"].mean(axis=0)
            found += [{"model": model, "features": features} | r for r in _model_records(values, repeats)]
        n = round(len(table) / table[P.REPEAT].nunique())
        found += _difference_records(samples, controls=controls, pairs=pairs, n=n)
        records += [{"dataset": dataset, "protocol": protocol} | r | {"seed": seed} for r in found]
    return records


def _check(predictions: pd.DataFrame) -> None:
    """Raise `DataError` for missing predictions, repeated rows, or models on different rows."""
    bad = predictions[predictions[[P.Y_TRUE, P.Y_PRED]].isna().any(axis=1)]
    if len(bad):
        row = bad.iloc[0]
        raise DataError(
            f"{len(bad)} of {len(predictions)} predictions lack y_true or y_pred, the first for "
            f"{row[P.ID]} by {row[P.MODEL]}/{row[P.FEATURES]} under {row[P.PROTOCOL]}: every "
            "row of a test set needs a prediction"
        )
    require_same_rows(predictions)


def require_same_rows(predictions: pd.DataFrame) -> None:
    """Raise `DataError` unless all models of a data set and protocol predict the same rows."""
    for (dataset, protocol), block in predictions.groupby([P.DATASET, P.PROTOCOL], sort=False):
        rows = {
            name: sorted(zip(t[P.REPEAT], t[P.ID], strict=True))
            for name, t in block.groupby([P.MODEL, P.FEATURES], sort=False)
        }
        first, *others = rows
        for other in others:
            if rows[other] != rows[first]:
                raise DataError(
                    f"under {protocol} on {dataset}, {'/'.join(first)} and {'/'.join(other)} "
                    f"predict different rows ({len(rows[first])} and {len(rows[other])}): "
                    "numbers side by side need the same rows"
                )


def _bootstrap_weights(
    block: pd.DataFrame, unit_of: pd.Series | None, *, n_bootstrap: int, seed: int
) -> tuple[np.ndarray, dict[str, int]]:
    """Return how often each unit was drawn, shape (units, 1 + b), and the unit's index of each id.

    Column 0 is the sample itself: every unit once.
    """
    ids = sorted(block[P.ID].unique())
    labels = ids if unit_of is None else unit_of.reindex(ids)
    if unit_of is not None and labels.isna().any():
        raise DataError(
            f"{int(labels.isna().sum())} predicted ids have no group, for example "
            f"{labels.index[labels.isna()][0]}: the groups must cover every predicted row"
        )
    codes, names = pd.factorize(np.asarray(labels, dtype=object), sort=True)
    counts = resample_counts(len(names), n_bootstrap=n_bootstrap, seed=seed)
    return counts, dict(zip(ids, codes, strict=True))


def resample_counts(n_units: int, *, n_bootstrap: int, seed: int) -> np.ndarray:
    """Return how often each unit was drawn, shape (n_units, 1 + b); column 0 is the sample itself."""
    drawn = np.random.default_rng(seed).multinomial(n_units, np.full(n_units, 1 / n_units), size=n_bootstrap)
    return np.vstack([np.ones(n_units), drawn]).T.copy()


def _rows(part: pd.DataFrame, units: Mapping[str, int]) -> Rows:
    y_true, censored = part[P.Y_TRUE].to_numpy(float), part[P.CENSORED].to_numpy(bool)
    nothing = np.full(len(part), np.nan)
    lower, upper = (part[c].to_numpy(float) if c in part else nothing for c in (P.LOWER, P.UPPER))
    return Rows(
        y_true=y_true,
        y_floor=np.where(censored, FLOOR_LOG10_SIGMA, y_true),
        y_pred=part[P.Y_PRED].to_numpy(float),
        lower=lower,
        upper=upper,
        uncensored=~censored,
        unit=part[P.ID].map(units).to_numpy(int),
    )


def _values(repeats: list[Rows], weights: np.ndarray, *, nominal: float) -> dict[str, np.ndarray]:
    """Return each metric on the sample (first column) and its resamples, shape (repeats, 1 + b)."""
    has_interval = all(np.isfinite(r.lower).all() and np.isfinite(r.upper).all() for r in repeats)
    metrics = POINT_METRICS | (_interval_metrics(nominal) if has_interval else {})
    values = {name: np.empty((len(repeats), weights.shape[1])) for name in metrics}
    for k, rows in enumerate(repeats):
        for start in range(0, weights.shape[1], _CHUNK):
            part = slice(start, start + _CHUNK)
            drawn = weights[rows.unit, part]
            with np.errstate(invalid="ignore", divide="ignore"):  # a resample may hold no row of a repeat
                for name, metric in metrics.items():
                    values[name][k, part] = metric(rows, drawn)
    return values


def _model_records(values: Mapping[str, np.ndarray], repeats: list[Rows]) -> list[dict]:
    """Return a record per metric, and its standard deviation over repeats where there are several."""
    records = []
    for name, of_repeats in values.items():
        every_row = name.endswith(("_bound", "_floor"))
        n = round(np.mean([len(r.y_true) if every_row else r.uncensored.sum() for r in repeats]))
        unit = _UNITS.get(name.split("_")[0], LOG_UNIT)
        records.append(_record(name, of_repeats.mean(axis=0), n=n, unit=unit))
        if len(repeats) > 1:
            records.append(
                {
                    "metric": f"{name}_std",
                    "value": float(of_repeats[:, 0].std(ddof=1)),
                    "ci_low": None,
                    "ci_high": None,
                    "n": n,
                    "unit": unit,
                }
            )
    return records


def _record(name: str, values: np.ndarray, *, n: int, unit: str) -> dict:
    """Return one record from the value on the sample (first entry) and on the resamples (the rest)."""
    resamples = values[1:][np.isfinite(values[1:])]
    low, high = np.percentile(resamples, _CI) if len(resamples) else (None, None)
    return {
        "metric": name,
        "value": float(values[0]),
        "ci_low": low,
        "ci_high": high,
        "n": int(n),
        "unit": unit,
    }


def _difference_records(
    samples: Mapping[tuple[str, str], np.ndarray],
    *,
    controls: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    n: int,
) -> list[dict]:
    """Return paired differences of mae_bound of every model to every control, and of the named pairs."""
    models = [key for key in samples if key[0] not in controls]
    found = [(model, _control(name, model, samples), name) for model in models for name in controls]
    found += [(tuple(a.split("/", 1)), tuple(b.split("/", 1)), b) for a, b in pairs]
    return [
        {"model": model[0], "features": model[1]}
        | _record(f"delta_mae_bound_vs_{label}", samples[model] - samples[other], n=n, unit=LOG_UNIT)
        for model, other, label in found
        if model in samples and other in samples
    ]


def _control(name: str, model: tuple[str, str], keys: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """Return the control of that name: with the model's own features if it ran so, else the first."""
    found = [key for key in keys if key[0] == name]
    same = [key for key in found if key[1] == model[1]]
    return (same or found or [("", "")])[0]


def score_table(
    records: Iterable[Mapping[str, object]],
    *,
    dataset: str,
    metrics: Sequence[str],
    protocols: Sequence[str] = (),
) -> pd.DataFrame:
    """Return one row per protocol and model with "value [low, high]" per metric and n, for reading.

    ``protocols`` gives their order, and leaves the others out; none means all.
    """
    rows = pd.DataFrame(list(records))
    rows = rows[(rows["dataset"] == dataset) & rows["metric"].isin(metrics)].copy()
    rows["text"] = [with_interval(*r) for r in rows[["value", "ci_low", "ci_high"]].itertuples(index=False)]
    order = list(protocols) or list(dict.fromkeys(rows["protocol"]))
    names = list(dict.fromkeys(zip(rows["model"], rows["features"], strict=True)))
    keys = [(p, *n) for p in order for n in names]
    table = rows.pivot_table(
        index=["protocol", "model", "features"], columns="metric", values="text", aggfunc="first"
    ).reindex(columns=list(metrics))
    n = rows.groupby(["protocol", "model", "features"])["n"].max()
    return table.assign(n=n).reindex([k for k in keys if k in table.index]).reset_index()


def with_interval(value: float, low: float | None, high: float | None) -> str:
    """Return "value [low, high]", the value alone where there is no interval."""
    return f"{value:.2f}" if low is None or np.isnan(low) else f"{value:.2f} [{low:.2f}, {high:.2f}]"


_PUBLISHED_METRICS = {
    "MAE": "mae_bound",
    "R2": "r2_bound",
    "SRCC": "srcc_bound",
    "AUC-PR": "auc_pr",
    "MCC": "mcc",
}
_PUBLISHED_FEATURES = {"stoichiometric features": "kim_stoichiometric", "geometric features": "kim_geometric"}


def beside_published(
    records: Iterable[Mapping[str, object]],
    published: Iterable[Mapping[str, object]],
    *,
    dataset: str,
    model: str,
    features: str,
) -> pd.DataFrame:
    """Return published numbers with this run's value of the same metric under the nearest protocol.

    ``published`` are the entries of `data/published.yaml`. Columns: who, protocol, metric, published,
    features, here, comparable. A published metric whose treatment of bounds is not stated stands beside
    the one with bounds at their value. Entries on Kim et al.'s stoichiometric or geometric features alone
    stand beside ``model`` on the same, the others beside ``model`` on ``features``.
    """
    own = {
        (r["features"], r["protocol"], r["metric"]): with_interval(r["value"], r["ci_low"], r["ci_high"])
        for r in records
        if (r["dataset"], r["model"]) == (dataset, model)
    }
    rows = []
    for entry in published:
        metric = _PUBLISHED_METRICS.get(entry["metric"], entry["metric"])
        same = next((f for text, f in _PUBLISHED_FEATURES.items() if text in entry["who"]), features)
        if (same, entry["protocol"], metric) in own:
            rows.append(
                [
                    entry["who"],
                    entry["protocol"],
                    metric,
                    entry["value"],
                    same,
                    own[same, entry["protocol"], metric],
                    entry["comparable"],
                ]
            )
    return pd.DataFrame(
        rows, columns=["who", "protocol", "metric", "published", "features", "here", "comparable"]
    )

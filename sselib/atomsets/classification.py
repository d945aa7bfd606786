"""How good probabilities of a class are: AUC-PR, MCC and Brier score with bootstrap intervals.

Under most protocols the folds are pooled and rows (or whole groups) are resampled. Under
leave-one-cluster-out the score is the mean over the held-out clusters, as McHaffie et al. report it, and
whole clusters are resampled; a cluster with one class only has no score and is left out of that mean.
AUC-PR of a random score is a little above the share of positives (by 0.035 with 60 rows, 0.01 with 300),
so that an interval against the constant ``mean`` excludes zero in 8 to 10 of 100 cases where it should not.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import special

from sselib.columns import CONTROLS
from sselib.columns import ClassPrediction as C
from sselib.errors import DataError
from sselib.validation.metrics import require_same_rows, resample_counts

THRESHOLD = 0.5
THRESHOLDS = np.arange(0.05, 0.951, 0.05)  # from which one is chosen
_EDGE = 1e-4  # probabilities are kept this far from 0 and 1 before a logit is taken
METRICS: tuple[str, ...] = ("auc_pr", "mcc", "brier")
CLUSTERED: tuple[str, ...] = ("loco",)  # protocols scored as the mean over their folds
_CI = (2.5, 97.5)  # percentiles of the bootstrap distribution


def auc_pr(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the weighted average precision; y, p of shape (n,), weights (n, b), result (b,).

    The sum over thresholds of the gain in recall times the precision, as in scikit-learn; equal
    probabilities are one threshold. NaN where the weights leave no positive.
    """
    order = np.argsort(-p, kind="stable")
    last = np.r_[np.flatnonzero(np.diff(p[order])), len(p) - 1]  # end of each run of equal probabilities
    hits = np.cumsum(w[order] * y[order, None], axis=0)[last]
    drawn = np.cumsum(w[order], axis=0)[last]
    precision = np.divide(hits, drawn, out=np.zeros_like(hits), where=drawn > 0)
    gain = np.diff(hits, axis=0, prepend=0)
    total = hits[-1]
    return np.divide((gain * precision).sum(axis=0), total, out=np.full(len(total), np.nan), where=total > 0)


def mcc(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the weighted Matthews correlation at probability 0.5, shape (b,); 0 where undefined."""
    called = p >= THRESHOLD
    tp, fp = (y * called) @ w, ((1 - y) * called) @ w
    fn, tn = (y * ~called) @ w, ((1 - y) * ~called) @ w
    scale = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return np.divide(tp * tn - fp * fn, scale, out=np.zeros_like(scale), where=scale > 0)


def brier(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the weighted mean squared error of the probabilities, shape (b,); lower is better."""
    return (p - y) ** 2 @ w / w.sum(axis=0)


def logit(p: np.ndarray | float, *, edge: float = _EDGE) -> np.ndarray:
    """Return ln(p / (1 - p)) of probabilities kept ``edge`` away from 0 and 1, same shape."""
    return special.logit(np.clip(np.asarray(p, float), edge, 1 - edge))


def best_threshold(
    labels: Sequence[np.ndarray], probabilities: Sequence[np.ndarray], *, per_fold: bool = False
) -> tuple[float, float]:
    """Return the threshold of the best MCC on held-out folds, and that MCC.

    Over all folds together, or as the mean over the folds that hold both classes. Each score is the mean
    with its two neighbours, so that one row decides little; 0.5 where there is nothing to choose on.
    """
    pairs = list(zip(labels, probabilities, strict=True))
    if pairs and not per_fold:
        pairs = [(np.concatenate(labels), np.concatenate(probabilities))]
    pairs = [(np.asarray(y, float), logit(p)) for y, p in pairs if len(set(np.asarray(y).tolist())) == 2]
    if not pairs:
        return THRESHOLD, 0.0
    scores = [
        np.mean([mcc(y, special.expit(x - logit(t)), np.ones((len(y), 1)))[0] for y, x in pairs])
        for t in THRESHOLDS
    ]
    smooth = np.convolve(np.pad(scores, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    best = np.flatnonzero(smooth >= smooth.max() - 1e-9)
    k = int(best[len(best) // 2])
    return float(THRESHOLDS[k]), float(scores[k])


_FUNCTIONS = {"auc_pr": auc_pr, "mcc": mcc, "brier": brier}


def classification_records(
    predictions: pd.DataFrame,
    *,
    groups: Mapping[str, pd.Series] | None = None,
    baseline: tuple[str, str] | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> list[dict]:
    """Return records: dataset, model, features, protocol, metric, value, ci_low, ci_high, n, unit, seed.

    ``predictions`` has the columns of `ClassPrediction`. ``groups`` gives for a protocol the group of each
    id, which is then resampled as a whole. A repeat is one set of folds (for ``loco`` one clustering): the
    value is the mean over repeats, the interval spans their pooled resamples. ``loco`` also has
    ``<metric>_std``, the standard deviation over clusters. ``delta_auc_pr_vs_<other>`` and
    ``delta_mcc_vs_<other>`` are paired differences, positive where the model is better, against every control
    and against a ``baseline`` (model, features). Raises `DataError` if models predict different rows or a
    probability is missing.
    """
    _check(predictions)
    records = []
    for (dataset, protocol), block in predictions.groupby([C.DATASET, C.PROTOCOL], sort=False):
        unit_of = (groups or {}).get(protocol)
        samples, found = {}, []
        for (model, features), table in block.groupby([C.MODEL, C.FEATURES], sort=False):
            key = {"model": model, "features": features}
            parts = [part for _, part in table.groupby(C.REPEAT)]
            values = [_values(part, protocol, unit_of, n_bootstrap=n_bootstrap, seed=seed) for part in parts]
            samples[model, features] = values
            n = round(len(table) / len(parts))
            found += [key | _record(m, [v[m] for v in values], n=n) for m in METRICS]
            if protocol in CLUSTERED:
                found += [key | r | {"n": n} for r in _spread(parts)]
        found += _differences(samples, baseline=baseline, n=n)
        records += [{"dataset": dataset, "protocol": protocol, **r, "unit": "1", "seed": seed} for r in found]
    return [r for r in records if np.isfinite(r["value"])]


def fold_scores(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return dataset, protocol, model, features, repeat, fold, n, positives and each metric per fold.

    AUC-PR and MCC are missing where a fold has one class only.
    """
    keys = [C.DATASET, C.PROTOCOL, C.MODEL, C.FEATURES, C.REPEAT, C.FOLD]
    rows = [
        [*key, len(part), int(part[C.SUPERIONIC].sum()), *_fold_values(part)]
        for key, part in predictions.groupby(keys, sort=False)
    ]
    return pd.DataFrame(rows, columns=[*map(str, keys), "n", "positives", *METRICS])


def _fold_values(part: pd.DataFrame) -> list[float]:
    y, p = part[C.SUPERIONIC].to_numpy(float), part[C.P_SUPERIONIC].to_numpy(float)
    ones = np.ones((len(part), 1))
    one_class = y.min() == y.max()
    return [np.nan if one_class and m != "brier" else float(f(y, p, ones)[0]) for m, f in _FUNCTIONS.items()]


def _check(predictions: pd.DataFrame) -> None:
    """Raise `DataError` for missing probabilities or models on different rows."""
    missing = predictions[C.P_SUPERIONIC].isna()
    if missing.any():
        row = predictions[missing].iloc[0]
        raise DataError(
            f"{missing.sum()} of {len(predictions)} probabilities are missing, the first for {row[C.ID]} by "
            f"{row[C.MODEL]}/{row[C.FEATURES]} under {row[C.PROTOCOL]}: every test row needs one"
        )
    require_same_rows(predictions)


def _values(
    part: pd.DataFrame, protocol: str, unit_of: pd.Series | None, *, n_bootstrap: int, seed: int
) -> dict[str, np.ndarray]:
    """Return each metric of one repeat on the sample (first entry) and on its resamples, (1 + b,)."""
    if protocol in CLUSTERED:
        return _clustered_values(part, n_bootstrap=n_bootstrap, seed=seed)
    part = part.sort_values(C.ID)
    labels = part[C.ID] if unit_of is None else unit_of.reindex(part[C.ID])
    if labels.isna().any():
        raise DataError(f"{int(labels.isna().sum())} predicted ids have no group under {protocol}")
    codes, names = pd.factorize(labels.astype(str).to_numpy(), sort=True)
    weights = resample_counts(len(names), n_bootstrap=n_bootstrap, seed=seed)[codes]
    y, p = part[C.SUPERIONIC].to_numpy(float), part[C.P_SUPERIONIC].to_numpy(float)
    return {name: function(y, p, weights) for name, function in _FUNCTIONS.items()}


def _clustered_values(part: pd.DataFrame, *, n_bootstrap: int, seed: int) -> dict[str, np.ndarray]:
    """Return the mean over clusters of each metric, and of resampled clusters."""
    folds = np.array([_fold_values(rows) for _, rows in part.groupby(C.FOLD)])
    weights = resample_counts(len(folds), n_bootstrap=n_bootstrap, seed=seed)
    found = {}
    for k, name in enumerate(METRICS):
        known = np.isfinite(folds[:, k])
        total = weights[known].sum(axis=0)
        found[name] = np.divide(
            folds[known, k] @ weights[known], total, out=np.full(len(total), np.nan), where=total > 0
        )
    return found


def _record(name: str, repeats: Sequence[np.ndarray], *, n: int) -> dict:
    resamples = np.concatenate([values[1:] for values in repeats])
    resamples = resamples[np.isfinite(resamples)]
    low, high = map(float, np.percentile(resamples, _CI)) if len(resamples) else (None, None)
    value = float(np.mean([values[0] for values in repeats]))
    return {"metric": name, "value": value, "ci_low": low, "ci_high": high, "n": n}


def _spread(parts: Sequence[pd.DataFrame]) -> list[dict]:
    """Return the standard deviation over clusters of each metric, the mean over repeats."""
    folds = [np.array([_fold_values(rows) for _, rows in part.groupby(C.FOLD)]) for part in parts]
    found = []
    for k, name in enumerate(METRICS):
        known = [f[np.isfinite(f[:, k]), k] for f in folds]
        if all(len(values) > 1 for values in known):
            value = float(np.mean([values.std(ddof=1) for values in known]))
            found.append({"metric": f"{name}_std", "value": value, "ci_low": None, "ci_high": None})
    return found


def _differences(
    samples: Mapping[tuple[str, str], list[dict[str, np.ndarray]]],
    *,
    baseline: tuple[str, str] | None,
    n: int,
) -> list[dict]:
    """Return paired differences of auc_pr and mcc from the same resamples."""
    others = {key[0]: key for key in samples if key[0] in CONTROLS}
    others |= {"baseline": baseline} if baseline in samples else {}
    own = [key for key in samples if key[0] not in CONTROLS]
    found = [(a, b, label) for a in own for label, b in others.items() if a != b]
    return [
        {"model": a[0], "features": a[1]}
        | _record(
            f"delta_{metric}_vs_{label}",
            [x[metric] - y[metric] for x, y in zip(samples[a], samples[b], strict=True)],
            n=n,
        )
        for metric in ("auc_pr", "mcc")
        for a, b, label in found
    ]


def best_of_random(labels: np.ndarray, clusters: np.ndarray, *, n_tries: int, seed: int) -> pd.DataFrame:
    """Return, per cluster, the best AUC-PR and MCC among ``n_tries`` uniformly random scores of its rows.

    What a choice of one out of many models on the test set itself gives without any knowledge. Columns:
    cluster, n, auc_pr, mcc; clusters of one class are left out.
    """
    rows = []
    for k, c in enumerate(mixed_clusters(labels, clusters)):
        y = np.asarray(labels, float)[clusters == c]
        tries, ones = np.random.default_rng(seed + k).uniform(size=(n_tries, len(y))), np.ones((len(y), 1))
        rows.append((c, len(y), *(max(float(f(y, p, ones)[0]) for p in tries) for f in (auc_pr, mcc))))
    return pd.DataFrame(rows, columns=["cluster", "n", "auc_pr", "mcc"])


def mixed_clusters(labels: np.ndarray, clusters: np.ndarray) -> list[int]:
    """Return the clusters (-1 is none) that hold both classes."""
    labels = np.asarray(labels)
    return [c for c in sorted(set(clusters.tolist()) - {-1}) if len(set(labels[clusters == c])) == 2]


def paper_records(
    tables: Mapping[tuple[str, str], pd.DataFrame],
    *,
    dataset: str,
    protocol: str = "loco_paper",
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> list[dict]:
    """Return records of means over clusters; the interval resamples clusters.

    ``tables``, by model and features, have one row per cluster with n, auc_pr and mcc.
    """
    records = []
    for (model, features), table in tables.items():
        weights = resample_counts(len(table), n_bootstrap=n_bootstrap, seed=seed)
        for metric in ("auc_pr", "mcc"):
            values = table[metric].to_numpy() @ weights / weights.sum(axis=0)
            key = {"dataset": dataset, "model": model, "features": features, "protocol": protocol}
            found = _record(metric, [values], n=int(table["n"].sum()))
            records.append({**key, **found, "unit": "1", "seed": seed})
    return records


def reliability(predictions: pd.DataFrame, *, n_bins: int = 5) -> pd.DataFrame:
    """Return per bin of equal row number the mean probability, the share superionic and n.

    ``predictions`` is of one model under one protocol; repeats are pooled.
    """
    ranked = predictions.sort_values([C.P_SUPERIONIC, C.ID])
    bins = np.array_split(np.arange(len(ranked)), n_bins)
    rows = [ranked.iloc[b] for b in bins if len(b)]
    return pd.DataFrame(
        [(r[C.P_SUPERIONIC].mean(), r[C.SUPERIONIC].mean(), len(r)) for r in rows],
        columns=["p_superionic", "share_superionic", "n"],
    )


def by_third_of_spread(held_out: pd.DataFrame) -> pd.DataFrame:
    """Return per route and third of ``p_superionic_sd``: rows, its mean, Brier score, share of wrong calls.

    ``held_out`` has route, id, superionic, p_superionic and p_superionic_sd.
    """
    names, rows = ("lowest", "middle", "highest"), []
    for route, part in held_out.groupby("route", sort=False):
        ranked = part.sort_values(["p_superionic_sd", "id"])
        for name, numbers in zip(names, np.array_split(np.arange(len(ranked)), len(names)), strict=True):
            p, y, sd = (ranked.iloc[numbers][c] for c in (C.P_SUPERIONIC, C.SUPERIONIC, "p_superionic_sd"))
            wrong = float(((p >= THRESHOLD) != y).mean())
            rows.append((route, name, len(p), float(sd.mean()), float(((p - y) ** 2).mean()), wrong))
    columns = ["route", "third_of_sd", "n", "mean_sd", "brier", "share_wrong_at_0.5"]
    return pd.DataFrame(rows, columns=columns)

"""Enrichment: how many of the best-ranked held-out materials are superionic, against choosing at random."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from sselib.columns import ClassPrediction as C
from sselib.validation.metrics import resample_counts

_ENDS = ("hits_low", "hits_high", "enrichment_low", "enrichment_high")
_RANDOM = ("random_hits", "random_low", "random_high")
COLUMNS = ["model", "features", "k", "hits", "enrichment", *_ENDS, *_RANDOM, "n", "n_positive"]


def enrichment_table(
    predictions: pd.DataFrame,
    *,
    tops: Sequence[int] = (10, 20, 50),
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return hits among the top k per model, with intervals, beside those of a random choice.

    ``predictions`` has the columns of `ClassPrediction`, of one protocol and one repeat, every row
    predicted while its fold was held out. Rows of all folds are ranked together by ``p_superionic``; tied
    probabilities share their places evenly, so that a constant model hits like chance. One row per model
    and k with the columns `COLUMNS`: hits and enrichment (hits / random_hits) with 95 % intervals from
    resampled folds (whole clusters under ``loco``), random_hits = k x share of superionic rows with the
    95 % interval of a random draw (hypergeometric). k beyond the number of rows is left out.
    """
    rows = []
    for (model, features), part in predictions.groupby([C.MODEL, C.FEATURES], sort=False):
        labels, p = part[C.SUPERIONIC].to_numpy(float), part[C.P_SUPERIONIC].to_numpy(float)
        fold = pd.factorize(part[C.FOLD])[0]
        weights = resample_counts(fold.max() + 1, n_bootstrap=n_bootstrap, seed=seed)[fold]
        for k in [k for k in tops if k <= len(part)]:
            hits = top_hits(p, labels, weights, k=k)
            factor = hits / (k * (labels @ weights) / weights.sum(axis=0))
            ends = np.nanquantile(np.array([hits, factor])[:, 1:], [0.025, 0.975], axis=1).T.ravel()
            counts = (len(part), int(labels.sum()))
            random = (k * float(labels.mean()), *hypergeom(*counts, k).ppf([0.025, 0.975]))
            rows.append((model, features, k, hits[0], factor[0], *ends, *random, *counts))
    return pd.DataFrame(rows, columns=COLUMNS)


def top_hits(p: np.ndarray, labels: np.ndarray, weights: np.ndarray, *, k: int) -> np.ndarray:
    """Return the number of positives among the k best-ranked rows, shape (b,).

    ``p`` and ``labels`` (n,), ``weights`` (n, b): how often each row is drawn. Rows tied at the edge of
    the top k count in proportion. NaN where fewer than k rows are drawn.
    """
    order = np.argsort(-p, kind="stable")
    last = np.r_[np.flatnonzero(np.diff(p[order])), len(p) - 1]  # end of each run of equal probabilities
    drawn = np.cumsum(weights[order], axis=0)[last]
    hits = np.cumsum(weights[order] * labels[order, None], axis=0)[last]
    size, found = np.diff(drawn, axis=0, prepend=0), np.diff(hits, axis=0, prepend=0)
    taken = np.clip(k - (drawn - size), 0, size)
    share = np.divide(found, size, out=np.zeros_like(found), where=size > 0)
    return np.where(drawn[-1] >= k, (taken * share).sum(axis=0), np.nan)


def enrichment_records(
    table: pd.DataFrame, *, dataset: str, protocol: str, seed: int
) -> list[dict[str, object]]:
    """Return `enrichment_table` as metric records ``enrichment_top<k>``, controls included."""
    names = {"enrichment": "value", "enrichment_low": "ci_low", "enrichment_high": "ci_high"}
    found = table.rename(columns=names)[["model", "features", *names.values(), "n"]].assign(
        dataset=dataset,
        protocol=protocol,
        metric="enrichment_top" + table["k"].astype(str),
        unit="1",
        seed=seed,
    )
    return found.to_dict("records")

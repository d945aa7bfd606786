"""A blend whose members and threshold are chosen inside each training part, on inner folds.

The inner folds repeat the outer protocol: what is judged on unseen clusters is chosen on held-out clusters
of its training rows. A probability that separates the classes well can still sit on the wrong side of 0.5
in a new family, so the threshold is chosen too; the result is shifted so that it lies at 0.5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, combinations

import numpy as np
from scipy.special import expit
from sklearn.model_selection import GroupKFold, KFold

from sselib.atomsets.classification import CLUSTERED, auc_pr, logit, mcc
from sselib.atomsets.classifiers import FRESH, ClassifierSettings, Inputs, split_probability
from sselib.threads import in_processes, in_threads
from sselib.validation.splits import Split, row_groups

N_INNER = 4
THRESHOLDS = np.arange(0.05, 0.951, 0.05)
_MANY_FITS = 300  # from here on processes, which take seconds to start, are faster than threads
_Job = tuple[str, Split, np.ndarray | None]  # a model, a split, and its probabilities if they are known
_RANDOM = ("kfold5", FRESH)  # protocols whose inner folds are random


@dataclass(frozen=True)
class Choice:
    """Members whose logits are averaged, the threshold, and both scores on the inner folds."""

    members: tuple[str, ...]
    threshold: float
    auc_pr: float
    mcc: float


def choose_and_predict(
    inputs: Inputs,
    splits: Sequence[Split],
    settings: ClassifierSettings,
    *,
    known: Mapping[str, Sequence[np.ndarray]] | None = None,
) -> list[tuple[np.ndarray, Choice]]:
    """Return probabilities and what was chosen, for each split.

    ``known``: probabilities that members gave for these splits already, by name; they are not computed again.
    """
    known = known or {}
    cluster_of = _held_out_groups(splits, len(inputs.y))
    cases = [(s, inner_splits(inputs, s, cluster_of[s.protocol, s.repeat])) for s in splits]
    jobs = [
        (name, s, known[name][number] if s is outer and name in known else None)
        for number, (outer, inner) in enumerate(cases)
        for s in (outer, *inner)
        for name in settings.blended
    ]
    share = _in_processes if len(jobs) > _MANY_FITS else _in_threads
    done = share(inputs, jobs, settings)
    found, start = [], 0
    for outer, inner in cases:
        stop = start + (1 + len(inner)) * len(settings.blended)
        found.append(_choose(inputs, outer, inner, done[start:stop], settings.blended))
        start = stop
    return found


def _in_threads(inputs: Inputs, jobs: Sequence[_Job], settings: ClassifierSettings) -> list[np.ndarray]:
    return in_threads(_probability, [(inputs, job, settings) for job in jobs], n_jobs=settings.n_jobs)


def _in_processes(inputs: Inputs, jobs: Sequence[_Job], settings: ClassifierSettings) -> list[np.ndarray]:
    """Return what `_in_threads` does; a forest's many small steps no longer hold up a process beside it."""
    seen = {name.partition("/")[2] for name, _, _ in jobs}
    only = replace(inputs, sets={name: sets for name, sets in inputs.sets.items() if name in seen})
    return in_processes(partial(_probabilities, only, settings=settings), jobs, n_jobs=settings.n_jobs)


def _probabilities(inputs: Inputs, jobs: Sequence[_Job], settings: ClassifierSettings) -> list[np.ndarray]:
    return [_probability(inputs, job, settings) for job in jobs]


def _probability(inputs: Inputs, job: _Job, settings: ClassifierSettings) -> np.ndarray:
    name, split, known = job
    return split_probability(name, inputs, split, settings) if known is None else known


def _held_out_groups(splits: Sequence[Split], n_rows: int) -> dict[tuple[str, int], np.ndarray]:
    """Return for each protocol and repeat the fold in which a row is held out, -1 for none."""
    found = {}
    for s in splits:
        found.setdefault((s.protocol, s.repeat), np.full(n_rows, -1))[s.test] = s.fold
    return found


def inner_splits(inputs: Inputs, outer: Split, cluster: np.ndarray) -> list[Split]:
    """Return inner folds of the training rows; ``cluster`` (n,) is the fold that holds each row out.

    Random for random protocols; whole clusters for ``loco``, at most five folds of them, where rows in no
    cluster always train; whole groups of the protocol for ``group_...``; near-duplicates and publications
    otherwise.
    """
    if outer.protocol in CLUSTERED:
        folds = _cluster_folds(cluster[outer.train])
    elif outer.protocol in _RANDOM:
        folds = list(KFold(N_INNER, shuffle=True, random_state=0).split(outer.train))
    else:
        name = outer.protocol if outer.protocol.startswith("group_") else "group_material"
        groups = row_groups(name, inputs.table.iloc[outer.train]).to_numpy()
        folds = list(GroupKFold(min(N_INNER, len(set(groups)))).split(outer.train, groups=groups))
    inner = [
        replace(outer, fold=k, train=outer.train[a], test=outer.train[b]) for k, (a, b) in enumerate(folds)
    ]
    return [s for s in inner if len(set(inputs.y[s.train])) == 2]


def _cluster_folds(cluster: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return folds of whole clusters; rows in no cluster (-1) are in every training part."""
    clustered = np.flatnonzero(cluster != -1)
    groups = cluster[clustered]
    n_folds = min(N_INNER + 1, len(set(groups)))
    if n_folds < 2:
        return []
    held = [clustered[b] for _, b in GroupKFold(n_folds).split(clustered, groups=groups)]
    return [(np.setdiff1d(np.arange(len(cluster)), b), b) for b in held]


def _choose(
    inputs: Inputs,
    outer: Split,
    inner: Sequence[Split],
    probabilities: Sequence[np.ndarray],
    names: Sequence[str],
) -> tuple[np.ndarray, Choice]:
    """Choose on the inner folds, then apply to the outer one; ``probabilities`` by split, then by name."""
    logits = [logit(p) for p in probabilities]
    rows = [logits[k : k + len(names)] for k in range(0, len(logits), len(names))]
    labels = [inputs.y[s.test] for s in inner]
    per_fold = outer.protocol in CLUSTERED
    if not inner:  # nothing to choose on: every member, threshold 0.5
        mean = np.mean(rows[0], axis=0)
        return expit(mean), Choice(tuple(names), 0.5, 0.0, 0.0)
    best = None
    for members in _subsets(len(names)):
        blended = [np.mean([found[m] for m in members], axis=0) for found in rows[1:]]
        score = _score(labels, blended, per_fold=per_fold, threshold=0.0, metric=auc_pr)
        if best is None or score > best[0] + 1e-9:
            best = (score, members, blended)
    score, members, blended = best
    threshold, found_mcc = _threshold(labels, blended, per_fold=per_fold)
    outer_logit = np.mean([rows[0][m] for m in members], axis=0) - logit(threshold)
    choice = Choice(tuple(names[m] for m in members), threshold, score, found_mcc)
    return expit(outer_logit), choice


def _subsets(n: int) -> list[tuple[int, ...]]:
    """Return all choices of members, the whole first: a draw goes to more members."""
    return list(chain.from_iterable(combinations(range(n), k) for k in range(n, 0, -1)))


def _threshold(
    labels: Sequence[np.ndarray], logits: Sequence[np.ndarray], *, per_fold: bool
) -> tuple[float, float]:
    """Return the threshold of the best MCC, smoothed over neighbours so that one row decides little."""
    scores = np.array(
        [_score(labels, logits, per_fold=per_fold, threshold=logit(t), metric=mcc) for t in THRESHOLDS]
    )
    smooth = np.convolve(np.pad(scores, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    best = np.flatnonzero(smooth >= smooth.max() - 1e-9)
    k = int(best[len(best) // 2])
    return float(THRESHOLDS[k]), float(scores[k])


def _score(
    labels: Sequence[np.ndarray],
    logits: Sequence[np.ndarray],
    *,
    per_fold: bool,
    threshold: float,
    metric: object,
) -> float:
    """Return the metric over the pooled folds, or its mean over the folds that hold both classes."""
    pairs = list(zip(labels, logits, strict=True))
    if not per_fold:
        pairs = [(np.concatenate(labels), np.concatenate(logits))]
    values = [
        float(metric(y.astype(float), expit(x - threshold), np.ones((len(y), 1)))[0])
        for y, x in pairs
        if len(set(y)) == 2
    ]
    return float(np.mean(values)) if values else 0.0

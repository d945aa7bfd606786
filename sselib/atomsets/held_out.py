"""Probabilities of held-out rows under every protocol, kept in files so that an interrupted run goes on.

Nothing is chosen on rows that are predicted: settings of single models are fixed
(`sselib.atomsets.classifiers`), and the threshold of the model that the suite uses is chosen on inner folds
of the training rows. The inner folds repeat the outer protocol: what is judged on unseen clusters is chosen
on held-out clusters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.model_selection import GroupKFold, KFold

from sselib.atomsets.classification import CLUSTERED, best_threshold, logit
from sselib.atomsets.classifiers import (
    ATOMSETS,
    CONTROL_CASES,
    FRESH,
    PROCESS,
    Classifier,
    ClassifierInputs,
    ClassifierSettings,
    make_classifier,
    probability_of,
    split_probability,
)
from sselib.columns import ClassPrediction as C
from sselib.columns import Entry
from sselib.kept import kept_arrays
from sselib.materials.composition import element_fractions
from sselib.progress import progress
from sselib.threads import in_processes, in_threads
from sselib.validation.splits import Split, row_groups

N_INNER = 4
_RANDOM = ("kfold5", FRESH)  # protocols whose inner folds are random


@dataclass(frozen=True)
class HeldOutClasses:
    """``predictions`` with the columns of `ClassPrediction`; ``thresholds``: protocol, repeat, fold, limit.

    One row of ``thresholds`` for each split, with the limit that its inner folds chose. The probabilities of
    that model are shifted, so that it lies at 0.5.
    """

    predictions: pd.DataFrame
    thresholds: pd.DataFrame


def class_predictions(
    inputs: ClassifierInputs,
    splits: Sequence[Split],
    *,
    models: Sequence[Classifier],
    dataset: str,
    settings: ClassifierSettings,
    parts: Path | None = None,
) -> HeldOutClasses:
    """Return the probabilities of the test rows of all splits by every model and the controls.

    Fits run ``n_jobs`` at a time, in one thread each. With a folder ``parts`` each finished model is
    kept under a hash of data, splits and settings, so that an interrupted run goes on where it stopped.
    """
    found, chosen = {}, []
    for case in progress([*models, *CONTROL_CASES], stage="classifiers", total=None):
        single = replace(case, model=PROCESS, threshold=False) if case.threshold else case
        if single.name not in found:
            found[single.name] = _probabilities(single, inputs, splits, settings, parts)
        if case.threshold:
            chosen = _thresholds(single, inputs, splits, settings, parts)
            pairs = zip(found[single.name], chosen, strict=True)
            found[case.name] = [expit(logit(p) - logit(t)) for p, t in pairs]
    cases = [*models, *CONTROL_CASES]
    frames = [_frame(inputs, s, p, c) for c in cases for s, p in zip(splits, found[c.name], strict=True)]
    table = pd.concat(frames, ignore_index=True).assign(**{C.DATASET: dataset})[[str(c) for c in C]]
    rows = [(s.protocol, s.repeat, s.fold, t) for s, t in zip(splits, chosen, strict=False)]
    return HeldOutClasses(table, pd.DataFrame(rows, columns=["protocol", "repeat", "fold", "limit"]))


def _probabilities(
    case: Classifier,
    inputs: ClassifierInputs,
    splits: Sequence[Split],
    settings: ClassifierSettings,
    parts: Path | None,
) -> list[np.ndarray]:
    """Return the probabilities of the test rows of each split, from the files if they are there."""

    def compute() -> dict[str, np.ndarray]:
        """Fit every split; networks in processes, since their many small steps hold up threads."""
        if case.model == ATOMSETS:
            only = replace(inputs, matrices={}, unpaired=None)
            work = partial(_one_by_one, case, only, settings)
            done = in_processes(work, splits, n_jobs=settings.n_jobs)
        else:
            jobs = [(case, inputs, split, settings) for split in splits]
            done = in_threads(split_probability, jobs, n_jobs=settings.n_jobs)
        return {str(k): p for k, p in enumerate(done)}

    key = [case, _seen_by(case, inputs), list(splits), replace(settings, n_jobs=0)]
    kept = kept_arrays(parts, key, compute)
    return [kept[str(k)] for k in range(len(splits))]


def _one_by_one(
    case: Classifier, inputs: ClassifierInputs, settings: ClassifierSettings, splits: Sequence[Split]
) -> list[np.ndarray]:
    import torch

    torch.set_num_threads(1)  # of this worker process
    return [split_probability(case, inputs, split, settings) for split in splits]


def _seen_by(case: Classifier, inputs: ClassifierInputs) -> list[object]:
    """Return everything that the model reads."""
    rows = [inputs.table[Entry.ID], inputs.table[Entry.LOG10_SIGMA], inputs.y]
    if case.model == ATOMSETS:
        return [*rows, inputs.sets[case.features], inputs.duplicates]
    unpaired = inputs.unpaired if case.model == PROCESS else None
    return [*rows, inputs.matrices[case.features], unpaired]


def _thresholds(
    case: Classifier,
    inputs: ClassifierInputs,
    splits: Sequence[Split],
    settings: ClassifierSettings,
    parts: Path | None,
) -> list[float]:
    """Return for each split the threshold of the best MCC on inner folds of its training rows."""
    fold_of = _held_out_folds(splits, len(inputs.y))
    inner = [inner_splits(inputs, s, fold_of[s.protocol, s.repeat]) for s in splits]
    p = iter(_probabilities(case, inputs, [s for own in inner for s in own], settings, parts))
    return [
        best_threshold(
            [inputs.y[s.test] for s in own], [next(p) for _ in own], per_fold=outer.protocol in CLUSTERED
        )[0]
        for outer, own in zip(splits, inner, strict=True)
    ]


def _held_out_folds(splits: Sequence[Split], n_rows: int) -> dict[tuple[str, int], np.ndarray]:
    """Return for each protocol and repeat the fold in which a row is held out, -1 for none."""
    found = {}
    for s in splits:
        found.setdefault((s.protocol, s.repeat), np.full(n_rows, -1))[s.test] = s.fold
    return found


def inner_splits(inputs: ClassifierInputs, outer: Split, cluster: np.ndarray) -> list[Split]:
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


def _frame(inputs: ClassifierInputs, split: Split, probability: np.ndarray, case: Classifier) -> pd.DataFrame:
    rows = inputs.table.iloc[split.test]
    return pd.DataFrame(
        {
            C.ID: rows[Entry.ID].to_numpy(),
            C.MODEL: case.model,
            C.FEATURES: case.features,
            C.PROTOCOL: split.protocol,
            C.REPEAT: split.repeat,
            C.FOLD: split.fold,
            C.LOG10_SIGMA: rows[Entry.LOG10_SIGMA].to_numpy(float),
            C.SUPERIONIC: inputs.y[split.test].astype(bool),
            C.P_SUPERIONIC: np.clip(probability, 0.0, 1.0),
        }
    )


def saved_model_predictions(
    rows: pd.DataFrame, held_out: pd.DataFrame, *, dataset: str, seed: int = 0
) -> pd.DataFrame:
    """Return the held-out rows of the saved model and of the controls, with the columns of `ClassPrediction`.

    ``held_out`` is that of `sselib.atomsets.superionic_model.FittedSuperionic`; the route stands in
    ``features``. Mean, nearest composition and shuffled labels learn from every row outside a row's fold.
    """
    rows = rows.set_index(Entry.ID, drop=False).loc[held_out.loc[held_out["route"] == "formula", "id"]]
    fold = held_out[held_out["route"] == "formula"]["fold"].to_numpy()
    y, fractions = (
        rows[C.SUPERIONIC].to_numpy(int),
        element_fractions(list(rows[Entry.COMPOSITION])).to_numpy(),
    )
    mixed = np.random.default_rng(seed).permutation(y)
    parts = [held_out.assign(model="saved model")]
    for case, labels in zip(CONTROL_CASES, (y, y, mixed), strict=True):
        p = pd.Series(np.nan, rows.index)
        for k in np.unique(fold):
            fitted = make_classifier(case, seed=seed).fit(fractions[fold != k], labels[fold != k])
            p[fold == k] = probability_of(fitted, fractions[fold == k])
        parts.append(held_out.assign(model=case.model, p_superionic=held_out["id"].map(p)))
    found = pd.concat(parts, ignore_index=True).rename(columns={"route": C.FEATURES})
    found = found.assign(**{C.PROTOCOL: "group_material", C.REPEAT: 0, C.DATASET: dataset})
    return found[[str(c) for c in C]]

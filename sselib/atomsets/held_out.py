"""Probabilities of held-out rows under every protocol, kept in files so that an interrupted run goes on.

Nothing is chosen on rows that are predicted: settings of single models are fixed
(`sselib.atomsets.classifiers`), and `blend/chosen` picks its members and its threshold on inner folds of its
training rows (`sselib.atomsets.chosen_blend`).
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import xgboost
from scipy.special import expit

from sselib.atomsets.chosen_blend import choose_and_predict
from sselib.atomsets.classification import logit
from sselib.atomsets.classifiers import (
    ALL_ROWS,
    BLEND,
    BLENDED,
    CENTRED,
    CHOSEN,
    CONTROL_CASES,
    ClassifierSettings,
    Inputs,
    atomsets_probabilities,
    make_classifier,
    probability_of,
    split_probability,
)
from sselib.columns import ClassPrediction as C
from sselib.columns import Entry
from sselib.materials.composition import element_fractions
from sselib.progress import progress
from sselib.runfolder import to_json, write_whole
from sselib.threads import in_processes, in_threads
from sselib.validation.splits import Split


def class_predictions(
    inputs: Inputs,
    splits: Sequence[Split],
    *,
    models: Sequence[str],
    dataset: str,
    settings: ClassifierSettings,
    parts: Path | None = None,
) -> pd.DataFrame:
    """Return one row per prediction with the columns of `ClassPrediction`, the controls included.

    Fits run ``n_jobs`` at a time, in one thread each. With a folder ``parts`` each finished model is
    kept under a hash of data, splits and settings, so that an interrupted run goes on where it stopped.
    """
    wanted = [m for m in models if m not in (BLEND, CHOSEN, CENTRED)]
    if BLEND in models:
        wanted = list(dict.fromkeys([*wanted, *BLENDED]))
    found = {}
    for name in progress([*wanted, *CONTROL_CASES], stage="classifiers", total=None):
        path = parts / f"{_fingerprint(name, inputs, splits, settings)}.npz" if parts else None
        found[name] = _kept(path, lambda name=name: _probabilities(name, inputs, splits, settings))
    if BLEND in models:
        found[BLEND] = [(a + b) / 2 for a, b in zip(*(found[m] for m in BLENDED), strict=True)]
    if CHOSEN in models or CENTRED in models:
        path = parts / f"{_fingerprint(CHOSEN, inputs, splits, settings)}.npz" if parts else None
        found[CHOSEN] = _kept(path, lambda: _chosen(inputs, splits, settings, path, found))
        found[CENTRED] = [centred(p) for p in found[CHOSEN]]
    shown = [m for m in found if m in models or m in CONTROL_CASES]
    frames = [_frame(inputs, s, p, m) for m in shown for s, p in zip(splits, found[m], strict=True)]
    return pd.concat(frames, ignore_index=True).assign(**{C.DATASET: dataset})[[str(c) for c in C]]


def centred(probabilities: np.ndarray) -> np.ndarray:
    """Return probabilities whose logits have mean 0: superionic is what lies above the mean of its batch.

    In a family that no model has seen, ranks hold better than the level of the probabilities. The level is
    therefore taken from the batch to be judged itself, all rows of a test set at once; no label is used, but
    a single row cannot be judged in this way, and a batch without a superionic row is called wrong.
    """
    logits = logit(probabilities, edge=1e-6)
    return expit(logits - logits.mean())


def _kept(path: Path | None, compute: Callable[[], list[np.ndarray]]) -> list[np.ndarray]:
    """Return the probabilities per split from the file if it is there, else compute and keep them."""
    if path and path.is_file():
        with np.load(path) as stored:
            return [stored[name] for name in stored.files]
    found = compute()
    if path:
        write_whole(path, lambda p: np.savez(p, *found))
    return found


def _fingerprint(name: str, inputs: Inputs, splits: Sequence[Split], settings: ClassifierSettings) -> str:
    """Return a file name that changes with anything that can change the probabilities."""
    known = {**asdict(settings), "n_jobs": 0, "name": name, "xgboost": xgboost.__version__}
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
    package = Path(__file__).parents[1]
    modules = ["regression/gaussian_process.py", "atomsets/classifiers.py"]
    own = settings.blended if name == CHOSEN else (name,)
    if any(n.startswith("atomsets") for n in own):
        modules += ["atomsets/network.py", "atomsets/training.py"]
    modules += ["atomsets/chosen_blend.py"] if name == CHOSEN else []
    for path in [package / module for module in modules]:
        digest.update(path.read_bytes())
    digest.update("\n".join(inputs.table[Entry.ID]).encode())
    arrays = [a for n in own for a in _seen_by(n, inputs)]
    for array in (*arrays, inputs.y, *(a for s in splits for a in (s.train, s.test))):
        digest.update(np.ascontiguousarray(array).tobytes() + b"|")
    return f"{name.replace('/', '-')}-{digest.hexdigest()[:12]}"


def _seen_by(name: str, inputs: Inputs) -> list[np.ndarray]:
    """Return every array that the model reads."""
    model, _, features = name.partition("/")
    if model == "atomsets":
        return [a for s in inputs.sets[features] for a in (s.features, s.multiplicity)]
    own = [inputs.matrices[features]]
    if features.endswith(ALL_ROWS) and inputs.unpaired is not None:
        own += [inputs.unpaired.matrices[features], inputs.unpaired.y]
    return own


def _chosen(
    inputs: Inputs,
    splits: Sequence[Split],
    settings: ClassifierSettings,
    path: Path | None,
    known: Mapping[str, Sequence[np.ndarray]],
) -> list[np.ndarray]:
    """Return the probabilities of `blend/chosen`; what it chose is kept beside them.

    ``known`` holds the probabilities of single models that are there already, by name and split.
    """
    found = choose_and_predict(inputs, splits, settings, known=known)
    rows = [
        {"protocol": s.protocol, "repeat": s.repeat, "fold": s.fold, **asdict(choice)}
        for s, (_, choice) in zip(splits, found, strict=True)
    ]
    if path:
        write_whole(path.with_suffix(".json"), lambda p: p.write_text(to_json(rows), encoding="utf-8"))
    return [p for p, _ in found]


def chosen_members(
    inputs: Inputs, splits: Sequence[Split], *, settings: ClassifierSettings, parts: Path
) -> pd.DataFrame:
    """Return what `blend/chosen` chose in a `class_predictions` with the same arguments, one row per split.

    Columns: protocol, repeat, fold, members (names joined by " + "), threshold, and auc_pr and mcc on the
    inner folds.
    """
    path = parts / f"{_fingerprint(CHOSEN, inputs, splits, settings)}.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    return pd.DataFrame([{**row, "members": " + ".join(row["members"])} for row in rows])


def _probabilities(
    name: str, inputs: Inputs, splits: Sequence[Split], settings: ClassifierSettings
) -> list[np.ndarray]:
    """Return the probabilities of the test rows of each split."""
    model, _, features = name.partition("/")
    if model == "atomsets":
        return _network_probabilities(features, inputs, splits, settings)
    jobs = [(name, inputs, split, settings) for split in splits]
    return in_threads(split_probability, jobs, n_jobs=settings.n_jobs)


def _network_probabilities(
    features: str, inputs: Inputs, splits: Sequence[Split], settings: ClassifierSettings
) -> list[np.ndarray]:
    """Return what `atomsets_probabilities` does; ``n_jobs`` processes share the splits."""
    only = replace(inputs, matrices={}, sets={features: inputs.sets[features]}, unpaired=None)
    work = partial(atomsets_probabilities, features, only, settings=settings)
    return in_processes(work, splits, n_jobs=settings.n_jobs)


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
    for model, labels in (("mean", y), ("1nn", y), ("shuffled", mixed)):
        p = pd.Series(np.nan, rows.index)
        for k in np.unique(fold):
            fitted = make_classifier(f"{model}/elements", seed=seed).fit(
                fractions[fold != k], labels[fold != k]
            )
            p[fold == k] = probability_of(fitted, fractions[fold == k])
        parts.append(held_out.assign(model=model, p_superionic=held_out["id"].map(p)))
    found = pd.concat(parts, ignore_index=True).rename(columns={"route": C.FEATURES})
    found = found.assign(**{C.PROTOCOL: "group_material", C.REPEAT: 0, C.DATASET: dataset})
    return found[[str(c) for c in C]]


def _frame(inputs: Inputs, split: Split, probability: np.ndarray, name: str) -> pd.DataFrame:
    rows = inputs.table.iloc[split.test]
    model, _, features = name.partition("/")
    return pd.DataFrame(
        {
            C.ID: rows[Entry.ID].to_numpy(),
            C.MODEL: model,
            C.FEATURES: features,
            C.PROTOCOL: split.protocol,
            C.REPEAT: split.repeat,
            C.FOLD: split.fold,
            C.LOG10_SIGMA: rows[Entry.LOG10_SIGMA].to_numpy(float),
            C.SUPERIONIC: inputs.y[split.test].astype(bool),
            C.P_SUPERIONIC: np.clip(probability, 0.0, 1.0),
        }
    )

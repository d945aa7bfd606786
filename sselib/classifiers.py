"""Classifiers of superionic conductors and their probabilities for held-out rows under a protocol.

Every setting is fixed here, in advance. AtomSets stops on an inner part of its own training rows, grouped by
near-duplicates, so that nothing is chosen on rows that are predicted (nested evaluation).
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import xgboost
from joblib import Parallel, delayed
from pymatgen.core import Structure
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from sselib.clusters import Clusters, composition_clusters
from sselib.columns import ClassPrediction as C
from sselib.columns import Curated, Entry, StructureTable
from sselib.composition import element_fractions, l1_distances
from sselib.errors import DataError, ParameterError, nearest
from sselib.models import NearestComposition, feature_columns
from sselib.progress import progress
from sselib.runfolder import write_whole
from sselib.sendek import SENDEK_FEATURES, sendek_features
from sselib.site_features import pooled, site_sets
from sselib.splits import Split, protocol_splits, row_groups
from sselib.structures import structure_from_json

CONTROLS: tuple[str, ...] = ("mean", "1nn", "shuffled")
BLEND = "blend/atomsets+xgb"
# Which classifier of which features; the blend is the mean of its two members' probabilities.
CLASSIFIERS: tuple[str, ...] = (
    "xgb/composition",
    "xgb/all",
    "logistic/sendek",
    "logistic/pooled_v1",
    "atomsets/v1",
    "atomsets/v0123_occupancy",
    BLEND,
)
BLENDED: tuple[str, str] = ("atomsets/v0123_occupancy", "xgb/all")
LAYERS_OF: Mapping[str, tuple[str, ...]] = {
    "v1": ("V1",),
    "v0123_occupancy": ("V0", "V1", "V2", "V3", "occupancy"),
}
_CONTROL_CASES = ("mean/none", "1nn/composition", "shuffled/all")
_NEEDS_SITES = ("pooled_v1", *LAYERS_OF, "atomsets+xgb")
XGB_SETTINGS: Mapping[str, float] = {
    "n_estimators": 300,
    "max_depth": 4,
    "learning_rate": 0.05,
    "subsample": 0.7,
    "colsample_bytree": 0.5,
}
_LOGISTIC_C: Mapping[str, float] = {"sendek": 1.0, "pooled_v1": 0.01}  # inverse strength of the L2 penalty
_INNER_FOLDS = 6  # one of them says when AtomSets stops


@dataclass(frozen=True)
class SiteInputs:
    """Site sets by feature name and structure id, the structures that failed, and why there are none."""

    sets: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    rejects: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["id", "reason"]))
    why_missing: str = ""


@dataclass(frozen=True)
class Inputs:
    """Labelled rows and what each classifier sees of them, in the order of ``table``.

    ``y`` (n,) of 0 and 1; ``matrices`` (n, columns) by feature name; ``sets`` a list of site sets by
    feature name, empty without a parent model; ``duplicates`` (n,) near-duplicate groups.
    """

    table: pd.DataFrame
    y: np.ndarray
    matrices: Mapping[str, np.ndarray]
    sets: Mapping[str, Sequence[object]]
    duplicates: np.ndarray


@dataclass(frozen=True)
class ClassifierSettings:
    """``n_members`` AtomSets networks are averaged, each with its own seed and inner part."""

    seed: int = 0
    n_jobs: int = 2
    n_members: int = 2
    max_epochs: int = 300
    patience: int = 50


def structure_rows(table: pd.DataFrame, structures: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a curated table that have a structure and a decided label, index from 0.

    Raises `DataError` if none is left or only one class.
    """
    known = table[Entry.STRUCTURE_ID].isin(structures[StructureTable.STRUCTURE_ID])
    rows = table[known & table[Curated.SUPERIONIC].notna()].reset_index(drop=True)
    if rows[Curated.SUPERIONIC].nunique() < 2:
        raise DataError(
            f"{len(rows)} rows have a structure and a label, of "
            f"{rows[Curated.SUPERIONIC].nunique()} classes: a classifier needs both classes"
        )
    return rows


def read_structures(rows: pd.DataFrame, structures: pd.DataFrame) -> dict[str, Structure]:
    """Return the pymatgen structure of each row by the row's id."""
    texts = structures.set_index(StructureTable.STRUCTURE_ID)[StructureTable.STRUCTURE_JSON]
    pairs = zip(rows[Entry.ID], rows[Entry.STRUCTURE_ID], strict=True)
    return {row: structure_from_json(texts[key]) for row, key in pairs}


def site_inputs(structures: Mapping[str, Structure], *, parent: str, representation: str) -> SiteInputs:
    """Return the site sets of all feature names, or why they cannot be had.

    An empty ``parent`` means that none is wanted. Without torch or without the weights (mirror, cache or
    download) the reason is returned, so that a notebook can go on with the other models.
    """
    if not parent:
        return SiteInputs(why_missing="no parent model is named (parameter `parent`)")
    try:
        found = {
            name: site_sets(structures, parent=parent, representation=representation, layers=layers)
            for name, layers in LAYERS_OF.items()
        }
    except ModuleNotFoundError as error:
        return SiteInputs(why_missing=f"{error.name} is not installed (pip install -e '.[atomsets]')")
    except DataError as error:
        return SiteInputs(why_missing=str(error))
    return SiteInputs({name: f.sets for name, f in found.items()}, found["v1"].rejects)


def sendek_table(
    structures: Mapping[str, Structure], *, n_jobs: int = 1
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return Sendek et al.'s 20 features by row id (NaN where undefined), and rejects (id, reason)."""
    n_workers = min(n_jobs, max(1, len(structures) // 50))  # starting a worker costs seconds
    work = Parallel(n_workers, return_as="generator")(delayed(_sendek_row)(s) for s in structures.values())
    found = dict(zip(structures, progress(work, stage="Sendek features", total=len(structures)), strict=True))
    rows = {key: row for key, row in found.items() if isinstance(row, dict)}
    rejects = [(key, row) for key, row in found.items() if isinstance(row, str)]
    values = pd.DataFrame.from_dict(rows, orient="index", columns=list(SENDEK_FEATURES), dtype=float)
    return values, pd.DataFrame(rejects, columns=["id", "reason"], dtype=object)


def _sendek_row(structure: Structure) -> dict[str, float] | str:
    """Return the features of one structure, or why there are none."""
    try:
        return sendek_features(structure)
    except Exception as error:  # whatever an odd structure raises is its reason
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def classifier_inputs(
    rows: pd.DataFrame,
    *,
    features: pd.DataFrame,
    groups: pd.DataFrame,
    sendek: pd.DataFrame,
    sites: SiteInputs,
) -> Inputs:
    """Return what the classifiers see; rows that any of them cannot use are left out for all.

    ``features`` and ``groups`` are the tables of notebook 03, ``sendek`` is `sendek_table`.
    """
    usable = rows[Entry.ID].isin(sendek.index) & rows[Entry.ID].isin(features["id"])
    usable &= ~rows[Entry.ID].isin(sites.rejects["id"])
    table = rows[usable].reset_index(drop=True)
    ids = list(table[Entry.ID])
    tabular = features.set_index("id").loc[ids]
    matrices = {n: tabular[feature_columns(groups, n)].to_numpy(float) for n in ("composition", "all")}
    matrices |= {"sendek": sendek.loc[ids].to_numpy(float), "none": np.zeros((len(ids), 1))}
    sets = {name: [by_id[i] for i in ids] for name, by_id in sites.sets.items()}
    if sets:
        matrices["pooled_v1"] = pooled(sets["v1"])
    return Inputs(
        table=table,
        y=table[Curated.SUPERIONIC].to_numpy(int),
        matrices=matrices,
        sets=sets,
        duplicates=row_groups("duplicates", table).to_numpy(),
    )


def possible_models(models: Sequence[str], inputs: Inputs) -> list[str]:
    """Return the models that can run; those on site features need a parent model.

    Raises `ParameterError` for a name that is none of `CLASSIFIERS`.
    """
    for name in models:
        if name not in CLASSIFIERS:
            raise ParameterError(
                f"model {name!r} is unknown: expected one of {', '.join(CLASSIFIERS)}."
                f"{nearest(name, list(CLASSIFIERS))}"
            )
    return [m for m in models if inputs.sets or m.partition("/")[2] not in _NEEDS_SITES]


def clusters_by_seed(table: pd.DataFrame, *, seeds: Sequence[int]) -> dict[int, Clusters]:
    """Return the composition clusters of the rows for each seed of the map.

    From the content of the unit cell where known, as in `sselib.overview.cluster_table`.
    """
    formulas = table[Entry.CELL_FORMULA].fillna(table[Entry.COMPOSITION])
    fractions = element_fractions(list(formulas)).to_numpy()
    return {seed: composition_clusters(fractions, seed=seed) for seed in seeds}


def cluster_summary(table: pd.DataFrame, labels: np.ndarray) -> pd.DataFrame:
    """Return per cluster: rows, share superionic, its main families, median distance to the other rows.

    The distance is the L1 distance (0 to 2) of a row's composition to the nearest row outside its
    cluster, infinite where all rows are in one.
    """
    distance = l1_distances(*[element_fractions(list(table[Entry.COMPOSITION])).to_numpy()] * 2)
    rows = []
    for cluster in sorted(set(labels.tolist()) - {-1}):
        inside = labels == cluster
        families = table.loc[inside, Curated.FAMILY].value_counts().head(3)
        nearest_outside = distance[np.ix_(inside, ~inside)].min(axis=1, initial=np.inf)
        rows.append(
            (
                cluster,
                int(inside.sum()),
                float(table.loc[inside, Curated.SUPERIONIC].astype(float).mean()),
                ", ".join(f"{name} {n}" for name, n in families.items()),
                float(np.median(nearest_outside)),
            )
        )
    names = ["cluster", "rows", "share_superionic", "families", "median_l1_to_training"]
    return pd.DataFrame(rows, columns=names)


def class_splits(
    protocols: Sequence[str], inputs: Inputs, *, clusters: Mapping[int, Clusters], seed: int
) -> list[Split]:
    """Return the splits of all protocols; ``loco`` has one repeat per clustering, its fold is the cluster."""
    found = []
    for protocol in protocols:
        if protocol != "loco":
            found += protocol_splits(protocol, inputs.table, seed=seed, repeats=1)
            continue
        for repeat, found_clusters in enumerate(clusters.values()):
            held = protocol_splits("loco", inputs.table.assign(**{Curated.CLUSTER: found_clusters.labels}))
            found += [Split(s.protocol, repeat, s.fold, s.train, s.test) for s in held]
    return found


def make_classifier(name: str, *, seed: int) -> BaseEstimator:
    """Return an unfitted estimator for "model/features" (AtomSets and the blend have their own way)."""
    model, _, features = name.partition("/")
    if model == "mean":
        return DummyClassifier(strategy="prior")
    if model == "1nn":
        return NearestComposition()
    if model in ("xgb", "shuffled"):
        return XGBClassifier(**XGB_SETTINGS, random_state=seed, n_jobs=1, tree_method="hist", max_bin=64)
    if model == "logistic":
        return make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True),
            StandardScaler(),
            LogisticRegression(C=_LOGISTIC_C[features], class_weight="balanced", max_iter=2000),
        )
    raise ParameterError(f"model {name!r} is unknown: expected one of {', '.join(CLASSIFIERS)}")


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
    wanted = [m for m in models if m != BLEND]
    if BLEND in models:
        wanted = list(dict.fromkeys([*wanted, *BLENDED]))
    found = {}
    for name in progress([*wanted, *_CONTROL_CASES], stage="classifiers", total=None):
        path = parts / f"{_fingerprint(name, inputs, splits, settings)}.npz" if parts else None
        found[name] = _kept(path, lambda name=name: _probabilities(name, inputs, splits, settings))
    if BLEND in models:
        found[BLEND] = [(a + b) / 2 for a, b in zip(*(found[m] for m in BLENDED), strict=True)]
    shown = [m for m in found if m in models or m in _CONTROL_CASES]
    frames = [_frame(inputs, s, p, m) for m in shown for s, p in zip(splits, found[m], strict=True)]
    return pd.concat(frames, ignore_index=True).assign(**{C.DATASET: dataset})[[str(c) for c in C]]


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
    model, _, features = name.partition("/")
    known = {**asdict(settings), "n_jobs": 0, "name": name, "xgboost": xgboost.__version__}
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
    digest.update(Path(__file__).read_bytes() + "\n".join(inputs.table[Entry.ID]).encode())
    if model == "atomsets":
        arrays = [s.features for s in inputs.sets[features]] + [s.multiplicity for s in inputs.sets[features]]
    else:
        arrays = [inputs.matrices[features]]
    for array in (*arrays, inputs.y, *(a for s in splits for a in (s.train, s.test))):
        digest.update(np.ascontiguousarray(array).tobytes() + b"|")
    return f"{name.replace('/', '-')}-{digest.hexdigest()[:12]}"


def _probabilities(
    name: str, inputs: Inputs, splits: Sequence[Split], settings: ClassifierSettings
) -> list[np.ndarray]:
    """Return the probabilities of the test rows of each split."""
    model, _, features = name.partition("/")
    if model != "atomsets":
        return Parallel(settings.n_jobs, backend="threading")(
            delayed(_estimator_probability)(name, inputs.matrices[features], inputs.y, split, settings)
            for split in splits
        )
    return Parallel(settings.n_jobs)(
        delayed(_atomsets_probability)(inputs.sets[features], inputs.y, inputs.duplicates, split, settings)
        for split in splits
    )


def _estimator_probability(
    name: str, X: np.ndarray, y: np.ndarray, split: Split, settings: ClassifierSettings
) -> np.ndarray:
    """Fit one estimator on the training rows (labels permuted for ``shuffled``), shape (n_test,)."""
    labels = y[split.train]
    if name.startswith("shuffled"):
        labels = np.random.default_rng([settings.seed, split.repeat, split.fold]).permutation(labels)
    fitted = make_classifier(name, seed=settings.seed).fit(X[split.train], labels)
    if hasattr(fitted, "predict_proba"):
        return np.asarray(fitted.predict_proba(X[split.test])[:, 1], float)
    return np.asarray(fitted.predict(X[split.test]), float)


def _atomsets_probability(
    sets: Sequence[object], y: np.ndarray, duplicates: np.ndarray, split: Split, settings: ClassifierSettings
) -> np.ndarray:
    """Return the mean probability of ``n_members`` networks, shape (n_test,)."""
    import torch

    from sselib.atomsets import AtomSetsSettings, fit_atomsets

    torch.set_num_threads(1)
    network = AtomSetsSettings(max_epochs=settings.max_epochs, patience=settings.patience)
    train = [sets[i] for i in split.train]
    found = []
    for member in range(settings.n_members):
        seed = settings.seed + member
        inner = inner_part(y[split.train], duplicates[split.train], seed=seed)
        fitted = fit_atomsets(train, y[split.train], inner=inner, settings=network, seed=seed)
        found.append(fitted.probability([sets[i] for i in split.test]))
    return np.mean(found, axis=0).astype(float)


def inner_part(y: np.ndarray, groups: np.ndarray, *, seed: int) -> np.ndarray:
    """Return which training rows say when to stop: a stratified sixth, whole groups, shape (n,) bool.

    Raises `DataError` if no such part leaves both classes on both sides.
    """
    n_folds = max(2, min(_INNER_FOLDS, len(np.unique(groups)), int(np.bincount(y, minlength=2).min())))
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    for fit, held in folds.split(y, y, groups):
        if len(set(y[fit])) == 2 and len(set(y[held])) == 2:
            return np.isin(np.arange(len(y)), held)
    raise DataError(
        f"{len(y)} training rows with {int(y.sum())} superionic ones, in {len(np.unique(groups))} groups, "
        "cannot be divided into a fitting and a stopping part: use more data or another protocol"
    )


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

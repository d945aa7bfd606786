"""Classifiers of superionic conductors: what each sees, how a protocol splits the rows, and a single fit.

Settings of single models are fixed here, in advance. `sselib.atomsets.held_out` gives the probabilities of
all models for held-out rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
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

from sselib.atomsets.sendek import SENDEK_FEATURES, sendek_features
from sselib.atomsets.superionic_model import GP_ITERATIONS, share_above
from sselib.columns import Curated, Entry, StructureTable
from sselib.errors import DataError, ParameterError, nearest
from sselib.features.representations import primitive_cell
from sselib.features.site_features import SiteSet, named_site_sets, pooled
from sselib.materials.composition import element_fractions, elmd_distances, l1_distances
from sselib.materials.structures import structure_from_json
from sselib.progress import progress
from sselib.regression.gaussian_process import CompositionGP
from sselib.regression.models import NearestComposition, feature_columns
from sselib.validation.clusters import Clusters, composition_clusters
from sselib.validation.splits import MATERIAL_GROUP, SAME_COMPOSITION_L1, Split, protocol_splits, row_groups

FRESH = "fresh_tenth"  # protocol: a random tenth
ATOMSETS, PROCESS = "AtomSets", "Gaussian process"
XGB_SETTINGS: Mapping[str, float] = {
    "n_estimators": 300,
    "max_depth": 4,
    "learning_rate": 0.05,
    "subsample": 0.7,
    "colsample_bytree": 0.5,
}
_INNER_FOLDS = 6  # one of them says when AtomSets stops


@dataclass(frozen=True)
class Classifier:
    """What learns and what it sees, in words.

    ``layers`` of MEGNet, for models of site features; ``threshold``: whether the limit of the probability is
    chosen on inner folds, instead of 0.5; ``penalty``: inverse strength of the L2 penalty.
    """

    model: str
    features: str
    layers: tuple[str, ...] = ()
    threshold: bool = False
    penalty: float = 0.01

    @property
    def name(self) -> str:
        """Name as it stands in tables and parameters."""
        return f"{self.model} on {self.features}"


_ALL_LAYERS = ("V0", "V1", "V2", "V3", "occupancy")
BASELINE = Classifier("gradient boosting", "composition")
SUITE = Classifier(f"{PROCESS}, chosen threshold", "formula and structure", threshold=True)
CLASSIFIERS: tuple[Classifier, ...] = (
    BASELINE,
    Classifier("gradient boosting", "composition and structure"),
    Classifier("logistic regression", "Sendek's features", penalty=1.0),
    Classifier("logistic regression", "MEGNet V1", layers=("V1",)),
    Classifier(ATOMSETS, "MEGNet V1", layers=("V1",)),
    Classifier(ATOMSETS, "MEGNet V0 to V3", layers=_ALL_LAYERS),
    Classifier(PROCESS, "formula and structure"),
    SUITE,
)
CONTROL_CASES: tuple[Classifier, ...] = (
    Classifier("mean", "none"),
    Classifier("1nn", "composition"),
    Classifier("shuffled", "composition and structure"),
)


@dataclass(frozen=True)
class SiteInputs:
    """Site sets by feature name and structure id, the structures that failed, and why there are none."""

    sets: Mapping[str, Mapping[str, SiteSet]] = field(default_factory=dict)
    rejects: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["id", "reason"]))
    why_missing: str = ""


@dataclass(frozen=True)
class Unpaired:
    """Labelled rows without a structure: they train the Gaussian process too, and are never tested.

    ``X`` (n, columns) is what the process sees; ``nearest`` (n,) the position of the row of
    `ClassifierInputs` whose composition is nearest (element mover's distance).
    """

    table: pd.DataFrame
    X: np.ndarray
    nearest: np.ndarray


@dataclass(frozen=True)
class ClassifierInputs:
    """Labelled rows and what each classifier sees of them, in the order of ``table``.

    ``y`` (n,) of 0 and 1; ``matrices`` (n, columns) by feature name; ``sets`` a list of site sets by
    feature name, empty without a parent model; ``duplicates`` (n,) near-duplicate groups.
    """

    table: pd.DataFrame
    y: np.ndarray
    matrices: Mapping[str, np.ndarray]
    sets: Mapping[str, Sequence[SiteSet]]
    duplicates: np.ndarray
    unpaired: Unpaired | None = None


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


def site_inputs(
    structures: Mapping[str, Structure], *, parent: str, representation: str, n_jobs: int = 1
) -> SiteInputs:
    """Return the site sets of all feature names, or why they cannot be had.

    An empty ``parent`` means that none is wanted. Without torch or without the weights (mirror, cache or
    download) the reason is returned, so that a notebook can go on with the other models.
    """
    if not parent:
        return SiteInputs(why_missing="no parent model is named (parameter `parent`)")
    names = {c.features: c.layers for c in CLASSIFIERS if c.layers}
    options = {"parent": parent, "representation": representation, "n_jobs": n_jobs}
    try:
        found = named_site_sets(structures, names, **options)
    except ModuleNotFoundError as error:
        return SiteInputs(why_missing=f"{error.name} is not installed (pip install -e '.[atomsets]')")
    except DataError as error:
        return SiteInputs(why_missing=str(error))
    rejects = pd.concat([f.rejects for f in found.values()]).drop_duplicates("id", ignore_index=True)
    return SiteInputs({name: f.sets for name, f in found.items()}, rejects)


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
        return sendek_features(primitive_cell(structure))  # the same averages from fewer sites
    except Exception as error:  # whatever an odd structure raises is its reason
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def classifier_inputs(
    rows: pd.DataFrame,
    *,
    features: pd.DataFrame,
    groups: pd.DataFrame,
    sendek: pd.DataFrame,
    sites: SiteInputs,
    labelled: pd.DataFrame,
) -> ClassifierInputs:
    """Return what the classifiers see; rows that any of them cannot use are left out for all.

    ``features`` and ``groups`` are those of `sselib.regression.all_features`, ``sendek`` is `sendek_table`.
    ``labelled`` is the whole curated table: its rows without a structure become
    `ClassifierInputs.unpaired`, and the groups of `group_material` are those of the whole table.
    """
    usable = rows[Entry.ID].isin(sendek.index) & rows[Entry.ID].isin(features["id"])
    usable &= ~rows[Entry.ID].isin(sites.rejects["id"])
    tabular = features.set_index("id")
    material = pd.Series(row_groups("group_material", labelled).to_numpy(), index=labelled[Entry.ID])
    table = rows[usable].reset_index(drop=True)
    table = table.assign(**{MATERIAL_GROUP: table[Entry.ID].map(material)})
    ids = list(table[Entry.ID])
    of_process = feature_columns(groups, "formula_environment")
    columns = {
        "composition": feature_columns(groups, "composition"),
        "composition and structure": feature_columns(groups, "all"),
        SUITE.features: of_process,
    }
    matrices = {name: tabular.loc[ids, wanted].to_numpy(float) for name, wanted in columns.items()}
    matrices |= {"Sendek's features": sendek.loc[ids].to_numpy(float), "none": np.zeros((len(ids), 1))}
    sets = {name: [by_id[i] for i in ids] for name, by_id in sites.sets.items()}
    return ClassifierInputs(
        table=table,
        y=table[Curated.SUPERIONIC].to_numpy(int),
        matrices=matrices | {name: pooled(found) for name, found in sets.items()},
        sets=sets,
        duplicates=row_groups("duplicates", table).to_numpy(),
        unpaired=_unpaired(labelled, table, tabular[of_process], material),
    )


def _unpaired(
    labelled: pd.DataFrame, table: pd.DataFrame, features: pd.DataFrame, material: pd.Series
) -> Unpaired | None:
    """Return the rows with a decided label and features that are not in ``table``, None if there is none."""
    other = ~labelled[Entry.ID].isin(table[Entry.ID]) & labelled[Curated.SUPERIONIC].notna()
    rows = labelled[other & labelled[Entry.ID].isin(features.index)].reset_index(drop=True)
    if rows.empty:
        return None
    rows = rows.assign(**{MATERIAL_GROUP: rows[Entry.ID].map(material)})
    compositions = [element_fractions(list(t[Entry.COMPOSITION])).to_numpy() for t in (rows, table)]
    nearest_row = elmd_distances(*compositions).argmin(axis=1)
    return Unpaired(rows, features.loc[list(rows[Entry.ID])].to_numpy(float), nearest_row)


def unpaired_rows(inputs: ClassifierInputs, split: Split) -> np.ndarray:
    """Return the positions in `ClassifierInputs.unpaired` that may train under a split.

    Held out are all rows that do not train: the test rows, and for an inner fold those of its outer fold.
    ``group_...``: rows that share no group with a held-out row. ``loco``: rows whose nearest row with a
    structure (element mover's distance) is not held out, as if they belonged to its cluster.
    ``obelix_official``: OBELiX's own training rows, and rows of other sources farther than 0.05 (L1) from
    every test row, but none that shares a `group_material` with a held-out training row. Any other
    protocol: rows farther than 0.05 from every held-out row.
    """
    if inputs.unpaired is None:
        return np.empty(0, dtype=int)
    held_out = np.setdiff1d(np.arange(len(inputs.table)), split.train)
    held, other = inputs.table.iloc[held_out], inputs.unpaired.table
    if split.protocol.startswith("group_"):
        return np.flatnonzero(~_shares_group(split.protocol, other, held))
    if split.protocol == "loco":
        return np.flatnonzero(~np.isin(inputs.unpaired.nearest, held_out))
    first = element_fractions(list(other[Entry.COMPOSITION])).to_numpy()
    second = element_fractions(list(held[Entry.COMPOSITION])).to_numpy()
    far = l1_distances(first, second).min(axis=1) > SAME_COMPOSITION_L1
    if split.protocol != "obelix_official":
        return np.flatnonzero(far)
    label = other[Entry.OFFICIAL_SPLIT].astype("object")
    of_inner = held[(held[Entry.OFFICIAL_SPLIT] == "train").fillna(False)]
    inner = _shares_group("group_material", other, of_inner) if len(of_inner) else np.zeros(len(other), bool)
    return np.flatnonzero(((label == "train") | (label.isna() & far)) & ~inner)


def _shares_group(protocol: str, rows: pd.DataFrame, held: pd.DataFrame) -> np.ndarray:
    return row_groups(protocol, rows).isin(set(row_groups(protocol, held))).to_numpy()


def possible_models(names: Sequence[str], inputs: ClassifierInputs) -> list[Classifier]:
    """Return the classifiers of these names (all, if none is given) that can run on the inputs.

    Models of site features need a parent model. Raises `ParameterError` for an unknown name.
    """
    known = {c.name: c for c in CLASSIFIERS}
    for name in names:
        if name not in known:
            raise ParameterError(
                f"model {name!r} is unknown: expected one of {', '.join(known)}.{nearest(name, list(known))}"
            )
    wanted = [c for c in CLASSIFIERS if c.name in (names or known)]
    return [c for c in wanted if not c.layers or c.features in inputs.sets]


def clusters_by_seed(table: pd.DataFrame, *, seeds: Sequence[int]) -> dict[int, Clusters]:
    """Return the composition clusters of the rows for each seed of the map.

    From the content of the unit cell where known, as in `sselib.curation.overview.cluster_table`.
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
    protocols: Sequence[str], inputs: ClassifierInputs, *, clusters: Mapping[int, Clusters], seed: int
) -> list[Split]:
    """Return the splits of all protocols; ``loco`` has one repeat per clustering, its fold is the cluster."""
    found = []
    for protocol in protocols:
        if protocol == FRESH:
            found.append(fresh_tenth(len(inputs.table)))
            continue
        if protocol != "loco":
            found += protocol_splits(protocol, inputs.table, seed=seed, repeats=1)
            continue
        for repeat, found_clusters in enumerate(clusters.values()):
            held = protocol_splits("loco", inputs.table.assign(**{Curated.CLUSTER: found_clusters.labels}))
            found += [Split(s.protocol, repeat, s.fold, s.train, s.test) for s in held]
    return found


def fresh_tenth(n_rows: int) -> Split:
    """Return the random tenth that was split off before the model of the suite was designed.

    The seed is fixed: another one would be another, no longer fresh, tenth.
    """
    order = np.random.default_rng(0).permutation(n_rows)
    n_test = -(-n_rows // 10)
    return Split(FRESH, 0, 0, np.sort(order[n_test:]), np.sort(order[:n_test]))


def make_classifier(classifier: Classifier, *, seed: int) -> BaseEstimator:
    """Return an unfitted estimator (AtomSets has its own way, `atomsets_probability`)."""
    match classifier.model:
        case "mean":
            return DummyClassifier(strategy="prior")
        case "1nn":
            return NearestComposition()
        case "gradient boosting" | "shuffled":
            return XGBClassifier(**XGB_SETTINGS, random_state=seed, n_jobs=1, tree_method="hist", max_bin=64)
        case "logistic regression":
            fill = SimpleImputer(strategy="median", keep_empty_features=True)
            last = LogisticRegression(C=classifier.penalty, class_weight="balanced", max_iter=2000)
            return make_pipeline(fill, StandardScaler(), last)
    return CompositionGP(max_iterations=GP_ITERATIONS)


def split_probability(
    classifier: Classifier, inputs: ClassifierInputs, split: Split, settings: ClassifierSettings
) -> np.ndarray:
    """Return the probabilities of a single model for the split's test rows, (n_test,)."""
    if classifier.model == ATOMSETS:
        return atomsets_probability(classifier.features, inputs, split, settings)
    every = inputs.matrices[classifier.features]
    X, labels = every[split.train], inputs.y[split.train]
    if classifier.model.startswith(PROCESS):
        labels = inputs.table[Entry.LOG10_SIGMA].to_numpy(float)[split.train]
        if len(more := unpaired_rows(inputs, split)):
            X = np.vstack([X, inputs.unpaired.X[more]])
            labels = np.r_[labels, inputs.unpaired.table[Entry.LOG10_SIGMA].to_numpy(float)[more]]
    if classifier.model == "shuffled":
        labels = np.random.default_rng([settings.seed, split.repeat, split.fold]).permutation(labels)
    fitted = make_classifier(classifier, seed=settings.seed).fit(X, labels)
    return probability_of(fitted, every[split.test])


def probability_of(fitted: BaseEstimator, X: np.ndarray) -> np.ndarray:
    """Return P(superionic), (n,): of a Gaussian process the share of its distribution above the limit."""
    if isinstance(fitted, CompositionGP):
        mean, spread = fitted.predict(X, return_spread=True)
        return share_above(mean, spread)
    if isinstance(fitted, NearestComposition):
        return np.asarray(fitted.predict(X), float)
    return np.asarray(fitted.predict_proba(X)[:, 1], float)


def atomsets_probability(
    features: str, inputs: ClassifierInputs, split: Split, settings: ClassifierSettings
) -> np.ndarray:
    """Return the mean probability of ``n_members`` networks for the split's test rows, (n_test,)."""
    from sselib.atomsets.network import AtomSetsSettings
    from sselib.atomsets.training import fit_atomsets

    network = AtomSetsSettings(max_epochs=settings.max_epochs, patience=settings.patience)
    sets = inputs.sets[features]
    train, y = [sets[i] for i in split.train], inputs.y[split.train]
    found = []
    for seed in range(settings.seed, settings.seed + settings.n_members):
        inner = inner_part(y, inputs.duplicates[split.train], seed=seed)
        fitted = fit_atomsets(train, y, inner=inner, settings=network, seed=seed)
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

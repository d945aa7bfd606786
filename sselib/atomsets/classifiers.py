"""Classifiers of superionic conductors: what each sees, how a protocol splits the rows, and a single fit.

Settings of single models are fixed here, in advance. AtomSets stops on an inner part of its own training
rows, grouped by near-duplicates. `sselib.atomsets.chosen_blend` blends single models, and
`sselib.atomsets.held_out` gives the probabilities of all models for held-out rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from pymatgen.core import Structure
from scipy.special import expit
from scipy.stats import norm
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier, XGBRegressor

from sselib.atomsets.sendek import SENDEK_FEATURES, sendek_features
from sselib.columns import Curated, Entry, StructureTable
from sselib.errors import DataError, ParameterError, nearest
from sselib.features.description import Group
from sselib.features.formula import with_formula_features
from sselib.features.representations import primitive_cell
from sselib.features.site_features import named_site_sets, pooled
from sselib.features.structure import with_environment
from sselib.materials.composition import element_fractions, elmd_distances, l1_distances
from sselib.materials.structures import structure_from_json
from sselib.progress import progress
from sselib.regression.gaussian_process import CompositionGP
from sselib.regression.models import NearestComposition, feature_columns
from sselib.validation.clusters import Clusters, composition_clusters
from sselib.validation.splits import MATERIAL_GROUP, SAME_COMPOSITION_L1, Split, protocol_splits, row_groups

CONTROLS: tuple[str, ...] = ("mean", "1nn", "shuffled")
BLEND = "blend/atomsets+xgb"
FRESH = "fresh_tenth"  # protocol: a random tenth
CHOSEN = "blend/chosen"  # see sselib.atomsets.chosen_blend
CENTRED = "blend/centred"  # the same members, but the limit lies at the mean logit of the rows to be judged
ALL_ROWS = "_all_rows"  # ending of feature names whose models also train on rows without a structure
# Which classifier of which features; `blend/atomsets+xgb` is the mean of its two members' probabilities.
CLASSIFIERS: tuple[str, ...] = (
    "xgb/composition",
    "xgb/all",
    "extra_trees/lattice_all_rows",
    "xgb/elements_all_rows",
    "xgb_sigma/elements_all_rows",
    "gp_sigma/environment_all_rows",
    "logistic/sendek",
    "logistic/pooled_v1",
    "logistic/pooled_chgnet_v1",
    "atomsets/v1",
    "atomsets/v0123_occupancy",
    "atomsets/chgnet_v1",
    BLEND,
    CHOSEN,
    CENTRED,
)
BLEND_MEMBERS: tuple[str, ...] = (  # from which `blend/chosen` chooses
    "gp_sigma/environment_all_rows",
    "extra_trees/lattice_all_rows",
    "xgb_sigma/elements_all_rows",
)
BLENDED: tuple[str, str] = ("atomsets/v0123_occupancy", "xgb/all")
LAYERS_OF: Mapping[str, tuple[str, ...]] = {
    "v1": ("V1",),
    "v0123_occupancy": ("V0", "V1", "V2", "V3", "occupancy"),
}
CHGNET_LAYERS_OF: Mapping[str, tuple[str, ...]] = {"chgnet_v1": ("V1",)}  # of the second parent
CONTROL_CASES = ("mean/none", "1nn/composition", "shuffled/all")
_SETS_NEEDED: Mapping[str, str] = {  # by feature name
    "pooled_v1": "v1",
    "pooled_chgnet_v1": "chgnet_v1",
    "atomsets+xgb": "v0123_occupancy",
    **{name: name for name in (*LAYERS_OF, *CHGNET_LAYERS_OF)},
}
XGB_SETTINGS: Mapping[str, float] = {
    "n_estimators": 300,
    "max_depth": 4,
    "learning_rate": 0.05,
    "subsample": 0.7,
    "colsample_bytree": 0.5,
}
_ALL_ROWS_GROUPS: Mapping[str, tuple[str, ...]] = {  # feature groups of notebook 03
    "elements_all_rows": ("stoichiometric", "elemental"),
    "lattice_all_rows": ("stoichiometric", "elemental", "lattice_invariant"),
}
_ENVIRONMENT = "environment_all_rows"  # the features of notebook 04's model that reads structures
N_TREES = 200
GP_ITERATIONS = 4  # of the search for the kernel's settings; 15 rank held-out rows no better
_LOGIT_PER_DECADE = 2.0  # how a predicted log10(S/cm) above the limit becomes a logit
SUPERIONIC_LOG10_SIGMA = -4.0  # superionic: at least 1e-4 S/cm (McHaffie et al.)
_LOGISTIC_C: Mapping[str, float] = {
    "sendek": 1.0,
    "pooled_v1": 0.01,
    "pooled_chgnet_v1": 0.01,
}  # inverse strength of the L2 penalty
_LOGISTIC_C_POOLED = 0.01  # of any other pooled site features
_INNER_FOLDS = 6  # one of them says when AtomSets stops


@dataclass(frozen=True)
class SiteInputs:
    """Site sets by feature name and structure id, the structures that failed, and why there are none."""

    sets: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    rejects: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["id", "reason"]))
    why_missing: str = ""


@dataclass(frozen=True)
class Unpaired:
    """Labelled rows without a structure: they train models on ``..._all_rows``, and are never tested.

    ``matrices`` has the same columns as that of `Inputs`; ``nearest`` (n,) is the position of the row of
    `Inputs` whose composition is nearest (element mover's distance).
    """

    table: pd.DataFrame
    y: np.ndarray
    matrices: Mapping[str, np.ndarray]
    nearest: np.ndarray


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
    unpaired: Unpaired | None = None


@dataclass(frozen=True)
class ClassifierSettings:
    """``n_members`` AtomSets networks are averaged, each with its own seed and inner part.

    ``blended`` names the models from which `blend/chosen` chooses.
    """

    seed: int = 0
    n_jobs: int = 2
    n_members: int = 2
    max_epochs: int = 300
    patience: int = 50
    blended: tuple[str, ...] = BLEND_MEMBERS


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
    structures: Mapping[str, Structure],
    *,
    parent: str,
    representation: str,
    second_parent: str = "",
    n_jobs: int = 1,
) -> SiteInputs:
    """Return the site sets of all feature names, or why they cannot be had.

    An empty ``parent`` means that none is wanted. Without torch or without the weights (mirror, cache or
    download) the reason is returned, so that a notebook can go on with the other models. ``second_parent``
    may be "chgnet"; a structure that either parent cannot take is rejected for both.
    """
    if not parent:
        return SiteInputs(why_missing="no parent model is named (parameter `parent`)")
    cases = [(parent, LAYERS_OF)] + ([(second_parent, CHGNET_LAYERS_OF)] if second_parent else [])
    found = {}
    try:
        for of, names in cases:
            options = {"parent": of, "representation": representation, "n_jobs": n_jobs}
            found |= named_site_sets(structures, names, **options)
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


def with_environment_features(
    features: pd.DataFrame, groups: pd.DataFrame, table: pd.DataFrame, structures: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the features of notebook 03 and their groups with what ``environment_all_rows`` needs.

    See `sselib.features.structure.with_environment` and `sselib.features.formula.with_formula_features`.
    """
    features, groups = with_environment(features, groups, table, structures)
    return with_formula_features(features, groups, table)


def classifier_inputs(
    rows: pd.DataFrame,
    *,
    features: pd.DataFrame,
    groups: pd.DataFrame,
    sendek: pd.DataFrame,
    sites: SiteInputs,
    labelled: pd.DataFrame | None = None,
) -> Inputs:
    """Return what the classifiers see; rows that any of them cannot use are left out for all.

    ``features`` and ``groups`` are the tables of notebook 03, those of `with_environment_features`
    where models on ``environment_all_rows`` shall run; ``sendek`` is `sendek_table`. ``labelled`` is the
    whole curated table: its rows without a structure become `Inputs.unpaired`, and the groups of
    `group_material` are those of the whole table.
    """
    usable = rows[Entry.ID].isin(sendek.index) & rows[Entry.ID].isin(features["id"])
    usable &= ~rows[Entry.ID].isin(sites.rejects["id"])
    table = rows[usable].reset_index(drop=True)
    tabular = features.set_index("id")
    unpaired = None
    if labelled is not None:
        material = pd.Series(row_groups("group_material", labelled).to_numpy(), index=labelled[Entry.ID])
        table = table.assign(**{MATERIAL_GROUP: table[Entry.ID].map(material)})
        unpaired = _unpaired(labelled, table, tabular, groups, material)
    ids = list(table[Entry.ID])
    tabular = tabular.loc[ids]
    matrices = {n: tabular[feature_columns(groups, n)].to_numpy(float) for n in ("composition", "all")}
    matrices |= _all_rows_matrices(tabular, groups)
    matrices |= {"sendek": sendek.loc[ids].to_numpy(float), "none": np.zeros((len(ids), 1))}
    sets = {name: [by_id[i] for i in ids] for name, by_id in sites.sets.items()}
    if sets:
        pooled_of = {n: s for n, s in _SETS_NEEDED.items() if n.startswith("pooled") and s in sets}
        matrices |= {name: pooled(sets[of]) for name, of in pooled_of.items()}
    return Inputs(
        table=table,
        y=table[Curated.SUPERIONIC].to_numpy(int),
        matrices=matrices,
        sets=sets,
        duplicates=row_groups("duplicates", table).to_numpy(),
        unpaired=unpaired,
    )


def _all_rows_matrices(tabular: pd.DataFrame, groups: pd.DataFrame) -> dict[str, np.ndarray]:
    columns = {
        name: list(groups.loc[groups["group"].isin(kinds), "feature"])
        for name, kinds in _ALL_ROWS_GROUPS.items()
    }
    if (groups["group"] == Group.FORMULA).any():
        columns[_ENVIRONMENT] = feature_columns(groups, "formula_environment")
    return {name: tabular[wanted].to_numpy(float) for name, wanted in columns.items()}


def _unpaired(
    labelled: pd.DataFrame,
    table: pd.DataFrame,
    tabular: pd.DataFrame,
    groups: pd.DataFrame,
    material: pd.Series,
) -> Unpaired | None:
    """Return the rows with a decided label and features that are not in ``table``, None if there is none."""
    other = ~labelled[Entry.ID].isin(table[Entry.ID]) & labelled[Curated.SUPERIONIC].notna()
    rows = labelled[other & labelled[Entry.ID].isin(tabular.index)].reset_index(drop=True)
    if rows.empty:
        return None
    rows = rows.assign(**{MATERIAL_GROUP: rows[Entry.ID].map(material)})
    matrices = _all_rows_matrices(tabular.loc[list(rows[Entry.ID])], groups)
    compositions = [element_fractions(list(t[Entry.COMPOSITION])).to_numpy() for t in (rows, table)]
    nearest_row = elmd_distances(*compositions).argmin(axis=1)
    return Unpaired(rows, rows[Curated.SUPERIONIC].to_numpy(int), matrices, nearest_row)


def unpaired_rows(inputs: Inputs, split: Split) -> np.ndarray:
    """Return the positions in `Inputs.unpaired` that may train under a split.

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


def possible_models(models: Sequence[str], inputs: Inputs) -> list[str]:
    """Return the models that can run: site features need a parent model, ``environment_all_rows`` the
    columns of `with_environment_features`.

    Raises `ParameterError` for a name that is none of `CLASSIFIERS`.
    """
    for name in models:
        if name not in CLASSIFIERS:
            raise ParameterError(
                f"model {name!r} is unknown: expected one of {', '.join(CLASSIFIERS)}."
                f"{nearest(name, list(CLASSIFIERS))}"
            )
    return [m for m in models if _can_run(m.partition("/")[2], inputs)]


def _can_run(features: str, inputs: Inputs) -> bool:
    """Tell whether the site sets or the columns that a feature name stands for are there."""
    if features in _SETS_NEEDED:
        return _SETS_NEEDED[features] in inputs.sets
    return features != _ENVIRONMENT or features in inputs.matrices


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
    protocols: Sequence[str], inputs: Inputs, *, clusters: Mapping[int, Clusters], seed: int
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
    """Return the random tenth that was split off before `blend/chosen` was designed; it is scored once.

    The seed is fixed: another one would be another, no longer fresh, tenth.
    """
    order = np.random.default_rng(0).permutation(n_rows)
    n_test = -(-n_rows // 10)
    return Split(FRESH, 0, 0, np.sort(order[n_test:]), np.sort(order[:n_test]))


def make_classifier(name: str, *, seed: int) -> BaseEstimator:
    """Return an unfitted estimator for "model/features" (AtomSets and the blend have their own way)."""
    model, _, features = name.partition("/")
    if model == "mean":
        return DummyClassifier(strategy="prior")
    if model == "1nn":
        return NearestComposition()
    if model == "extra_trees":
        return make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True),
            ExtraTreesClassifier(N_TREES, random_state=seed, n_jobs=1),
        )
    if model == "gp_sigma":
        return CompositionGP(max_iterations=GP_ITERATIONS)
    if model == "xgb_sigma":
        return XGBRegressor(**XGB_SETTINGS, random_state=seed, n_jobs=1, tree_method="hist", max_bin=64)
    if model in ("xgb", "shuffled"):
        return XGBClassifier(**XGB_SETTINGS, random_state=seed, n_jobs=1, tree_method="hist", max_bin=64)
    if model == "logistic":
        return make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True),
            StandardScaler(),
            LogisticRegression(
                C=_LOGISTIC_C.get(features, _LOGISTIC_C_POOLED), class_weight="balanced", max_iter=2000
            ),
        )
    raise ParameterError(f"model {name!r} is unknown: expected one of {', '.join(CLASSIFIERS)}")


def split_probability(name: str, inputs: Inputs, split: Split, settings: ClassifierSettings) -> np.ndarray:
    """Return the probabilities of a single model ("model/features") for the split's test rows, (n_test,)."""
    model, _, features = name.partition("/")
    if model == "atomsets":
        return atomsets_probabilities(features, inputs, [split], settings)[0]
    X, labels = inputs.matrices[features][split.train], inputs.y[split.train]
    sigma = inputs.table[Entry.LOG10_SIGMA].to_numpy(float)[split.train]
    if features.endswith(ALL_ROWS) and inputs.unpaired is not None:
        more = unpaired_rows(inputs, split)
        X = np.vstack([X, inputs.unpaired.matrices[features][more]])
        labels = np.r_[labels, inputs.unpaired.y[more]]
        sigma = np.r_[sigma, inputs.unpaired.table[Entry.LOG10_SIGMA].to_numpy(float)[more]]
    if model == "shuffled":
        labels = np.random.default_rng([settings.seed, split.repeat, split.fold]).permutation(labels)
    fitted = make_classifier(name, seed=settings.seed).fit(X, sigma if model.endswith("_sigma") else labels)
    return probability_of(fitted, inputs.matrices[features][split.test])


def probability_of(fitted: BaseEstimator, X: np.ndarray) -> np.ndarray:
    """Return P(superionic) of a classifier, of a look-up, or of a regression of log10(S/cm).

    A Gaussian process says how sure it is: the share of its normal distribution above the limit. For other
    regressions a decade above the limit is a fixed step in the logit.
    """
    if hasattr(fitted, "predict_proba"):
        return np.asarray(fitted.predict_proba(X)[:, 1], float)
    if isinstance(fitted, CompositionGP):
        mean, spread = fitted.predict(X, return_spread=True)
        return norm.cdf((mean - SUPERIONIC_LOG10_SIGMA) / spread)
    found = np.asarray(fitted.predict(X), float)
    if isinstance(fitted, NearestComposition):
        return found
    return expit(_LOGIT_PER_DECADE * (found - SUPERIONIC_LOG10_SIGMA))


def atomsets_probabilities(
    features: str, inputs: Inputs, splits: Sequence[Split], settings: ClassifierSettings
) -> list[np.ndarray]:
    """Return the mean probability of ``n_members`` networks for the test rows of each split, (n_test,).

    The networks of all splits train side by side (`sselib.atomsets.training`), each on its own rows.
    """
    import torch

    from sselib.atomsets.network import AtomSetsSettings
    from sselib.atomsets.training import Fit, fit_many

    torch.set_num_threads(1)
    sets, fits = inputs.sets[features], []
    for split in splits:
        for seed in range(settings.seed, settings.seed + settings.n_members):
            inner = inner_part(inputs.y[split.train], inputs.duplicates[split.train], seed=seed)
            fits.append(Fit(split.train[~inner], split.train[inner], seed))
    network = AtomSetsSettings(max_epochs=settings.max_epochs, patience=settings.patience)
    fitted = iter(fit_many(sets, inputs.y, fits, settings=network))
    found = []
    for split in splits:
        tests = [sets[i] for i in split.test]
        found.append(np.mean([next(fitted).probability(tests) for _ in range(settings.n_members)], axis=0))
    return [p.astype(float) for p in found]


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

"""Ingredients that a model of conductivity may or may not need, one at a time, for an ablation.

Embeddings of elements and of structures from MEGNet and CHGNet, barriers from bond valences, whether the bulk
or the total conductivity was measured, rows measured at other temperatures, the noise of each label, learnt
weights of a stack. Each is a feature set, a model, or a twin of a case, that is judged on the same rows as
the model without it.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.core import Element, Structure
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from sselib.columns import Curated, Entry, StructureTable
from sselib.columns import Prediction as P
from sselib.errors import DataError
from sselib.features.bond_valence import BARRIER_COLUMNS, BARRIER_FEATURES, barrier_row
from sselib.features.description import Group
from sselib.features.formula import formula_features, with_formula_features
from sselib.features.site_features import CHGNET, SiteSet, pooled, site_sets
from sselib.features.structure import with_environment
from sselib.materials.arrhenius import room_temperature_rows
from sselib.materials.composition import (
    MODIFIED_PETTIFOR_ORDER,
    chemical_system,
    element_fractions,
    l1_distances,
)
from sselib.materials.structures import structure_from_json
from sselib.progress import progress
from sselib.regression.evaluation import Case, Settings, as_predictions, bootstrap_groups
from sselib.regression.models import fit_model, make_model
from sselib.regression.stacking import blend
from sselib.threads import in_threads
from sselib.validation.metrics import metrics_from_predictions, score_table, with_interval
from sselib.validation.splits import SAME_COMPOSITION_L1, Split, protocol_splits, row_groups

PARENT = "formation_energy"
LAYER = "V1"
CHGNET_LAYER = "V4"  # after the last convolution: what CHGNet's own readout sees
_N_COMPONENTS = 10  # of CHGNet's 128 pooled columns
KINDS: tuple[str, ...] = ("bulk", "total")
TEMPERATURES = "formula_temperatures"  # feature set of the twin that trains on other temperatures too

# Members whose mean is the model "blend" with the features of the last of them.
BLENDED: tuple[tuple[str, str], ...] = (
    ("gp/formula", "extra_trees/formula"),
    ("routed/formula", "routed/formula_environment"),
)

# Model with the ingredient, model without it, and what the ingredient is.
STEPS: tuple[tuple[str, str, str], ...] = (
    ("xgb_aft/formula", "xgb_single/formula", "upper bounds in the likelihood"),
    ("gp/formula", "xgb_single/formula", "Gaussian process instead of boosting"),
    ("extra_trees/formula", "xgb_single/formula", "extra trees instead of boosting"),
    ("blend/formula", "gp/formula", "mean of process and extra trees"),
    ("routed/formula", "blend/formula", "the routed model instead of that mean"),
    ("routed/formula", "routed_log/formula", "a scale that compresses the tail of insulators"),
    ("routed/formula", "routed_mean/formula", "medians instead of means in the forest"),
    ("routed/formula_environment", "routed/formula", "structure, where there is one"),
    ("routed/formula_embedding", "routed/formula", "MEGNet's element embedding over the composition"),
    (
        "routed/formula_environment_embedding",
        "routed/formula_environment",
        "MEGNet's site embedding over the structure",
    ),
    (
        "routed/formula_environment_chgnet",
        "routed/formula_environment",
        "CHGNet's site embedding over the structure",
    ),
    (
        "routed/formula_environment_barriers",
        "routed/formula_environment",
        "bond-valence barriers of the structure",
    ),
    (
        "blend/formula_environment",
        "routed/formula_environment",
        "mean with the routed model that reads formulas alone",
    ),
    ("stack/formula", "routed/formula", "learnt weights of the members"),
    ("stack/formula_environment", "routed/formula_environment", "learnt weights, with structure"),
    ("gp_weighted/formula", "gp/formula", "noise of each label from repeats, process"),
    ("extra_trees_weighted/formula", "extra_trees/formula", "noise of each label from repeats, extra trees"),
    ("routed/formula_kind", "routed/formula", "bulk or total conductivity"),
    ("routed/formula_temperatures", "routed/formula", "rows at other temperatures (Arrhenius), routed"),
    (
        "extra_trees/formula_temperatures",
        "extra_trees/formula",
        "rows at other temperatures (Arrhenius), extra trees",
    ),
    (
        "xgb_single/formula_temperatures",
        "xgb_single/formula",
        "rows at other temperatures (Arrhenius), boosting",
    ),
)


def with_conductivity_kind(
    features: pd.DataFrame, groups: pd.DataFrame, table: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Add a flag for the bulk and one for the total conductivity; both are 0 where the source is silent."""
    kind = table[Entry.CONDUCTIVITY_KIND].fillna("unknown")
    own = pd.DataFrame({f"measured_{k}": (kind == k).astype(float).to_numpy() for k in KINDS})
    texts = [f"1 if the source says that the {k} conductivity was measured" for k in KINDS]
    return _joined(features, groups, own.assign(id=table[Entry.ID].to_numpy()), Group.MEASUREMENT, texts)


def with_element_embedding(
    features: pd.DataFrame, groups: pd.DataFrame, table: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Add mean and standard deviation of MEGNet's element embedding over all atoms but lithium, 32 columns.

    Raises `DataError` where the weights cannot be had.
    """
    values = composition_embedding(list(table[Entry.COMPOSITION]))
    names = [f"megnet_{k}_{n}" for k in ("mean", "std") for n in range(values.shape[1] // 2)]
    own = pd.DataFrame(values, columns=names).assign(id=table[Entry.ID].to_numpy())
    return _joined(features, groups, own, Group.EMBEDDING, ["MEGNet's element embedding"] * len(names))


def composition_embedding(formulas: Sequence[str], *, mobile_ion: str = "Li") -> np.ndarray:
    """Return mean and standard deviation of the element embedding over the framework, shape (n, 32)."""
    from sselib.features.megnet import load_megnet

    elements = load_megnet(PARENT).element_embedding()  # (95, 16), row = atomic number
    numbers = np.array([Element(el).Z for el in MODIFIED_PETTIFOR_ORDER])
    vectors = np.where(
        (numbers < len(elements))[:, None], elements[np.minimum(numbers, len(elements) - 1)], 0
    )
    fractions = element_fractions(formulas)
    framework = fractions.assign(**{mobile_ion: 0.0}).to_numpy()
    framework = framework / np.maximum(framework.sum(axis=1, keepdims=True), 1e-12)
    mean = framework @ vectors
    return np.hstack([mean, np.sqrt(np.maximum(framework @ vectors**2 - mean**2, 0.0))])


def with_structure_embedding(
    features: pd.DataFrame,
    groups: pd.DataFrame,
    table: pd.DataFrame,
    structures: pd.DataFrame,
    *,
    cache_dir: Path | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Add mean and standard deviation over the sites of MEGNet's V1, 64 columns; NaN without a structure."""
    found = site_sets(_read(structures), parent=PARENT, layers=(LAYER,), cache_dir=cache_dir).sets
    values = pooled(list(found.values()))
    names = [f"site_{k}_{n}" for k in ("mean", "std") for n in range(values.shape[1] // 2)]
    by_structure = pd.DataFrame(values, index=list(found), columns=names)
    own = by_structure.reindex(table[Entry.STRUCTURE_ID]).assign(id=table[Entry.ID].to_numpy())
    described = ["MEGNet's V1, pooled over the sites"] * len(names)
    return _joined(features, groups, own, Group.STRUCTURE_EMBEDDING, described)


def with_chgnet_embedding(
    features: pd.DataFrame,
    groups: pd.DataFrame,
    table: pd.DataFrame,
    structures: pd.DataFrame,
    *,
    cache_dir: Path | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Add principal components of CHGNet's V4, averaged over lithium and over the other atoms.

    Components are of all ``structures``, whether their rows train or not: no label is used. NaN without a
    structure. Needs the extra ``atomsets``.
    """
    layers = (CHGNET_LAYER, "occupancy")
    found = site_sets(_read(structures), parent=CHGNET, layers=layers, cache_dir=cache_dir).sets
    values = principal_components(by_lithium(list(found.values())), n=_N_COMPONENTS)
    names = [f"chgnet_component_{k + 1}" for k in range(values.shape[1])]
    own = pd.DataFrame(values, index=list(found), columns=names).reindex(table[Entry.STRUCTURE_ID])
    text = "principal component of CHGNet's V4, averaged over lithium and over the other atoms"
    own = own.assign(id=table[Entry.ID].to_numpy())
    return _joined(features, groups, own, Group.CHGNET, [text] * len(names))


def by_lithium(sets: Sequence[SiteSet]) -> np.ndarray:
    """Return the mean features of lithium and of all other atoms of each structure, shape (n, 2 d).

    The last three columns of a set are its occupancies (`sselib.features.site_features.occupancies`); sites
    count by them. NaN where a structure has none of the one or the other.
    """
    rows = []
    for s in sets:
        values, lithium, filled = s.features[:, :-3], s.features[:, -3], s.features[:, -2]
        weights = s.multiplicity * np.array([lithium, np.maximum(filled - lithium, 0.0)])
        with np.errstate(invalid="ignore", divide="ignore"):
            rows.append((weights @ values / weights.sum(axis=1, keepdims=True)).ravel())
    return np.array(rows)


def principal_components(values: np.ndarray, *, n: int) -> np.ndarray:
    """Return the ``n`` leading components of standardised columns, shape (rows, n); gaps are means."""
    filled = SimpleImputer(keep_empty_features=True).fit_transform(values)
    scores = PCA(min(n, *filled.shape), svd_solver="full").fit_transform(
        StandardScaler().fit_transform(filled)
    )
    return scores


def with_barriers(
    features: pd.DataFrame, groups: pd.DataFrame, table: pd.DataFrame, structures: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Add the bond-valence barriers of `sselib.features.bond_valence`, eV; NaN where they cannot be had.

    Needs the extra ``transport``; about 0.2 s a structure.
    """
    rows = {
        key: barrier_row(structure)
        for key, structure in progress(_read(structures).items(), stage="barriers", total=len(structures))
    }
    found = pd.DataFrame.from_dict(rows, orient="index", columns=list(BARRIER_COLUMNS))
    own = found.reindex(table[Entry.STRUCTURE_ID]).assign(id=table[Entry.ID].to_numpy())
    texts = [f.description for f in BARRIER_FEATURES]
    return _joined(features, groups, own, Group.BARRIER, texts, unit="eV")


def _read(structures: pd.DataFrame) -> dict[str, Structure]:
    """Return the structures by id."""
    ids, texts = structures[StructureTable.STRUCTURE_ID], structures[StructureTable.STRUCTURE_JSON]
    return {key: structure_from_json(text) for key, text in zip(ids, texts, strict=True)}


def _joined(
    features: pd.DataFrame,
    groups: pd.DataFrame,
    own: pd.DataFrame,
    group: Group,
    texts: Sequence[str],
    *,
    unit: str = "1",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    names = [c for c in own.columns if c != "id"]
    described = pd.DataFrame(
        {"feature": names, "group": str(group), "unit": unit, "description": list(texts), "kim": False}
    )
    found = features.merge(own, on="id", how="left", validate="one_to_one")
    return found, pd.concat([groups, described], ignore_index=True)


def evaluate_with_temperatures(
    table: pd.DataFrame, extra: pd.DataFrame, *, case: Case, settings: Settings
) -> pd.DataFrame:
    """Return predictions of a case on formula features whose training rows include ``extra``.

    ``extra`` is `sselib.materials.arrhenius.room_temperature_rows`. A row of it trains in a split unless its
    composition is within 0.05 (L1) of a test row or it shares a test row's publication, set of elements or
    family, whichever the protocol keeps together. The feature set is named `TEMPERATURES`.
    """
    X = formula_features([*table[Entry.COMPOSITION], *extra[Entry.COMPOSITION]]).to_numpy(float)
    y = np.r_[table[Entry.LOG10_SIGMA].to_numpy(float), extra[Entry.LOG10_SIGMA].to_numpy(float)]
    censored = np.r_[table[Entry.CENSORED].to_numpy(bool), np.zeros(len(extra), bool)]
    families = np.r_[row_groups("group_family", table).to_numpy(), extra[Curated.FAMILY].to_numpy(str)]
    splits = protocol_splits(case.protocol, table, seed=settings.seed, repeats=settings.repeats)

    def held_out(k: int, split: Split) -> pd.DataFrame:
        """Return the predictions of a split; other temperatures train, without relatives of its test rows."""
        far = l1_distances(X[len(table) :, : len(MODIFIED_PETTIFOR_ORDER)], _fractions(X, split.test))
        allowed = (far.min(axis=1) > SAME_COMPOSITION_L1) & ~_shared(case.protocol, table, extra, split.test)
        train = np.r_[split.train, len(table) + np.flatnonzero(allowed)]
        model = make_model(case.model, options=settings.options, seed=settings.seed + k)
        fit_model(model, X[train], y[train], censored=censored[train], families=families[train])
        return as_predictions(table, split, model.predict(X[split.test]))

    frames = in_threads(held_out, enumerate(splits), n_jobs=settings.n_jobs, stage="other temperatures")
    found = pd.concat(frames, ignore_index=True)
    return found.assign(
        **{P.DATASET: case.dataset, P.MODEL: case.model, P.FEATURES: TEMPERATURES, P.PROTOCOL: case.protocol}
    )[[str(c) for c in P]]


def _fractions(X: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return X[rows, : len(MODIFIED_PETTIFOR_ORDER)]


def _shared(protocol: str, table: pd.DataFrame, extra: pd.DataFrame, test: np.ndarray) -> np.ndarray:
    """Return which extra rows belong to a group that the split tests, shape (m,)."""
    own = {
        "group_doi": extra[Entry.DOI].astype(object).str.strip().str.lower(),
        "group_family": extra[Curated.FAMILY],
        "group_chemsys": pd.Series([chemical_system(f) for f in extra[Entry.COMPOSITION]]),
    }
    if protocol not in own:
        return np.zeros(len(extra), bool)
    return own[protocol].isin(row_groups(protocol, table).iloc[test]).to_numpy()


def all_features(
    features: pd.DataFrame,
    groups: pd.DataFrame,
    table: pd.DataFrame,
    structures: pd.DataFrame,
    *,
    names: Sequence[str],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the features of notebook 03 with those of formula and structure, and their groups.

    Embeddings and flags are added where ``names`` ("model/features") ask for them. Raises `DataError` where
    an embedding is asked for and its weights cannot be had.
    """
    found = with_environment(*with_formula_features(features, groups, table), table, structures)
    asked = {name.partition("/")[2] for name in names}
    if "formula_embedding" in asked:
        found = with_element_embedding(*found, table)
    if "formula_environment_embedding" in asked:
        found = with_structure_embedding(*found, table, structures)
    if "formula_environment_chgnet" in asked:
        found = with_chgnet_embedding(*found, table, structures)
    if "formula_environment_barriers" in asked:
        found = with_barriers(*found, table, structures)
    return with_conductivity_kind(*found, table) if "formula_kind" in asked else found


def fitted_names(names: Sequence[str]) -> list[str]:
    """Return the names ("model/features") that `evaluation.plan` takes: all but the twins."""
    return [name for name in names if not name.endswith(f"/{TEMPERATURES}")]


def with_variants(
    predictions: pd.DataFrame,
    main: pd.DataFrame,
    labelled: pd.DataFrame,
    *,
    names: Sequence[str],
    protocols: Sequence[str],
    settings: Settings,
    entries: pd.DataFrame,
) -> pd.DataFrame:
    """Return predictions with the means of `BLENDED`, where both ran, and the twins that ``names`` ask for.

    Means are made on the rows of ``main`` under ``protocols``. A twin
    ("extra_trees/formula_temperatures") is `evaluate_with_temperatures` under ``protocols``, with those of
    ``entries`` that have no label at room temperature; it is left out where none has a known temperature.
    ``main`` are the rows judged (data set of the first prediction), ``labelled`` all curated rows.
    """
    found, dataset = [predictions], str(predictions[P.DATASET].iloc[0])
    judged = predictions[(predictions[P.DATASET] == dataset) & predictions[P.PROTOCOL].isin(protocols)]
    present = set(judged[P.MODEL] + "/" + judged[P.FEATURES])
    found += [blend(judged, members=pair) for pair in BLENDED if set(pair) <= present]
    models = [name.partition("/")[0] for name in names if name not in fitted_names(names)]
    extra = _elsewhere(entries, labelled) if models else None
    models = [] if extra is None or extra.empty else models
    for model, protocol in itertools.product(models, protocols):
        case = Case(dataset, model, "formula", protocol)
        found.append(evaluate_with_temperatures(main, extra, case=case, settings=settings))
    return pd.concat(found, ignore_index=True)


def _elsewhere(entries: pd.DataFrame, labelled: pd.DataFrame) -> pd.DataFrame | None:
    """Return rows measured at other temperatures, None where no compound was measured at two."""
    try:
        return room_temperature_rows(entries, labelled)
    except DataError:
        return None


def ablation(scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row per protocol and step of `STEPS` that the metric records hold.

    ``scores`` are metric records with ``name`` ("model/features"). Columns: ingredient, protocol, with_it,
    without_it, value (mae_bound with minus without, log10 units), ci_low, ci_high, n.
    """
    rows = []
    for with_it, without_it, ingredient in STEPS:
        metric = f"delta_mae_bound_vs_{without_it}"
        found = scores[(scores["name"] == with_it) & (scores["metric"] == metric)]
        rows.append(found.assign(ingredient=ingredient, with_it=with_it, without_it=without_it))
    columns = ["ingredient", "protocol", "with_it", "without_it", "value", "ci_low", "ci_high", "n"]
    return pd.concat(rows, ignore_index=True)[columns]


def ablation_table(ablation: pd.DataFrame) -> pd.DataFrame:
    """Return `ablation` for reading: a line per ingredient, a column per protocol, "value [low, high]"."""
    text = [with_interval(*r) for r in ablation[["value", "ci_low", "ci_high"]].itertuples(index=False)]
    wide = ablation.assign(text=text).pivot_table(
        index="ingredient", columns="protocol", values="text", aggfunc="first", sort=False
    )
    return wide.fillna("").rename_axis(columns=None)


def structure_gain(
    predictions: pd.DataFrame,
    main: pd.DataFrame,
    *,
    structures: pd.DataFrame,
    protocols: Sequence[str],
    seed: int = 0,
    n_bootstrap: int = 1000,
) -> pd.DataFrame:
    """Return the scores of the routed models on the rows that have a structure, for reading.

    ``main`` are the rows judged (data set of the first prediction). Columns as of `metrics.score_table`;
    the official test is left out. Empty where no row has a structure.
    """
    dataset = predictions[P.DATASET].iloc[0]
    known = main.loc[main[Entry.STRUCTURE_ID].isin(structures[StructureTable.STRUCTURE_ID]), Entry.ID]
    rows = predictions[(predictions[P.MODEL] == "routed") & (predictions[P.DATASET] == dataset)]
    rows = rows[rows[P.ID].isin(known) & (rows[P.PROTOCOL] != "obelix_official")]
    if rows.empty:
        return pd.DataFrame()
    with_it, without_it = "routed/formula_environment", "routed/formula"
    records = metrics_from_predictions(
        rows,
        seed=seed,
        n_bootstrap=n_bootstrap,
        pairs=[(with_it, without_it)],
        controls=(),
        groups=bootstrap_groups(main, protocols),
    )
    wanted = ["mae_bound", "mae_uncensored", "coverage", f"delta_mae_bound_vs_{without_it}"]
    return score_table(records, dataset=dataset, metrics=wanted)

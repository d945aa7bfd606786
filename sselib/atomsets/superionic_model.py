"""The saved ensemble that says how likely a structure or a formula is superionic.

The blend of notebook 06 votes (`sselib.atomsets.saved_blend`): it learns from rows with and without a
structure and scores a structure or a bare formula. Networks (AtomSets, several settings and seeds) see the
site features of a structure and join with the weight, which may be 0, that held-out groups decide. The
probability is that of the mean logit, calibrated on held-out groups; its standard deviation is that of the
members' calibrated probabilities, after McHaffie et al., Digital Discovery 4, 1518 (2025), doi
10.1039/d5dd00052a (100 models, d_training).
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import joblib
import numpy as np
import pandas as pd
import sklearn
from joblib import Parallel, delayed
from pymatgen.core import Structure
from scipy.special import expit
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold
from xgboost import XGBRegressor

from sselib.atomsets.classification import logit
from sselib.atomsets.classifiers import inner_part, make_classifier, probability_of
from sselib.atomsets.saved_blend import (
    GEOMETRY_COLUMNS,
    Blend,
    fit_blend,
    formula_matrix,
    geometry_of_rows,
    geometry_or_reason,
)
from sselib.columns import ClassPrediction, Curated, Entry
from sselib.errors import DataError, FormulaError, RunError
from sselib.features.site_features import SiteSet, pooled, site_sets
from sselib.materials.composition import element_fractions, l1_distances, parse_formula
from sselib.progress import progress
from sselib.runfolder import to_json, write_whole
from sselib.threads import in_threads
from sselib.validation.splits import row_groups

if TYPE_CHECKING:  # torch is an extra: formulas are scored without it
    from sselib.atomsets.network import AtomSetsSettings, FittedAtomSets

NOTEBOOK, FOLDER = "06_atomsets_loco", "ensemble"
COLUMNS: tuple[str, ...] = ("p_superionic", "p_superionic_sd", "d_training", "note")
VARIANCE_KEPT = 0.95  # of the pooled site features, by the principal components of the distance
NETWORK_WEIGHTS: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75)  # one is chosen on held-out groups
_N_CHECK_FOLDS = 5
_FORMAT = 2  # of the files; a change makes older ensembles unreadable
_TOUCHING_ANGSTROM = 0.6  # closer sites are one atom split in parts, if their occupancies add up to one
_FULL = 1.05  # sum of the occupancies of two touching sites that cannot be parts of one atom
_STRUCTURES_AT_ONCE, _FORMULAS_AT_ONCE = 256, 5000


@dataclass(frozen=True)
class SiteSettings:
    """Which site features the networks see (see `sselib.features.site_features.site_sets`)."""

    parent: str
    representation: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Calibration:
    """p = sigmoid(slope * logit + intercept); slope 1 and intercept 0 leave a probability as it is."""

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Return probabilities of the same shape."""
        return expit(self.slope * logits + self.intercept)


@dataclass(frozen=True)
class PooledSpace:
    """Whitened principal components of pooled site features, and where the training structures lie.

    ``mean``, ``scale`` (d,) of the features, ``axes`` (d, k) divided by the components' standard
    deviations, ``training`` (n, k).
    """

    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    training: np.ndarray

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Return the distance of each row of (m, d) to the nearest training structure, shape (m,).

        Root mean square over the components, so 1 is one standard deviation of the training set each.
        """
        placed = ((features - self.mean) / self.scale) @ self.axes
        squared = ((placed[:, None, :] - self.training[None]) ** 2).mean(axis=2)
        return np.sqrt(squared.min(axis=1))


@dataclass(frozen=True)
class SuperionicModel:
    """An ensemble with what it was trained on.

    ``training``: id, formula, composition, superionic, has_structure. ``networks`` is empty where no parent
    model was at hand; the blend scores structures alone then. ``network_weight`` is the networks' share in a
    structure's logit. The calibrations turn a logit into a probability.
    """

    training: pd.DataFrame
    blend: Blend
    networks: "tuple[FittedAtomSets, ...]" = ()
    sites: SiteSettings | None = None
    space: PooledSpace | None = None
    network_weight: float = 0.0
    structure_calibration: Calibration = Calibration()
    formula_calibration: Calibration = Calibration()

    def predict_structures(self, structures: Sequence[Structure]) -> pd.DataFrame:
        """Return p_superionic, p_superionic_sd, d_training and note per structure, in input order.

        ``d_training``: distance to the nearest training structure in `PooledSpace`, without a parent model
        that of the composition. A structure that cannot be described (an element that the parent never saw,
        too many sites) is scored by its composition alone, without a distance, and the note says why; one
        without a readable composition has no probability and its reason as note. One without lithium or
        with sites on top of each other is scored as it stands, with a note. Never raises for a single
        structure.
        """
        parts = [
            structures[i : i + _STRUCTURES_AT_ONCE] for i in range(0, len(structures), _STRUCTURES_AT_ONCE)
        ]
        found = _joined([self._structures(part) for part in parts])
        found["note"] = [_joined_notes(n, _doubts(s)) for n, s in zip(found["note"], structures, strict=True)]
        return found

    def predict_formulas(self, formulas: Sequence[str]) -> pd.DataFrame:
        """Return the same columns per formula, in input order, from the blend on composition.

        ``d_training``: L1 distance (0 to 2) of the mole fractions to the nearest training row's. A text
        that is no formula has no probability and its reason as note.
        """
        parts = [formulas[i : i + _FORMULAS_AT_ONCE] for i in range(0, len(formulas), _FORMULAS_AT_ONCE)]
        return _joined([self._formulas(part) for part in parts])

    @cached_property
    def _fractions(self) -> np.ndarray:
        return element_fractions(list(self.training[Entry.COMPOSITION])).to_numpy()

    def _formulas(self, formulas: Sequence[str], *, unscored: Collection[int] = ()) -> pd.DataFrame:
        """Return the columns per formula; those at the positions ``unscored`` only with distance and note."""
        reasons = [_formula_problem(f) for f in formulas]
        good = [k for k, reason in enumerate(reasons) if not reason]
        found = pd.DataFrame(dict.fromkeys(COLUMNS[:3], np.nan), index=range(len(formulas)))
        found["note"] = reasons
        if not good:
            return found
        readable = [formulas[k] for k in good]
        if wanted := [k for k in good if k not in unscored]:
            logits = self.blend.formula_logits([formulas[k] for k in wanted])
            scores = scored(logits, calibration=self.formula_calibration)
            found.loc[wanted, list(COLUMNS[:2])] = np.column_stack(scores)
        fractions = element_fractions(readable).to_numpy()
        found.loc[good, COLUMNS[2]] = l1_distances(fractions, self._fractions).min(axis=1)
        found.loc[good, "note"] = self._unseen(fractions)
        return found

    def _unseen(self, fractions: np.ndarray) -> list[str]:
        """Return a note for rows with elements that no training row holds."""
        symbols = np.array(element_fractions(["Li"]).columns)
        new = (fractions > 0) & ~(self._fractions > 0).any(axis=0)
        return [f"not in training: {', '.join(symbols[row])}" if row.any() else "" for row in new]

    def _structures(self, structures: Sequence[Structure]) -> pd.DataFrame:
        """Score by structure where there are features of it, else by composition."""
        formulas = [_formula_of(s) for s in structures]
        if self.blend.structure is None:
            found = self._formulas(formulas)
            found["note"] = _added(found["note"], "from composition alone (no structures were trained on)")
            return found
        described, reasons = self._described(structures)
        found = self._formulas(formulas, unscored=described)
        known = [k for k in described if np.isfinite(found.loc[k, COLUMNS[2]])]
        for k in found.index.difference(known):
            reason = f"from composition alone: {reasons.get(k, 'no features of the structure')}"
            found.loc[k, "note"] = _joined_notes(found.loc[k, "note"], reason)
            found.loc[k, "d_training"] = np.nan
        if known:
            scores = self._by_structure([described[k] for k in known], [formulas[k] for k in known])
            found.loc[known, list(COLUMNS[:2])] = scores[:, :2]
            if self.networks:
                found.loc[known, COLUMNS[2]] = scores[:, 2]
            else:
                found.loc[known, "note"] = _added(
                    found.loc[known, "note"], "no parent model: d_training is L1"
                )
        return found

    def _described(self, structures: Sequence[Structure]) -> tuple[dict[int, "_Described"], dict[int, str]]:
        """Return geometry and site features of each structure by its number, and why others have none."""
        sets, reasons = self._site_sets(structures) if self.networks else ({}, {})
        found = {}
        for k, structure in enumerate(structures):
            if k in reasons:
                continue
            geometry = geometry_or_reason(structure)
            if isinstance(geometry, str):
                reasons[k] = geometry
            else:
                found[k] = _Described(geometry, sets.get(k))
        return found, reasons

    def _site_sets(self, structures: Sequence[Structure]) -> tuple[dict[int, SiteSet], dict[int, str]]:
        found = site_sets(
            dict(enumerate(structures)),
            parent=self.sites.parent,
            representation=self.sites.representation,
            layers=self.sites.layers,
        )
        return found.sets, dict(zip(found.rejects["id"], found.rejects["reason"], strict=True))

    def _by_structure(self, described: "Sequence[_Described]", formulas: Sequence[str]) -> np.ndarray:
        """Return probability, standard deviation and, with a parent model, the distance, (n, 2 or 3)."""
        blend = self.blend.structure_logits(formulas, np.array([d.geometry for d in described]))
        sets = [d.sites for d in described]
        networks = network_logits(self.networks, sets) if self.network_weight else None
        columns = scored(blend, networks, weight=self.network_weight, calibration=self.structure_calibration)
        return np.column_stack([*columns, self.space.distance(pooled(sets))] if self.networks else columns)


@dataclass(frozen=True)
class _Described:
    """`GEOMETRY_COLUMNS` (columns,) and site features of a structure; the latter None without networks."""

    geometry: np.ndarray
    sites: SiteSet | None


def scored(
    blend: np.ndarray,
    networks: np.ndarray | None = None,
    *,
    weight: float = 0.0,
    calibration: Calibration = Calibration(),
) -> tuple[np.ndarray, np.ndarray]:
    """Return the calibrated probability of the mean logit, and the members' standard deviation, each (n,).

    ``blend`` (versions, n) and ``networks`` (k, n) are logits; a member joins one of each, in turn, the
    networks with ``weight``.
    """
    if networks is None or not weight:
        mean, members = blend.mean(axis=0), blend
    else:
        mean = weight * networks.mean(axis=0) + (1 - weight) * blend.mean(axis=0)
        turn = np.arange(max(len(networks), len(blend)))
        members = weight * networks[turn % len(networks)] + (1 - weight) * blend[turn % len(blend)]
    return calibration(mean), calibration(members).std(axis=0)


def network_logits(networks: "Sequence[FittedAtomSets]", sets: Sequence[SiteSet]) -> np.ndarray:
    """Return the logit of every network, shape (networks, n)."""
    import torch

    torch.set_num_threads(1)
    return np.array([logit(network.probability(sets)) for network in networks])


def fit_networks(
    sets: Sequence[SiteSet],
    y: np.ndarray,
    duplicates: np.ndarray,
    *,
    settings: "Sequence[AtomSetsSettings]",
    n_seeds: int,
    seed: int,
    starts: "Sequence[FittedAtomSets]" = (),
    n_jobs: int = 1,
) -> "tuple[FittedAtomSets, ...]":
    """Return ``n_seeds`` networks for each of ``settings``; each stops on its own part of the rows.

    ``starts``: pretrained networks to begin with, one for each of ``settings``, or none.
    """
    pairs = list(zip(settings, starts or [None] * len(settings), strict=True))
    work = Parallel(n_jobs, return_as="generator")(
        delayed(_fit_seeds)(sets, y, duplicates, s, range(seed, seed + n_seeds), start) for s, start in pairs
    )
    by_settings = list(progress(work, stage="networks", total=len(pairs)))
    return tuple(networks[k] for k in range(n_seeds) for networks in by_settings)


def _fit_seeds(
    sets: Sequence[SiteSet],
    y: np.ndarray,
    duplicates: np.ndarray,
    settings: "AtomSetsSettings",
    seeds: Sequence[int],
    start: "FittedAtomSets | None" = None,
) -> "list[FittedAtomSets]":
    """Return a network for each seed, trained side by side."""
    import torch

    from sselib.atomsets.training import Fit, fit_many

    torch.set_num_threads(1)
    inner = [inner_part(y, duplicates, seed=seed) for seed in seeds]
    fits = [
        Fit(np.flatnonzero(~own), np.flatnonzero(own), seed, start)
        for seed, own in zip(seeds, inner, strict=True)
    ]
    return fit_many(sets, y, fits, settings=settings)


def pooled_space(sets: Sequence[SiteSet]) -> PooledSpace:
    """Return the space in which ``d_training`` is measured, from the training structures."""
    features = pooled(sets)
    mean, spread = features.mean(axis=0), features.std(axis=0)
    scale = np.where(spread > 1e-8, spread, 1.0)
    scaled = (features - mean) / scale
    _, singular, axes = np.linalg.svd(scaled, full_matrices=False)
    share = np.cumsum(singular**2) / max((singular**2).sum(), 1e-12)
    k = int(np.searchsorted(share, VARIANCE_KEPT)) + 1
    whitened = axes[:k].T * np.sqrt(len(features)) / singular[:k]
    return PooledSpace(mean=mean, scale=scale, axes=whitened, training=scaled @ whitened)


def fit_calibration(logits: np.ndarray, y: np.ndarray) -> Calibration:
    """Return the logistic map from held-out logits (n,) to probabilities (Platt scaling, light L2)."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=10.0).fit(np.asarray(logits)[:, None], np.asarray(y, int))
    return Calibration(slope=max(float(fitted.coef_[0, 0]), 0.0), intercept=float(fitted.intercept_[0]))


@dataclass(frozen=True)
class EnsembleSettings:
    """``n_seeds`` networks for each of ``networks`` (``n_check_seeds`` in a fold), ``n_versions`` of a blend.

    ``starts``: pretrained networks, one for each of ``networks``, or none.
    """

    networks: "tuple[AtomSetsSettings, ...]" = ()
    n_seeds: int = 2
    n_versions: int = 10
    n_check_seeds: int = 1
    seed: int = 0
    n_jobs: int = 1
    starts: "tuple[FittedAtomSets, ...]" = ()


@dataclass(frozen=True)
class LabelledInputs:
    """Labelled rows of a curated table and what is known of their structures.

    ``features``: id and the columns of notebook 03 with those of `with_environment`, None without structures.
    ``structures`` and ``sets`` (site features, empty without a parent model) by row id.
    """

    rows: pd.DataFrame
    features: pd.DataFrame | None = None
    structures: Mapping[str, Structure] = field(default_factory=dict)
    sets: Mapping[str, SiteSet] = field(default_factory=dict)


@dataclass(frozen=True)
class FittedEnsemble:
    """The model, and its held-out check.

    ``held_out``: id, route (structure or formula), fold, superionic, logit, p_superionic, p_superionic_sd,
    network_weight; one row for each labelled row and route. A fold holds whole groups of near-duplicates
    and publications out; the weight and the calibration of its probabilities come from the other folds.
    Its structures are described as `SuperionicModel.predict_structures` describes any. The model's own
    weight and calibration use all folds. ``rejects`` (id, reason): structures that could not be described.
    """

    model: SuperionicModel
    held_out: pd.DataFrame
    rejects: pd.DataFrame


def fit_superionic_model(
    labelled: LabelledInputs, *, sites: SiteSettings | None, settings: EnsembleSettings
) -> FittedEnsemble:
    """Return the ensemble trained on every labelled row, calibrated on held-out groups.

    ``sites`` says which site features ``labelled.sets`` holds. The weight of the networks is that of
    `NETWORK_WEIGHTS` with the lowest held-out log loss.
    """
    known = labelled.rows[Curated.SUPERIONIC].notna()
    labelled = replace(labelled, rows=labelled.rows[known].reset_index(drop=True))
    rows, sets = labelled.rows, labelled.sets
    geometry, rejects = _geometry_as_scored(labelled, settings.n_jobs)
    folds = _check_folds(rows)
    *blends, blend = _blends(labelled, [train for train, _ in folds], settings)
    checks = [
        _check_fold(labelled, geometry, fold, number, settings, own)
        for number, (fold, own) in enumerate(zip(folds, blends, strict=True))
    ]
    held_out = [_held_out(checks, "formula")]
    held_out += [_held_out(checks, "structure")] if len(geometry) else []
    weight = _best_weight(checks) if sets else 0.0
    calibrations = {
        "formula_calibration": _calibration(checks, "formula", 0.0),
        **({"structure_calibration": _calibration(checks, "structure", weight)} if len(geometry) else {}),
    }
    model = SuperionicModel(
        training=training_table(rows, with_structure=list(sets) or list(geometry)),
        blend=blend,
        networks=_networks_of(rows, sets, settings, settings.n_seeds) if sets else (),
        sites=sites if sets else None,
        space=pooled_space([sets[i] for i in rows[Entry.ID] if i in sets]) if sets else None,
        network_weight=weight,
        **calibrations,
    )
    return FittedEnsemble(model, pd.concat(held_out, ignore_index=True), rejects)


def _geometry_as_scored(labelled: LabelledInputs, n_jobs: int) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Return `GEOMETRY_COLUMNS` by row id as they would be scored, and rejects (id, reason)."""
    known = (labelled.sets or labelled.structures) if labelled.features is not None else {}
    wanted = [i for i in labelled.rows[Entry.ID] if i in known]
    work = Parallel(min(n_jobs, max(1, len(wanted) // 50)), return_as="generator")(
        delayed(geometry_or_reason)(labelled.structures[i]) for i in wanted
    )
    both = dict(zip(wanted, progress(work, stage="geometry", total=len(wanted)), strict=True))
    rejects = [(key, found) for key, found in both.items() if isinstance(found, str)]
    return (
        {key: found for key, found in both.items() if not isinstance(found, str)},
        pd.DataFrame(rejects, columns=["id", "reason"], dtype=object),
    )


def _blends(
    labelled: LabelledInputs, training: Sequence[np.ndarray], settings: EnsembleSettings
) -> list[Blend]:
    """Return the blend of each set of training rows (their numbers), and last that of all rows."""
    parts = [*(labelled.rows.iloc[rows] for rows in training), labelled.rows]
    jobs = [(labelled, part, settings) for part in parts]
    return in_threads(_blend_of, jobs, n_jobs=settings.n_jobs, stage="blends")


@dataclass(frozen=True)
class _Check:
    """One held-out fold: ``rows`` and logits of versions or networks, (k, n); NaN where not to be had."""

    rows: pd.DataFrame
    formula: np.ndarray
    structure: np.ndarray
    networks: np.ndarray | None
    fold: int

    def scores(self, route: str, weight: float, calibration: Calibration) -> tuple[np.ndarray, np.ndarray]:
        """Return probability and standard deviation by one route, each (n,)."""
        networks = self.networks if route == "structure" else None
        return scored(getattr(self, route), networks, weight=weight, calibration=calibration)

    def logit(self, route: str, weight: float) -> np.ndarray:
        """Return the mean logit by one route, (n,)."""
        mean = getattr(self, route).mean(axis=0)
        if route == "formula" or not weight:
            return mean
        return weight * self.networks.mean(axis=0) + (1 - weight) * mean


def _check_folds(rows: pd.DataFrame) -> list[tuple[np.ndarray, np.ndarray]]:
    groups = row_groups("group_material", rows).to_numpy()
    return list(GroupKFold(min(_N_CHECK_FOLDS, len(set(groups)))).split(groups, groups=groups))


def _check_fold(
    labelled: LabelledInputs,
    geometry: Mapping[str, np.ndarray],
    fold: tuple[np.ndarray, np.ndarray],
    number: int,
    settings: EnsembleSettings,
    blend: Blend,
) -> _Check:
    train, held = (labelled.rows.iloc[part] for part in fold)
    formulas = list(held[Entry.COMPOSITION])
    known = held[Entry.ID].isin(list(geometry)).to_numpy()
    structure, networks = np.full((settings.n_versions, len(held)), np.nan), None
    if known.any():
        structure[:, known] = blend.structure_logits(
            list(held[Entry.COMPOSITION][known]), np.array([geometry[i] for i in held[Entry.ID][known]])
        )
    if labelled.sets:
        fitted = _networks_of(train, labelled.sets, settings, settings.n_check_seeds)
        networks = np.full((len(fitted), len(held)), np.nan)
        if known.any():
            networks[:, known] = network_logits(fitted, [labelled.sets[i] for i in held[Entry.ID][known]])
    return _Check(held, blend.formula_logits(formulas), structure, networks, number)


def _blend_of(labelled: LabelledInputs, rows: pd.DataFrame, settings: EnsembleSettings) -> Blend:
    geometry = None if labelled.features is None else geometry_of_rows(labelled.features, rows[Entry.ID])
    return fit_blend(rows, geometry=geometry, n_versions=settings.n_versions, seed=settings.seed)


def _networks_of(
    rows: pd.DataFrame, sets: Mapping[str, SiteSet], settings: EnsembleSettings, n_seeds: int
) -> tuple:
    own = rows[rows[Entry.ID].isin(list(sets))]
    return fit_networks(
        [sets[i] for i in own[Entry.ID]],
        own[Curated.SUPERIONIC].to_numpy(int),
        row_groups("duplicates", own).to_numpy(),
        settings=settings.networks,
        n_seeds=n_seeds,
        seed=settings.seed,
        starts=settings.starts,
        n_jobs=settings.n_jobs,
    )


def _calibration(checks: Sequence[_Check], route: str, weight: float) -> Calibration:
    """Return the calibration of one route on the rows of all folds given."""
    return fit_calibration(*_logits_and_labels(checks, route, weight))


def _logits_and_labels(checks: Sequence[_Check], route: str, weight: float) -> tuple[np.ndarray, np.ndarray]:
    logits = np.concatenate([check.logit(route, weight) for check in checks])
    y = np.concatenate([check.rows[Curated.SUPERIONIC].to_numpy(bool) for check in checks])
    known = np.isfinite(logits)
    return logits[known], y[known]


def _best_weight(checks: Sequence[_Check]) -> float:
    """Return the weight of the networks whose calibrated logits have the lowest log loss."""
    losses = {}
    for weight in NETWORK_WEIGHTS:
        logits, y = _logits_and_labels(checks, "structure", weight)
        losses[weight] = log_loss(y, fit_calibration(logits, y)(logits), labels=[False, True])
    return min(losses, key=losses.get)


def _held_out(checks: Sequence[_Check], route: str) -> pd.DataFrame:
    """Return one route's held-out rows; weight and calibration of each fold come from the others."""
    parts = []
    for check in checks:
        others = [c for c in checks if c is not check]
        weight = _best_weight(others) if route == "structure" and check.networks is not None else 0.0
        p, spread = check.scores(route, weight, _calibration(others, route, weight))
        found = pd.DataFrame(
            {
                "id": check.rows[Entry.ID].to_numpy(),
                "route": route,
                "fold": check.fold,
                "superionic": check.rows[Curated.SUPERIONIC].to_numpy(bool),
                "logit": check.logit(route, weight),
                "p_superionic": p,
                "p_superionic_sd": spread,
                "network_weight": weight,
            }
        )
        parts.append(found[found["logit"].notna()])
    return pd.concat(parts, ignore_index=True)


def as_predictions(held_out: pd.DataFrame, *, dataset: str) -> pd.DataFrame:
    """Return held-out rows (with a column log10_sigma) with the columns of `ClassPrediction`."""
    found = held_out.assign(model="ensemble", protocol="group_material", repeat=0, dataset=dataset)
    return found.rename(columns={"route": "features"})[[str(c) for c in ClassPrediction]]


def control_predictions(
    labelled: pd.DataFrame, held_out: pd.DataFrame, *, dataset: str, seed: int = 0
) -> pd.DataFrame:
    """Return the controls for the rows of `FittedEnsemble.held_out`, with the columns of `ClassPrediction`.

    Mean, nearest composition and shuffled labels learn from every labelled row outside a row's fold, as the
    bags do; ``features`` is the route beside which a control stands.
    """
    rows = labelled[labelled[Curated.SUPERIONIC].notna()].set_index(Entry.ID, drop=False)
    fold = held_out[held_out["route"] == "formula"].set_index("id")["fold"].reindex(rows.index).to_numpy()
    y, compositions = rows[Curated.SUPERIONIC].to_numpy(int), list(rows[Entry.COMPOSITION])
    fractions, matrix = element_fractions(compositions).to_numpy(), formula_matrix(compositions)
    mixed = np.random.default_rng(seed).permutation(y)
    parts = []
    for model, X, labels in (("mean", fractions, y), ("1nn", fractions, y), ("shuffled", matrix, mixed)):
        p = np.empty(len(y))
        for k in np.unique(fold):
            fitted = make_classifier(f"{model}/elements", seed=seed).fit(X[fold != k], labels[fold != k])
            p[fold == k] = probability_of(fitted, X[fold == k])
        of_row = rows.assign(p=p).loc[held_out["id"]]
        found = held_out.assign(
            p_superionic=of_row["p"].to_numpy(), log10_sigma=of_row[Entry.LOG10_SIGMA].to_numpy(float)
        )
        parts.append(as_predictions(found, dataset=dataset).assign(model=model))
    return pd.concat(parts, ignore_index=True)


def training_table(labelled: pd.DataFrame, *, with_structure: Sequence[str]) -> pd.DataFrame:
    """Return id, formula, composition, superionic and has_structure of curated rows with a decided label."""
    rows = labelled[labelled[Curated.SUPERIONIC].notna()]
    found = rows[[Entry.ID, Entry.FORMULA, Entry.COMPOSITION]].reset_index(drop=True)
    return found.assign(
        superionic=rows[Curated.SUPERIONIC].to_numpy(bool), has_structure=found[Entry.ID].isin(with_structure)
    )


def save_superionic_model(model: SuperionicModel, folder: Path) -> Path:
    """Write the ensemble to ``folder``; ``model.json`` comes last, without it there is no ensemble."""
    folder = Path(folder)
    (folder / "model.json").unlink(missing_ok=True)
    for number, bag in enumerate(model.blend.bags):
        write_whole(folder / _bag_name(number), bag.save_model)
    members = {"formula": model.blend.formula, "structure": model.blend.structure}
    write_whole(folder / "members.joblib", lambda p: joblib.dump(members, p, compress=3))
    if model.networks:
        _save_networks(model, folder)
    write_whole(folder / "training.parquet", lambda p: model.training.to_parquet(p, index=False))
    description = {
        "format": _FORMAT,
        "sklearn": sklearn.__version__,
        "geometry": list(GEOMETRY_COLUMNS),
        "n_bags": len(model.blend.bags),
        "network_weight": model.network_weight,
        "n_networks": len(model.networks),
        "sites": asdict(model.sites) if model.sites else None,
        "structure_calibration": asdict(model.structure_calibration),
        "formula_calibration": asdict(model.formula_calibration),
    }
    return write_whole(
        folder / "model.json", lambda p: p.write_text(to_json(description) + "\n", encoding="utf-8")
    )


def _save_networks(model: SuperionicModel, folder: Path) -> None:
    import torch

    states = [
        {
            "settings": asdict(network.settings),
            "mean": torch.as_tensor(network.mean),
            "scale": torch.as_tensor(network.scale),
            "epoch": network.epoch,
            "state": network.model.state_dict(),
        }
        for network in model.networks
    ]
    write_whole(folder / "networks.pt", lambda p: torch.save(states, p))
    write_whole(folder / "space.npz", lambda p: np.savez(p, **asdict(model.space)))


def load_superionic_model(run: Path) -> SuperionicModel:
    """Return the ensemble that notebook 06 saved in the run folder ``run``.

    Raises `RunError` where the run has none or one of another format.
    """
    folder = Path(run) / NOTEBOOK / FOLDER
    path = folder / "model.json"
    if not path.is_file():
        raise RunError(
            f"the run folder {run} has no superionic ensemble ({NOTEBOOK}/{FOLDER}/model.json): run notebook "
            f"06 first (sse run 06 --out {run})"
        )
    description = json.loads(path.read_text(encoding="utf-8"))
    if description.get("format") != _FORMAT:
        raise RunError(
            f"{path} has format {description.get('format')}, this version reads {_FORMAT}: run notebook 06 "
            "anew"
        )
    if (found := description["sklearn"]) != sklearn.__version__:
        raise RunError(
            f"{path} was written with scikit-learn {found}, and {sklearn.__version__} is installed: run "
            "notebook 06 anew"
        )
    if description["geometry"] != list(GEOMETRY_COLUMNS):
        raise RunError(
            f"{path} was trained on features that this version does not compute: run notebook 06 anew"
        )
    try:
        return _load(folder, description)
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"the ensemble in {folder} cannot be read ({error}): run notebook 06 anew") from error


def _load(folder: Path, description: Mapping) -> SuperionicModel:
    sites = description["sites"]
    networks, space = (), None
    if description["n_networks"]:
        networks = _load_networks(folder / "networks.pt")
        with np.load(folder / "space.npz") as stored:
            space = PooledSpace(**{name: stored[name] for name in stored.files})
    return SuperionicModel(
        training=pd.read_parquet(folder / "training.parquet"),
        blend=Blend(
            bags=tuple(_load_bag(folder, k) for k in range(description["n_bags"])),
            **joblib.load(folder / "members.joblib"),
        ),
        networks=networks,
        sites=SiteSettings(**{**sites, "layers": tuple(sites["layers"])}) if sites else None,
        space=space,
        network_weight=description["network_weight"],
        structure_calibration=Calibration(**description["structure_calibration"]),
        formula_calibration=Calibration(**description["formula_calibration"]),
    )


def _bag_name(number: int) -> str:
    return f"bag_{number:03d}.json"


def _load_bag(folder: Path, number: int) -> XGBRegressor:
    path = folder / _bag_name(number)
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is missing")
    bag = XGBRegressor(n_jobs=1)
    bag.load_model(path)
    return bag


def _load_networks(path: Path) -> "tuple[FittedAtomSets, ...]":
    try:
        import torch

        from sselib.atomsets.network import AtomSets, AtomSetsSettings, FittedAtomSets
    except ModuleNotFoundError as error:
        raise DataError(f"this ensemble needs {error.name}: pip install -e '.[atomsets]'") from error
    networks = []
    for stored in torch.load(path, weights_only=True):
        settings = AtomSetsSettings(**_tuples(stored["settings"]))
        model = AtomSets(len(stored["mean"]), settings)
        model.load_state_dict(stored["state"])
        networks.append(
            FittedAtomSets(
                model=model,
                mean=stored["mean"].numpy(),
                scale=stored["scale"].numpy(),
                epoch=stored["epoch"],
                settings=settings,
            )
        )
    return tuple(networks)


def _tuples(settings: Mapping) -> dict:
    return {name: tuple(v) if isinstance(v, (list, tuple)) else v for name, v in settings.items()}


def _formula_problem(text: object) -> str:
    try:
        parse_formula(text)
    except FormulaError as error:
        return str(error)
    return ""


def _formula_of(structure: Structure) -> str:
    """Return the formula of a structure, or an empty text where it has none."""
    try:
        return structure.composition.element_composition.formula.replace(" ", "")
    except Exception:  # dummy atoms, broken sites: the empty formula gets its reason as note
        return ""


def _doubts(structure: Structure) -> str:
    """Return why the score of a readable structure is to be doubted: no lithium, overlapping sites."""
    holds_li = any(getattr(s, "symbol", "") == "Li" for s in structure.composition)
    try:
        first, second, _, distance = structure.get_neighbor_list(_TOUCHING_ANGSTROM, exclude_self=True)
    except (ValueError, np.linalg.LinAlgError):  # no cell to speak of: site features have their own reason
        return ""
    full = np.array([site.species.num_atoms for site in structure])
    overlaps = distance[full[first] + full[second] > _FULL]
    return _joined_notes(
        "" if holds_li else "no Li: trained on lithium conductors",
        f"atoms overlap: two full sites are {overlaps.min():.2f} Angstrom apart" if len(overlaps) else "",
    )


def _added(notes: pd.Series, text: str) -> pd.Series:
    return notes.map(lambda note: _joined_notes(note, text))


def _joined_notes(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    empty = pd.DataFrame({c: pd.Series(dtype=object if c == "note" else float) for c in COLUMNS})
    return pd.concat(parts, ignore_index=True) if parts else empty

"""The saved ensemble that says how likely a structure or a formula is superionic.

Two parts vote. Networks (AtomSets, several settings and seeds) see the site features of a structure;
boosted trees (bags of the labelled rows) see its composition only, and so can learn from rows without a
structure and score a bare formula. Every other bag learns log10(S/cm) instead of the class. A member of a
structure's score is a weighted mean of a network's and a bag's logit; the ensemble gives the mean of its
members' probabilities and their standard deviation, after McHaffie et al., Digital Discovery 4, 1518
(2025), doi 10.1039/d5dd00052a (100 models, d_training). Probabilities are calibrated on held-out groups.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from pymatgen.core import Structure
from scipy.special import expit
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold
from xgboost import XGBClassifier, XGBRegressor

from sselib.atomsets.classification import logit
from sselib.atomsets.classifiers import inner_part, make_classifier, probability_of
from sselib.columns import ClassPrediction, Curated, Entry
from sselib.errors import DataError, FormulaError, RunError
from sselib.features.site_features import SiteSet, pooled, site_sets
from sselib.features.stoichiometry import elemental_features
from sselib.materials.composition import element_fractions, l1_distances, parse_formula
from sselib.progress import progress
from sselib.runfolder import to_json, write_whole
from sselib.validation.splits import row_groups

if TYPE_CHECKING:  # torch is an extra: formulas are scored without it
    from sselib.atomsets.network import AtomSetsSettings, FittedAtomSets

NOTEBOOK, FOLDER = "06_atomsets_loco", "ensemble"
COLUMNS: tuple[str, ...] = ("p_superionic", "p_superionic_sd", "d_training", "note")
VARIANCE_KEPT = 0.95  # of the pooled site features, by the principal components of the distance
NETWORK_WEIGHTS: tuple[float, ...] = (0.25, 0.5, 0.75)  # one is chosen on held-out groups
_N_CHECK_FOLDS = 5
_FORMAT = 1  # of the files; a change makes older ensembles unreadable
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
    model was at hand; structures are then scored by their composition. ``bags`` are fitted classifiers of
    `formula_matrix`, or regressors of log10(S/cm). ``network_weight`` is the networks' share in a structure's
    logit. The calibrations turn a member's logit into its probability.
    """

    training: pd.DataFrame
    bags: "tuple[XGBClassifier | XGBRegressor, ...]"
    networks: "tuple[FittedAtomSets, ...]" = ()
    sites: SiteSettings | None = None
    space: PooledSpace | None = None
    network_weight: float = 0.5
    structure_calibration: Calibration = Calibration()
    formula_calibration: Calibration = Calibration()

    def predict_structures(self, structures: Sequence[Structure]) -> pd.DataFrame:
        """Return p_superionic, p_superionic_sd, d_training and note per structure, in input order.

        ``d_training``: distance to the nearest training structure in `PooledSpace`. A structure without
        site features (an element that the parent never saw, too many sites) is scored by its composition
        alone, without a distance, and the note says why; one without a readable composition has no
        probability and its reason as note. One without lithium or with sites on top of each other is scored
        as it stands, with a note. Never raises for a single structure.
        """
        parts = [
            structures[i : i + _STRUCTURES_AT_ONCE] for i in range(0, len(structures), _STRUCTURES_AT_ONCE)
        ]
        found = _joined([self._structures(part) for part in parts])
        found["note"] = [_joined_notes(n, _doubts(s)) for n, s in zip(found["note"], structures, strict=True)]
        return found

    def predict_formulas(self, formulas: Sequence[str]) -> pd.DataFrame:
        """Return the same columns per formula, in input order, from the bags on composition.

        ``d_training``: L1 distance (0 to 2) of the mole fractions to the nearest training row's. A text
        that is no formula has no probability and its reason as note.
        """
        parts = [formulas[i : i + _FORMULAS_AT_ONCE] for i in range(0, len(formulas), _FORMULAS_AT_ONCE)]
        return _joined([self._formulas(part) for part in parts])

    @cached_property
    def _fractions(self) -> np.ndarray:
        return element_fractions(list(self.training[Entry.COMPOSITION])).to_numpy()

    def _formulas(self, formulas: Sequence[str]) -> pd.DataFrame:
        reasons = [_formula_problem(f) for f in formulas]
        good = [k for k, reason in enumerate(reasons) if not reason]
        found = pd.DataFrame(dict.fromkeys(COLUMNS[:3], np.nan), index=range(len(formulas)))
        found["note"] = reasons
        if not good:
            return found
        readable = [formulas[k] for k in good]
        members = self.formula_calibration(self._bag_logits(readable))
        fractions = element_fractions(readable).to_numpy()
        found.loc[good, COLUMNS[0]] = members.mean(axis=0)
        found.loc[good, COLUMNS[1]] = members.std(axis=0)
        found.loc[good, COLUMNS[2]] = l1_distances(fractions, self._fractions).min(axis=1)
        found.loc[good, "note"] = self._unseen(fractions)
        return found

    def _unseen(self, fractions: np.ndarray) -> list[str]:
        """Return a note for rows with elements that no training row holds."""
        symbols = np.array(element_fractions(["Li"]).columns)
        new = (fractions > 0) & ~(self._fractions > 0).any(axis=0)
        return [f"not in training: {', '.join(symbols[row])}" if row.any() else "" for row in new]

    def _bag_logits(self, formulas: Sequence[str]) -> np.ndarray:
        """Return the logit of every bag, shape (bags, n)."""
        return bag_logits(self.bags, formula_matrix(formulas))

    def _structures(self, structures: Sequence[Structure]) -> pd.DataFrame:
        """Score by composition, then again with the networks where there are site features."""
        formulas = [_formula_of(s) for s in structures]
        found = self._formulas(formulas)
        if not self.networks:
            found["note"] = _added(
                found["note"], "from composition alone (no parent model), d_training is L1"
            )
            return found
        sets, reasons = self._site_sets(structures)
        known = [k for k in sets if np.isfinite(found.loc[k, COLUMNS[0]])]
        without = found.index.difference(known)
        found.loc[without, "d_training"] = np.nan
        found.loc[without, "note"] = [
            _joined_notes(
                found.loc[k, "note"], f"from composition alone: {reasons.get(k, 'no site features')}"
            )
            for k in without
        ]
        if known:
            found.loc[known, list(COLUMNS[:3])] = self._blended(
                [sets[k] for k in known], [formulas[k] for k in known]
            )
        return found

    def _site_sets(self, structures: Sequence[Structure]) -> tuple[dict[int, SiteSet], dict[int, str]]:
        found = site_sets(
            dict(enumerate(structures)),
            parent=self.sites.parent,
            representation=self.sites.representation,
            layers=self.sites.layers,
        )
        return found.sets, dict(zip(found.rejects["id"], found.rejects["reason"], strict=True))

    def _blended(self, sets: Sequence[SiteSet], formulas: Sequence[str]) -> np.ndarray:
        """Return probability, standard deviation and distance, shape (n, 3)."""
        networks, bags = network_logits(self.networks, sets), self._bag_logits(formulas)
        members = self.structure_calibration(paired_logits(networks, bags, weight=self.network_weight))
        distance = self.space.distance(pooled(sets))
        return np.column_stack([members.mean(axis=0), members.std(axis=0), distance])


def network_logits(networks: "Sequence[FittedAtomSets]", sets: Sequence[SiteSet]) -> np.ndarray:
    """Return the logit of every network, shape (networks, n)."""
    import torch

    torch.set_num_threads(1)
    return np.array([logit(network.probability(sets)) for network in networks])


def formula_matrix(formulas: Sequence[str]) -> np.ndarray:
    """Return mole fractions and elemental statistics of each formula, shape (n, features)."""
    statistics, _ = elemental_features(formulas)
    return np.hstack([element_fractions(formulas).to_numpy(), statistics.to_numpy(float)])


def bag_logits(bags: "Sequence[XGBClassifier | XGBRegressor]", matrix: np.ndarray) -> np.ndarray:
    """Return the logit of every bag for the rows of `formula_matrix`, shape (bags, n)."""
    return np.array([logit(probability_of(bag, matrix)) for bag in bags])


def paired_logits(networks: np.ndarray, bags: np.ndarray, *, weight: float) -> np.ndarray:
    """Return each network's logit (k, n) averaged with that of a bag (b, n), the bags in turn, (k, n)."""
    return weight * networks + (1 - weight) * bags[np.arange(len(networks)) % len(bags)]


def fit_bags(
    formulas: Sequence[str], y: np.ndarray, log10_sigma: np.ndarray, *, n_bags: int, seed: int
) -> "tuple[XGBClassifier | XGBRegressor, ...]":
    """Return boosted trees, each fitted on its own bootstrap sample of the rows.

    ``y`` (n,) of 0 and 1 is what bags 0, 2, 4 ... learn, ``log10_sigma`` (n,) the others.
    """
    matrix, rng = formula_matrix(formulas), np.random.default_rng(seed)
    bags = []
    for number in range(n_bags):
        rows = _both_classes(rng, y)
        name, target = ("xgb_sigma", log10_sigma) if number % 2 else ("xgb", y)
        bags.append(make_classifier(f"{name}/elements", seed=seed + number).fit(matrix[rows], target[rows]))
    return tuple(bags)


def _both_classes(rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
    """Return a bootstrap sample of row numbers, drawn per class so that both are there."""
    return np.concatenate([rng.choice(np.flatnonzero(y == c), (y == c).sum()) for c in (0, 1)])


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
    cases = [(*pair, seed + k) for k in range(n_seeds) for pair in pairs]
    work = Parallel(n_jobs, return_as="generator")(
        delayed(_fit_network)(sets, y, duplicates, s, number, start) for s, start, number in cases
    )
    return tuple(progress(work, stage="networks", total=len(cases)))


def _fit_network(
    sets: Sequence[SiteSet],
    y: np.ndarray,
    duplicates: np.ndarray,
    settings: "AtomSetsSettings",
    seed: int,
    start: "FittedAtomSets | None" = None,
) -> "FittedAtomSets":
    import torch

    from sselib.atomsets.network import fit_atomsets

    torch.set_num_threads(1)
    inner = inner_part(y, duplicates, seed=seed)
    return fit_atomsets(sets, y, inner=inner, settings=settings, seed=seed, start=start)


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
    """``n_seeds`` networks for each of ``networks``, ``n_bags`` bags; in a check fold ``n_check_seeds``.

    ``starts``: pretrained networks, one for each of ``networks``, or none.
    """

    networks: "tuple[AtomSetsSettings, ...]" = ()
    n_seeds: int = 2
    n_bags: int = 10
    n_check_seeds: int = 1
    seed: int = 0
    n_jobs: int = 1
    starts: "tuple[FittedAtomSets, ...]" = ()


@dataclass(frozen=True)
class FittedEnsemble:
    """The model, and its held-out check.

    ``held_out``: id, route (structure or formula), fold, superionic, logit, p_superionic; one row for each
    labelled row and route. A fold holds whole groups of near-duplicates and publications out; its
    probabilities are calibrated on the other folds. The model's own calibration uses all of them.
    """

    model: SuperionicModel
    held_out: pd.DataFrame


def fit_superionic_model(
    labelled: pd.DataFrame,
    sets: Mapping[str, SiteSet],
    *,
    sites: SiteSettings | None,
    settings: EnsembleSettings,
) -> FittedEnsemble:
    """Return the ensemble trained on every labelled row, calibrated on held-out groups.

    ``labelled`` is a curated table, ``sets`` the site features by row id (of ``sites``; empty without a
    parent model). The weight of the networks is that of `NETWORK_WEIGHTS` with the lowest held-out log loss.
    """
    rows = labelled[labelled[Curated.SUPERIONIC].notna()].reset_index(drop=True)
    checks = [_check_fold(rows, sets, fold, k, settings) for k, fold in enumerate(_check_folds(rows))]
    weight = min(NETWORK_WEIGHTS, key=lambda w: _check_loss(checks, w)) if sets else 0.0
    held_out = pd.concat([_held_out(checks, route, weight) for route in ("formula", "structure")])
    calibrations = {
        f"{route}_calibration": fit_calibration(part["logit"].to_numpy(), part["superionic"].to_numpy())
        for route, part in held_out.groupby("route")
    }
    networks = _networks_of(rows, sets, settings, settings.n_seeds) if sets else ()
    model = SuperionicModel(
        training=training_table(rows, with_structure=list(sets)),
        bags=_bags_of(rows, settings, settings.n_bags),
        networks=networks,
        sites=sites if sets else None,
        space=pooled_space([sets[i] for i in rows[Entry.ID] if i in sets]) if sets else None,
        network_weight=weight,
        **calibrations,
    )
    return FittedEnsemble(model=model, held_out=held_out.reset_index(drop=True))


@dataclass(frozen=True)
class _Check:
    """One held-out fold: rows, mean logit of bags (n,) and of networks (n,), NaN without site features."""

    rows: pd.DataFrame
    bags: np.ndarray
    networks: np.ndarray
    fold: int


def _check_folds(rows: pd.DataFrame) -> list[tuple[np.ndarray, np.ndarray]]:
    groups = row_groups("group_material", rows).to_numpy()
    return list(GroupKFold(min(_N_CHECK_FOLDS, len(set(groups)))).split(groups, groups=groups))


def _check_fold(
    rows: pd.DataFrame,
    sets: Mapping[str, SiteSet],
    fold: tuple[np.ndarray, np.ndarray],
    number: int,
    settings: EnsembleSettings,
) -> _Check:
    train, held = rows.iloc[fold[0]], rows.iloc[fold[1]]
    bags = _bags_of(train, settings, 2)
    networks = np.full(len(held), np.nan)
    known = held[Entry.ID].isin(list(sets)).to_numpy()
    if known.any():
        fitted = _networks_of(train, sets, settings, settings.n_check_seeds)
        networks[known] = network_logits(fitted, [sets[i] for i in held[Entry.ID][known]]).mean(axis=0)
    matrix = formula_matrix(list(held[Entry.COMPOSITION]))
    return _Check(held, bag_logits(bags, matrix).mean(axis=0), networks, number)


def _bags_of(rows: pd.DataFrame, settings: EnsembleSettings, n_bags: int) -> tuple:
    y, sigma = rows[Curated.SUPERIONIC].to_numpy(int), rows[Entry.LOG10_SIGMA].to_numpy(float)
    return fit_bags(list(rows[Entry.COMPOSITION]), y, sigma, n_bags=n_bags, seed=settings.seed)


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


def _check_loss(checks: Sequence[_Check], weight: float) -> float:
    """Return the log loss of the structure route over all folds, calibrated on the same rows."""
    part = _held_out(checks, "structure", weight)
    p = fit_calibration(part["logit"].to_numpy(), part["superionic"].to_numpy())(part["logit"].to_numpy())
    return float(log_loss(part["superionic"], p, labels=[False, True]))


def _held_out(checks: Sequence[_Check], route: str, weight: float) -> pd.DataFrame:
    """Return one route's held-out rows; each fold is calibrated on the others."""
    parts = []
    for check in checks:
        known = np.isfinite(check.networks) if route == "structure" else np.ones(len(check.rows), bool)
        logit = check.bags[known]
        if route == "structure":
            logit = weight * check.networks[known] + (1 - weight) * logit
        rows = check.rows[known]
        parts.append(
            pd.DataFrame(
                {
                    "id": rows[Entry.ID].to_numpy(),
                    "route": route,
                    "fold": check.fold,
                    "superionic": rows[Curated.SUPERIONIC].to_numpy(bool),
                    "logit": logit,
                }
            )
        )
    found = pd.concat(parts, ignore_index=True)
    p = np.full(len(found), np.nan)
    for fold in found["fold"].unique():
        other, own = found[found["fold"] != fold], (found["fold"] == fold).to_numpy()
        calibration = fit_calibration(other["logit"].to_numpy(), other["superionic"].to_numpy())
        p[own] = calibration(found["logit"].to_numpy()[own])
    return found.assign(p_superionic=p)


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
    for number, bag in enumerate(model.bags):
        write_whole(folder / _bag_name(number, isinstance(bag, XGBRegressor)), bag.save_model)
    if model.networks:
        _save_networks(model, folder)
    write_whole(folder / "training.parquet", lambda p: model.training.to_parquet(p, index=False))
    description = {
        "format": _FORMAT,
        "bags_of_sigma": [isinstance(bag, XGBRegressor) for bag in model.bags],
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
        bags=tuple(_load_bag(folder, k, sigma) for k, sigma in enumerate(description["bags_of_sigma"])),
        networks=networks,
        sites=SiteSettings(**{**sites, "layers": tuple(sites["layers"])}) if sites else None,
        space=space,
        network_weight=description["network_weight"],
        structure_calibration=Calibration(**description["structure_calibration"]),
        formula_calibration=Calibration(**description["formula_calibration"]),
    )


def _bag_name(number: int, sigma: bool) -> str:
    return f"bag_{number:03d}_{'sigma' if sigma else 'class'}.json"


def _load_bag(folder: Path, number: int, sigma: bool) -> "XGBClassifier | XGBRegressor":
    path = folder / _bag_name(number, sigma)
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is missing")
    bag = XGBRegressor(n_jobs=1) if sigma else XGBClassifier(n_jobs=1)
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

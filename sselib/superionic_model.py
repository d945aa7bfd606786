"""The saved ensemble that says how likely a structure or a formula is superionic.

Two parts vote. Networks (AtomSets, several settings and seeds) see the site features of a structure;
boosted trees (bags of the labelled rows) see its composition only, and so can learn from rows without a
structure and score a bare formula. Member k of a structure's score is the mean of a network's and a bag's
logit; the ensemble gives the mean of its members' probabilities and their standard deviation, after
McHaffie et al., Digital Discovery 4, 1518 (2025), doi 10.1039/d5dd00052a (100 models, d_training).
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
from xgboost import XGBClassifier

from sselib.classifiers import XGB_SETTINGS, inner_part
from sselib.columns import Curated, Entry
from sselib.composition import element_fractions, l1_distances, parse_formula
from sselib.errors import DataError, FormulaError, RunError
from sselib.features.stoichiometry import elemental_features
from sselib.progress import progress
from sselib.runfolder import to_json, write_whole
from sselib.site_features import pooled, site_sets

if TYPE_CHECKING:  # torch is an extra: formulas are scored without it
    from sselib.atomsets import AtomSetsSettings, FittedAtomSets, SiteSet

NOTEBOOK, FOLDER = "06_atomsets_loco", "ensemble"
COLUMNS: tuple[str, ...] = ("p_superionic", "p_superionic_sd", "d_training", "note")
VARIANCE_KEPT = 0.95  # of the pooled site features, by the principal components of the distance
_FORMAT = 1  # of the files; a change makes older ensembles unreadable
_CHUNK = 512  # structures or formulas scored at a time
_PROBABILITY_EDGE = 1e-4  # probabilities are kept this far from 0 and 1 before a logit is taken


@dataclass(frozen=True)
class SiteSettings:
    """Which site features the networks see (see `sselib.site_features.site_sets`)."""

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
        return _sigmoid(self.slope * logits + self.intercept)


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
    `formula_matrix`. The calibrations turn a member's logit into its probability.
    """

    training: pd.DataFrame
    bags: "tuple[XGBClassifier, ...]"
    networks: "tuple[FittedAtomSets, ...]" = ()
    sites: SiteSettings | None = None
    space: PooledSpace | None = None
    structure_calibration: Calibration = Calibration()
    formula_calibration: Calibration = Calibration()

    def predict_structures(self, structures: Sequence[Structure]) -> pd.DataFrame:
        """Return p_superionic, p_superionic_sd, d_training and note per structure, in input order.

        ``d_training``: distance to the nearest training structure in `PooledSpace`. A structure without
        site features (an element that the parent never saw, too many sites) is scored by its composition
        alone, without a distance, and the note says why; one without a readable composition has no
        probability and its reason as note. Never raises for a single structure.
        """
        parts = [structures[i : i + _CHUNK] for i in range(0, len(structures), _CHUNK)]
        return _joined([self._structures(part) for part in parts])

    def predict_formulas(self, formulas: Sequence[str]) -> pd.DataFrame:
        """Return the same columns per formula, in input order, from the bags on composition.

        ``d_training``: L1 distance (0 to 2) of the mole fractions to the nearest training row's. A text
        that is no formula has no probability and its reason as note.
        """
        parts = [formulas[i : i + _CHUNK] for i in range(0, len(formulas), _CHUNK)]
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
        matrix = formula_matrix(formulas)
        return np.array([_logit(bag.predict_proba(matrix)[:, 1]) for bag in self.bags])

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

    def _site_sets(self, structures: Sequence[Structure]) -> "tuple[dict[int, SiteSet], dict[int, str]]":
        found = site_sets(
            dict(enumerate(structures)),
            parent=self.sites.parent,
            representation=self.sites.representation,
            layers=self.sites.layers,
        )
        return found.sets, dict(zip(found.rejects["id"], found.rejects["reason"], strict=True))

    def _blended(self, sets: "Sequence[SiteSet]", formulas: Sequence[str]) -> np.ndarray:
        """Return probability, standard deviation and distance, shape (n, 3)."""
        networks = network_logits(self.networks, sets)
        bags = self._bag_logits(formulas)
        paired = (networks + bags[np.arange(len(networks)) % len(bags)]) / 2
        members = self.structure_calibration(paired)
        distance = self.space.distance(pooled(sets))
        return np.column_stack([members.mean(axis=0), members.std(axis=0), distance])


def network_logits(networks: "Sequence[FittedAtomSets]", sets: "Sequence[SiteSet]") -> np.ndarray:
    """Return the logit of every network, shape (networks, n)."""
    import torch

    torch.set_num_threads(1)
    return np.array([_logit(network.probability(sets)) for network in networks])


def formula_matrix(formulas: Sequence[str]) -> np.ndarray:
    """Return mole fractions and elemental statistics of each formula, shape (n, features)."""
    statistics, _ = elemental_features(formulas)
    return np.hstack([element_fractions(formulas).to_numpy(), statistics.to_numpy(float)])


def fit_bags(formulas: Sequence[str], y: np.ndarray, *, n_bags: int, seed: int) -> tuple[XGBClassifier, ...]:
    """Return boosted trees, each fitted on its own bootstrap sample of the rows, ``y`` (n,) of 0 and 1."""
    matrix, rng = formula_matrix(formulas), np.random.default_rng(seed)
    bags = []
    for number in progress(range(n_bags), stage="bags on composition", total=n_bags):
        rows = _both_classes(rng, y)
        classifier = XGBClassifier(
            **XGB_SETTINGS, random_state=seed + number, n_jobs=1, tree_method="hist", max_bin=64
        )
        bags.append(classifier.fit(matrix[rows], y[rows]))
    return tuple(bags)


def _both_classes(rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
    """Return a bootstrap sample of row numbers, drawn per class so that both are there."""
    return np.concatenate([rng.choice(np.flatnonzero(y == c), (y == c).sum()) for c in (0, 1)])


def fit_networks(
    sets: "Sequence[SiteSet]",
    y: np.ndarray,
    duplicates: np.ndarray,
    *,
    settings: "Sequence[AtomSetsSettings]",
    n_seeds: int,
    seed: int,
    n_jobs: int = 1,
) -> "tuple[FittedAtomSets, ...]":
    """Return ``n_seeds`` networks for each of ``settings``; each stops on its own part of the rows."""
    cases = [(s, seed + k) for k in range(n_seeds) for s in settings]
    work = Parallel(n_jobs, return_as="generator")(
        delayed(_fit_network)(sets, y, duplicates, s, number) for s, number in cases
    )
    return tuple(progress(work, stage="networks", total=len(cases)))


def _fit_network(
    sets: "Sequence[SiteSet]", y: np.ndarray, duplicates: np.ndarray, settings: "AtomSetsSettings", seed: int
) -> "FittedAtomSets":
    import torch

    from sselib.atomsets import fit_atomsets

    torch.set_num_threads(1)
    return fit_atomsets(sets, y, inner=inner_part(y, duplicates, seed=seed), settings=settings, seed=seed)


def pooled_space(sets: "Sequence[SiteSet]") -> PooledSpace:
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
        write_whole(folder / f"bag_{number:03d}.json", bag.save_model)
    if model.networks:
        _save_networks(model, folder)
    write_whole(folder / "training.parquet", lambda p: model.training.to_parquet(p, index=False))
    description = {
        "format": _FORMAT,
        "n_bags": len(model.bags),
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
        bags=tuple(_load_bag(folder / f"bag_{k:03d}.json") for k in range(description["n_bags"])),
        networks=networks,
        sites=SiteSettings(**{**sites, "layers": tuple(sites["layers"])}) if sites else None,
        space=space,
        structure_calibration=Calibration(**description["structure_calibration"]),
        formula_calibration=Calibration(**description["formula_calibration"]),
    )


def _load_bag(path: Path) -> XGBClassifier:
    bag = XGBClassifier(n_jobs=1)
    bag.load_model(path)
    return bag


def _load_networks(path: Path) -> "tuple[FittedAtomSets, ...]":
    try:
        import torch

        from sselib.atomsets import AtomSets, AtomSetsSettings, FittedAtomSets
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


def _added(notes: pd.Series, text: str) -> pd.Series:
    return notes.map(lambda note: _joined_notes(note, text))


def _joined_notes(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    empty = pd.DataFrame({c: pd.Series(dtype=object if c == "note" else float) for c in COLUMNS})
    return pd.concat(parts, ignore_index=True) if parts else empty


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(np.asarray(p, float), _PROBABILITY_EDGE, 1 - _PROBABILITY_EDGE)
    return np.log(p / (1 - p))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))

"""The saved model that says how likely a structure or a formula is superionic.

A Gaussian process of log10(S/cm) (`sselib.regression.gaussian_process`) learns from all labelled rows; the
probability is the share of its predictive distribution above 1e-4 S/cm. For a structure it sees the formula
and the surroundings of lithium, for a formula the composition alone. Probabilities are calibrated, and the
threshold is chosen, on held-out groups of near-duplicates and publications.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from pymatgen.core import Structure
from scipy.special import expit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from sselib.atomsets.classification import best_threshold, logit
from sselib.columns import Curated, Entry
from sselib.errors import FormulaError, RunError
from sselib.features.formula import formula_features
from sselib.features.structure import STRUCTURE_COLUMNS, structure_features
from sselib.materials.composition import element_fractions, l1_distances, parse_formula
from sselib.progress import progress
from sselib.provenance import as_recorded
from sselib.regression.gaussian_process import CompositionGP
from sselib.runfolder import to_json, write_whole
from sselib.threads import in_threads
from sselib.validation.splits import row_groups

SUPERIONIC_LOG10_SIGMA = -4.0  # superionic: at least 1e-4 S/cm (McHaffie et al.)
GP_ITERATIONS = 4  # of the search for the kernel's settings; 15 rank held-out rows no better
NOTEBOOK, FOLDER = "06_atomsets_loco", "superionic_model"
COLUMNS: tuple[str, ...] = ("p_superionic", "p_superionic_sd", "d_training", "threshold", "note")
MAX_SITES = 1000  # a larger structure is scored by its composition
_N_FOLDS = 5
_FORMAT = 3  # of the files; a change makes older models unreadable
_QUANTILES = norm.ppf((np.arange(16) + 0.5) / 16)  # of the process's belief, for the standard deviation
_TOUCHING_ANGSTROM = 0.6  # closer sites are one atom split in parts, if their occupancies add up to one
_FULL = 1.05  # sum of the occupancies of two touching sites that cannot be parts of one atom
_FORMULAS_AT_ONCE = 5000


@dataclass(frozen=True)
class PlattScaling:
    """p = sigmoid(slope * logit + intercept), and from which p on a material is called superionic."""

    slope: float = 1.0
    intercept: float = 0.0
    threshold: float = 0.5

    def __call__(self, p: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities of the same shape."""
        return expit(self.slope * logit(p) + self.intercept)


@dataclass(frozen=True)
class Belief:
    """What a process believes: ``mean`` (n,) of log10(S/cm), ``own`` (n,) its doubt, ``noise`` of a label."""

    mean: np.ndarray
    own: np.ndarray
    noise: float

    def probability(self, calibration: PlattScaling = PlattScaling()) -> np.ndarray:
        """Return the probability that a measurement lies above the limit, (n,)."""
        return calibration(share_above(self.mean, np.hypot(self.own, self.noise)))

    def spread(self, calibration: PlattScaling = PlattScaling()) -> np.ndarray:
        """Return the standard deviation of that probability over what the material's own value may be."""
        values = self.mean + _QUANTILES[:, None] * self.own
        return calibration(share_above(values, self.noise)).std(axis=0)


def share_above(mean: np.ndarray, spread: np.ndarray | float) -> np.ndarray:
    """Return the share of normal distributions of log10(S/cm) above the limit."""
    return norm.cdf((mean - SUPERIONIC_LOG10_SIGMA) / spread)


def belief(process: CompositionGP, X: np.ndarray) -> Belief:
    """Return what a fitted process believes of rows of features, shape (n, columns)."""
    mean, total = process.predict(X, return_spread=True)
    noise = float(process.settings_[-1])
    return Belief(mean, np.sqrt(np.maximum(total**2 - noise, 0.0)), noise**0.5)


@dataclass(frozen=True)
class Route:
    """What answers for one kind of input, formulas or structures."""

    process: CompositionGP
    calibration: PlattScaling = PlattScaling()

    def answer(self, X: np.ndarray) -> np.ndarray:
        """Return probability, its standard deviation and the threshold of each row of X, shape (n, 3)."""
        found = belief(self.process, X)
        p, spread = found.probability(self.calibration), found.spread(self.calibration)
        return np.column_stack([p, spread, np.full(len(p), self.calibration.threshold)])


@dataclass(frozen=True)
class SuperionicModel:
    """Both routes with what they were trained on; ``structure`` is None where no structure was known.

    ``training``: id, formula, composition, superionic, has_structure.
    """

    training: pd.DataFrame
    formula: Route
    structure: Route | None = None

    def predict_formulas(self, formulas: Sequence[str]) -> pd.DataFrame:
        """Return `COLUMNS` per formula, in input order.

        ``d_training``: L1 distance (0 to 2) of the mole fractions to the nearest training row's;
        ``threshold``: from which p_superionic on a material is called superionic. A text that is no formula
        has no probability and its reason as note.
        """
        parts = [formulas[i : i + _FORMULAS_AT_ONCE] for i in range(0, len(formulas), _FORMULAS_AT_ONCE)]
        empty = pd.DataFrame({c: pd.Series(dtype=object if c == "note" else float) for c in COLUMNS})
        return pd.concat([self._formulas(part) for part in parts] or [empty], ignore_index=True)

    def predict_structures(self, structures: Sequence[Structure]) -> pd.DataFrame:
        """Return the same columns per structure, in input order; never raises for a single structure.

        A structure that cannot be described is scored by its composition, and the note says why. One without
        lithium or with sites on top of each other is scored as it stands, with a note.
        """
        formulas = [_formula_of(s) for s in structures]
        found = self.predict_formulas(formulas)
        described = [_described(s) if self.structure else "no structures were trained on" for s in structures]
        scored = found["d_training"].notna()
        known = [k for k, d in enumerate(described) if not isinstance(d, str) and scored[k]]
        if known:
            of_formula = formula_features([formulas[k] for k in known]).to_numpy(float)
            X = np.hstack([of_formula, np.array([described[k] for k in known])])
            found.loc[known, ["p_superionic", "p_superionic_sd", "threshold"]] = self.structure.answer(X)
        why = [f"from composition alone: {d}" if isinstance(d, str) else "" for d in described]
        notes = zip(found["note"], why, map(_doubts, structures), strict=True)
        found["note"] = [_joined(*texts) for texts in notes]
        return found

    @cached_property
    def _fractions(self) -> np.ndarray:
        return element_fractions(list(self.training[Entry.COMPOSITION])).to_numpy()

    def _formulas(self, formulas: Sequence[str]) -> pd.DataFrame:
        found = pd.DataFrame(np.nan, index=range(len(formulas)), columns=list(COLUMNS[:-1]))
        found["note"] = [_formula_problem(f) for f in formulas]
        good = found.index[found["note"] == ""]
        if len(good):
            readable = [formulas[k] for k in good]
            answers = self.formula.answer(formula_features(readable).to_numpy(float))
            fractions = element_fractions(readable).to_numpy()
            distance = l1_distances(fractions, self._fractions).min(axis=1)
            found.loc[good, list(COLUMNS[:-1])] = np.column_stack([answers[:, :2], distance, answers[:, 2]])
            found.loc[good, "note"] = self._unseen(fractions)
        return found

    def _unseen(self, fractions: np.ndarray) -> list[str]:
        """Return a note for rows with elements that no training row holds."""
        symbols = np.array(element_fractions(["Li"]).columns)
        new = (fractions > 0) & ~(self._fractions > 0).any(axis=0)
        return [f"not in training: {', '.join(symbols[row])}" if row.any() else "" for row in new]


@dataclass(frozen=True)
class FittedSuperionic:
    """The model, and its held-out check.

    ``held_out``: id, route (structure or formula), fold, superionic, log10_sigma, p_superionic,
    p_superionic_sd, threshold. A fold holds whole groups of near-duplicates and publications out, and its
    calibration and threshold come from the other folds. ``rejects`` (id, reason): structures that could not
    be described.
    """

    model: SuperionicModel
    held_out: pd.DataFrame
    rejects: pd.DataFrame


def fit_superionic_model(
    rows: pd.DataFrame,
    *,
    features: pd.DataFrame | None = None,
    structures: Mapping[str, Structure] | None = None,
    n_jobs: int = 1,
) -> FittedSuperionic:
    """Return the model trained on every row with a decided label, calibrated on held-out groups.

    ``rows`` of a curated table; ``features``: id and the columns of notebook 03 with those of
    `sselib.features.structure.with_environment`; ``structures`` by row id are described anew where they are
    held out, as those of a user would be. Without both the model answers for formulas only.
    """
    rows = rows[rows[Curated.SUPERIONIC].notna()].reset_index(drop=True)
    formula, rejects = _of_formulas(rows), {}
    seen, held = {"formula": formula}, {"formula": formula}
    if features is not None and structures:
        known_of = features.set_index("id").reindex(rows[Entry.ID])[list(STRUCTURE_COLUMNS)]
        described, rejects = _described_rows(rows, structures, n_jobs)
        seen["structure"] = np.hstack([formula, known_of.to_numpy(float)])
        held["structure"] = np.hstack([formula, described])
    folds = _folds(rows)
    jobs = [(X, rows, train) for X in seen.values() for train, _ in [*folds, (np.arange(len(rows)), None)]]
    fitted = iter(in_threads(_process, jobs, n_jobs=n_jobs, stage="superionic model"))
    routes, checks = {}, []
    for name in seen:
        own = [(test, belief(next(fitted), held[name][test])) for _, test in folds]
        known = np.ones(len(rows), bool) if name == "formula" else np.isfinite(described).any(axis=1)
        checks.append(_check(rows, own, known).assign(route=name))
        routes[name] = Route(next(fitted), _calibration(rows, own, known))
    with_structure = set(structures or {}) - set(rejects)
    model = SuperionicModel(_training_table(rows, with_structure=with_structure), **routes)
    table = pd.DataFrame(rejects.items(), columns=["id", "reason"], dtype=object)
    return FittedSuperionic(model, pd.concat(checks, ignore_index=True), table)


def fitted_like(model: SuperionicModel, rows: pd.DataFrame) -> SuperionicModel:
    """Return a model for formulas fitted to other labelled rows; calibration and threshold stay."""
    rows = rows[rows[Curated.SUPERIONIC].notna()].reset_index(drop=True)
    process = _process(_of_formulas(rows), rows, np.arange(len(rows)))
    return SuperionicModel(_training_table(rows, with_structure=()), replace(model.formula, process=process))


def _training_table(rows: pd.DataFrame, *, with_structure: Collection[str]) -> pd.DataFrame:
    found = rows[[Entry.ID, Entry.FORMULA, Entry.COMPOSITION, Curated.SUPERIONIC]]
    return found.astype({Curated.SUPERIONIC: bool}).assign(has_structure=rows[Entry.ID].isin(with_structure))


def _of_formulas(rows: pd.DataFrame) -> np.ndarray:
    return formula_features(list(rows[Entry.COMPOSITION])).to_numpy(float)


def _described_rows(
    rows: pd.DataFrame, structures: Mapping[str, Structure], n_jobs: int
) -> tuple[np.ndarray, dict[str, str]]:
    """Return `STRUCTURE_COLUMNS` of each row, NaN where there is no structure, and why some have none."""
    wanted = [i for i in rows[Entry.ID] if i in structures]
    n_workers = min(n_jobs, max(1, len(wanted) // 100))  # starting a worker costs seconds
    work = Parallel(n_workers, return_as="generator")(delayed(_described)(structures[i]) for i in wanted)
    both = dict(zip(wanted, progress(work, stage="structures", total=len(wanted)), strict=True))
    found = {i: d for i, d in both.items() if not isinstance(d, str)}
    missing = np.full(len(STRUCTURE_COLUMNS), np.nan)
    return np.array([found.get(i, missing) for i in rows[Entry.ID]]), {
        i: d for i, d in both.items() if isinstance(d, str)
    }


def _process(X: np.ndarray, rows: pd.DataFrame, train: np.ndarray) -> CompositionGP:
    sigma = rows[Entry.LOG10_SIGMA].to_numpy(float)
    return CompositionGP(max_iterations=GP_ITERATIONS).fit(X[train], sigma[train])


def _folds(rows: pd.DataFrame) -> list[tuple[np.ndarray, np.ndarray]]:
    groups = row_groups("group_material", rows).to_numpy()
    return list(GroupKFold(min(_N_FOLDS, len(set(groups)))).split(groups, groups=groups))


def _calibration(
    rows: pd.DataFrame, folds: Sequence[tuple[np.ndarray, Belief]], known: np.ndarray
) -> PlattScaling:
    """Return the calibration and the threshold from the known rows of folds that were held out."""
    p = np.concatenate([b.probability()[known[test]] for test, b in folds])
    y = rows[Curated.SUPERIONIC].to_numpy(bool)[np.concatenate([test[known[test]] for test, _ in folds])]
    found = fit_calibration(logit(p), y)
    return replace(found, threshold=best_threshold([y], [found(p)])[0])


def fit_calibration(logits: np.ndarray, y: np.ndarray) -> PlattScaling:
    """Return the logistic map from held-out logits (n,) to probabilities (Platt scaling, light L2)."""
    fitted = LogisticRegression(C=10.0).fit(np.asarray(logits)[:, None], np.asarray(y, int))
    return PlattScaling(slope=max(float(fitted.coef_[0, 0]), 0.0), intercept=float(fitted.intercept_[0]))


def _check(rows: pd.DataFrame, folds: Sequence[tuple[np.ndarray, Belief]], known: np.ndarray) -> pd.DataFrame:
    """Return the known held-out rows of one route; what is calibrated comes from the other folds."""
    parts = []
    for k, (test, b) in enumerate(folds):
        calibration = _calibration(rows, [f for j, f in enumerate(folds) if j != k], known)
        found = rows.iloc[test][[Entry.ID, Curated.SUPERIONIC, Entry.LOG10_SIGMA]].assign(
            fold=k,
            p_superionic=b.probability(calibration),
            p_superionic_sd=b.spread(calibration),
            threshold=calibration.threshold,
        )
        parts.append(found[known[test]])
    return pd.concat(parts, ignore_index=True).astype({Curated.SUPERIONIC: bool})


def save_superionic_model(model: SuperionicModel, folder: Path) -> Path:
    """Write the model to ``folder``; ``model.json`` comes last, without it there is no model."""
    folder = Path(folder)
    (folder / "model.json").unlink(missing_ok=True)
    routes = {name: getattr(model, name) for name in ("formula", "structure") if getattr(model, name)}
    for name, route in routes.items():
        state = {k: v for k, v in vars(route.process).items() if k.endswith("_") and k != "views_"}
        state |= {"fractions": route.process.views_[0], "features": route.process.views_[1]}
        write_whole(folder / f"{name}.npz", lambda p, s=state: np.savez_compressed(p, **s))
    write_whole(folder / "training.parquet", lambda p: model.training.to_parquet(p, index=False))
    calibrations = {name: asdict(route.calibration) for name, route in routes.items()}
    description = {"format": _FORMAT, "columns": _column_names(), "calibrations": calibrations}
    text = to_json(description) + "\n"
    return write_whole(folder / "model.json", lambda p: p.write_text(text, encoding="utf-8"))


def _column_names() -> list[str]:
    return [*formula_features(["LiCl"]).columns, *STRUCTURE_COLUMNS]


def load_superionic_model(run: Path) -> SuperionicModel:
    """Return the model that notebook 06 saved in the run folder ``run``.

    Raises `RunError` where the run has none or one of another format, `DataError` where a file of it was
    changed since.
    """
    folder = Path(run) / NOTEBOOK / FOLDER
    path = folder / "model.json"
    if not path.is_file():
        raise RunError(
            f"the run folder {run} has no superionic model ({NOTEBOOK}/{FOLDER}/model.json): run notebook "
            f"06 first (sse run 06 --out {run})"
        )
    for file in folder.iterdir():
        as_recorded(Path(run), file)
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        if (description.get("format"), description.get("columns")) != (_FORMAT, _column_names()):
            raise ValueError("other format or features than this version computes")
        calibrations = {k: PlattScaling(**c) for k, c in description["calibrations"].items()}
        routes = {k: Route(_load_process(folder / f"{k}.npz"), c) for k, c in calibrations.items()}
        return SuperionicModel(pd.read_parquet(folder / "training.parquet"), **routes)
    except Exception as error:  # a damaged archive raises what zip, zlib, JSON and NumPy raise
        raise RunError(
            f"the superionic model in {folder} cannot be read ({error}): run notebook 06 anew"
        ) from error


def _load_process(path: Path) -> CompositionGP:
    process = CompositionGP(max_iterations=GP_ITERATIONS)
    with np.load(path) as stored:
        state = {name: stored[name] for name in stored.files}
    process.views_ = (state.pop("fractions"), state.pop("features"))
    for name, value in state.items():
        setattr(process, name, value if value.ndim else value.item())
    return process


def _described(structure: Structure) -> np.ndarray | str:
    """Return `STRUCTURE_COLUMNS` of a structure, or why there are none."""
    if len(structure) > MAX_SITES:
        return f"{len(structure)} sites: expected at most {MAX_SITES}"
    try:
        return structure_features([structure])[list(STRUCTURE_COLUMNS)].to_numpy(float)[0]
    except Exception as error:  # whatever an odd structure raises is its reason
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


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
    except (ValueError, np.linalg.LinAlgError):  # no cell to speak of
        return ""
    full = np.array([site.species.num_atoms for site in structure])
    overlaps = distance[full[first] + full[second] > _FULL]
    return _joined(
        "" if holds_li else "no Li: trained on lithium conductors",
        f"atoms overlap: two full sites are {overlaps.min():.2f} Angstrom apart" if len(overlaps) else "",
    )


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)

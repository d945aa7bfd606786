"""The blend of notebook 06, fitted on every labelled row: what the saved ensemble says of an input.

The members were chosen on training rows (`sselib.atomsets.blend_design`): a Gaussian process of
log10(S/cm), boosted trees of log10(S/cm) on the composition, and extremely randomised trees of the class.
For a structure the process sees the surroundings of lithium and the forest the cell; for a formula both
see the composition alone. The blend's logit is the mean of the three. Each of its ``k`` versions stands for
a training set that could have been: trees on a bootstrap sample of the rows, and the process at one
quantile of what it believes about the material, which needs no second fit. Their spread is the blend's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from scipy.stats import norm
from sklearn.pipeline import Pipeline
from xgboost import XGBRegressor

from sselib.atomsets.classification import logit
from sselib.atomsets.classifiers import N_TREES, SUPERIONIC_LOG10_SIGMA, make_classifier, probability_of
from sselib.columns import Curated, Entry
from sselib.features.formula import formula_features
from sselib.features.lattice import Cell, invariant_features, primitive_lattice
from sselib.features.site_features import MAX_SITES
from sselib.features.stoichiometry import elemental_features
from sselib.features.structure import STRUCTURE_COLUMNS, structure_features
from sselib.materials.composition import element_fractions
from sselib.regression.gaussian_process import CompositionGP

_SYMPREC_ANGSTROM = 0.1  # as in `sselib.features.structure`: forgives a relaxation in P1
CELL_COLUMNS: tuple[str, ...] = tuple(  # sorted lengths, Niggli lengths, volume; packing is among the others
    name
    for name in invariant_features(Cell(Lattice.cubic(5.0), Lattice.cubic(5.0), Composition("LiCl")))
    if name not in STRUCTURE_COLUMNS
)
GEOMETRY_COLUMNS: tuple[str, ...] = (*STRUCTURE_COLUMNS, *CELL_COLUMNS)


@dataclass(frozen=True)
class RouteMembers:
    """The members that one kind of input needs: the process, and one forest for each version."""

    process: CompositionGP
    forests: tuple[Pipeline, ...]


@dataclass(frozen=True)
class Blend:
    """Fitted members; ``structure`` is None where no row had a geometry. ``bags``: trees of both routes."""

    bags: tuple[XGBRegressor, ...]
    formula: RouteMembers
    structure: RouteMembers | None = None

    def formula_logits(self, formulas: Sequence[str]) -> np.ndarray:
        """Return the logit of every version of the blend, shape (versions, n)."""
        matrix = formula_matrix(formulas)
        return self._logits(self.formula, formula_features(formulas).to_numpy(float), matrix, matrix)

    def structure_logits(self, formulas: Sequence[str], geometry: np.ndarray) -> np.ndarray:
        """Return the same for structures, whose `GEOMETRY_COLUMNS` are ``geometry``, shape (n, columns)."""
        matrix = formula_matrix(formulas)
        seen_by_process = _process_features(formulas, geometry)
        return self._logits(self.structure, seen_by_process, matrix, _forest_features(matrix, geometry))

    def _logits(
        self, members: RouteMembers, of_process: np.ndarray, of_bags: np.ndarray, of_forests: np.ndarray
    ) -> np.ndarray:
        bags = np.array([logit(probability_of(bag, of_bags)) for bag in self.bags])
        parts = (
            _process_logits(members.process, of_process, len(bags)),
            bags,
            _forest_logits(members.forests, of_forests),
        )
        return np.mean(parts, axis=0)


def _process_logits(process: CompositionGP, X: np.ndarray, n: int) -> np.ndarray:
    """Return the logit at ``n`` quantiles of the material's own conductivity, around that of its mean.

    The label's noise stays in the probability; what differs is where the process may be wrong.
    """
    mean, total = process.predict(X, return_spread=True)
    own = np.sqrt(np.maximum(total**2 - process.settings_[-1], 0.0))
    quantiles = norm.ppf((np.arange(n) + 0.5) / n)[:, None]
    drawn = logit(norm.cdf((mean + quantiles * own - SUPERIONIC_LOG10_SIGMA) / total))
    return _around(drawn, logit(norm.cdf((mean - SUPERIONIC_LOG10_SIGMA) / total)))


def _forest_logits(forests: Sequence[Pipeline], X: np.ndarray) -> np.ndarray:
    """Return the logit of each forest around that of all their trees together, shape (forests, n)."""
    p = np.array([probability_of(forest, X) for forest in forests])
    edge = 0.5 / len(forests[0][-1].estimators_)  # a few trees that agree are not certain
    return _around(logit(p, edge=edge), logit(p.mean(axis=0)))


def _around(members: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return members (k, n) moved so that their mean is ``centre`` (n,)."""
    return members - members.mean(axis=0) + centre


def fit_blend(rows: pd.DataFrame, *, geometry: np.ndarray | None, n_versions: int, seed: int) -> Blend:
    """Return the blend fitted on labelled rows of a curated table.

    ``geometry`` (n, `GEOMETRY_COLUMNS`) is NaN for what is not known of a row; None, or nothing known of any
    row, gives a blend for formulas only.
    """
    formulas, sigma = list(rows[Entry.COMPOSITION]), rows[Entry.LOG10_SIGMA].to_numpy(float)
    y, matrix, rng = (
        rows[Curated.SUPERIONIC].to_numpy(int),
        formula_matrix(formulas),
        np.random.default_rng(seed),
    )
    samples = [_both_classes(rng, y) for _ in range(n_versions)]
    bags = tuple(
        make_classifier("xgb_sigma/elements", seed=seed + k).fit(matrix[rows_of], sigma[rows_of])
        for k, rows_of in enumerate(samples)
    )
    structure = None
    if geometry is not None and np.isfinite(geometry).any():
        structure = RouteMembers(
            _process(_process_features(formulas, geometry), sigma),
            _forests(_forest_features(matrix, geometry), y, samples, seed),
        )
    formula = RouteMembers(
        _process(formula_features(formulas).to_numpy(float), sigma), _forests(matrix, y, samples, seed)
    )
    return Blend(bags, formula, structure)


def _process(X: np.ndarray, sigma: np.ndarray) -> CompositionGP:
    return make_classifier("gp_sigma/environment_all_rows", seed=0).fit(X, sigma)


def _forests(X: np.ndarray, y: np.ndarray, samples: Sequence[np.ndarray], seed: int) -> tuple[Pipeline, ...]:
    """Return a forest for each sample of the rows; together they have as many trees as the single model."""
    n_trees = max(1, N_TREES // len(samples))
    forests = []
    for k, rows in enumerate(samples):
        forest = make_classifier("extra_trees/lattice_all_rows", seed=seed + k)
        forest[-1].set_params(n_estimators=n_trees)
        forests.append(forest.fit(X[rows], y[rows]))
    return tuple(forests)


def _both_classes(rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
    """Return a bootstrap sample of row numbers, drawn per class so that both are there."""
    return np.concatenate([rng.choice(np.flatnonzero(y == c), (y == c).sum()) for c in (0, 1)])


def formula_matrix(formulas: Sequence[str]) -> np.ndarray:
    """Return mole fractions and elemental statistics of each formula, shape (n, features)."""
    statistics, _ = elemental_features(formulas)
    return np.hstack([element_fractions(formulas).to_numpy(), statistics.to_numpy(float)])


def _process_features(formulas: Sequence[str], geometry: np.ndarray) -> np.ndarray:
    """Return what the process sees of a structure: the columns of ``environment_all_rows``."""
    known = geometry[:, : len(STRUCTURE_COLUMNS)]
    return np.hstack([formula_features(formulas).to_numpy(float), known])


def _forest_features(matrix: np.ndarray, geometry: np.ndarray) -> np.ndarray:
    """Return what the forest sees of a structure: the columns of ``lattice_all_rows``."""
    packing = geometry[:, [STRUCTURE_COLUMNS.index("packing_fraction")]]
    return np.hstack([matrix, geometry[:, len(STRUCTURE_COLUMNS) :], packing])


def geometry_of_rows(features: pd.DataFrame, ids: Sequence[str]) -> np.ndarray:
    """Return `GEOMETRY_COLUMNS` of labelled rows, shape (n, columns); NaN for a row that is not there.

    ``features`` has ``id`` and the columns of notebook 03 with those of
    `sselib.features.structure.with_environment`.
    """
    return features.set_index("id").reindex(ids)[list(GEOMETRY_COLUMNS)].to_numpy(float)


def geometry_of_structure(structure: Structure) -> np.ndarray:
    """Return `GEOMETRY_COLUMNS` of a structure, shape (columns,).

    Lengths are those of the conventional cell of the symmetry that spglib finds, so that a supercell or
    another choice of axes changes nothing. Raises what an odd structure makes pymatgen or spglib raise.
    """
    found = structure_features([structure])[list(STRUCTURE_COLUMNS)].to_numpy(float)[0]
    cell = invariant_features(_standard_cell(structure))
    return np.r_[found, [cell[name] for name in CELL_COLUMNS]]


def geometry_or_reason(structure: Structure) -> np.ndarray | str:
    """Return `geometry_of_structure`, or why there is none; more than `MAX_SITES` sites are not tried."""
    if len(structure) > MAX_SITES:
        return f"{len(structure)} sites: expected at most {MAX_SITES}"
    try:
        return geometry_of_structure(structure)
    except Exception as error:  # whatever an odd structure raises is its reason
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _standard_cell(structure: Structure) -> Cell:
    """Return the conventional cell, its primitive lattice, and no content."""
    found = SpacegroupAnalyzer(structure, symprec=_SYMPREC_ANGSTROM).get_symmetry_dataset()
    conventional = Lattice(found.std_lattice)
    return Cell(conventional, primitive_lattice(conventional, centring=found.international[0]), None)

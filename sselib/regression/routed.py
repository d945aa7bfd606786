"""A model with two routes: one for formulas of families that it knows, one for the others.

Inside the known families the prediction is the mean of a Gaussian process on compositions and of a forest
of medians. Outside them the process follows its trends too far, and a coarse forest, which averages over more
training rows, errs less. The size of the whole-number formula helps the process and the coarse forest, and
hurts a forest with small leaves on chemical systems that it has not seen, which therefore goes without; the
coarse forest reads the formula alone, because what structures teach does not carry over to new families. All
learn on a scale that compresses the tail of insulators (`compressed`).
Routes, scale, leaf sizes and shares of features were chosen on the official training rows by folds of
chemical systems, of publications and of whole families together; nothing was chosen on test rows
(docs/conductivity.md).
"""

from functools import lru_cache

import joblib
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from sselib.features.formula import FORMULA_COLUMNS, SIZE_COLUMN
from sselib.regression.conformal import calibrate, suggested_families
from sselib.regression.gaussian_process import CompositionGP
from sselib.regression.median_forest import MedianForest

_FINE = {"min_samples_leaf": 2, "max_features": 0.33}  # inside the known families
_COARSE = {"min_samples_leaf": 5}  # outside them
_FORMULA = slice(0, len(FORMULA_COLUMNS))  # what the coarse forest reads
_SIZE = FORMULA_COLUMNS.index(SIZE_COLUMN)  # the fine forest does not read it
_CALIBRATION_TREES = 10  # of the coarse forests without a family, whose errors calibrate
_N_SHARED = 16  # training sets whose coarse forest is kept; no protocol here has more folds
_TOP = 1.0  # log10(S/cm); no solid conducts better
_UNIT = 24.0  # makes a step of the compressed scale one log10 unit at 1e-5 S/cm


def compressed(y: np.ndarray) -> np.ndarray:
    """Return -sqrt(24 (1 - y)) for y in log10(S/cm): equal steps where labels scatter about equally.

    Labels of insulators scatter far more than those of conductors (thermally activated: an error in the
    activation energy weighs with the energy), and would rule squared errors. Values above 1 count as 1.
    """
    return -np.sqrt(_UNIT * np.maximum(_TOP - np.asarray(y, float), 0.0))


def stretched(z: np.ndarray) -> np.ndarray:
    """Return log10(S/cm), the inverse of `compressed`; values above 0 count as 0."""
    return _TOP - np.minimum(z, 0.0) ** 2 / _UNIT


class RoutedModel(RegressorMixin, BaseEstimator):
    """Process and forest inside the known families, a coarse forest outside, with calibrated intervals.

    X begins with the columns of `sselib.features.formula.formula_features`; others may follow.
    ``n_trees`` is the size of each forest. Without ``compress`` all learn on log10(S/cm), without ``medians``
    the fine forest predicts means: for the ablation.
    """

    def __init__(
        self, *, n_trees: int = 300, compress: bool = True, medians: bool = True, random_state: int = 0
    ) -> None:
        self.n_trees = n_trees
        self.compress = compress
        self.medians = medians
        self.random_state = random_state

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        *,
        families: np.ndarray | None = None,
        censored: np.ndarray | None = None,
    ) -> "RoutedModel":
        """Learn from X (n, f) and y (n,) in log10(S/cm).

        ``families`` (n,) are the families of the labels (default: those that the formulas suggest),
        ``censored`` (n,) is True where y is a bound; a bound trains at its value and calibrates nothing.
        """
        X, y = np.asarray(X, float), np.asarray(y, float)
        z = compressed(y) if self.compress else y
        exact = np.ones(len(z), bool) if censored is None else ~np.asarray(censored, bool)
        labelled = suggested_families(X) if families is None else np.asarray(families, str)
        self.process_ = CompositionGP().fit(X, z)
        self.fine_ = self._fine_forest().fit(np.delete(X, _SIZE, axis=1), z)
        self.coarse_, far = _far_route(_Rows(X[:, _FORMULA], z, labelled), self.n_trees, self.random_state)
        self.calibration_ = calibrate(self.process_, X, z, exact=exact, families=labelled, far=far)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return log10(S/cm), shape (m,)."""
        return self._stretched(self._routed(np.asarray(X, float))[0])

    def predict_with_interval(self, X: np.ndarray, *, confidence: float) -> np.ndarray:
        """Return prediction, lower and upper end, shape (m, 3), log10(S/cm)."""
        X = np.asarray(X, float)
        z, spread, families = self._routed(X)
        ends = self.calibration_.interval(z, spread=spread, families=families, confidence=confidence)
        return self._stretched(np.column_stack([z, *ends]))

    def _stretched(self, z: np.ndarray) -> np.ndarray:
        return stretched(z) if self.compress else z

    def _routed(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return prediction, spread of the process (both `compressed`) and suggested family, each (m,)."""
        families = suggested_families(X)
        mean, spread = self.process_.predict(X, return_spread=True)
        outside = self.calibration_.outside(families)
        z = np.empty(len(X))
        if (~outside).any():
            fine = self.fine_.predict(np.delete(X[~outside], _SIZE, axis=1))
            z[~outside] = (mean[~outside] + fine) / 2
        if outside.any():
            z[outside] = self.coarse_.predict(X[outside, _FORMULA])
        return z, spread, families

    def _fine_forest(self) -> BaseEstimator:
        if not self.medians:
            return _imputed(ExtraTreesRegressor(self.n_trees, random_state=self.random_state, **_FINE))
        return fine_forest(n_trees=self.n_trees, random_state=self.random_state)


class _Rows:
    """Training rows of the coarse forest: formula features (n, f), labels and families (n,).

    Rows with the same content are equal, so that models which differ in other features share one fit.
    """

    def __init__(self, X: np.ndarray, z: np.ndarray, families: np.ndarray) -> None:
        self.X, self.z, self.families = np.ascontiguousarray(X), z, families
        self.digest = joblib.hash((self.X, z, families))

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Rows) and self.digest == other.digest


@lru_cache(maxsize=_N_SHARED)
def _far_route(rows: _Rows, n_trees: int, random_state: int) -> tuple[BaseEstimator, np.ndarray]:
    """Return the fitted coarse forest, and what a small one says of each row without its family, shape (n,).

    NaN where all rows are of one family.
    """
    held_out = np.full(len(rows.z), np.nan)
    for family in np.unique(rows.families):
        own = rows.families == family
        if not own.all():
            small = coarse_forest(n_trees=_CALIBRATION_TREES, random_state=random_state)
            held_out[own] = small.fit(rows.X[~own], rows.z[~own]).predict(rows.X[own])
    forest = coarse_forest(n_trees=n_trees, random_state=random_state).fit(rows.X, rows.z)
    return forest, held_out


def fine_forest(*, n_trees: int, random_state: int) -> BaseEstimator:
    """Return the unfitted forest of medians for known families; it goes without the column of the size."""
    return _imputed(MedianForest(n_trees=n_trees, random_state=random_state, **_FINE))


def coarse_forest(*, n_trees: int, random_state: int) -> BaseEstimator:
    """Return the unfitted forest for families that the training rows do not know; it reads the formula."""
    return _imputed(ExtraTreesRegressor(n_trees, random_state=random_state, **_COARSE))


def _imputed(forest: BaseEstimator) -> BaseEstimator:
    """Return an unfitted pipeline: missing features take the training median and set a flag."""
    return make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), forest
    )

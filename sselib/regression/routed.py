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
    ``n_trees`` is the size of each forest.
    """

    def __init__(self, *, n_trees: int = 300, random_state: int = 0) -> None:
        self.n_trees = n_trees
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
        X, z = np.asarray(X, float), compressed(y)
        exact = np.ones(len(z), bool) if censored is None else ~np.asarray(censored, bool)
        labelled = suggested_families(X) if families is None else np.asarray(families, str)
        self.process_ = CompositionGP().fit(X, z)
        size = {"n_trees": self.n_trees, "random_state": self.random_state}
        self.fine_ = fine_forest(**size).fit(np.delete(X, _SIZE, axis=1), z)
        self.coarse_ = coarse_forest(**size).fit(X[:, _FORMULA], z)
        far = self._without_family(X[:, _FORMULA], z, labelled)
        self.calibration_ = calibrate(self.process_, X, z, exact=exact, families=labelled, far=far)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return log10(S/cm), shape (m,)."""
        return stretched(self._routed(np.asarray(X, float))[0])

    def predict_with_interval(self, X: np.ndarray, *, confidence: float) -> np.ndarray:
        """Return prediction, lower and upper end, shape (m, 3), log10(S/cm)."""
        X = np.asarray(X, float)
        z, spread, families = self._routed(X)
        ends = self.calibration_.interval(z, spread=spread, families=families, confidence=confidence)
        return stretched(np.column_stack([z, *ends]))

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

    def _without_family(self, X: np.ndarray, z: np.ndarray, families: np.ndarray) -> np.ndarray:
        """Return what a small coarse forest says of each training row without its family, shape (n,).

        NaN where all rows are of one family.
        """
        held_out = np.full(len(z), np.nan)
        for family in np.unique(families):
            own = families == family
            if not own.all():
                small = coarse_forest(n_trees=_CALIBRATION_TREES, random_state=self.random_state)
                held_out[own] = small.fit(X[~own], z[~own]).predict(X[own])
        return held_out


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

"""A model with two routes: one for formulas of families that it knows, one for the others.

Inside the known families the prediction is the mean of a Gaussian process on compositions and of extra
trees. Outside them the process follows its trends too far, and a coarse forest, which averages over more
training rows, errs less. All learn on a scale that compresses the tail of insulators (`compressed`).
Routes, scale, leaf sizes and shares of features were chosen on the official training rows by folds of
chemical systems, of publications and of whole families together; nothing was chosen on test rows
(docs/conductivity.md).
"""

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from sselib.conformal import calibrate, suggested_families
from sselib.gaussian_process import CompositionGP

_FINE = {"min_samples_leaf": 2, "max_features": 0.33}  # inside the known families
_COARSE = {"min_samples_leaf": 5}  # outside them
_CALIBRATION_TREES = (
    10  # of the coarse forests without a family, whose errors calibrate; leaves hold >= 5 rows
)
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

    X begins with the columns of `sselib.features.formula.formula_features`. ``n_trees`` is the size of each
    forest.
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
        self.fine_, self.coarse_ = (self._forest(self.n_trees, **k).fit(X, z) for k in (_FINE, _COARSE))
        far = self._without_family(X, z, labelled)
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
            z[~outside] = (mean[~outside] + self.fine_.predict(X[~outside])) / 2
        if outside.any():
            z[outside] = self.coarse_.predict(X[outside])
        return z, spread, families

    def _without_family(self, X: np.ndarray, z: np.ndarray, families: np.ndarray) -> np.ndarray:
        """Return what a small coarse forest says of each row whose family did not train it, shape (n,).

        NaN where all rows are of one family.
        """
        found = np.full(len(z), np.nan)
        for family in np.unique(families):
            rows = families == family
            if not rows.all():
                forest = self._forest(_CALIBRATION_TREES, **_COARSE).fit(X[~rows], z[~rows])
                found[rows] = forest.predict(X[rows])
        return found

    def _forest(self, n_trees: int, **leaves: float) -> BaseEstimator:
        """Return an unfitted forest; missing features take the training median and set a flag."""
        return make_pipeline(
            SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
            ExtraTreesRegressor(n_trees, random_state=self.random_state, **leaves),
        )

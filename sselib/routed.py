"""A model with two routes: one for formulas of families that it knows, one for the others.

Inside the known families the prediction is the mean of a Gaussian process on compositions and of extra
trees. Outside them the process follows its trends too far, and a coarse forest, which averages over more
training rows, errs less. Routes, leaf sizes and shares of features were chosen on the official training
rows by folds of chemical systems, of publications and of whole families together; nothing was chosen on
test rows (notebook 04, ablation).
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
        X, y = np.asarray(X, float), np.asarray(y, float)
        exact = np.ones(len(y), bool) if censored is None else ~np.asarray(censored, bool)
        self.process_ = CompositionGP().fit(X, y)
        self.fine_, self.coarse_ = (self._forest(**leaves).fit(X, y) for leaves in (_FINE, _COARSE))
        self.calibration_ = calibrate(self.process_, X, y, exact=exact, families=families)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return log10(S/cm), shape (m,)."""
        return self._routed(np.asarray(X, float))[0]

    def predict_with_interval(self, X: np.ndarray, *, confidence: float) -> np.ndarray:
        """Return prediction, lower and upper end, shape (m, 3), log10(S/cm)."""
        X = np.asarray(X, float)
        y, spread, families = self._routed(X)
        ends = self.calibration_.interval(y, spread=spread, families=families, confidence=confidence)
        return np.column_stack([y, *ends])

    def _routed(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return prediction, spread of the process and suggested family, each of shape (m,)."""
        families = suggested_families(X)
        mean, spread = self.process_.predict(X, return_spread=True)
        outside = self.calibration_.outside(families)
        y = np.empty(len(X))
        if (~outside).any():
            y[~outside] = (mean[~outside] + self.fine_.predict(X[~outside])) / 2
        if outside.any():
            y[outside] = self.coarse_.predict(X[outside])
        return y, spread, families

    def _forest(self, **leaves: float) -> BaseEstimator:
        """Return an unfitted forest; missing features take the training median and set a flag."""
        return make_pipeline(
            SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
            ExtraTreesRegressor(self.n_trees, random_state=self.random_state, **leaves),
        )

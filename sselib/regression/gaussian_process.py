"""A Gaussian process on compositions: three views of how alike two materials are, with a trustworthy spread.

The covariance of two materials is a sum of exponential kernels over three distances: that of their ion
features, the L1 distance of their mole fractions, and their element mover's distance. Variances, lengths
and noise maximise the marginal likelihood of the training rows under a weak prior. Held-out errors of any
grouping of the training rows follow without a new fit. Source: Rasmussen and Williams, Gaussian
Processes for Machine Learning (MIT Press, 2006), equations 2.23, 2.24, 5.8, 5.9; section 5.4.2.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize
from scipy.spatial.distance import cdist, squareform
from sklearn.base import BaseEstimator, RegressorMixin

from sselib.materials.composition import MODIFIED_PETTIFOR_ORDER, l1_distances

N_ELEMENTS = len(MODIFIED_PETTIFOR_ORDER)
_CLIP = 4.0  # standardised features are cut here, so that an odd formula is far, not infinitely far
_START_VARIANCE = 1.6  # (log10 S/cm)^2, of each kernel
_START_NOISE = 0.6  # (log10 S/cm)^2; repeats of one material differ by 0.4 to 0.7 log units
_START_LENGTH = 0.75  # in medians of the distance
_PRIOR_WIDTH = 3.0  # of the natural logarithm of each setting


@dataclass(frozen=True)
class HeldOut:
    """Predictions of rows whose whole group was left out: ``mean`` and ``spread``, each (n,), log10(S/cm)."""

    mean: np.ndarray
    spread: np.ndarray


class CompositionGP(RegressorMixin, BaseEstimator):
    """Gaussian process on mole fractions (the first columns of X) and other features (the rest).

    ``n_elements`` columns are mole fractions in the modified Pettifor order. Missing features take the
    training median. ``max_iterations`` bounds the search of the kernel's settings.
    """

    def __init__(self, *, n_elements: int = N_ELEMENTS, max_iterations: int = 15) -> None:
        self.n_elements = n_elements
        self.max_iterations = max_iterations

    def fit(self, X: np.ndarray, y: np.ndarray) -> "CompositionGP":
        """Learn from X, shape (n, n_elements + features), and y, shape (n,), in log10(S/cm)."""
        X, y = np.asarray(X, float), np.asarray(y, float)
        self._learn_scale(X)
        self.views_, self.mean_ = self._views(X), float(np.median(y))
        distances = _distances(self.views_, self.views_)
        self.scales_ = np.array([np.median(d) for d in distances])
        z = y - self.mean_
        start = np.log([_START_VARIANCE, _START_LENGTH] * len(distances) + [_START_NOISE])
        pairs = [squareform(d / s, checks=False) for d, s in zip(distances, self.scales_, strict=True)]
        found = minimize(
            _negative_log_posterior,
            start,
            args=(start, pairs, z),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.max_iterations},
        )
        self.settings_ = np.exp(found.x)
        covariance = self._covariance(distances) + self.settings_[-1] * np.eye(len(y))
        self.inverse_, _ = _inverse(covariance)
        self.weights_, self.y_ = self.inverse_ @ z, y
        return self

    def predict(self, X: np.ndarray, *, return_spread: bool = False) -> np.ndarray | tuple[np.ndarray, ...]:
        """Return log10(S/cm), shape (m,); with ``return_spread`` also the standard deviation of a label."""
        covariance = self._covariance(_distances(self._views(np.asarray(X, float)), self.views_))
        mean = self.mean_ + covariance @ self.weights_
        if not return_spread:
            return mean
        explained = np.einsum("ij,ij->i", covariance @ self.inverse_, covariance)
        return mean, np.sqrt(np.maximum(self._prior() - explained, 0.0) + self.settings_[-1])

    def held_out(self, groups: np.ndarray) -> HeldOut:
        """Return what the model says of each training row when its group does not train.

        ``groups`` has shape (n,); the kernel's settings stay those of all rows. Exact for them (block
        inverse, Rasmussen and Williams section 5.4.2), and as fast as one fit.
        """
        mean, spread = np.empty(len(self.y_)), np.empty(len(self.y_))
        for group in np.unique(groups):
            rows = np.flatnonzero(groups == group)
            block = np.linalg.inv(self.inverse_[np.ix_(rows, rows)])
            mean[rows] = self.y_[rows] - block @ self.weights_[rows]
            spread[rows] = np.sqrt(np.diag(block))
        return HeldOut(mean, spread)

    def _learn_scale(self, X: np.ndarray) -> None:
        """Remember median, mean and spread of the features that vary."""
        features = X[:, self.n_elements :]
        known = np.isfinite(features).any(axis=0)
        self.median_ = np.where(known, np.nanmedian(np.where(known, features, 0.0), axis=0), 0.0)
        filled = np.where(np.isnan(features), self.median_, features)
        self.centre_, spread = filled.mean(axis=0), filled.std(axis=0)
        self.varies_ = spread > 1e-9
        self.width_ = np.where(self.varies_, spread, 1.0)

    def _views(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mole fractions and standardised features, scaled so that distances count per feature."""
        features = X[:, self.n_elements :]
        filled = np.where(np.isnan(features), self.median_, features)
        scaled = np.clip((filled - self.centre_) / self.width_, -_CLIP, _CLIP)[:, self.varies_]
        return X[:, : self.n_elements], scaled / np.sqrt(max(1, scaled.shape[1]))

    def _covariance(self, distances: list[np.ndarray]) -> np.ndarray:
        """Return the covariance of the conductivity itself, without noise."""
        return sum(
            v * np.exp(-d / (scale * length))
            for d, scale, v, length in zip(
                distances, self.scales_, self.settings_[:-1:2], self.settings_[1::2], strict=True
            )
        )

    def _prior(self) -> float:
        return float(self.settings_[:-1:2].sum())


def _distances(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> list:
    """Return the three distances, each of shape (n, m).

    As `l1_distances` and `elmd_distances` of `sselib.materials.composition`, without the columns that add
    nothing: where no element comes in, the cumulative fractions of the element mover's distance stay what
    they are.
    """
    used = np.flatnonzero(first[0].any(axis=0) | second[0].any(axis=0))
    steps = np.diff(np.append(used, first[0].shape[1]))
    one, two = first[0][:, used], second[0][:, used]
    return [
        cdist(first[1], second[1]),
        l1_distances(one, two),
        l1_distances(np.cumsum(one, axis=1) * steps, np.cumsum(two, axis=1) * steps),
    ]


def _negative_log_posterior(
    logs: np.ndarray, start: np.ndarray, distances: list[np.ndarray], z: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the negative log marginal likelihood with its prior, and its gradient, shape (2 k + 1,).

    Each of the k ``distances`` has one entry per pair of rows, in the order of `squareform`.
    """
    settings = np.exp(logs)
    variances, lengths, nugget = settings[:-1:2], settings[1::2], settings[-1]
    kernels = [v * np.exp(d / -s) for d, v, s in zip(distances, variances, lengths, strict=True)]
    covariance = squareform(sum(kernels))
    np.fill_diagonal(covariance, variances.sum() + nugget)
    inverse, half_log_determinant = _inverse(covariance)
    weights = inverse @ z
    outer = inverse - np.outer(weights, weights)
    pairs, trace = squareform(outer, checks=False), np.trace(outer)
    slopes = []
    for kernel, distance, variance, length in zip(kernels, distances, variances, lengths, strict=True):
        pull = pairs * kernel
        slopes += [pull.sum() + 0.5 * variance * trace, pull @ distance / length]
    away = (logs - start) / _PRIOR_WIDTH
    value = 0.5 * z @ weights + half_log_determinant + 0.5 * away @ away
    slopes.append(0.5 * nugget * trace)
    return float(value), np.array(slopes) + away / _PRIOR_WIDTH


def _inverse(matrix: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the inverse of a symmetric, positive definite matrix and half the logarithm of its determinant.

    LAPACK's routines for such matrices take half the time of a general inverse; they leave the upper triangle
    zero.
    """
    factor, failed = dpotrf(matrix, lower=1)
    if failed:
        raise np.linalg.LinAlgError("the covariance is not positive definite")
    inverse, _ = dpotri(factor, lower=1)
    whole = inverse + inverse.T
    np.fill_diagonal(whole, np.diag(inverse))
    return whole, float(np.log(np.diag(factor)).sum())

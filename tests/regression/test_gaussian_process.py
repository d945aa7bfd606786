"""The Gaussian process on compositions: known limits, its gradient, and held-out errors without new fits."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.spatial.distance import pdist, squareform
from scipy.stats import multivariate_normal

from sselib.features.formula import formula_features
from sselib.materials.composition import element_fractions, elmd_distances, l1_distances
from sselib.regression.gaussian_process import CompositionGP, _distances, _negative_log_posterior

FORMULAS = [f"Li{3 + x / 10:.1f}{m}S{4 * x / 30 + 0.1:.2f}O{4 - x / 10:.2f}" for x in range(25) for m in "PV"]


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    X = formula_features(FORMULAS).to_numpy(float)
    noise = np.random.default_rng(0).normal(0, 0.1, len(X))
    return X, -8 + 20 * X[:, :103] @ np.linspace(0, 1, 103) / 10 + noise


def test_the_distances_are_those_of_the_composition_module() -> None:
    x = element_fractions(["Li3PS4", "LiCl", "Li7La3Zr2O12"]).to_numpy()
    nothing = np.zeros((3, 0))
    _, l1, elmd = _distances((x, nothing), (x, nothing))
    assert np.allclose(l1, l1_distances(x, x))
    assert np.allclose(elmd, elmd_distances(x, x))


def test_the_gradient_is_that_of_the_value() -> None:
    rng = np.random.default_rng(1)
    points = rng.random((12, 3))
    distances = [pdist(points[:, k : k + 1]) for k in range(3)]
    start, z = np.zeros(7), rng.normal(size=12)
    at = rng.normal(0, 0.3, 7)
    numeric = approx_fprime(at, lambda s: _negative_log_posterior(s, start, distances, z)[0], 1e-6)
    assert np.allclose(_negative_log_posterior(at, start, distances, z)[1], numeric, atol=1e-3)


def test_at_its_start_the_value_is_the_negative_log_likelihood() -> None:
    rng = np.random.default_rng(2)
    distances = [pdist(rng.random((12, 2))) for _ in range(3)]
    settings, z = np.array([1.5, 0.7, 0.4, 1.2, 0.9, 0.3, 0.6]), rng.normal(size=12)
    kernels = zip(distances, settings[:-1:2], settings[1::2], strict=True)
    covariance = sum(v * np.exp(-squareform(d) / s) for d, v, s in kernels) + 0.6 * np.eye(12)
    likelihood = multivariate_normal(np.zeros(12), covariance).logpdf(z) + 6 * np.log(2 * np.pi)
    value, _ = _negative_log_posterior(np.log(settings), np.log(settings), distances, z)
    assert value == pytest.approx(-likelihood)


def test_held_out_rows_are_those_of_a_process_that_never_saw_them(data: tuple) -> None:
    X, y = data
    fitted = CompositionGP().fit(X, y)
    groups = np.arange(len(y)) // 5
    found = fitted.held_out(groups)
    rows = groups == 3
    rest = fitted._covariance(_distances(fitted._views(X[~rows]), fitted._views(X[~rows])))
    rest += fitted.settings_[-1] * np.eye((~rows).sum())
    across = fitted._covariance(_distances(fitted._views(X[rows]), fitted._views(X[~rows])))
    expected = fitted.mean_ + across @ np.linalg.solve(rest, y[~rows] - fitted.mean_)
    assert np.allclose(found.mean[rows], expected, atol=1e-6)


def test_far_away_it_says_the_median_and_is_unsure(data: tuple) -> None:
    X, y = data
    fitted = CompositionGP().fit(X, y)
    _, near = fitted.predict(X[:1], return_spread=True)
    mean, far = fitted.predict(formula_features(["CsAu"]).to_numpy(float), return_spread=True)
    assert far[0] > near[0]
    assert abs(mean[0] - np.median(y)) < abs(y - np.median(y)).max()


def test_neither_the_order_of_rows_nor_a_constant_feature_matters(data: tuple) -> None:
    X, y = data
    order = np.random.default_rng(2).permutation(len(y))
    first = CompositionGP().fit(X, y).predict(X[:5])
    second = (
        CompositionGP().fit(np.c_[X, np.ones(len(y))][order], y[order]).predict(np.c_[X, np.ones(len(y))][:5])
    )
    assert np.allclose(first, second, atol=1e-3)


def test_missing_features_take_the_median(data: tuple) -> None:
    X, y = data
    holed = np.c_[X, np.where(np.arange(len(y)) % 2, np.nan, 1.0 * np.arange(len(y)))]
    assert np.isfinite(CompositionGP().fit(holed, y).predict(holed)).all()

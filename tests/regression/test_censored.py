"""A bound is not a value: the likelihood lets predictions fall below it, and never pulls them up to it."""

import numpy as np

from sselib.regression.censored import BoundedBooster

SETTINGS = {"n_estimators": 60, "max_depth": 3, "learning_rate": 0.2, "reg_lambda": 1.0}


def test_without_bounds_it_learns_values() -> None:
    rng = np.random.default_rng(0)
    X = rng.random((200, 2))
    y = np.where(X[:, 0] > 0.5, -3.0, -9.0)
    found = BoundedBooster(settings=SETTINGS).fit(X, y).predict(X)
    assert np.abs(found - y).mean() < 0.3


def test_a_bound_that_the_other_rows_contradict_downwards_does_not_pull_up() -> None:
    X = np.repeat([[0.0], [1.0]], 50, axis=0)
    y = np.r_[np.full(50, -4.0), np.full(25, -10.0), np.full(25, -6.0)]
    bound = np.r_[np.zeros(75, bool), np.ones(25, bool)]
    told = BoundedBooster(settings=SETTINGS).fit(X, y, censored=bound).predict([[1.0]])[0]
    untold = BoundedBooster(settings=SETTINGS).fit(X, y).predict([[1.0]])[0]
    assert told < -9.5
    assert -8.5 < untold < -7.5

"""The forest of medians: what it is where it can be worked out by hand, and what it ignores."""

import numpy as np
import pytest

from sselib.regression.median_forest import MedianForest


def made_up(n: int = 120, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.random((n, 3))
    return X, np.where(X[:, 0] > 0.5, -3.0, -8.0) + rng.normal(0, 0.1, n)


def test_one_leaf_gives_the_median_of_all_labels() -> None:
    X, _ = made_up(9)
    y = np.array([-3.0, -17.0, -4.0, -3.5, -3.2, -16.0, -3.1, -3.3, -3.4])
    forest = MedianForest(n_trees=5, min_samples_leaf=9).fit(X, y)
    assert forest.predict(X) == pytest.approx([np.median(y)] * 9)


def test_a_leaf_per_row_gives_back_the_labels() -> None:
    X, y = made_up()
    assert MedianForest(n_trees=20, min_samples_leaf=1).fit(X, y).predict(X) == pytest.approx(y)


def test_a_few_outliers_do_not_move_it() -> None:
    X, y = made_up()
    wild = y.copy()
    wild[np.flatnonzero(X[:, 0] > 0.6)[:4]] = -17.0
    settings = {"n_trees": 50, "min_samples_leaf": 10}
    asked = made_up(seed=1)[0]
    clean, dirty = (MedianForest(**settings).fit(X, labels).predict(asked) for labels in (y, wild))
    means = [MedianForest(**settings).fit(X, labels).forest_.predict(asked) for labels in (y, wild)]
    assert np.abs(dirty - clean).mean() < np.abs(means[1] - means[0]).mean() / 2


def test_it_finds_a_step_whatever_the_order_of_the_rows() -> None:
    X, y = made_up()
    asked, truth = made_up(seed=1)
    found = MedianForest(n_trees=50, max_features=0.5).fit(X, y).predict(asked)
    assert np.median(np.abs(found - truth)) < 0.2
    assert np.array_equal(
        found, MedianForest(n_trees=50, max_features=0.5).fit(X[::-1], y[::-1]).predict(asked)
    )


def test_a_row_gets_what_it_gets_alone() -> None:
    X, y = made_up()
    forest = MedianForest(n_trees=20).fit(X, y)
    alone = np.array([forest.predict(x[None])[0] for x in X[:10]])
    assert np.array_equal(forest.predict(X[:10]), alone)

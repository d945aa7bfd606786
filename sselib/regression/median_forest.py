"""Extra trees that predict the median of the labels in their leaves instead of the mean.

The median is what the mean absolute error asks for, and a few insulators among the neighbours of a row do
not move it. Source: Meinshausen, J. Mach. Learn. Res. 7, 983 (2006), quantile regression forests.
"""

import numpy as np
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import ExtraTreesRegressor

_HALF = 0.5 - 1e-9  # a share that rounding left just below a half is a half


class MedianForest(RegressorMixin, BaseEstimator):
    """Forest of extra trees; every training row weighs by how often it shares a leaf with the row asked for.

    ``n_trees`` trees with at least ``min_samples_leaf`` rows per leaf, each split among a share
    ``max_features`` of the features.
    """

    def __init__(
        self,
        *,
        n_trees: int = 100,
        min_samples_leaf: int = 2,
        max_features: float = 1.0,
        random_state: int = 0,
    ) -> None:
        self.n_trees = n_trees
        self.min_samples_leaf = min_samples_leaf
        self.max_features = max_features
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: np.ndarray) -> "MedianForest":
        """Learn from X (n, f) without missing values and y (n,)."""
        order = np.argsort(y, kind="stable")
        X, self.labels_ = np.asarray(X)[order], np.asarray(y, float)[order]
        self.forest_ = ExtraTreesRegressor(
            self.n_trees,
            min_samples_leaf=self.min_samples_leaf,
            max_features=self.max_features,
            random_state=self.random_state,
        ).fit(X, self.labels_)
        nodes = [tree.tree_.node_count for tree in self.forest_.estimators_]
        self.first_node_ = np.cumsum([0, *nodes])
        members = self._leaves(X).T.tocsr()  # (nodes, n)
        sizes = np.maximum(members.sum(axis=1), 1)
        self.members_ = members.multiply(1 / (sizes[:, None] * self.n_trees)).tocsr()
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the weighted median of the training labels for each row, shape (m,)."""
        weights = (self._leaves(np.asarray(X)) @ self.members_).toarray()
        return self.labels_[(np.cumsum(weights, axis=1) >= _HALF).argmax(axis=1)]

    def _leaves(self, X: np.ndarray) -> csr_array:
        """Return which leaves each row falls in, one per tree, shape (m, nodes)."""
        columns = self.forest_.apply(X) + self.first_node_[:-1]
        starts = np.arange(0, columns.size + 1, self.n_trees)
        shape = (len(X), int(self.first_node_[-1]))
        return csr_array((np.ones(columns.size), columns.ravel(), starts), shape=shape)

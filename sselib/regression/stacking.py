"""Models whose errors differ, put together: the mean of their predictions, or a stack with learnt weights."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import nnls
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from sselib.columns import Prediction as P
from sselib.errors import ParameterError
from sselib.features.formula import FORMULA_COLUMNS, FRACTION_COLUMNS, SIZE_COLUMN
from sselib.regression.conformal import MIN_KNOWN, suggested_families
from sselib.regression.gaussian_process import CompositionGP
from sselib.regression.routed import coarse_forest, compressed, fine_forest, stretched
from sselib.validation.metrics import require_same_rows

BLEND = "blend"
_N_FOLDS = 3  # in which the members are judged; each costs a fit of every member


def members_of(name: str) -> list[str]:
    """Return the members of a blend written "gp/formula + extra_trees/formula"."""
    return [member.strip() for member in name.split("+")]


def blend(predictions: pd.DataFrame, *, members: Sequence[str]) -> pd.DataFrame:
    """Return the mean prediction of the ``members``, where all of them predicted the same rows.

    ``predictions`` has the columns of `Prediction`; members are written "model/features". The rows are
    named model "blend" with the features of the last member. Equal weights: nothing is learnt from the
    rows that judge. The interval is that of the first member, moved to the mean. A data set or protocol
    that one member lacks is left out. Raises `ParameterError` for a member without any prediction.
    """
    names = predictions[P.MODEL] + "/" + predictions[P.FEATURES]
    absent = [m for m in members if m not in set(names)]
    if absent or not members:
        raise ParameterError(
            f"the blend needs predictions of {', '.join(members) or 'at least one model'}; without: "
            f"{', '.join(absent)}. Add them to `models`"
        )
    taken = predictions[names.isin(members)].assign(member=names)
    complete = taken.groupby([P.DATASET, P.PROTOCOL])["member"].transform("nunique") == len(set(members))
    taken = taken[complete]
    require_same_rows(taken)
    keys = [P.DATASET, P.PROTOCOL, P.REPEAT, P.FOLD, P.ID]
    mean = taken.groupby(keys, sort=False)[P.Y_PRED].mean().rename("mean")
    found = taken[taken["member"] == members[0]].join(mean, on=keys)
    for end in (P.LOWER, P.UPPER):
        found[end] = found[end] + found["mean"] - found[P.Y_PRED]
    found[P.Y_PRED], found[P.MODEL] = found["mean"], BLEND
    found[P.FEATURES] = members[-1].split("/")[1]
    return found[[str(c) for c in P]].reset_index(drop=True)


class StackedModel(RegressorMixin, BaseEstimator):
    """Weighted mean of process, forest of medians, coarse forest and boosting; the weights are learnt.

    Weights for formulas of known families come from training rows held out with their chemical system,
    weights for other formulas from training rows held out with their family. All members learn on the
    compressed scale of `sselib.regression.routed`. ``booster`` is an unfitted estimator, ``n_trees`` the size
    of each forest. Source: Breiman, Mach. Learn. 24, 49 (1996), doi 10.1007/BF00117832.
    """

    def __init__(self, *, booster: BaseEstimator, n_trees: int = 100, random_state: int = 0) -> None:
        self.booster = booster
        self.n_trees = n_trees
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: np.ndarray, *, families: np.ndarray | None = None) -> "StackedModel":
        """Learn from X (n, f), which begins with the columns of a formula, and y (n,) in log10(S/cm).

        ``families`` (n,) are the families of the labels (default: those that the formulas suggest).
        """
        X, z = np.asarray(X, float), compressed(y)
        labelled = suggested_families(X) if families is None else np.asarray(families, str)
        names, counts = np.unique(labelled, return_counts=True)
        self.known_ = names[counts >= MIN_KNOWN]
        systems = np.unique(X[:, : len(FRACTION_COLUMNS)] > 0, axis=0, return_inverse=True)[1].ravel()
        self.weights_ = {
            inside: self._weights(X, z, groups) for inside, groups in ((True, systems), (False, labelled))
        }
        self.members_ = [member.fit(X, z) for member in self._members(X.shape[1])]
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return log10(S/cm), shape (m,)."""
        X = np.asarray(X, float)
        found = np.column_stack([member.predict(X) for member in self.members_])
        inside = np.isin(suggested_families(X), self.known_)
        return stretched(np.where(inside, found @ self.weights_[True], found @ self.weights_[False]))

    def _members(self, n_columns: int) -> list[BaseEstimator]:
        """Return the unfitted members, each with the columns that it reads."""
        size = {"n_trees": self.n_trees, "random_state": self.random_state}
        all_but_size = [k for k in range(n_columns) if k != FORMULA_COLUMNS.index(SIZE_COLUMN)]
        return [
            CompositionGP(),
            _reading(all_but_size, fine_forest(**size)),
            _reading(list(range(len(FORMULA_COLUMNS))), coarse_forest(**size)),
            clone(self.booster),
        ]

    def _weights(self, X: np.ndarray, z: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Return the weights of the members from rows held out with their group; equal for one group."""
        members, n_folds = self._members(X.shape[1]), min(_N_FOLDS, len(np.unique(groups)))
        if n_folds < 2:
            return np.full(len(members), 1 / len(members))
        folds = list(GroupKFold(n_folds).split(X, groups=groups))
        return convex_weights(np.column_stack([cross_val_predict(m, X, z, cv=folds) for m in members]), z)


def convex_weights(predictions: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return weights, none below 0 and adding up to 1, of the least squared error.

    ``predictions`` has shape (n, members), ``y`` (n,).
    """
    heavy = 1e4 * max(1.0, np.abs(predictions).max())  # a row that makes the weights add up to 1
    found, _ = nnls(np.vstack([predictions, np.full(predictions.shape[1], heavy)]), np.append(y, heavy))
    return found / found.sum()


def _reading(columns: list[int], model: BaseEstimator) -> BaseEstimator:
    """Return the unfitted model on a choice of columns."""
    return make_pipeline(ColumnTransformer([("read", "passthrough", columns)]), model)

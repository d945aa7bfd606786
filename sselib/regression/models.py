"""Named estimators: boosting with Kim et al.'s settings, extra trees, a Gaussian process, and controls.

All learn log10(S/cm) and take an upper bound at its value. Trees need no scaling: Kim et al. standardise
their features, which changes no split of a tree.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from xgboost import XGBRegressor

from sselib.columns import CONTROLS as CONTROLS
from sselib.errors import DataError, ParameterError, nearest
from sselib.features.formula import FAMILY_COLUMNS
from sselib.features.structure import STRUCTURE_COLUMNS
from sselib.materials.composition import l1_distances
from sselib.regression.gaussian_process import CompositionGP
from sselib.regression.kim import kim_settings
from sselib.regression.routed import RoutedModel

MODELS: tuple[str, ...] = (
    "xgb_kim",
    "xgb_single",
    "xgb_tuned",
    "extra_trees",
    "gp",
    "routed",
    "mean",
    "median",
    "1nn",
    "shuffled",
)
# The features that a control looks at, whatever features the models beside it use.
CONTROL_FEATURES: Mapping[str, str] = {"mean": "none", "median": "none", "1nn": "composition"}

# Groups or single features of a feature set (see `feature_columns`).
_OF_THE_STRUCTURE = ("geometric", "pores", "lattice_invariant", "disorder", "symmetry")
_FEATURE_SETS: Mapping[str, tuple[str, ...]] = {
    "all": ("stoichiometric", "elemental", *_OF_THE_STRUCTURE),
    "stoichiometric": ("stoichiometric", "elemental"),
    "geometric": _OF_THE_STRUCTURE,
    "kim_all": ("stoichiometric", *_OF_THE_STRUCTURE),
    "kim_stoichiometric": ("stoichiometric",),
    "kim_geometric": ("geometric", "pores"),
    "composition": ("stoichiometric",),
    "formula": ("formula",),
    "formula_without_family": ("formula",),
    "formula_environment": ("formula", *STRUCTURE_COLUMNS),
}
FEATURE_SETS: tuple[str, ...] = tuple(name for name in _FEATURE_SETS if name != "composition")


@dataclass(frozen=True)
class ModelOptions:
    """Settings of the models that a profile may change.

    ``max_bin`` is XGBoost's number of histogram bins per feature (64 and 256 agree within 0.015 in
    cross-validated MAE on OBELiX); ``n_trees`` is the size of the extra-trees forest; ``tuned`` holds
    the settings of ``xgb_tuned``.
    """

    max_bin: int = 256
    n_trees: int = 300
    tuned: Mapping[str, float] = field(default_factory=dict)


DEFAULT_OPTIONS = ModelOptions()


class NearestComposition(RegressorMixin, BaseEstimator):
    """Look up the label of the nearest training composition (L1 distance of element fractions).

    Training rows at the same smallest distance are averaged, so that their order does not matter.
    """

    def fit(self, X: np.ndarray, y: np.ndarray) -> "NearestComposition":
        """Remember element fractions, shape (n, elements), and labels, shape (n,)."""
        self.fractions_, self.y_ = np.asarray(X, float), np.asarray(y, float)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the mean label of the nearest training rows, shape (m,)."""
        distance = l1_distances(np.asarray(X, float), self.fractions_)
        nearest_rows = distance <= distance.min(axis=1, keepdims=True) + 1e-9
        return nearest_rows @ self.y_ / nearest_rows.sum(axis=1)


class ShuffledLabels(RegressorMixin, BaseEstimator):
    """Train ``estimator`` on permuted labels: what remains is what the protocol gives away for free."""

    def __init__(self, estimator: BaseEstimator, *, random_state: int = 0) -> None:
        self.estimator = estimator
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: np.ndarray) -> "ShuffledLabels":
        """Fit a copy of the estimator on the labels in random order."""
        order = np.random.default_rng(self.random_state).permutation(len(y))
        self.fitted_ = clone(self.estimator).fit(X, np.asarray(y)[order])
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the copy's predictions, shape (m,)."""
        return self.fitted_.predict(X)


def make_model(
    name: str, *, options: ModelOptions = DEFAULT_OPTIONS, seed: int = 0, n_jobs: int = 1
) -> BaseEstimator:
    """Return an unfitted estimator.

    ``xgb_kim`` has the settings of Kim et al.'s Table 1, ``xgb_single`` the same with one tree per
    boosting round instead of eight (an eighth of the time), ``xgb_tuned`` those in ``options.tuned``;
    XGBoost learns a default direction for missing values. ``extra_trees`` fills them with the training
    median and adds a flag. ``gp`` is a Gaussian process on compositions, ``routed`` the mean of it and a
    forest inside the known families and a coarser forest outside; both need a feature set that begins
    with mole fractions ("formula" and those that begin with it). ``mean``, ``median``, ``1nn`` and
    ``shuffled`` are the controls; the last is ``xgb_single`` trained on permuted labels. Raises
    `ParameterError` for another name.
    """
    if name in ("mean", "median"):
        return DummyRegressor(strategy=name)
    if name == "1nn":
        return NearestComposition()
    if name == "shuffled":
        return ShuffledLabels(make_model("xgb_single", options=options, seed=seed), random_state=seed)
    if name == "gp":
        return CompositionGP()
    if name == "routed":
        return RoutedModel(n_trees=options.n_trees, random_state=seed)
    if name == "extra_trees":
        return make_pipeline(
            SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
            ExtraTreesRegressor(options.n_trees, random_state=seed, n_jobs=n_jobs),
        )
    return XGBRegressor(
        **_boosting_settings(name, options),
        max_bin=options.max_bin,
        random_state=seed,
        n_jobs=n_jobs,
        tree_method="hist",
    )


def _boosting_settings(name: str, options: ModelOptions) -> dict[str, float]:
    if name == "xgb_kim":
        return kim_settings()
    if name == "xgb_single":
        return {**kim_settings(), "num_parallel_tree": 1}
    if name == "xgb_tuned" and options.tuned:
        return dict(options.tuned)
    if name == "xgb_tuned":
        raise ParameterError(
            "xgb_tuned has no settings: tune it first (regression.tuning.tune), or set n_trials above 0"
        )
    raise ParameterError(
        f"model {name!r} is unknown: expected one of {', '.join(MODELS)}.{nearest(name, list(MODELS))}"
    )


def feature_columns(groups: pd.DataFrame, name: str) -> list[str]:
    """Return the columns of a feature set.

    ``groups`` has the columns ``feature``, ``group`` and ``kim``. ``stoichiometric`` is element fractions
    and elemental statistics, ``geometric`` everything read off the cell and the structure, ``all`` both;
    ``formula`` the fixed columns of `sselib.features.formula`, ``formula_without_family`` these without the
    family that the formula suggests, ``formula_environment`` the formula's with those of
    `sselib.features.structure`, which the model that reads structures computes itself; ``kim_...`` are
    exactly Kim et al.'s: element fractions; a, b, c, density and probe-occupiable volume. ``composition`` is
    the element fractions alone (for the 1-nearest-neighbour look-up), ``none`` is none.
    """
    if name == "none":
        return []
    if name not in _FEATURE_SETS:
        raise ParameterError(
            f"feature set {name!r} is unknown: expected one of {', '.join(FEATURE_SETS)}."
            f"{nearest(name, list(FEATURE_SETS))}"
        )
    kinds = _FEATURE_SETS[name]
    wanted = groups["group"].isin(kinds) | groups["feature"].isin(kinds)
    if name.startswith("kim_"):
        wanted &= groups["kim"].astype(bool)
    if name == "formula_without_family":
        wanted &= ~groups["feature"].isin(FAMILY_COLUMNS)
    if not wanted.any():
        raise DataError(
            f"feature set {name!r} is empty: the feature groups of this run are "
            f"{', '.join(sorted(groups['group'].unique()))}"
        )
    return list(groups.loc[wanted, "feature"])

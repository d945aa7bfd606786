"""Named estimators: gradient boosting with Kim et al.'s settings, extra trees, and the controls.

All learn log10(S/cm). All but ``xgb_aft`` take an upper bound at its value. Trees
need no scaling: Kim et al. standardise their features, which changes no split of a tree.
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
from sselib.features.structure import STRUCTURE_COLUMNS
from sselib.materials.composition import l1_distances
from sselib.regression.censored import BoundedBooster
from sselib.regression.gaussian_process import CompositionGP
from sselib.regression.routed import RoutedModel
from sselib.regression.stacking import StackedModel

# Kim et al., Table 1: the outcome of their Bayesian search on 399 rows.
KIM_TABLE_1: Mapping[str, float] = {
    "n_estimators": 242,
    "reg_lambda": 24.922,
    "reg_alpha": 2.345,
    "max_depth": 8,
    "num_parallel_tree": 8,
    "min_child_weight": 1,
    "subsample": 0.659,
    "learning_rate": 0.084,
    "gamma": 0.015,
}

MODELS: tuple[str, ...] = (
    "xgb_kim",
    "xgb_single",
    "xgb_tuned",
    "xgb_aft",
    "extra_trees",
    "gp",
    "extra_trees_weighted",
    "gp_weighted",
    "stack",
    "routed",
    "routed_log",
    "routed_mean",
    "mean",
    "median",
    "1nn",
    "shuffled",
)
# The features that a control looks at, whatever features the models beside it use.
CONTROL_FEATURES: Mapping[str, str] = {"mean": "none", "median": "none", "1nn": "composition"}

# Models that are told how uncertain each label is (`sselib.regression.label_noise`).
WEIGHTED: Mapping[str, str] = {"extra_trees_weighted": "extra_trees", "gp_weighted": "gp"}

# What the ablation takes away from the routed model.
_ROUTED: Mapping[str, Mapping[str, bool]] = {
    "routed": {},
    "routed_log": {"compress": False},
    "routed_mean": {"medians": False},
}

# Groups or single features (empty: all); whether only those of Kim et al. count.
_FEATURE_SETS: Mapping[str, tuple[tuple[str, ...], bool]] = {
    "all": (
        ("stoichiometric", "elemental", "geometric", "pores", "lattice_invariant", "disorder", "symmetry"),
        False,
    ),
    "stoichiometric": (("stoichiometric", "elemental"), False),
    "geometric": (("geometric", "pores", "lattice_invariant", "disorder", "symmetry"), False),
    "kim_all": ((), True),
    "kim_stoichiometric": (("stoichiometric",), True),
    "kim_geometric": (("geometric", "pores"), True),
    "composition": (("stoichiometric",), False),
    "formula": (("formula",), False),
    "formula_structure": (
        ("formula", "elemental", "geometric", "lattice_invariant", "disorder", "symmetry"),
        False,
    ),
    "formula_environment": (("formula", *STRUCTURE_COLUMNS), False),
    "formula_environment_embedding": (("formula", *STRUCTURE_COLUMNS, "structure_embedding"), False),
    "formula_environment_chgnet": (("formula", *STRUCTURE_COLUMNS, "chgnet"), False),
    "formula_environment_barriers": (("formula", *STRUCTURE_COLUMNS, "barrier"), False),
    "formula_embedding": (("formula", "embedding"), False),
    "formula_kind": (("formula", "measurement"), False),
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
    median and adds a flag. ``xgb_aft`` is ``xgb_single`` with bounds in its likelihood, ``gp`` a Gaussian
    process on compositions, ``routed`` the mean of it and a forest of medians inside the known families
    and a coarser forest outside (``routed_log``: without its compressed scale, ``routed_mean``: with
    means), ``stack`` a mean of these and boosting whose weights are learnt out of fold; all need a
    feature set that begins with mole fractions ("formula" and those that begin with it). A name of
    `WEIGHTED` is its plain model, to be told the noise of each label. ``mean``, ``median``, ``1nn`` and
    ``shuffled`` are the controls; the last is ``xgb_single`` trained on permuted labels. Raises
    `ParameterError` for another name.
    """
    name = WEIGHTED.get(name, name)
    if name in ("mean", "median"):
        return DummyRegressor(strategy=name)
    if name == "1nn":
        return NearestComposition()
    if name == "shuffled":
        return ShuffledLabels(make_model("xgb_single", options=options, seed=seed), random_state=seed)
    if name == "gp":
        return CompositionGP()
    if name == "stack":
        booster = make_model("xgb_single", options=options, seed=seed)
        return StackedModel(booster=booster, n_trees=options.n_trees, random_state=seed)
    if name in _ROUTED:
        return RoutedModel(n_trees=options.n_trees, random_state=seed, **_ROUTED[name])
    if name == "xgb_aft":
        settings = {**KIM_TABLE_1, "num_parallel_tree": 1, "max_bin": options.max_bin}
        return BoundedBooster(settings=settings, random_state=seed)
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


def fit_model(
    model: BaseEstimator,
    X: np.ndarray,
    y: np.ndarray,
    *,
    censored: np.ndarray | None = None,
    families: np.ndarray | None = None,
    noise: np.ndarray | None = None,
) -> BaseEstimator:
    """Fit a model of `make_model` on X (n, f), y (n,) and return it.

    A model that treats bounds is told which labels are bounds (``censored``), one with routes by family
    also the ``families`` of the labels, each (n,). ``noise`` (n,), the variance of each label against that of
    a single measurement, is for `WEIGHTED` models: the process adds it, the forest weighs by its inverse.
    """
    told = {"censored": censored} if isinstance(model, BoundedBooster | RoutedModel) else {}
    if isinstance(model, RoutedModel | StackedModel):
        told["families"] = families
    if noise is not None and isinstance(model, CompositionGP):
        told["noise"] = noise
    elif noise is not None:
        told["extratreesregressor__sample_weight"] = 1 / noise
    return model.fit(X, y, **told)


def _boosting_settings(name: str, options: ModelOptions) -> dict[str, float]:
    if name == "xgb_kim":
        return dict(KIM_TABLE_1)
    if name == "xgb_single":
        return {**KIM_TABLE_1, "num_parallel_tree": 1}
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
    ``formula`` the fixed columns of `sselib.features.formula`, ``formula_structure`` these with elemental
    statistics, cell, disorder and symmetry, without pores; ``formula_environment`` the formula's with
    those of `sselib.features.structure`, which the model that reads structures computes itself;
    ``formula_embedding``, ``formula_environment_embedding`` and ``formula_kind`` add what
    `sselib.regression.ingredients` names;
    ``kim_...`` are exactly Kim et al.'s: element fractions; a, b, c, density and probe-occupiable volume.
    ``composition`` is the element fractions alone (for the 1-nearest-neighbour look-up), ``none`` is none.
    """
    if name == "none":
        return []
    if name not in _FEATURE_SETS:
        raise ParameterError(
            f"feature set {name!r} is unknown: expected one of {', '.join(FEATURE_SETS)}."
            f"{nearest(name, list(FEATURE_SETS))}"
        )
    kinds, only_kim = _FEATURE_SETS[name]
    named = groups["group"].isin(kinds) | groups["feature"].isin(kinds)
    wanted = named if kinds else pd.Series(True, index=groups.index)
    if only_kim:
        wanted = wanted & groups["kim"].astype(bool)
    if not wanted.any():
        raise DataError(
            f"feature set {name!r} is empty: the feature groups of this run are "
            f"{', '.join(sorted(groups['group'].unique()))}"
        )
    return list(groups.loc[wanted, "feature"])

"""Estimators, controls, feature sets and the search of settings on made-up data with a known answer."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sselib.errors import DataError, ParameterError
from sselib.features.formula import FORMULA_COLUMNS
from sselib.regression.kim import kim_settings, kim_table
from sselib.regression.models import (
    FEATURE_SETS,
    ModelOptions,
    NearestComposition,
    feature_columns,
    make_model,
)
from sselib.regression.tuning import SEARCH_SPACE, _folds, tune

GROUPS = pd.DataFrame(
    [
        ("frac_Li", "stoichiometric", True),
        ("frac_O", "stoichiometric", True),
        ("mean_mass", "elemental", False),
        ("a_angstrom", "geometric", True),
        ("volume_per_li", "geometric", False),
        ("poav_cm3_g", "pores", True),
        ("niggli_a", "lattice_invariant", False),
        ("partial_share", "disorder", False),
        ("point_group_order", "symmetry", False),
    ],
    columns=["feature", "group", "kim"],
)


def made_up(n: int = 80, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return features with a step in the first column, and labels that follow it."""
    rng = np.random.default_rng(seed)
    X = rng.random((n, 4))
    return X, np.where(X[:, 0] > 0.5, -3.0, -8.0) + rng.normal(0, 0.1, n)


def test_kim_settings_are_those_of_table_1() -> None:
    found = make_model("xgb_kim").get_params()
    expected = {
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
    assert {k: found[k] for k in expected} == expected
    assert make_model("xgb_single").get_params()["num_parallel_tree"] == 1


@pytest.mark.parametrize("name", ["xgb_single", "extra_trees"])
def test_learners_find_a_step_and_shuffled_labels_do_not(name: str) -> None:
    X, y = made_up(200)
    X[::7, 1] = np.nan  # missing values must not stop either
    model = make_model(name, options=ModelOptions(n_trees=50)).fit(X[:150], y[:150])
    assert np.abs(model.predict(X[150:]) - y[150:]).mean() < 0.5
    shuffled = make_model("shuffled").fit(X[:150], y[:150])
    assert np.abs(shuffled.predict(X[150:]) - y[150:]).mean() > 1.5


@pytest.mark.parametrize("name", ["xgb_single", "extra_trees", "1nn", "shuffled"])
def test_same_seed_same_predictions_whatever_the_threads(name: str) -> None:
    X, y = made_up()
    options = ModelOptions(n_trees=20)
    first, second = (make_model(name, options=options, seed=5, n_jobs=n).fit(X, y).predict(X) for n in (1, 2))
    assert np.array_equal(first, second)


def test_mean_and_median_look_at_no_feature() -> None:
    X, y = np.empty((3, 0)), np.array([-9.0, -5.0, -4.0])
    assert make_model("mean").fit(X, y).predict(X) == pytest.approx([-6.0] * 3)
    assert make_model("median").fit(X, y).predict(X) == pytest.approx([-5.0] * 3)


def test_nearest_composition_averages_ties_and_ignores_order() -> None:
    X = np.array([[0.5, 0.5], [0.5, 0.5], [0.1, 0.9]])
    y = np.array([-4.0, -6.0, -9.0])
    asked = np.array([[0.49, 0.51], [0.2, 0.8]])
    assert NearestComposition().fit(X, y).predict(asked).tolist() == [-5.0, -9.0]
    assert NearestComposition().fit(X[::-1], y[::-1]).predict(asked).tolist() == [-5.0, -9.0]


def test_a_feature_that_is_missing_in_all_training_rows_is_no_error() -> None:
    X, y = made_up()
    X[:, 2] = np.nan
    model = make_model("extra_trees", options=ModelOptions(n_trees=10)).fit(X, y)
    assert np.isfinite(model.predict(made_up(seed=1)[0])).all()


def test_feature_sets() -> None:
    assert feature_columns(GROUPS, "all") == list(GROUPS["feature"])
    stoichiometric, geometric = (feature_columns(GROUPS, n) for n in ("stoichiometric", "geometric"))
    assert stoichiometric == ["frac_Li", "frac_O", "mean_mass"]
    assert sorted(stoichiometric + geometric) == sorted(GROUPS["feature"])
    assert feature_columns(GROUPS, "kim_stoichiometric") == ["frac_Li", "frac_O"]
    assert feature_columns(GROUPS, "kim_geometric") == ["a_angstrom", "poav_cm3_g"]
    assert feature_columns(GROUPS, "kim_all") == ["frac_Li", "frac_O", "a_angstrom", "poav_cm3_g"]
    assert feature_columns(GROUPS, "none") == []


def test_the_formula_without_its_family_keeps_all_other_columns() -> None:
    groups = pd.DataFrame({"feature": FORMULA_COLUMNS, "group": "formula", "kim": False})
    rest = feature_columns(groups, "formula_without_family")
    assert rest == [c for c in FORMULA_COLUMNS if not c.startswith("suggests_")]
    assert feature_columns(groups, "formula") == list(FORMULA_COLUMNS)


def test_tables_of_kim_et_al_fit_their_schemas() -> None:
    assert kim_table("families")["kim_n"].sum() == 100  # their test set
    assert len(kim_table("compounds")) == 8
    assert set(kim_table("feature_sets")["features"]) <= set(FEATURE_SETS)


def test_unknown_names_are_errors_that_name_the_nearest() -> None:
    with pytest.raises(ParameterError, match="Did you mean 'xgb_kim'"):
        make_model("xgb_kimm")
    with pytest.raises(ParameterError, match="Did you mean 'geometric'"):
        feature_columns(GROUPS, "geometrical")
    with pytest.raises(DataError, match="'kim_geometric' is empty"):
        feature_columns(GROUPS.iloc[:3], "kim_geometric")
    with pytest.raises(ParameterError, match="n_trials"):
        make_model("xgb_tuned")


def test_search_space_holds_kims_settings() -> None:
    assert set(SEARCH_SPACE) == set(kim_settings())
    assert all(SEARCH_SPACE[k][0] <= v <= SEARCH_SPACE[k][1] for k, v in kim_settings().items())


def test_search_starts_from_kim_resumes_and_never_ends_worse(tmp_path: Path) -> None:
    X, y = made_up(60)
    storage = tmp_path / "trials.log"
    first = tune(X, y, n_trials=1, groups=None, storage=storage)
    assert first.settings == pytest.approx(kim_settings()) and first.mse == first.mse_kim
    second = tune(X, y, n_trials=3, groups=None, storage=storage)
    assert second.n_trials == 3 and second.mse <= second.mse_kim == first.mse
    assert tune(X, y, n_trials=3, groups=None, storage=storage) == second


def test_search_keeps_near_duplicates_in_one_fold() -> None:
    X = np.zeros((60, 1))
    groups = np.arange(60) // 3
    assert all(not set(groups[a]) & set(groups[b]) for a, b in _folds(X, groups, seed=0))
    assert len(_folds(X, None, seed=0)) == 6

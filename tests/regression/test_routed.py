"""The model with two routes: which rows go where, and what its intervals rest on."""

from collections import Counter

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold

from sselib.columns import Entry
from sselib.features.formula import FORMULA_COLUMNS, SIZE_COLUMN, formula_features
from sselib.materials.families import normalise_family
from sselib.regression.conformal import suggested_families
from sselib.regression.routed import RoutedModel, coarse_forest, compressed, stretched
from sselib.sources import obelix


def garnets_and_halides() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, labels and families of garnets that conduct and halides that do not."""
    rng = np.random.default_rng(0)
    formulas = [f"Li{7 - x:.3f}La3Zr{2 - x:.3f}Ta{x:.3f}O12" for x in rng.uniform(0.05, 0.9, 40)]
    formulas += [f"Li{3 - x:.3f}Y{1 - x:.3f}Zr{x:.3f}Cl6" for x in rng.uniform(0.05, 0.6, 40)]
    X = formula_features(formulas).to_numpy(float)
    y = np.r_[rng.normal(-4, 0.2, 40), rng.normal(-7, 0.2, 40)]
    return X, y, suggested_families(X)


@pytest.fixture(scope="module")
def fitted() -> RoutedModel:
    X, y, families = garnets_and_halides()
    return RoutedModel(n_trees=40).fit(X, y, families=families)


def test_known_families_take_the_mean_and_others_the_coarse_forest(fitted: RoutedModel) -> None:
    X = formula_features(["Li6.5La3Zr1.5Ta0.5O12", "LiTi2(PO4)3"]).to_numpy(float)
    found = fitted.predict(X)
    without_size = np.delete(X, FORMULA_COLUMNS.index(SIZE_COLUMN), axis=1)
    mean = stretched((fitted.process_.predict(X) + fitted.fine_.predict(without_size)) / 2)
    assert found[0] == pytest.approx(mean[0])
    assert found[1] == pytest.approx(stretched(fitted.coarse_.predict(X))[1])
    assert found[1] != pytest.approx(mean[1])


def test_outside_the_known_families_further_features_do_not_matter() -> None:
    X, y, families = garnets_and_halides()
    asked = formula_features(["Li6.5La3Zr1.5Ta0.5O12", "LiTi2(PO4)3"]).to_numpy(float)
    model = RoutedModel(n_trees=20).fit(np.c_[X, y], y, families=families)  # a feature that tells the label
    low, high = (model.predict(np.c_[asked, np.full(2, v)]) for v in (-9.0, -2.0))
    assert low[0] != high[0]
    assert low[1] == high[1]


def test_the_compressed_scale_keeps_order_and_comes_back() -> None:
    y = np.array([-17.0, -5.0, -4.0, 0.9])
    z = compressed(y)
    assert (np.diff(z) > 0).all()
    assert stretched(z) == pytest.approx(y)
    assert z[2] - z[1] == pytest.approx(1, abs=0.05)  # a unit about 1e-5 S/cm, less among insulators
    assert compressed(np.array([-16.0]))[0] - z[0] < 0.7
    assert stretched(np.array([3.0])) == stretched(compressed(np.array([7.0]))) == 1.0


def test_intervals_outside_rest_on_the_forest_that_predicts_there(fitted: RoutedModel) -> None:
    X, y, families = garnets_and_halides()
    calibration = fitted.calibration_
    assert len(calibration.far_errors) == len(y)
    garnets = calibration.far_families == "garnet"
    forest = coarse_forest(n_trees=10, random_state=0).fit(X[families != "garnet"], compressed(y[40:]))
    expected = compressed(y[:40]) - forest.predict(X[families == "garnet"])
    assert calibration.far_errors[garnets] == pytest.approx(expected)


def test_one_family_alone_says_nothing_of_others() -> None:
    X, y, families = (a[:40] for a in garnets_and_halides())
    model = RoutedModel(n_trees=10).fit(X, y, families=families)
    assert not len(model.calibration_.far_errors)
    _, lower, upper = model.predict_with_interval(
        formula_features(["Li3YCl6"]).to_numpy(float), confidence=0.9
    ).T
    assert lower[0] < y.min()
    assert upper[0] > y.max()


def test_a_row_gets_what_it_gets_alone(fitted: RoutedModel) -> None:
    X = formula_features(["Li6.5La3Zr1.5Ta0.5O12", "LiTi2(PO4)3", "Li3YCl6"]).to_numpy(float)
    alone = np.vstack([fitted.predict_with_interval(x[None], confidence=0.9) for x in X])
    assert np.allclose(fitted.predict_with_interval(X, confidence=0.9), alone)


def test_an_interval_holds_its_prediction_and_is_widest_outside(fitted: RoutedModel) -> None:
    X = formula_features(["Li6.5La3Zr1.5Ta0.5O12", "Li3YCl6", "LiTi2(PO4)3"]).to_numpy(float)
    y, lower, upper = fitted.predict_with_interval(X, confidence=0.9).T
    assert (lower <= y).all()
    assert (y <= upper).all()
    width = upper - lower
    assert width[2] > 2 * width[:2].max()


def test_a_bound_trains_and_does_not_calibrate() -> None:
    X, y, families = garnets_and_halides()
    wild = y.copy()
    wild[40:50] = -15.0  # bounds far below their siblings
    bound = np.isin(np.arange(80), np.arange(40, 50))
    told, untold = (
        RoutedModel(n_trees=10).fit(X, wild, families=families, censored=c) for c in (bound, None)
    )
    assert len(told.calibration_.far_errors) == 70
    assert len(untold.calibration_.far_errors) == 80
    assert np.array_equal(told.predict(X), untold.predict(X))


@pytest.mark.slow
@pytest.mark.mirror
def test_intervals_hold_in_every_larger_family_that_was_left_out(mirror: object) -> None:
    entries = obelix.load().entries
    families = np.array(
        [str(normalise_family(*pair)) for pair in zip(entries[Entry.FAMILY_RAW], entries[Entry.COMPOSITION])]
    )
    X = formula_features(list(entries[Entry.COMPOSITION])).to_numpy(float)
    y, censored = entries[Entry.LOG10_SIGMA].to_numpy(float), entries[Entry.CENSORED].to_numpy(bool)
    inside = np.zeros(len(y), bool)
    for train, test in GroupKFold(5).split(X, groups=families):
        model = RoutedModel(n_trees=20).fit(
            X[train], y[train], families=families[train], censored=censored[train]
        )
        _, lower, upper = model.predict_with_interval(X[test], confidence=0.9).T
        inside[test] = (lower <= y[test]) & (y[test] <= upper)
    coverage = {
        f: inside[(families == f) & ~censored].mean() for f, n in Counter(families).items() if n >= 20
    }
    assert len(coverage) >= 8
    assert min(coverage.values()) >= 0.75, coverage

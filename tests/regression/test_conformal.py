"""Intervals: coverage on rows drawn like the calibration rows, and width outside the known families."""

import numpy as np
import pytest

from sselib.features.formula import formula_features
from sselib.regression.conformal import IntervalCalibration, agreement, calibrate, suggested_families
from sselib.regression.gaussian_process import CompositionGP


def made_up(n: int, *, seed: int, families: tuple[str, ...] = ("garnet", "halide")) -> IntervalCalibration:
    """Return errors with the spread that the model says, three times larger when a family is left out."""
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.5, 2.0, n)
    names = np.array(families)[np.arange(n) % len(families)]
    return IntervalCalibration(
        errors=rng.normal(0, spread),
        spreads=spread,
        families=names,
        far_errors=rng.normal(0, 3, n),
        far_families=names,
        hidden_errors=np.empty(0),
        agreement=dict.fromkeys(families, 1.0),
        known=frozenset(families),
        lowest=-30.0,
        highest=30.0,
    )


@pytest.mark.parametrize("confidence", [0.5, 0.9])
def test_the_share_of_new_rows_inside_is_the_confidence(confidence: float) -> None:
    calibration, new = made_up(2000, seed=0), made_up(2000, seed=1)
    lower, upper = calibration.interval(
        np.zeros(2000), spread=new.spreads, families=new.families, confidence=confidence
    )
    inside = (lower <= new.errors) & (new.errors <= upper)
    assert inside.mean() == pytest.approx(confidence, abs=0.03)


def test_outside_the_known_families_whole_families_decide() -> None:
    calibration = made_up(2000, seed=0)
    lower, upper = calibration.interval(
        np.zeros(2), spread=np.ones(2), families=np.array(["garnet", "never seen"]), confidence=0.9
    )
    assert (upper - lower)[1] > 2 * (upper - lower)[0]
    assert calibration.outside_offsets(0.9) == pytest.approx([-1.645 * 3, 1.645 * 3], rel=0.15)


def test_the_family_that_errs_most_decides_outside_at_each_end() -> None:
    rng = np.random.default_rng(0)
    names = np.repeat([f"family {k}" for k in range(8)], 50)
    errors = rng.normal(0, 1, 400)
    errors[:50] -= 5  # one family is predicted far too high, another too low
    errors[50:100] += 3
    one = made_up(10, seed=0)
    known = frozenset(names)
    found = IntervalCalibration(**{**vars(one), "far_errors": errors, "far_families": names, "known": known})
    assert found.outside_offsets(0.9) == pytest.approx([-6.7, 4.7], abs=0.6)
    narrow, wide = found.outside_offsets(0.5), found.outside_offsets(0.9)
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_no_interval_reaches_far_beyond_the_labels() -> None:
    short = IntervalCalibration(**{**vars(made_up(200, seed=0)), "lowest": -1.0, "highest": 1.0})
    y, families = np.array([0.0, 5.0]), np.array(["garnet", "never seen"])
    lower, upper = short.interval(y, spread=np.full(2, 9.0), families=families, confidence=0.9)
    assert lower[0] == -2.0
    assert upper.tolist() == [2.0, 5.0]  # but the prediction itself lies inside


def test_each_family_has_intervals_that_hold_within_it() -> None:
    worse, new = made_up(2000, seed=0), made_up(2000, seed=1)
    larger = np.where(worse.families == "halide", 4, 1)
    worse = IntervalCalibration(**{**vars(worse), "errors": worse.errors * larger})
    lower, upper = worse.interval(np.zeros(2000), spread=new.spreads, families=new.families, confidence=0.9)
    error = new.errors * np.where(new.families == "halide", 4, 1)
    inside = (lower <= error) & (error <= upper)
    halide = new.families == "halide"
    assert inside[halide].mean() == pytest.approx(0.9, abs=0.03)
    assert inside[~halide].mean() == pytest.approx(0.9, abs=0.03)


def test_bounds_do_not_calibrate_and_families_come_from_the_columns() -> None:
    formulas = [f"Li{3 + x / 20:.2f}PS4" for x in range(20)] + [
        f"Li{7 - x / 20:.2f}La3Zr2O12" for x in range(20)
    ]
    X = formula_features(formulas).to_numpy(float)
    exact = np.arange(40) % 4 > 0
    y = np.where(np.arange(40) < 20, -4.0, -5.0)
    model = CompositionGP(max_iterations=2).fit(X, y)
    found = calibrate(model, X, y, exact=exact)
    assert len(found.errors) == 2 * exact.sum()
    assert len(found.far_errors) == exact.sum()
    assert set(suggested_families(X)) == {"thio_lisicon", "garnet"} == set(found.known)


def test_a_family_is_known_by_its_labels_not_by_what_siblings_suggest() -> None:
    formulas = [f"Li{3 + x / 20:.2f}PS4" for x in range(20)]
    X, y = formula_features(formulas).to_numpy(float), np.linspace(-5, -4, 20)
    model, exact = CompositionGP(max_iterations=2).fit(X, y), np.ones(20, bool)
    siblings = calibrate(model, X, y, exact=exact, families=np.repeat("sulfide_other", 20))
    own = calibrate(model, X, y, exact=exact, families=np.repeat("thio_lisicon", 20))
    suggested = suggested_families(X)
    assert siblings.outside(suggested).all()
    assert not own.outside(suggested).any()


def test_agreement_is_the_share_of_rows_with_name_and_label() -> None:
    suggested = np.array(["a", "a", "a", "b", "c"])
    labelled = np.array(["a", "a", "b", "b", "d"])
    assert agreement(suggested, labelled) == {"a": 2 / 3, "b": 1 / 2, "c": 0.0, "d": 0.0}


def test_a_name_that_labels_contradict_gets_intervals_that_hold_for_a_hidden_family() -> None:
    plain, new = made_up(2000, seed=0), made_up(2000, seed=1)
    hidden = np.random.default_rng(2).normal(0, 4, 500)
    doubtful = IntervalCalibration(
        **{**vars(plain), "hidden_errors": hidden, "agreement": {"garnet": 0.99, "halide": 0.7}}
    )
    where = {"spread": new.spreads, "families": new.families, "confidence": 0.9}
    before, after = (np.array(c.interval(np.zeros(2000), **where)) for c in (plain, doubtful))
    halide = new.families == "halide"
    assert (before[:, ~halide] == after[:, ~halide]).all()
    assert (after[0] <= before[0]).all()
    assert (after[1] >= before[1]).all()
    fresh = np.random.default_rng(3).normal(0, 4, 2000)
    inside = (after[0] <= fresh) & (fresh <= after[1])
    assert inside[halide].mean() == pytest.approx(0.9, abs=0.03)
    assert inside[~halide].mean() < 0.7


def test_a_name_is_doubtful_where_it_fails_more_often_than_an_interval_may_miss() -> None:
    one = IntervalCalibration(**{**vars(made_up(10, seed=0)), "agreement": {"garnet": 0.95, "halide": 0.85}})
    names = np.array(["garnet", "halide", "never seen"])
    assert one.doubtful(names, 0.9).tolist() == [False, True, False]
    assert one.doubtful(names, 0.99).tolist() == [True, True, False]
    assert not one.doubtful(names, 0.8).any()


def test_hidden_errors_are_those_of_rows_that_go_by_another_known_name_without_their_family() -> None:
    formulas = [f"Li{3 + x / 20:.2f}PS4" for x in range(20)] + [
        f"Li{7 - x / 20:.2f}La3Zr2O12" for x in range(20)
    ]
    X = formula_features(formulas).to_numpy(float)
    labelled = np.array(["thio_lisicon"] * 14 + ["lgps"] * 6 + ["garnet"] * 20)
    y = np.where(labelled == "lgps", -2.0, np.where(labelled == "garnet", -5.0, -4.0))
    model = CompositionGP(max_iterations=2).fit(X, y)
    exact = np.arange(40) != 15
    found = calibrate(model, X, y, exact=exact, families=labelled)
    expected = (y - model.held_out(labelled).mean)[(labelled == "lgps") & exact]
    assert found.hidden_errors.tolist() == expected.tolist()
    assert found.agreement == {"garnet": 1.0, "lgps": 0.0, "thio_lisicon": 0.7}
    assert (found.hidden_errors > 1).all()  # taken for a slow sibling

"""Intervals: coverage on rows drawn like the calibration rows, and width outside the known families."""

import numpy as np
import pytest

from sselib.conformal import Calibration, calibrate, suggested_families
from sselib.features.formula import formula_features
from sselib.gaussian_process import CompositionGP


def made_up(n: int, *, seed: int, families: tuple[str, ...] = ("garnet", "halide")) -> Calibration:
    """Return errors with the spread that the model says, three times larger when a family is left out."""
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.5, 2.0, n)
    names = np.array(families)[np.arange(n) % len(families)]
    return Calibration(
        errors=rng.normal(0, spread),
        spreads=spread,
        families=names,
        far_errors=rng.normal(0, 3, n),
        far_families=names,
        known=frozenset(families),
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
    assert calibration.outside_half_width(0.9) == pytest.approx(1.645 * 3, rel=0.15)


def test_a_worse_family_has_wider_intervals() -> None:
    calibration = made_up(400, seed=0)
    worse = Calibration(
        **{
            **vars(calibration),
            "errors": calibration.errors * np.where(calibration.families == "halide", 4, 1),
        }
    )
    families, spread = np.array(["garnet", "halide"]), np.ones(2)
    lower, upper = worse.interval(np.zeros(2), spread=spread, families=families, confidence=0.9)
    assert (upper - lower)[1] > 2.5 * (upper - lower)[0]


def test_bounds_do_not_calibrate_and_families_come_from_the_columns() -> None:
    formulas = [f"Li{3 + x / 20:.2f}PS4" for x in range(20)] + [
        f"Li{7 - x / 20:.2f}La3Zr2O12" for x in range(20)
    ]
    X = formula_features(formulas).to_numpy(float)
    exact = np.arange(40) % 4 > 0
    y = np.where(np.arange(40) < 20, -4.0, -5.0)
    found = calibrate(CompositionGP(max_iterations=2).fit(X, y), X, y, exact=exact)
    assert len(found.errors) == 2 * exact.sum()
    assert len(found.far_errors) == exact.sum()
    assert set(suggested_families(X)) == {"thio_lisicon", "garnet"} == set(found.known)

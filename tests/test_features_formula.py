"""Features of a formula: fixed columns, invariance, charge balance."""

import numpy as np
import pandas as pd
import pytest

from sselib.errors import FormulaError
from sselib.features.formula import (
    FORMULA_COLUMNS,
    FRACTION_COLUMNS,
    formula_descriptions,
    formula_features,
    with_formula_features,
)


def test_a_formula_alone_gives_what_it_gives_among_others() -> None:
    alone = formula_features(["Li10GeP2S12"])
    among = formula_features(["LiF", "Ge2P4S24Li20"])
    assert list(alone.columns) == list(among.columns) == list(FORMULA_COLUMNS)
    assert np.allclose(alone.iloc[0], among.iloc[1], equal_nan=True)


@pytest.mark.parametrize("formula", ["Li7La3Zr2O12", "Li6PS5Cl", "LiTi2(PO4)3", "Li3YCl6", "Li3N"])
def test_known_electrolytes_balance_their_charge(formula: str) -> None:
    assert formula_features([formula])["charge_imbalance_per_atom"][0] == pytest.approx(0, abs=1e-9)


def test_a_known_case() -> None:
    found = formula_features(["Li3PS4"]).iloc[0]
    assert found["mole_fraction_Li"] == pytest.approx(3 / 8)
    assert found["cation_mean_state"] == 5
    assert found["anion_mean_state"] == -2
    assert found["mobile_charge_share"] == pytest.approx(3 / 8)
    assert found["suggests_thio_lisicon"] == 1
    assert found[list(FRACTION_COLUMNS)].sum() == pytest.approx(1)


def test_without_other_cations_their_statistics_are_missing() -> None:
    assert np.isnan(formula_features(["LiCl"])["cation_mean_radius_angstrom"][0])
    with pytest.raises(FormulaError):
        formula_features(["Li3PS4", "x?"])


def test_they_stand_before_the_other_features_and_are_described() -> None:
    table = pd.DataFrame({"id": ["a", "b"], "composition": ["Li3PS4", "LiCl"]})
    own = pd.DataFrame({"id": ["b", "a"], "density_g_cm3": [2.0, 1.8]})
    groups = pd.DataFrame([("density_g_cm3", "geometric", "g/cm3", "density", True)])
    groups.columns = ["feature", "group", "unit", "description", "kim"]
    features, described = with_formula_features(own, groups, table)
    assert features.set_index("id").loc["a", "density_g_cm3"] == 1.8
    assert list(described["feature"][: len(FORMULA_COLUMNS)]) == list(FORMULA_COLUMNS)
    assert {f.unit for f in formula_descriptions()} >= {"1", "Angstrom"}

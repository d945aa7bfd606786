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
    whole_formula_atoms,
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


@pytest.mark.parametrize(
    ("formula", "atoms"),
    [("Li3PS4", 8), ("Li10GeP2S12", 25), ("Li7La3Zr2O12", 24), ("Li1.3Al0.3Ti1.7P3O12", 183), ("Li", 1)],
)
def test_size_of_the_whole_number_formula_does_not_depend_on_its_writing(formula: str, atoms: int) -> None:
    x = formula_features([formula, f"({formula})0.37", f"({formula})12"])[list(FRACTION_COLUMNS)].to_numpy()
    assert whole_formula_atoms(x).tolist() == [atoms] * 3


def test_a_formula_without_a_small_whole_number_form_counts_as_the_largest() -> None:
    odd = np.array([0.1234567, 0.2718281, 0.0314159, 0.0577215, 0.5155778])
    rounded, whole = np.array([0.333, 0.667, 0, 0, 0]), np.array([1, 2, 0, 0, 0]) / 3
    assert whole_formula_atoms(np.array([odd, rounded, whole])).tolist() == [600, 3, 3]
    assert whole_formula_atoms(np.tile(whole, (600, 1))).tolist() == [3] * 600


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

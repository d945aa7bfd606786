"""Features of compositions, disorder and symmetry: worked examples, invariance, missing data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from sselib.features.occupancy import disorder_features, site_entropy_kb
from sselib.features.stoichiometry import elemental_features, fraction_features, weighted_statistics
from sselib.features.symmetry import space_group_of, symmetry_features


def test_fractions_hold_the_elements_that_occur_and_add_up_to_one():
    table, features = fraction_features(["Li2O", "LiPO3", "NaCl"])
    assert list(table) == ["fraction_Cl", "fraction_Li", "fraction_Na", "fraction_O", "fraction_P"]
    assert table.loc[0, "fraction_Li"] == pytest.approx(2 / 3)
    assert table.sum(axis=1).to_numpy() == pytest.approx(1)
    assert all(f.kim and f.group == "stoichiometric" for f in features)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean_electronegativity", (2 * 0.98 + 3.44) / 3),
        ("framework_mean_electronegativity", 3.44),
        ("std_electronegativity", (3.44 - 0.98) * 2**0.5 / 3),
        ("framework_max_group", 16.0),
        ("mobile_per_anion", 2.0),
        ("anion_fraction", 1 / 3),
        ("n_elements", 2.0),
    ],
)
def test_worked_example_lithium_oxide(name, expected):
    table, _ = elemental_features(["Li2O"])
    assert table.loc[0, name] == pytest.approx(expected)


def test_what_does_not_exist_is_missing():
    table, _ = elemental_features(["Li2O", "LiH", "Li", "Li3P"])
    assert np.isnan(table["mobile_per_other_cation"]).tolist() == [True, True, True, True]
    assert np.isnan(table.loc[1, "mean_ionic_radius_angstrom"])
    assert np.isnan(table.loc[2, "framework_mean_electronegativity"])
    assert table["anion_electronegativity"].tolist() == [3.44, 2.20, 0.98, 2.19]


def test_the_mobile_ion_is_a_choice():
    table, _ = elemental_features(["Na3PS4"], mobile_ion="Na")
    assert table.loc[0, "mobile_per_anion"] == pytest.approx(0.75)
    assert table.loc[0, "mobile_per_other_cation"] == pytest.approx(3.0)


@given(st.integers(2, 9))
def test_the_number_of_formula_units_makes_no_difference(z):
    pair, _ = elemental_features(["Li6PS5Cl", f"Li{6 * z}P{z}S{5 * z}Cl{z}"])
    assert pair.loc[0].to_numpy() == pytest.approx(pair.loc[1].to_numpy(), nan_ok=True)


def test_statistics_are_missing_where_a_value_is():
    found = weighted_statistics(np.array([[0.5, 0.5], [1.0, 0.0], [0.0, 0.0]]), np.array([2.0, np.nan]))
    assert found["mean"].tolist() == pytest.approx([np.nan, 2.0, np.nan], nan_ok=True)


def test_each_feature_is_described_once():
    table, features = elemental_features(["Li2O"])
    assert [f.name for f in features] == list(table)


@pytest.mark.parametrize(
    ("occupancies", "expected"),
    [([1.0], 0.0), ([0.5], np.log(2)), ([0.5, 0.5], np.log(2)), ([1 / 3, 1 / 3], np.log(3))],
)
def test_mixing_entropy_counts_the_vacancy_as_a_species(occupancies, expected):
    assert site_entropy_kb(occupancies) == pytest.approx(expected)


def test_disorder_of_a_structure_with_every_kind_of_site():
    sites = [{"Li": 1.0}, {"Li": 0.5}, {"La": 0.5, "Li": 0.3}, {"Ti": 0.6, "Zr": 0.4}, {"O": 1.0}]
    found = disorder_features(Structure(Lattice.cubic(6), sites, np.arange(15).reshape(5, 3) / 16))
    assert found["fraction_partial_sites"] == pytest.approx(0.4)
    assert found["fraction_mixed_sites"] == pytest.approx(0.4)
    assert found["fraction_mobile_sites_partial"] == pytest.approx(2 / 3)
    assert found["mean_mobile_site_occupancy"] == pytest.approx(0.6)
    assert found["is_disordered"] == 1.0


def test_an_ordered_structure_without_the_mobile_ion():
    found = disorder_features(Structure(Lattice.cubic(4), ["O"], [[0, 0, 0]]))
    assert (found["is_disordered"], found["mixing_entropy_per_site_kb"]) == (0.0, 0.0)
    assert np.isnan(found["mean_mobile_site_occupancy"])


@pytest.mark.parametrize(
    ("number", "system", "order"),
    [
        (1, "triclinic", 1),
        (2, "triclinic", 2),
        (14, "monoclinic", 4),
        (62, "orthorhombic", 8),
        (137, "tetragonal", 16),
        (167, "trigonal", 12),
        (194, "hexagonal", 24),
        (216, "cubic", 24),
        (230, "cubic", 48),
    ],
)
def test_point_groups_of_known_space_groups(number, system, order):
    found = symmetry_features(number)
    assert found["point_group_order"] == order
    assert [name for name, value in found.items() if name.startswith("is_") and value] == [f"is_{system}"]


def test_space_group_of_a_disordered_structure():
    salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.14), [{"Li": 0.5, "Na": 0.3}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    assert space_group_of(salt) == 225

"""Features of a structure: invariance, known surroundings, missing values."""

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from sselib.columns import Entry
from sselib.errors import DataError
from sselib.features.structure import (
    ENVIRONMENT_COLUMNS,
    STRUCTURE_COLUMNS,
    structure_features,
    with_environment,
)
from sselib.materials.structures import structure_record


def rock_salt(a: float = 5.13) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def antifluorite(occupancy: float = 1.0) -> Structure:
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.72), [{"Li": occupancy}, "S"], [[0.25, 0.25, 0.25], [0, 0, 0]]
    )


def skewed() -> Structure:
    lattice = Lattice.from_parameters(5.1, 6.3, 7.4, 78, 95, 104)
    species = [{"Li": 0.6}, {"Li": 1}, {"P": 0.5, "Si": 0.5}, "S", "S", "S"]
    sites = [
        [0.1, 0.2, 0.3],
        [0.6, 0.1, 0.8],
        [0.4, 0.5, 0.1],
        [0.9, 0.6, 0.5],
        [0.3, 0.8, 0.7],
        [0.7, 0.4, 0.2],
    ]
    return Structure(lattice, species, sites)


def one(structure: Structure) -> pd.Series:
    return structure_features([structure]).iloc[0]


@pytest.mark.parametrize("scaling", [[2, 1, 1], [[1, 1, 0], [0, 1, 0], [0, 0, 2]]])
def test_supercell_and_origin_change_nothing(scaling: list) -> None:
    larger = skewed().make_supercell(scaling, in_place=False)
    larger.translate_sites(range(len(larger)), [0.13, 0.21, 0.34])
    assert np.allclose(one(skewed()), one(larger), atol=1e-6, equal_nan=True)


def test_axis_order_and_atom_order_change_nothing() -> None:
    s = skewed()
    order, atoms = [2, 0, 1], [4, 2, 0, 5, 1, 3]
    turned = Structure(
        Lattice(s.lattice.matrix[order]),
        [s[k].species for k in atoms],
        s.frac_coords[atoms][:, order],
    )
    assert np.allclose(one(s), one(turned), atol=1e-6, equal_nan=True)


def test_surroundings_of_rock_salt_and_antifluorite() -> None:
    salt, sulfide = one(rock_salt()), one(antifluorite())
    assert salt["li_coordination"] == pytest.approx(6)
    assert salt["li_anion_distance_angstrom"] == pytest.approx(5.13 / 2)
    assert salt["li_li_distance_angstrom"] == pytest.approx(5.13 / 2**0.5)
    assert salt["hops_per_site"] == pytest.approx(12)
    assert sulfide["li_coordination"] == pytest.approx(4)
    assert sulfide["li_anion_distance_angstrom"] == pytest.approx(5.72 * 3**0.5 / 4)
    assert sulfide["li_site_density_per_nm3"] == pytest.approx(8 / 0.572**3)
    assert sulfide["hop_width_angstrom"] == pytest.approx(
        5.72 / 8**0.5
    )  # middle of the edge of two tetrahedra


def test_a_relaxation_in_p1_leaves_the_symmetry() -> None:
    moved = rock_salt()
    moved.perturb(0.02)
    names = ["crystal_system_rank", "point_group_order"]
    assert one(rock_salt())[names].tolist() == one(moved)[names].tolist() == [7, 48]


def test_a_stretched_cell_has_wider_ways() -> None:
    names = ["hop_width_angstrom", "li_anion_distance_angstrom", "volume_per_atom_angstrom3"]
    assert (one(rock_salt(5.3))[names] > one(rock_salt(5.1))[names]).all()


def test_an_empty_site_counts_as_a_place_but_not_as_an_ion() -> None:
    full, half = one(antifluorite()), one(antifluorite(0.5))
    assert half["li_site_density_per_nm3"] == pytest.approx(full["li_site_density_per_nm3"])
    assert half["volume_per_li_angstrom3"] == pytest.approx(2 * full["volume_per_li_angstrom3"])
    assert half["mobile_sites_per_ion"] == pytest.approx(2)


def test_no_structure_and_no_lithium_are_missing_values_and_no_atom_an_error() -> None:
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    found = structure_features([None, salt])
    assert list(found.columns) == list(STRUCTURE_COLUMNS)
    assert found.iloc[0].isna().all()
    assert found.loc[1, list(ENVIRONMENT_COLUMNS)].isna().all()
    assert found.loc[1, "density_g_cm3"] == pytest.approx(2.16, abs=0.02)
    with pytest.raises(DataError, match="no sites"):
        structure_features([Structure(Lattice.cubic(3), [], [])])


def test_rows_get_the_surroundings_of_their_own_structure() -> None:
    records = [structure_record(rock_salt(), structure_id="s1", source="made-up", text="a", origin="a")]
    table = pd.DataFrame({Entry.ID: ["b", "a"], Entry.STRUCTURE_ID: ["s1", None]})
    features, groups = with_environment(
        pd.DataFrame({"id": ["a", "b"], "density_g_cm3": [1.0, 2.0]}),
        pd.DataFrame({"feature": ["density_g_cm3"], "group": ["geometric"], "kim": [True]}),
        table,
        pd.DataFrame(records),
    )
    found = features.set_index("id")["li_coordination"]
    assert found["b"] == pytest.approx(6)
    assert np.isnan(found["a"])
    assert set(groups["group"]) == {"geometric", "environment"}

"""Lithium that sites can hold: no two too close at once; the known limit of cubic garnets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from sselib.columns import StructureTable
from sselib.materials.lithium_sites import lithium_filling
from sselib.materials.structures import structure_from_json
from sselib.sources import obelix


def garnet(tetrahedral: float, octahedral: float) -> Structure:
    """Return cubic LLZO with lithium on 24d and 96h (Awaka et al., doi 10.1246/cl.2011.60)."""
    return Structure.from_spacegroup(
        "Ia-3d",
        Lattice.cubic(12.97),
        [{"Li": tetrahedral}, {"Li": octahedral}, "La", "Zr", "O"],
        [[0.375, 0, 0.25], [0.097, 0.685, 0.577], [0.125, 0, 0.25], [0, 0, 0], [0.9681, 0.0551, 0.1498]],
    )


def test_cubic_garnets_hold_seven_and_a_half_lithium() -> None:
    assert lithium_filling(garnet(0.54, 0.448)) == pytest.approx((3 * 0.54 + 12 * 0.448) / 7.5)
    assert lithium_filling(garnet(0.6, 0.5)) > 1 > lithium_filling(garnet(0.5, 0.495))


def chain(gap: float, occupancies: tuple[float, float]) -> Structure:
    """Return two lithium sites ``gap`` Angstrom apart in a long cell, beside chlorine."""
    return Structure(
        Lattice.orthorhombic(4, 4, 10),
        [{"Li": occupancies[0]}, {"Li": occupancies[1]}, "Cl"],
        [[0, 0, 0], [0, 0, gap / 10], [0.5, 0.5, 0.5]],
    )


def test_close_sites_share_one_ion_and_distant_ones_do_not() -> None:
    assert lithium_filling(chain(1.0, (0.5, 0.5))) == pytest.approx(1.0)
    assert lithium_filling(chain(1.0, (0.7, 0.6))) == pytest.approx(1.3)
    assert lithium_filling(chain(3.0, (0.7, 0.6))) == pytest.approx(0.65)


def test_a_site_shared_with_another_ion_has_less_room() -> None:
    shared = Structure(Lattice.cubic(4), [{"Li": 0.3, "La": 0.6}, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert lithium_filling(shared) == pytest.approx(0.3 / 0.4)


@pytest.mark.slow
@pytest.mark.mirror
def test_nearly_every_measured_structure_keeps_within_the_limit(mirror) -> None:
    """Of OBELiX's structures with lithium one exceeds it, a CIF that disagrees with its own table."""
    filling = {
        row[StructureTable.STRUCTURE_ID]: lithium_filling(
            structure_from_json(row[StructureTable.STRUCTURE_JSON])
        )
        for row in obelix.load().structures.to_dict("records")
    }
    assert [key for key, value in filling.items() if value > 1.005] == ["obelix:duf"]


def test_without_lithium_there_is_nothing_to_judge() -> None:
    assert np.isnan(lithium_filling(Structure(Lattice.cubic(4), ["Na"], [[0, 0, 0]])))


@given(
    st.tuples(st.floats(0.1, 1), st.floats(0.1, 1)),
    st.floats(0.5, 4),
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_the_choice_of_cell_and_origin_changes_nothing(
    occupancies: tuple[float, float], gap: float, origin: tuple[float, float, float]
) -> None:
    if abs(gap - 1.9) < 1e-3:
        return
    crystal = chain(gap, occupancies)
    moved = crystal.copy().translate_sites(range(3), list(origin)).make_supercell([1, 1, 2])
    assert lithium_filling(moved) == pytest.approx(lithium_filling(crystal), abs=1e-6)

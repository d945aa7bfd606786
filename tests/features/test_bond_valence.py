"""Bond-valence barriers: known limits, and what must not change them."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

pytest.importorskip("bvlain")

from sselib.errors import DataError
from sselib.features.bond_valence import BARRIER_COLUMNS, HIGHEST_EV, barrier_row, percolation_barriers

LI2S = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.71), ["Li", "S"], [[0.25] * 3, [0] * 3])


def test_a_cubic_crystal_is_crossed_as_easily_in_one_direction_as_in_three() -> None:
    found = percolation_barriers(LI2S)
    assert found.one == pytest.approx(found.three, abs=0.02)
    assert 0.05 < found.one < 1.5


def test_the_barriers_go_up_with_the_number_of_directions_and_layers_stop_the_third() -> None:
    layers = Structure.from_spacegroup(
        "P4/nmm", Lattice.tetragonal(3.8, 14), ["Li", "Cl"], [[0, 0.5, 0.5], [0, 0.5, 0.1]]
    )
    found = percolation_barriers(layers)
    assert found.one <= found.two < found.three <= HIGHEST_EV


def test_neither_supercell_nor_axis_order_nor_origin_matters() -> None:
    first = barrier_row(LI2S)
    moved = LI2S.copy()
    moved.translate_sites(range(len(moved)), [0.13, 0.21, 0.3])
    turned = Structure(LI2S.lattice, LI2S.species, LI2S.frac_coords[:, [2, 0, 1]])
    for other in (LI2S * (2, 1, 1), moved, turned):
        assert np.allclose(barrier_row(other), first, atol=0.1)  # a grid of a quarter of an Angstrom


def test_where_lithium_sits_itself_does_not_matter() -> None:
    moved = LI2S.copy()
    moved.translate_sites(
        [k for k, site in enumerate(moved) if site.specie.symbol == "Li"], [0.07, 0.02, 0.1]
    )
    assert np.allclose(barrier_row(moved), barrier_row(LI2S), atol=1e-6)


def test_what_has_no_parameters_or_no_framework_is_named_and_has_no_row() -> None:
    lithium = Structure(Lattice.cubic(3.4), ["Li"], [[0, 0, 0]])
    hydride = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.08), ["Li", "H"], [[0] * 3, [0.5] * 3])
    for structure, words in ((lithium, "no framework"), (hydride, "no bond-valence parameters")):
        with pytest.raises(DataError, match=words):
            percolation_barriers(structure)
        assert np.isnan(barrier_row(structure)).tolist() == [True] * len(BARRIER_COLUMNS)

"""Features of the cell: known densities, centrings, contents that do not fit."""

import numpy as np
import pytest
from pymatgen.core import Composition, Lattice, Structure

from sselib.features.lattice import (
    Cell,
    cell_of_row,
    cell_of_structure,
    density_g_cm3,
    geometric_features,
    implausible,
    invariant_features,
    primitive_lattice,
)

HALITE = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def row(**changes) -> dict[str, object]:
    """Return a row of the curated table for LiCl."""
    values = {
        "id": "x",
        "a_angstrom": 5.13,
        "b_angstrom": 5.13,
        "c_angstrom": 5.13,
        "alpha_deg": 90.0,
        "beta_deg": 90.0,
        "gamma_deg": 90.0,
        "cell_formula": "Li4Cl4",
        "space_group_symbol": "Fm-3m",
        "structure_id": "s",
        "close_match": False,
    }
    return values | changes


def test_density_of_rock_salt():
    assert density_g_cm3(Composition("Na4Cl4"), 5.64**3) == pytest.approx(2.163, abs=0.003)
    assert density_g_cm3(HALITE.composition, HALITE.volume) == pytest.approx(HALITE.density, rel=1e-6)


def test_cell_of_a_row():
    found = geometric_features(cell_of_row(row()))
    assert found["volume_per_atom_angstrom3"] == pytest.approx(5.13**3 / 8)
    assert found["volume_per_li_angstrom3"] == pytest.approx(5.13**3 / 4)
    assert found["density_g_cm3"] == pytest.approx(2.086, abs=0.01)


def test_a_row_without_a_lattice_or_without_content():
    assert cell_of_row(row(c_angstrom=np.nan)) is None
    found = geometric_features(cell_of_row(row(cell_formula=None)))
    assert set(found) == {"a_angstrom", "b_angstrom", "c_angstrom"}


@pytest.mark.parametrize(
    ("symbol", "parts"),
    [("P 21/c", 1), ("I 41/acd", 2), ("F-43m", 4), ("Cmcm", 2), ("A b m 2", 2), ("R -3 c", 3), (None, 1)],
)
def test_centring_divides_the_volume(symbol, parts):
    cell = cell_of_row(row(gamma_deg=120.0, space_group_symbol=symbol))
    assert cell.primitive.volume == pytest.approx(cell.lattice.volume / parts)


def test_primitive_rhombohedral_cell_has_equal_axes():
    found = primitive_lattice(Lattice.hexagonal(8.6, 21.0), centring="R")
    assert found.abc == pytest.approx([found.a] * 3)
    assert found.angles == pytest.approx([found.alpha] * 3)
    kept = Lattice.rhombohedral(8.9, 58)
    assert primitive_lattice(kept, centring="R").volume == pytest.approx(kept.volume)


def test_table_and_structure_give_the_same_invariants():
    table = Cell(HALITE.lattice, primitive_lattice(HALITE.lattice, centring="F"), HALITE.composition)
    assert invariant_features(table) == pytest.approx(invariant_features(cell_of_structure(HALITE)))


def test_content_that_does_not_fit_the_cell_is_found():
    assert implausible(cell_of_row(row())) == ""
    assert "the content or the cell is wrong" in implausible(cell_of_row(row(cell_formula="Li40Cl40")))

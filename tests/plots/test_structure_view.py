"""The 3D view of structures: what is drawn for occupancy, mixing, periodic images and large cells."""

import json
from itertools import pairwise

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from sselib.errors import DataError
from sselib.plots.structure_view import VACANCY, Sector, site_sectors, structure_figure


@pytest.fixture
def disordered() -> Structure:
    """Return a tetragonal cell with a half-filled Li, a mixed P/Si site and a full S inside the cell."""
    species = [{"Li": 0.5}, {"P": 0.75, "Si": 0.25}, {"S": 1.0}]
    places = [[0.25, 0.25, 0.25], [0.5, 0.5, 0.5], [0.5, 0.5, 0.7]]
    return Structure(Lattice.tetragonal(5.0, 8.0), species, places)


def volumes(figure: object) -> dict[str, float]:
    """Return the volume enclosed by each mesh (signed tetrahedra), in cubic Angstrom, by element."""
    found = {}
    for mesh in figure.data:
        if mesh.type == "mesh3d":
            points = np.stack([mesh.x, mesh.y, mesh.z], axis=1).astype(float)
            centre = points.mean(axis=0)
            a, b, c = (points[np.asarray(index).astype(int)] - centre for index in (mesh.i, mesh.j, mesh.k))
            found[mesh.name.split(" ")[0]] = abs(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6
    return found


def test_the_volume_of_a_sector_is_the_occupancy_times_that_of_a_sphere(disordered: Structure) -> None:
    full = Structure(disordered.lattice, ["Li", "Si"], [[0.25, 0.25, 0.25], [0.6, 0.6, 0.6]])
    part = volumes(structure_figure(disordered, bonds=False))
    whole = volumes(structure_figure(full, bonds=False))
    assert part["Li"] / whole["Li"] == pytest.approx(0.5, abs=0.05)
    assert part["Si"] / whole["Si"] == pytest.approx(0.25, abs=0.05)


def test_sectors_of_a_site_follow_each_other_and_fill_the_turn(disordered: Structure) -> None:
    by_site: dict[tuple, list[Sector]] = {}
    for sector in site_sectors(disordered):
        by_site.setdefault(sector.fractional, []).append(sector)
    for sectors in by_site.values():
        assert sectors[0].start == 0 and sectors[-1].end == pytest.approx(1)
        assert all(s.end == t.start for s, t in pairwise(sectors))
    assert [(s.species, s.occupancy) for s in by_site[(0.25, 0.25, 0.25)]] == [("Li", 0.5), (VACANCY, 0.5)]


def test_an_ordered_structure_has_no_vacancy() -> None:
    ordered = Structure(Lattice.cubic(5), ["Li", "Cl"], [[0.1, 0.1, 0.1], [0.5, 0.5, 0.5]])
    assert {s.species for s in site_sectors(ordered)} == {"Li", "Cl"}


@pytest.mark.parametrize(("place", "images"), [([0, 0, 0], 8), ([0.5, 0, 0], 4), ([0.5, 0.5, 0.9999], 2)])
def test_a_site_on_the_boundary_is_drawn_on_every_equivalent_place(place: list[float], images: int) -> None:
    sectors = site_sectors(Structure(Lattice.hexagonal(5, 9), ["Li"], [place]))
    assert len(sectors) == images
    assert len({tuple(np.round(s.centre, 3)) for s in sectors}) == images


def test_the_cell_has_twelve_edges_with_the_lengths_of_the_vectors() -> None:
    structure = Structure(Lattice.from_parameters(4, 5, 7, 80, 95, 110), ["Li"], [[0.3, 0.3, 0.3]])
    cell = structure_figure(structure).data[0]
    points = np.array([[np.nan if v is None else v for v in axis] for axis in (cell.x, cell.y, cell.z)])
    lengths = np.linalg.norm(points[:, 1::3] - points[:, 0::3], axis=0)
    assert np.sort(lengths) == pytest.approx([4] * 4 + [5] * 4 + [7] * 4)


def test_bonds_join_neighbours_of_the_framework_and_leave_lithium_out() -> None:
    places = [[0.5, 0.5, 0.5], [0.72, 0.5, 0.5], [0.5, 0.72, 0.5]]
    figure = structure_figure(Structure(Lattice.cubic(9), ["P", "S", "Li"], places))
    bonds = next(t for t in figure.data if t.name == "bonds")
    assert len(bonds.x) == 3, "one line: P-S"


def test_legend_names_each_species_with_its_range_of_occupancy(disordered: Structure) -> None:
    names = [t.name for t in structure_figure(disordered).data if t.type == "mesh3d"]
    assert names == ["Li (0.50)", "P (0.75)", "S", "Si (0.25)", "vacancy (0.50)"]


def test_hover_gives_occupancy_and_fractional_coordinates(disordered: Structure) -> None:
    mesh = next(t for t in structure_figure(disordered).data if t.name.startswith("Li"))
    assert np.unique(mesh.customdata, axis=0) == pytest.approx(np.array([[0.5, 0.25, 0.25, 0.25]]))
    assert mesh.customdata.shape == (len(mesh.x), 4)


def test_a_large_structure_stays_small_and_too_large_a_one_names_the_remedy() -> None:
    places = [[x / 6, y / 6, z / 8] for x in range(6) for y in range(6) for z in range(8)]
    large = Structure(Lattice.cubic(20), [{"Li": 0.5}] * len(places), places)
    assert len(json.dumps(structure_figure(large).to_json())) < 2.5e6
    with pytest.raises(DataError, match=r"288 sites cannot be drawn.*primitive cell"):
        structure_figure(large, max_sites=100)


def test_drawing_leaves_the_structure_as_it_was(disordered: Structure) -> None:
    before = disordered.as_dict()
    structure_figure(disordered)
    assert disordered.as_dict() == before

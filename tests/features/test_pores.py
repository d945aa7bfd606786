"""Pores: Zeo++ and the grid against lattices of balls with known answers, and what happens on failure."""

import itertools
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from pymatgen.core import Element, Lattice, Structure
from scipy.spatial import cKDTree

from sselib.errors import ParameterError
from sselib.features.pores import PoreSettings, framework, pore_features
from sselib.features.void_grid import accessible_fraction, occupiable_fraction, void_grid
from sselib.features.zeopp import (
    ZeoppError,
    channel_dimensionality,
    included_along_free_path,
    radii_angstrom,
    run_zeopp,
    van_der_waals_radius,
)
from sselib.materials.cif import read_cif

SIMPLE_CUBIC = np.array([[0.01, 0.02, 0.03]])
FCC = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])


def block_with_hole(*, height: int) -> tuple[Lattice, list[str], np.ndarray]:
    """Return balls 2 Angstrom apart, 3 x 3 x height, with the ball in the middle of the block missing."""
    points = [p for p in itertools.product(range(3), range(3), range(height)) if p != (1, 1, height // 2)]
    lattice = Lattice.orthorhombic(6, 6, 2 * height)
    return lattice, ["O"] * len(points), np.array(points, float) / (3, 3, height)


def argyrodite() -> Structure:
    """Return Li6PS5Br without disorder in its cell, every Li position of 24g filled."""
    return Structure.from_spacegroup(
        "F-43m",
        Lattice.cubic(9.98),
        ["Br", "P", "S", "S", "Li"],
        [[0, 0, 0], [0, 0, 0.5], [0.25, 0.25, 0.25], [0.1194, 0.1194, 0.6194], [0.25, 0.02, 0.25]],
    )


@pytest.mark.parametrize(
    ("coords", "a", "di", "df"),
    [(SIMPLE_CUBIC, 6.0, 6 * 3**0.5 - 3, 6 * 2**0.5 - 3), (FCC, 8.0, 8.0 - 3, 2 * 8 / 6**0.5 - 3)],
    ids=["simple cubic", "fcc"],
)
def test_zeopp_spheres_are_the_analytic_ones(coords, a, di, df):
    """Balls of radius 1.5: cube centre and square window; octahedral hole and triangular window."""
    jitter = np.random.default_rng(0).normal(0, 1e-5, coords.shape)
    found = run_zeopp(Structure(Lattice.cubic(a), ["O"] * len(coords), coords + jitter), {"O": 1.5})
    assert found.largest_included_sphere_angstrom == pytest.approx(di, abs=2e-3)
    assert found.largest_free_sphere_angstrom == pytest.approx(df, abs=2e-3)
    path = included_along_free_path(found.network, free_sphere_angstrom=found.largest_free_sphere_angstrom)
    assert path == pytest.approx(di, abs=2e-3)


@pytest.mark.parametrize(
    ("atoms", "probe", "expected"),
    [
        ((Lattice.cubic(6), ["O"], SIMPLE_CUBIC), 2.0, 3),
        ((Lattice.cubic(6), ["O"], SIMPLE_CUBIC), 3.0, 0),
        ((Lattice.cubic(6), ["O"], SIMPLE_CUBIC), 4.0, -1),
        ((Lattice.orthorhombic(2, 2, 6), ["O"], SIMPLE_CUBIC), 0.3, 2),
        (block_with_hole(height=1), 0.3, 1),
        (block_with_hole(height=3), 0.3, 0),
    ],
    ids=["cubic", "trapped", "too large", "layers", "tube", "cage"],
)
def test_channels_have_the_dimensionality_of_the_lattice(atoms, probe, expected):
    network = run_zeopp(Structure(*atoms), {"O": 1.3}).network
    assert channel_dimensionality(network, probe_radius_angstrom=probe).max() == expected


def test_volumes_of_separate_balls_are_analytic():
    """Balls further apart than the probe is wide: it rolls around each, and covers all but the balls."""
    a, ball, probe = 6.0, 1.5, 0.5
    grid = void_grid(
        Lattice.cubic(a), SIMPLE_CUBIC, [ball], spacing_angstrom=0.2, probe_radius_angstrom=probe
    )
    covered = occupiable_fraction(grid)
    centres = accessible_fraction(grid)
    assert covered == pytest.approx(1 - 4 / 3 * np.pi * (ball / a) ** 3, abs=2e-3)
    assert centres == pytest.approx(1 - 4 / 3 * np.pi * ((ball + probe) / a) ** 3, abs=2e-3)


def test_occupiable_volume_agrees_with_brute_force():
    """Random points against all probe positions of a grid of 0.05 Angstrom, in a skewed cell."""
    lattice, probe = Lattice.from_parameters(3.4, 3.9, 4.3, 82, 97, 108), 0.4
    coords, radii = np.array([[0.1, 0.2, 0.3], [0.6, 0.55, 0.8]]), np.array([1.3, 1.1])
    images = coords[:, None] + np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=3)))
    atoms = [cKDTree(lattice.get_cartesian_coords(image)) for image in images]
    axis = np.arange(-0.15, 1.15, 0.0125)
    points = lattice.get_cartesian_coords(np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3))
    clearance = np.min([tree.query(points)[0] - r for tree, r in zip(atoms, radii)], axis=0)
    centres = cKDTree(points[clearance >= probe])
    sample = lattice.get_cartesian_coords(np.random.default_rng(0).random((20_000, 3)))
    expected = (centres.query(sample)[0] <= probe).mean()
    grid = void_grid(lattice, coords, radii, spacing_angstrom=0.15, probe_radius_angstrom=probe)
    assert occupiable_fraction(grid) == pytest.approx(expected, abs=0.012)


def test_volume_converges_with_the_spacing():
    """Spacings up to 0.2 are within 2 % of 0.1, the default of 0.15 among them; 0.3 is farther off."""
    atoms = framework(argyrodite(), PoreSettings())
    found = [
        occupiable_fraction(
            void_grid(
                atoms.lattice,
                atoms.frac_coords,
                radii_angstrom(atoms, {}),
                spacing_angstrom=h,
                probe_radius_angstrom=0.4,
            )
        )
        for h in (0.3, 0.2, 0.15, 0.1)
    ]
    errors = np.abs(np.array(found[:3]) / found[3] - 1)
    assert (errors[1:] < 0.02).all()
    assert errors[0] > errors[1:].max()


def test_closed_pockets_do_not_count_as_accessible():
    lattice, elements, coords = block_with_hole(height=3)
    cage, _ = pore_features(Structure(lattice, elements, coords), PoreSettings(radii_angstrom={"O": 1.45}))
    assert cage["poav_fraction"] == 0
    assert cage["pov_fraction"] > 0.002
    assert cage["channel_dimensionality"] == 0


def test_pockets_beside_channels_are_told_apart():
    """A gap of 6 Angstrom above the block: the gap is a channel, the hole in the block stays closed."""
    lattice, elements, coords = block_with_hole(height=3)
    cage, _ = pore_features(Structure(lattice, elements, coords), PoreSettings(radii_angstrom={"O": 1.45}))
    taller = Lattice.orthorhombic(6, 6, 10)
    found, _ = pore_features(
        Structure(taller, elements, coords * (1, 1, 0.6)), PoreSettings(radii_angstrom={"O": 1.45})
    )
    pocket = (found["pov_fraction"] - found["poav_fraction"]) * taller.volume
    assert found["channel_dimensionality"] == 2
    assert pocket == pytest.approx(cage["pov_fraction"] * lattice.volume, rel=0.05)


def test_radii_are_those_that_zeopp_takes_by_default():
    """A child process asks pyzeo, because it exits on elements that it does not know (from Rg on)."""
    known = [el.symbol for el in Element if el.Z < 111]
    code = (
        "import sys; from pyzeo.extension import initializeRadTable, lookupRadius; initializeRadTable(); "
        "print(*[lookupRadius(el.encode()) for el in sys.argv[1:]])"
    )
    done = subprocess.run([sys.executable, "-c", code, *known], capture_output=True, text=True, check=True)
    expected = [float(r) for r in done.stdout.split()]
    assert [van_der_waals_radius(el) for el in known] == pytest.approx(expected)


def test_an_exit_of_zeopp_is_a_reason_and_not_the_end():
    """Zeo++ calls exit() on an element that it does not know; the grid does not need Zeo++."""
    heavy = Structure(Lattice.cubic(5), ["Og", "Li"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    found, reasons = pore_features(heavy, PoreSettings())
    assert "Zeo++ ended with code 1" in reasons[0]
    assert "largest_free_sphere_angstrom" not in found
    assert found["pov_fraction"] == pytest.approx(1 - 4 / 3 * np.pi * 2**3 / 5**3, abs=0.01)


def test_time_limit_is_kept_and_the_grid_goes_on():
    found, reasons = pore_features(argyrodite(), PoreSettings(timeout_s=0.001))
    assert reasons == ["Zeo++ took longer than 0.001 s"]
    assert "largest_free_sphere_angstrom" not in found
    assert "poav_fraction" not in found
    assert found["pov_fraction"] > 0.1


def test_a_structure_of_the_mobile_ion_alone_has_no_framework():
    found, reasons = pore_features(Structure(Lattice.cubic(3.5), ["Li"], [[0, 0, 0]]), PoreSettings())
    assert "no framework" in reasons[0]
    assert "pov_fraction" not in found


def symbols(structure: Structure) -> list[str]:
    return [site.specie.symbol for site in structure]


def test_occupancies_decide_what_counts_as_an_atom():
    sites = [{"Li": 0.6, "La": 0.4}, {"La": 0.4, "Li": 0.3}, {"Al": 0.05}, {"Zr": 0.6, "Nb": 0.4}, "Li"]
    structure = Structure(Lattice.cubic(10), sites, np.eye(5, 3) * 0.3)
    assert symbols(framework(structure, PoreSettings())) == ["La", "Zr"]
    assert symbols(framework(structure, PoreSettings(min_occupancy=0.01))) == ["La", "Al", "Zr"]
    assert symbols(framework(structure, PoreSettings(mobile_ion="Na"))) == ["Li", "La", "Zr", "Li"]


@pytest.mark.parametrize("name", ["probe_radius_angstrom", "grid_spacing_angstrom", "timeout_s"])
def test_impossible_settings_are_refused(name):
    with pytest.raises(ParameterError, match=name):
        PoreSettings(**{name: 0.0})


def test_a_cell_too_large_for_the_grid_is_refused_with_a_remedy():
    _, reasons = pore_features(Structure(Lattice.cubic(80), ["O"], [[0, 0, 0]]), PoreSettings())
    assert any("choose a larger grid_spacing_angstrom" in reason for reason in reasons)


@pytest.mark.mirror
def test_facts_of_known_conductors(mirror):
    """Df without Li measured beforehand: LGPS 1.03, Li6PS5Cl 1.01, Li3YCl6 0.88; volume of Li6PS5Cl."""
    with zipfile.ZipFile(mirror / "obelix" / "all_cifs.zip") as archive:
        cifs = {
            i: read_cif(archive.read(f"all_randomized_cifs/{i}.cif").decode(), name=i)
            for i in ("mtn", "122", "9zr")
        }
    found = {i: pore_features(s, PoreSettings(probe_radius_angstrom=0.4))[0] for i, s in cifs.items()}
    assert found["mtn"]["largest_free_sphere_angstrom"] == pytest.approx(1.03, abs=0.02)
    assert found["122"]["largest_free_sphere_angstrom"] == pytest.approx(1.01, abs=0.02)
    assert found["122"]["pov_fraction"] == pytest.approx(0.345, abs=0.01)
    with pytest.raises(ZeoppError, match="ended with code 1"):  # Li kept, no jitter: Zeo++ exits
        atoms = framework(cifs["9zr"], PoreSettings(mobile_ion="Og"))
        run_zeopp(atoms, {})

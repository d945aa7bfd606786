"""The functions of the learned potential: derivatives, symmetry, and the same energies from both ways."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell

from crystal_search.moments import VOIGT, MomentBasis

STEP = 1e-4  # Angstrom or strain, of finite differences


@pytest.fixture(scope="module")
def crystal() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.2, cubic=True)
    atoms.rattle(0.2, seed=1)
    shear = np.eye(3) + 0.03 * np.random.default_rng(1).normal(size=(3, 3))
    atoms.set_cell(atoms.cell[:] @ shear, scale_atoms=True)
    return atoms


@pytest.fixture(scope="module")
def basis() -> MomentBasis:
    return MomentBasis(elements=(11, 17))


@pytest.fixture(scope="module")
def coefficients(basis: MomentBasis) -> np.ndarray:
    return 0.01 * np.random.default_rng(0).normal(size=len(basis))


def test_design_and_evaluation_are_the_same_potential(crystal, basis, coefficients) -> None:
    energy, forces, stress = basis.evaluate(crystal, coefficients)
    design = basis.design(crystal)
    assert design.energy @ coefficients == pytest.approx(energy)
    np.testing.assert_allclose((design.forces @ coefficients).reshape(-1, 3), forces, atol=1e-10)
    virial = stress.flat[VOIGT] * crystal.get_volume()
    np.testing.assert_allclose(design.virial @ coefficients, virial, atol=1e-9)


def test_forces_and_stress_are_slopes_of_the_energy(crystal, basis, coefficients) -> None:
    _, forces, stress = basis.evaluate(crystal, coefficients)

    def energy(atom: int, shift: float, strain: float) -> float:
        moved = crystal.copy()
        moved.positions[atom, 1] += shift
        bent = np.eye(3)
        bent[0, 2] = bent[2, 0] = strain / 2
        moved.set_cell(moved.cell[:] @ bent, scale_atoms=True)
        return basis.evaluate(moved, coefficients)[0]

    force = -(energy(3, STEP, 0) - energy(3, -STEP, 0)) / (2 * STEP)
    slope = (energy(3, 0, STEP) - energy(3, 0, -STEP)) / (2 * STEP)
    assert forces[3, 1] == pytest.approx(force, rel=1e-5)
    assert stress[0, 2] * crystal.get_volume() == pytest.approx(slope, rel=1e-5)


def test_energy_does_not_depend_on_orientation_order_or_cell(crystal, basis, coefficients) -> None:
    energy = basis.evaluate(crystal, coefficients)[0]
    turned = crystal.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    double = make_supercell(crystal, [[1, 0, 0], [1, 1, 0], [0, 0, 2]])
    reversed_ = crystal[::-1]
    assert basis.evaluate(turned, coefficients)[0] == pytest.approx(energy)
    assert basis.evaluate(reversed_, coefficients)[0] == pytest.approx(energy)
    assert basis.evaluate(double, coefficients)[0] == pytest.approx(2 * energy)


def test_energy_is_smooth_where_atoms_come_into_reach(basis, coefficients) -> None:
    for shortest, longest in ((7.9, 8.6), (10.0, 10.8)):  # pairs leave the reach of pairs, then of moments
        far = [bulk("NaCl", "zincblende", a=a) for a in np.linspace(shortest, longest, 60)]
        energies = np.array([basis.evaluate(a, coefficients)[0] for a in far])
        assert np.abs(np.diff(energies, 2)).max() < 0.05 * np.ptp(energies)

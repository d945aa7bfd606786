"""Potentials and relaxation: the fast CHGNet against the package's own, invariance, pressure, failures."""

import contextlib
import io

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from crystal_search.errors import SearchError
from crystal_search.potentials import make_calculator
from crystal_search.relaxation import (
    ABANDONED,
    CONVERGED,
    FAILED,
    RelaxationSettings,
    relax,
    shortest_ratio,
)


@pytest.fixture(scope="module")
def lif() -> Atoms:
    atoms = bulk("LiF", "rocksalt", a=4.1)
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.fixture(scope="module")
def chgnet():
    return make_calculator("chgnet")


def _properties(atoms: Atoms, calculator) -> tuple[float, np.ndarray, np.ndarray]:
    copy = atoms.copy()
    copy.calc = calculator
    return copy.get_potential_energy(), copy.get_forces(), copy.get_stress()


def test_fast_chgnet_gives_the_package_s_energy_forces_and_stress(lif: Atoms, chgnet) -> None:
    from chgnet.model.dynamics import CHGNetCalculator

    with contextlib.redirect_stdout(io.StringIO()):
        theirs = CHGNetCalculator(use_device="cpu")
    ours, expected = _properties(lif, chgnet), _properties(lif, theirs)
    assert ours[0] == pytest.approx(float(expected[0]), abs=1e-5)
    np.testing.assert_allclose(ours[1], expected[1], atol=1e-4)
    np.testing.assert_allclose(ours[2], expected[2], atol=1e-5)


def test_energy_does_not_depend_on_rotation_supercell_or_order(lif: Atoms, chgnet) -> None:
    energy = _properties(lif, chgnet)[0] / len(lif)
    turned = lif.copy()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    doubled = lif.repeat((2, 1, 1))
    shuffled = doubled[[3, 0, 2, 1]]
    for other in (turned, doubled, shuffled):
        assert _properties(other, chgnet)[0] / len(other) == pytest.approx(energy, abs=2e-5)


def test_forces_are_the_slope_of_the_energy(lif: Atoms, chgnet) -> None:
    step, moved = 0.01, []
    for sign in (1, -1):
        shifted = lif.copy()
        shifted.positions[0, 0] += sign * step
        moved.append(_properties(shifted, chgnet)[0])
    slope = -(moved[0] - moved[1]) / (2 * step)
    assert _properties(lif, chgnet)[1][0, 0] == pytest.approx(slope, abs=5e-3)


def test_relaxation_lowers_the_enthalpy_and_counts_every_evaluation() -> None:
    start = bulk("Cu", a=3.9)
    result = relax(start, calculator=EMT(), settings=RelaxationSettings(fmax_ev_angstrom=0.01))
    assert result.status == CONVERGED and start.cell[0, 1] == pytest.approx(1.95)
    assert result.curve[-1] < result.curve[0]
    assert result.n_evaluations == len(result.curve)
    assert (4 * result.volume_angstrom3_atom) ** (1 / 3) == pytest.approx(
        3.59, abs=0.03
    )  # EMT's lattice constant


def test_pressure_compresses_and_enters_the_enthalpy() -> None:
    free, pressed = (
        relax(
            bulk("Cu"), calculator=EMT(), settings=RelaxationSettings(pressure_gpa=p, fmax_ev_angstrom=0.005)
        )
        for p in (0.0, 10.0)
    )
    assert pressed.volume_angstrom3_atom < 0.97 * free.volume_angstrom3_atom
    work = pressed.enthalpy_ev_atom - pressed.energy_ev_atom
    assert work == pytest.approx(10.0 / 160.2177 * pressed.volume_angstrom3_atom, rel=1e-4)


def test_a_verdict_abandons_the_relaxation() -> None:
    start = bulk("Cu", a=3.9)
    result = relax(
        start,
        calculator=EMT(),
        settings=RelaxationSettings(),
        verdict=lambda n, h, a: "enough" if n == 2 else "",
    )
    assert (result.status, result.reason, result.n_evaluations) == (ABANDONED, "enough", 3)


def test_overlapping_atoms_fail_with_their_reason() -> None:
    atoms = Atoms("Cu2", [(0, 0, 0), (1.0, 0, 0)], cell=[4, 4, 4], pbc=True)
    result = relax(atoms, calculator=EMT(), settings=RelaxationSettings())
    assert result.status == FAILED and "covalent radii" in result.reason
    assert shortest_ratio(atoms) == pytest.approx(1.0 / 2.64, abs=0.01)


@pytest.mark.parametrize("name", ["chgnett", "ase.calculators.nothing:EMT", "ase.calculators.emt:Nothing"])
def test_unknown_potentials_are_named(name: str) -> None:
    with pytest.raises(SearchError, match=name.split(":")[0]):
        make_calculator(name)


def test_another_potential_plugs_in_by_name() -> None:
    assert isinstance(make_calculator("ase.calculators.emt:EMT"), EMT)

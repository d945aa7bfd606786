"""The ionic pair model: forces, invariance, volume, and what it does to random crystals."""

from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from crystal_search.ionic import guessed_states, ionic_model, ionic_radius, relax_as_ions
from crystal_search.relaxation import shortest_ratio
from crystal_search.seeds import p1_seed


def _distorted() -> Atoms:
    atoms = bulk("LiF", "rocksalt", a=4.2, cubic=True)
    atoms.rattle(0.15, seed=1)
    return atoms


def _states(atoms: Atoms) -> dict[str, float]:
    return guessed_states(Counter(atoms.get_chemical_symbols()))


def _energy(atoms: Atoms) -> float:
    copy = atoms.copy()
    copy.calc = ionic_model(copy, _states(copy))
    return copy.get_potential_energy()


def test_forces_and_stress_are_slopes_of_the_energy() -> None:
    atoms, step = _distorted(), 1e-4
    atoms.calc = ionic_model(atoms, _states(atoms))
    forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
    moved = [_distorted(), _distorted()]
    for crystal, sign in zip(moved, (1, -1), strict=True):
        crystal.positions[3, 1] += sign * step
    slope = (_energy(moved[0]) - _energy(moved[1])) / (2 * step)
    assert forces[3, 1] == pytest.approx(-slope, abs=1e-4)
    strained = [_distorted(), _distorted()]
    for crystal, sign in zip(strained, (1, -1), strict=True):
        crystal.set_cell(crystal.cell @ (np.eye(3) + sign * step * np.diag([1, 0, 0])), scale_atoms=True)
    slope = (_energy(strained[0]) - _energy(strained[1])) / (2 * step * atoms.get_volume())
    assert stress[0, 0] == pytest.approx(slope, abs=1e-5)


def test_the_energy_does_not_depend_on_cell_choice_or_order() -> None:
    atoms = _distorted()
    energy = _energy(atoms)
    assert _energy(atoms.repeat((2, 1, 1))) == pytest.approx(2 * energy, rel=1e-9)
    assert _energy(atoms[::-1]) == pytest.approx(energy, rel=1e-9)
    turned = atoms.copy()
    turned.rotate(35, (1, 2, 3), rotate_cell=True)
    assert _energy(turned) == pytest.approx(energy, rel=1e-9)


@pytest.mark.parametrize(("formula", "length"), [("LiF", 4.02), ("LiCl", 5.13), ("MgO", 4.21)])
def test_rock_salts_get_about_their_volume(formula: str, length: float) -> None:
    stretched = bulk(formula, "rocksalt", a=1.15 * length)
    stretched.rattle(0.02, seed=0)
    relaxed = relax_as_ions(stretched, _states(stretched))
    assert relaxed.get_volume() == pytest.approx(length**3 / 4, rel=0.15)


def test_random_ions_order_themselves_and_keep_the_volume_where_asked() -> None:
    seed = p1_seed({"Mg": 4, "O": 4}, volume_angstrom3=80.0, rng=np.random.default_rng(3)).atoms
    before = seed.copy()
    relaxed = relax_as_ions(seed, _states(seed), keep_volume=True)
    assert np.array_equal(seed.positions, before.positions)
    assert relaxed.get_volume() == pytest.approx(seed.get_volume(), rel=1e-6)
    assert _energy(relaxed) < _energy(seed) - 1 and shortest_ratio(relaxed) > 0.9


def test_an_alloy_has_no_ions_and_stays_as_it_is() -> None:
    alloy = bulk("CuAu", "rocksalt", a=5.0)
    alloy.rattle(0.1, seed=0)
    assert _states(alloy) == {} and ionic_model(alloy, {}) is None
    assert np.array_equal(relax_as_ions(alloy, {}).positions, alloy.positions)


def test_radii_are_those_of_the_nearest_tabulated_state() -> None:
    assert ionic_radius("Li", 1) == pytest.approx(0.9)
    assert ionic_radius("S", -2) == pytest.approx(1.7)
    assert np.isnan(ionic_radius("Ar", 1))


@pytest.mark.parametrize(
    ("content", "states"),
    [
        ({"Li": 4, "B": 4, "H": 16}, {"Li": 1, "B": 3, "H": -1}),
        ({"Li": 10, "Ge": 1, "P": 2, "S": 12}, {"Li": 1, "Ge": 4, "P": 5, "S": -2}),
        ({"Cu": 2, "Au": 1}, {}),
        ({"Li": 2}, {}),
    ],
)
def test_states_are_guessed_where_they_balance(content: dict, states: dict) -> None:
    assert guessed_states(content) == states

"""Polyanions: which compositions have them, their bonds, and random crystals that hold them whole."""

from collections import Counter

import numpy as np
import pytest
import spglib
from ase import Atoms
from pymatgen.core import Composition
from pymatgen.io.ase import AseAtomsAdaptor

from crystal_search.ionic import guessed_states, ionic_model, pair_energy, relax_as_ions
from crystal_search.known_crystals import known_structure
from crystal_search.polyanion_seeds import polyanion_seed
from crystal_search.polyanions import Polyanion, bond_length, polyanions, whole_bonds
from crystal_search.population import same_structure
from crystal_search.preselection import fitted_to, make_pool
from crystal_search.seeds import Seed, sorted_atoms

ZIRCON = {"O": 8, "Si": 2, "Zr": 2}
ZIRCON_STATES = {"O": -2, "Si": 4, "Zr": 4}


def _content(formula: str) -> dict[str, int]:
    return {str(el): int(n) for el, n in Composition(formula).items()}


def _complexes(content: dict[str, int]) -> list[Polyanion]:
    return polyanions(content, guessed_states(content))


def _known(name: str) -> Atoms:
    raw = AseAtomsAdaptor.get_atoms(known_structure(name).get_primitive_structure())
    return sorted_atoms(Atoms(raw.numbers, raw.positions, cell=raw.cell, pbc=True))


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("Li3PO4", [("P", "O", 4)]),
        ("Li2CO3", [("C", "O", 3)]),
        ("LiBH4", [("B", "H", 4)]),
        ("LiAlCl4", [("Al", "Cl", 4)]),
        ("LiPF6", [("P", "F", 6)]),
        ("Li6PS5Cl", [("P", "S", 4)]),  # one sulphur and the chlorine stay free
        ("Li10GeP2S12", [("P", "S", 4), ("Ge", "S", 4)]),
        ("LiGe2P3O12", [("P", "O", 4)]),  # the phosphorus takes all the oxygen
        ("Li2SiO3", []),  # chains share oxygen
        ("LiAlO2", []),
        ("LiNbO3", []),
        ("Li3InCl6", []),
        ("Li7La3Zr2O12", []),
        ("Li3N", []),
        ("Li2Mg", []),
    ],
)
def test_compositions_have_the_complexes_of_textbooks(formula: str, expected: list) -> None:
    found = _complexes(_content(formula))
    assert [(p.centre, p.ligand, p.n_ligands) for p in found] == expected


@pytest.mark.parametrize(
    ("centre", "ligand", "valence", "angstrom"),
    [("C", "O", 4 / 3, 1.28), ("P", "O", 5 / 4, 1.54), ("P", "S", 5 / 4, 2.05), ("Si", "O", 1.0, 1.62),
     ("Al", "Cl", 3 / 4, 2.13), ("B", "H", 3 / 4, 1.22), ("V", "O", 5 / 4, 1.72)],
)  # fmt: skip
def test_bond_lengths_are_those_measured(centre: str, ligand: str, valence: float, angstrom: float) -> None:
    assert bond_length(centre, ligand, valence) == pytest.approx(angstrom, abs=0.1)


def test_known_crystals_have_whole_complexes_and_broken_ones_are_seen() -> None:
    atoms = _known("zircon")
    complexes = polyanions(ZIRCON, ZIRCON_STATES)
    bonds = whole_bonds(atoms, complexes)
    assert bonds is not None and np.count_nonzero(bonds.centre_ligand) == 2 * 8
    assert np.count_nonzero(bonds.ligand_ligand) == 2 * 12
    broken = atoms.copy()
    broken.positions[list(broken.symbols).index("O")] += 1.5
    assert whole_bonds(broken, complexes) is None
    assert whole_bonds(atoms, []) is None


@pytest.mark.parametrize("formula", ["Zr2Si2O8", "Ca2C2O6", "Li2P2F12", "Li6PS5Cl"])
def test_random_crystals_hold_their_complexes_whole(formula: str) -> None:
    content, rng = _content(formula), np.random.default_rng(1)
    complexes = _complexes(content)
    for share in (0.0, 1.0):
        seed = polyanion_seed(content, complexes, symmetric_share=share, rng=rng)
        assert Counter(seed.atoms.get_chemical_symbols()) == content
        assert whole_bonds(seed.atoms, complexes) is not None
        assert (seed.space_group > 1) == bool(share)


def test_complexes_have_the_symmetry_of_their_places() -> None:
    rng, complexes = np.random.default_rng(2), polyanions(ZIRCON, ZIRCON_STATES)
    seeds = [polyanion_seed(ZIRCON, complexes, symmetric_share=1.0, rng=rng).atoms for _ in range(8)]
    for atoms in seeds:
        centres = atoms[[s != "O" for s in atoms.get_chemical_symbols()]]
        n_all, n_centres = (
            len(spglib.get_symmetry((a.cell[:], a.get_scaled_positions(), a.numbers), 0.05)["rotations"])
            for a in (atoms, centres)
        )
        assert n_all == n_centres


def test_forces_with_bonds_are_slopes_of_the_energy() -> None:
    atoms, step = _known("calcite"), 1e-4
    atoms.rattle(0.05, seed=0)
    bonds = whole_bonds(atoms, _complexes(Counter(atoms.get_chemical_symbols())))
    states = {"Ca": 2, "C": 4, "O": -2}
    for place in (0, 2, 9):  # carbon, oxygen, calcium

        def energy(shift: float, place: int = place) -> float:
            moved = atoms.copy()
            moved.positions[place, 1] += shift
            return pair_energy(moved, states, bonds=bonds) * len(moved)

        model = ionic_model(atoms, states, bonds=bonds)
        model.calculate(atoms)
        slope = (energy(step) - energy(-step)) / (2 * step)
        assert model.results["forces"][place, 1] == pytest.approx(-slope, abs=1e-3)


@pytest.mark.parametrize("name", ["calcite", "zircon", "li3vo4"])
def test_the_pair_model_keeps_known_crystals(name: str) -> None:
    atoms = _known(name)
    bonds = whole_bonds(atoms, _complexes(Counter(atoms.get_chemical_symbols())))
    states = guessed_states(Counter(atoms.get_chemical_symbols()))
    relaxed = relax_as_ions(atoms, states, bonds=bonds)
    assert same_structure(relaxed, atoms)
    assert relaxed.get_volume() == pytest.approx(atoms.get_volume(), rel=0.12)


def test_the_known_crystal_lies_below_random_ones() -> None:
    atoms, complexes = _known("zircon"), polyanions(ZIRCON, ZIRCON_STATES)
    bonds = whole_bonds(atoms, complexes)
    known = pair_energy(relax_as_ions(atoms, ZIRCON_STATES, bonds=bonds), ZIRCON_STATES, bonds=bonds)
    pool = make_pool(
        tuple(ZIRCON.items()), states=tuple(ZIRCON_STATES.items()), size=20, symmetric_share=0.5, seed=(0, 0)
    )
    energies = [
        pair_energy(s.atoms, ZIRCON_STATES, bonds=whole_bonds(s.atoms, complexes)) for s in pool.lowest
    ]
    assert energies == sorted(energies) and known < energies[0] + 0.01


def test_a_crystal_at_another_volume_keeps_its_bonds() -> None:
    atoms, complexes = _known("zircon"), polyanions(ZIRCON, ZIRCON_STATES)
    fitted = fitted_to(Seed(atoms=atoms, space_group=141), 1.15 * atoms.get_volume(), ZIRCON_STATES).atoms
    assert fitted.get_volume() == pytest.approx(1.15 * atoms.get_volume(), rel=1e-6)
    lengths = [fitted.get_distances(i, range(8), mic=True).min() for i in (8, 9)]
    assert lengths == pytest.approx([complexes[0].bond_angstrom] * 2, rel=0.06)

"""Seeds and operators: content, distances, determinism, symmetry."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase_ga.soft_mutation import SoftMutation
from pymatgen.io.ase import AseAtomsAdaptor
from pyxtal import operations
from pyxtal.tolerance import Tol_matrix

from crystal_search.errors import SearchError
from crystal_search.operators import CLOSEST_RATIO, MOST_PARENTS, N_PARENTS, OPERATORS, make_child
from crystal_search.relaxation import shortest_ratio
from crystal_search.seeds import (
    SEED_RATIO,
    p1_seed,
    random_seed,
    sorted_atoms,
    symmetric_seed,
    with_content,
)

CONTENT = {"Li": 4, "Si": 2, "O": 6}


def _contents(atoms: Atoms) -> dict[str, int]:
    symbols = atoms.get_chemical_symbols()
    return {s: symbols.count(s) for s in symbols}


@pytest.fixture(scope="module")
def parents() -> list[Atoms]:
    rng = np.random.default_rng(3)
    return [p1_seed(CONTENT, volume_angstrom3=150.0, rng=rng).atoms for _ in range(2)]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_seeds_have_their_content_sorted_and_no_overlap(share: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(3):
        seed = random_seed(CONTENT, symmetric_share=share, volume_angstrom3=None, rng=rng)
        assert _contents(seed.atoms) == CONTENT
        assert (np.diff(seed.atoms.numbers) >= 0).all()
        assert shortest_ratio(seed.atoms) >= SEED_RATIO - 1e-6
        assert (seed.space_group == 1) == (share == 0)


def test_symmetric_seeds_have_the_symmetry_of_their_group() -> None:
    seed = symmetric_seed(CONTENT, volume_angstrom3=None, rng=np.random.default_rng(1))
    found = AseAtomsAdaptor.get_structure(seed.atoms).get_space_group_info(symprec=0.01)[1]
    assert seed.space_group > 1 and found > 1


def test_the_same_generator_gives_the_same_seed() -> None:
    first, second = (
        random_seed(CONTENT, symmetric_share=0.5, volume_angstrom3=140.0, rng=np.random.default_rng(5))
        for _ in "ab"
    )
    np.testing.assert_array_equal(first.atoms.positions, second.atoms.positions)


def test_a_crystal_fits_only_whole_multiples_of_its_cell() -> None:
    salt = AseAtomsAdaptor.get_structure(bulk("NaCl", "rocksalt", a=5.6))
    primitive = salt.get_primitive_structure()
    assert len(with_content(primitive, 12)) == 12
    assert with_content(primitive, 5) is None
    assert with_content(primitive, 12).get_volume() == pytest.approx(6 * primitive.volume)


@pytest.mark.parametrize("name", [n for n in OPERATORS if n != "symmetrise"])
def test_children_keep_content_and_distances(name: str, parents: list[Atoms]) -> None:
    rng = np.random.default_rng(7)
    children = (
        make_child(name, parents[: N_PARENTS.get(name, 1)], n_before=0, modes={}, rng=rng) for _ in range(5)
    )
    child = next(c for c in children if c is not None)
    assert _contents(child) == CONTENT and (np.diff(child.numbers) >= 0).all()
    assert shortest_ratio(child) >= CLOSEST_RATIO - 1e-6
    moved = not np.allclose(child.get_scaled_positions(), parents[0].get_scaled_positions(), atol=1e-3)
    assert moved or not np.allclose(child.cell.cellpar(), parents[0].cell.cellpar(), atol=1e-3)


def test_symmetric_seeds_share_one_table_of_least_distances_and_leave_pyxtal_as_it_was(monkeypatch) -> None:
    made, init = [], Tol_matrix.__init__
    monkeypatch.setattr(Tol_matrix, "__init__", lambda self, *a, **k: made.append(1) or init(self, *a, **k))
    rng = np.random.default_rng(0)
    for _ in range(4):
        symmetric_seed(CONTENT, volume_angstrom3=None, rng=rng)
    assert len(made) <= 1
    assert operations.Tol_matrix is Tol_matrix


def test_operators_leave_their_parents_alone_and_repeat_with_the_generator(parents: list[Atoms]) -> None:
    before = parents[0].positions.copy()
    first, second = (
        make_child("rattle", parents, n_before=0, modes={}, rng=np.random.default_rng(2)) for _ in "ab"
    )
    np.testing.assert_array_equal(parents[0].positions, before)
    np.testing.assert_array_equal(first.positions, second.positions)


def test_soft_mutation_takes_another_mode_the_second_time(parents: list[Atoms]) -> None:
    rng = np.random.default_rng(0)
    children = [make_child("soft_mutation", parents, n_before=n, modes={}, rng=rng) for n in range(4)]
    positions = [c.positions for c in children if c is not None]
    assert len(positions) >= 2 and not np.allclose(positions[0], positions[1], atol=1e-3)


def test_soft_mutation_finds_the_modes_of_a_parent_once_and_they_are_its_own(monkeypatch) -> None:
    rng = np.random.default_rng(5)
    many = [p1_seed(CONTENT, volume_angstrom3=150.0, rng=rng).atoms for _ in range(MOST_PARENTS + 1)]
    counted, modes, hessian = [], {}, SoftMutation._get_hessian
    monkeypatch.setattr(SoftMutation, "_get_hessian", lambda self, *a: counted.append(1) or hessian(self, *a))

    def children(parent: Atoms) -> list[Atoms | None]:
        return [make_child("soft_mutation", [parent], n_before=n, modes=modes, rng=rng) for n in range(6)]

    first = {k: children(parent) for k, parent in enumerate(many)}
    assert len(counted) == len(many)
    again = children(many[0])  # forgotten by now, and computed anew
    assert len(counted) == len(many) + 1
    for one, other in zip(first[0], again, strict=True):
        np.testing.assert_array_equal(one and one.positions, other and other.positions)
    moved = [c.positions for own in first.values() for c in own if c is not None]
    assert len({m.tobytes() for m in moved}) == len(moved)


def test_symmetrisation_finds_a_hidden_symmetry_and_refuses_what_has_it() -> None:
    salt = sorted_atoms(bulk("NaCl", "rocksalt", a=5.6))
    shaken = sorted_atoms(salt.repeat((2, 1, 1)))
    shaken.rattle(0.08, seed=0)
    child = make_child("symmetrise", [shaken], n_before=0, modes={}, rng=np.random.default_rng(0))
    assert AseAtomsAdaptor.get_structure(child).get_space_group_info(symprec=0.01)[1] > 1
    assert _contents(child) == _contents(shaken)
    assert make_child("symmetrise", [salt], n_before=0, modes={}, rng=np.random.default_rng(0)) is None


def test_unknown_operator_is_named() -> None:
    with pytest.raises(SearchError, match="Did you mean 'rattle'"):
        make_child("ratle", [], n_before=0, modes={}, rng=np.random.default_rng(0))


def test_a_single_element_cannot_be_permuted() -> None:
    atoms = p1_seed({"Li": 4}, volume_angstrom3=80.0, rng=np.random.default_rng(0)).atoms
    assert make_child("permutation", [atoms], n_before=0, modes={}, rng=np.random.default_rng(0)) is None

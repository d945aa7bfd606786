"""Random crystals to begin a search with: symmetric ones (pyxtal) and ones without symmetry."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from unittest.mock import patch

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from ase.neighborlist import neighbor_list
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from crystal_search.relaxation import shortest_ratio

N_TRIES = 60  # space groups tried for one symmetric crystal
N_PLACEMENTS = 400  # placements tried for one crystal without symmetry
SEED_RATIO = 0.7  # smallest distance over the sum of covalent radii in a seed
CRYSTAL_SYSTEMS = ((2, 2), (3, 15), (16, 74), (75, 142), (143, 194), (195, 230))  # their space groups
LARGEST_GROWTH = 2.0  # a seed that would need more than this times the guessed volume is thrown away
VOLUME_RATIO = 2.6  # volume of a seed over that of its atoms' covalent spheres, where none is known better


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A random crystal: sorted by atomic number, with the space group that it was made in."""

    atoms: Atoms
    space_group: int


def sorted_atoms(atoms: Atoms) -> Atoms:
    """Return the atoms in the order of atomic number, as every operator of the search expects them."""
    return atoms[np.argsort(atoms.numbers, kind="stable")]


def guessed_volume(symbols: Sequence[str]) -> float:
    """Return a volume in Angstrom^3 for atoms of these kinds, from covalent radii."""
    radii = covalent_radii[[atomic_numbers[s] for s in symbols]]
    return float(VOLUME_RATIO * (4 / 3 * np.pi * radii**3).sum())


def random_seed(
    content: dict[str, int],
    *,
    symmetric_share: float,
    volume_angstrom3: float | None,
    rng: np.random.Generator,
) -> Seed:
    """Return a random crystal with exactly the atoms of ``content`` in its primitive cell.

    With probability ``symmetric_share`` it has a random space group of a random crystal system, else none.
    Its volume is about ``volume_angstrom3``; None means `guessed_volume`.
    """
    if rng.random() < symmetric_share:
        seed = symmetric_seed(content, volume_angstrom3=volume_angstrom3, rng=rng)
        if seed is not None:
            return seed
    return p1_seed(content, volume_angstrom3=volume_angstrom3, rng=rng)


def symmetric_seed(
    content: dict[str, int], *, volume_angstrom3: float | None, rng: np.random.Generator
) -> Seed | None:
    """Return a crystal in a random space group that its composition allows, None if none was found.

    Each crystal system is as likely: with every space group as likely, three of four seeds would have
    more than eight symmetry operations, and most of those relax to saddle points.

    pyxtal: Fredericks et al., Comput. Phys. Commun. 261, 107810 (2021), doi 10.1016/j.cpc.2020.107810.
    """
    volume = volume_angstrom3 or guessed_volume([s for s, n in content.items() for _ in range(n)])
    for _ in range(N_TRIES):
        first, last = CRYSTAL_SYSTEMS[rng.integers(len(CRYSTAL_SYSTEMS))]
        group = int(rng.integers(first, last + 1))
        atoms = _pyxtal_atoms(content, group, seed=int(rng.integers(2**31)))
        if atoms is None:
            continue
        atoms = scaled_to(atoms, volume * rng.uniform(0.9, 1.15))
        ratio = shortest_ratio(atoms)
        if ratio < SEED_RATIO:
            atoms = scaled_to(atoms, atoms.get_volume() * (SEED_RATIO / ratio) ** 3)
        if atoms.get_volume() < LARGEST_GROWTH * guessed_volume(atoms.get_chemical_symbols()):
            return Seed(atoms=atoms, space_group=group)
    return None


def scaled_to(atoms: Atoms, volume_angstrom3: float | None) -> Atoms:
    """Return the crystal stretched or squeezed evenly to a volume; None leaves it as it is."""
    copy = atoms.copy()
    if volume_angstrom3 is not None:
        copy.set_cell(copy.cell * (volume_angstrom3 / copy.get_volume()) ** (1 / 3), scale_atoms=True)
    return copy


def _pyxtal_atoms(content: dict[str, int], group: int, *, seed: int) -> Atoms | None:
    """Return the primitive cell of one random crystal, None where the space group does not allow it."""
    from pyxtal import operations, pyxtal
    from pyxtal.msg import Comp_CompatibilityError, VolumeError

    crystal = pyxtal()
    one_table = patch.object(operations, "Tol_matrix", lambda **_: _least_distances(), create=True)
    try:
        with warnings.catch_warnings(), one_table:
            warnings.simplefilter("ignore")
            options = {"max_count": 2, "tm": _least_distances(), "random_state": np.random.default_rng(seed)}
            crystal.from_random(3, group, [*content], [*content.values()], conventional=False, **options)
    except (Comp_CompatibilityError, VolumeError, RuntimeError, ValueError, IndexError):
        return None
    if not crystal.valid:
        return None
    return with_content(crystal.to_pymatgen().get_primitive_structure(tolerance=0.05), sum(content.values()))


@lru_cache(maxsize=1)
def _least_distances() -> object:
    """Return pyxtal's usual least distances: its table of all pairs of elements, made once.

    Left alone, pyxtal makes the same table anew at each check of a crystal against its images: a third of the
    time that a random crystal takes.
    """
    from pyxtal.tolerance import Tol_matrix

    return Tol_matrix(prototype="atomic")


def with_content(structure: Structure, n_atoms: int) -> Atoms | None:
    """Return the crystal as sorted atoms in a cell of ``n_atoms``; None if no whole supercell has them."""
    factor, rest = divmod(n_atoms, len(structure))
    if rest or factor < 1:
        return None
    cell = structure.copy()
    while factor > 1:  # the shortest axis first, so that the cell stays compact
        step = next(p for p in (2, 3, 5, 7, factor) if factor % p == 0)
        scaling = [1, 1, 1]
        scaling[int(np.argmin(cell.lattice.abc))] = step
        cell = cell.make_supercell(scaling, in_place=False)
        factor //= step
    reduced = cell.get_reduced_structure()
    atoms = AseAtomsAdaptor.get_atoms(reduced)
    return sorted_atoms(Atoms(atoms.get_chemical_symbols(), atoms.positions, cell=atoms.cell, pbc=True))


def p1_seed(content: dict[str, int], *, volume_angstrom3: float | None, rng: np.random.Generator) -> Seed:
    """Return atoms placed at random in a random cell, none nearer than `SEED_RATIO` of the covalent radii.

    If the cell is too small for them it grows until they fit.
    """
    symbols = [s for s in sorted(content, key=lambda s: atomic_numbers[s]) for _ in range(content[s])]
    volume = volume_angstrom3 or guessed_volume(symbols)
    for _ in range(N_PLACEMENTS):
        cell = _random_cell(volume, rng)
        atoms = Atoms(symbols, scaled_positions=rng.random((len(symbols), 3)), cell=cell, pbc=True)
        if shortest_ratio(_spread(atoms)) >= SEED_RATIO:
            break
        volume *= 1.01
    return Seed(atoms=atoms, space_group=1)


def _random_cell(volume: float, rng: np.random.Generator) -> np.ndarray:
    """Return lattice vectors with angles of 60 to 120 deg and lengths within a factor of 2.5."""
    while True:
        lengths, angles = rng.uniform(0.6, 1.5, 3), rng.uniform(60, 120, 3)
        cell = Atoms(cell=[*lengths, *angles]).cell
        if cell.volume > 0.35 * np.prod(lengths):
            return np.asarray(cell) * (volume / cell.volume) ** (1 / 3)


def _spread(atoms: Atoms, *, steps: int = 25) -> Atoms:
    """Return the atoms pushed apart where they overlap, so that dense cells can be filled at all."""
    moved = atoms.copy()
    radii = covalent_radii[moved.numbers]
    for _ in range(steps):
        i, j, d, vectors = neighbor_list("ijdD", moved, cutoff=3.5)
        wanted = 0.95 * (radii[i] + radii[j])
        near = (d < wanted) & (d > 1e-6)
        if not near.any():
            break
        push = -0.25 * ((wanted - d) / d)[near, None] * vectors[near]
        shift = np.zeros_like(moved.positions)
        np.add.at(shift, i[near], push)
        moved.positions += shift
    moved.wrap()
    atoms.positions = moved.positions
    return atoms

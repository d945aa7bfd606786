"""Random crystals that hold polyanions whole.

Random placement of single atoms hardly ever makes a PO4 or CO3, so they are built in: the centres and the
other ions are placed as atoms, and then the ligands around each centre, turned so that the symmetry of its
place stays.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import spglib
from ase import Atoms
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from crystal_search.polyanions import DIRECTIONS, Polyanion, whole_bonds
from crystal_search.relaxation import shortest_ratio
from crystal_search.seeds import SEED_RATIO, Seed, guessed_volume, random_seed, scaled_to, sorted_atoms

N_ORIENTATIONS = 30  # tries to turn a complex so that the symmetry of its place leaves it as it is
N_AVERAGES = 12  # rounds of averaging in one such try, fewer if it stays
LARGEST_BEND_DEG = 20.0  # between ligands after averaging, off the ideal angle
N_SKELETONS = 40  # arrangements of centres and other ions tried for one crystal
GROWTHS = (1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0)  # of the volume, until nothing overlaps
SYMMETRY_ANGSTROM = 0.01  # how far an atom may be from its image


def polyanion_seed(
    content: Mapping[str, int],
    complexes: Sequence[Polyanion],
    *,
    symmetric_share: float,
    rng: np.random.Generator,
) -> Seed:
    """Return a random crystal with these complexes whole.

    They have the symmetry of their places, or a random orientation where there is none. If none was found,
    any random crystal.
    """
    volume = guessed_volume([s for s, n in content.items() for _ in range(n)])
    like = {"symmetric_share": symmetric_share, "volume_angstrom3": None, "rng": rng}
    left = dict(content)
    for one in complexes:
        left[one.ligand] -= one.n_ligands * content[one.centre]
    left = {s: n for s, n in left.items() if n}
    for _ in range(N_SKELETONS):
        skeleton = random_seed(left, **like)
        ligands = _oriented(skeleton.atoms, complexes, rng)
        if ligands is None:
            continue
        for growth in GROWTHS:
            atoms = _decorated(skeleton.atoms, ligands, volume * growth)
            if shortest_ratio(atoms) >= SEED_RATIO and whole_bonds(atoms, complexes) is not None:
                return Seed(atoms=atoms, space_group=skeleton.space_group)
    return random_seed(dict(content), **like)


def _decorated(
    skeleton: Atoms, ligands: Sequence[tuple[int, str, np.ndarray]], volume_angstrom3: float
) -> Atoms:
    """Return the skeleton at a volume, with its ligands at their distances."""
    atoms = scaled_to(skeleton, volume_angstrom3)
    for centre, symbol, vectors in ligands:
        atoms += Atoms([symbol] * len(vectors), atoms.positions[centre] + vectors)
    return sorted_atoms(atoms)


def _oriented(
    skeleton: Atoms, complexes: Sequence[Polyanion], rng: np.random.Generator
) -> list[tuple[int, str, np.ndarray]] | None:
    """Return for each centre its place, ligand and the vectors to its ligands (n, 3), Angstrom.

    Centres that symmetry makes the same have the same complex. None where a place has a symmetry that the
    complex cannot have.
    """
    crystal = (skeleton.cell[:], skeleton.get_scaled_positions(), skeleton.numbers)
    found = spglib.get_symmetry(crystal, symprec=SYMMETRY_ANGSTROM)
    rotations, first_of = found["rotations"], np.asarray(found["equivalent_atoms"])
    by_centre = {one.centre: one for one in complexes}
    symbols, placed = skeleton.get_chemical_symbols(), []
    moves = _images(skeleton, rotations, found["translations"])
    for first in sorted(set(first_of)):
        one = by_centre.get(symbols[first])
        if one is None:
            continue
        of_place = [r for r, to in zip(rotations, moves[:, first], strict=True) if to == first]
        turned = _symmetric_directions(one.n_ligands, _cartesian(of_place, skeleton), rng)
        if turned is None:
            return None
        for place in np.flatnonzero(first_of == first):
            operation = int(np.flatnonzero(moves[:, first] == place)[0])
            rotation = _cartesian([rotations[operation]], skeleton)[0]
            placed.append((int(place), one.ligand, one.bond_angstrom * turned @ rotation.T))
    return placed


def _images(atoms: Atoms, rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """Return which atom each operation takes each atom to, shape (n_operations, n_atoms)."""
    inside = atoms.get_scaled_positions()
    moved = np.einsum("oab,nb->ona", rotations, inside) + translations[:, None]
    apart = moved[:, :, None] - inside[None, None]
    apart -= np.round(apart)
    far = np.linalg.norm(apart @ atoms.cell[:], axis=-1)
    far[:, atoms.numbers[:, None] != atoms.numbers[None]] = np.inf
    return far.argmin(axis=-1)


def _cartesian(rotations: Sequence[np.ndarray], atoms: Atoms) -> np.ndarray:
    """Return rotations of fractional coordinates as ones of Cartesian vectors, shape (n, 3, 3)."""
    cell = np.asarray(atoms.cell)
    return np.array([cell.T @ r @ np.linalg.inv(cell.T) for r in rotations])


def _symmetric_directions(
    n_ligands: int, operations: np.ndarray, rng: np.random.Generator
) -> np.ndarray | None:
    """Return directions (n, 3) of a complex that all operations leave as it is, None if none was found.

    A random orientation is averaged over the operations until it no longer moves.
    """
    ideal = DIRECTIONS[n_ligands]
    for _ in range(N_ORIENTATIONS):
        turned = ideal @ Rotation.random(rng=rng).as_matrix().T
        for _ in range(N_AVERAGES if len(operations) > 1 else 0):
            before = turned
            turned = np.mean([_paired_with(turned, turned @ o.T) for o in operations], axis=0)
            turned /= np.linalg.norm(turned, axis=1, keepdims=True) + 1e-12
            if np.allclose(turned, before, atol=1e-3):
                break
        stays = (np.allclose(_paired_with(turned, turned @ o.T), turned, atol=0.02) for o in operations)
        if _bend_deg(turned, ideal) < LARGEST_BEND_DEG and all(stays):
            return turned
    return None


def _paired_with(directions: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Return the moved directions in the order of those that they came to lie on."""
    rows, columns = linear_sum_assignment(-directions @ moved.T)
    return moved[columns[np.argsort(rows)]]


def _bend_deg(directions: np.ndarray, ideal: np.ndarray) -> float:
    """Return the largest difference of the sorted angles between directions from the ideal ones."""
    upper = np.triu_indices(len(ideal), 1)
    angles = [np.sort(np.degrees(np.arccos(np.clip((d @ d.T)[upper], -1, 1)))) for d in (directions, ideal)]
    return float(np.abs(angles[0] - angles[1]).max())

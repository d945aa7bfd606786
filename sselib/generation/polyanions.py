"""Polyanions such as PO4, CO3 or BH4: which a composition has, and random crystals that hold them whole.

Where a cation gives each of its anions at least half of what that needs (Pauling's bond strength), and there
are anions enough, it keeps them to itself: such crystals consist of complexes (Evans, An Introduction to
Crystal Chemistry, 2nd ed., Cambridge 1964, anisodesmic structures). A pair model of ions does not know that,
and random placement of single atoms hardly ever makes one, so they are built in: the centres and the other
ions are placed as atoms, and then the ligands around each centre.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from pymatgen.analysis.bond_valence import BV_PARAMS
from pymatgen.core import Composition, Element
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from sselib.generation.neighbours import near_pairs
from sselib.generation.relaxation import shortest_ratio
from sselib.generation.seeds import SEED_RATIO, Seed, guessed_volume, random_seed, sorted_atoms
from sselib.materials.oxidation import IMBALANCED, METALLIC, assign_oxidation_states

SOFTNESS_ANGSTROM = 0.37  # of bond valences (O'Keeffe and Brese)
TRIGONAL, TETRAHEDRAL, OCTAHEDRAL = 3, 4, 6
CHALCOGENS = ("S", "Se", "Te")
# Centres of complexes and their usual number of ligands, and what differs from it.
_LIGANDS: Mapping[str, int] = {
    **dict.fromkeys(("B", "C", "N"), TRIGONAL),
    **dict.fromkeys(("Be", "Al", "Si", "P", "S", "Cl", "V", "Cr", "Ga", "Ge"), TETRAHEDRAL),
    **dict.fromkeys(("As", "Se", "Br", "Mo", "W"), TETRAHEDRAL),
}
_OTHER_LIGANDS: Mapping[tuple[str, str], int] = {
    **{("B", halide): TETRAHEDRAL for halide in ("H", "F", "Cl", "Br", "I")},
    **{(centre, "F"): OCTAHEDRAL for centre in ("Al", "Si", "P", "Ga", "Ge", "As", "Sn", "Sb")},
    **{(centre, anion): TETRAHEDRAL for centre in ("In", "Sn", "Sb") for anion in CHALCOGENS},
}
_DIRECTIONS: Mapping[int, np.ndarray] = {
    TRIGONAL: np.array([[1, 0, 0], [-0.5, np.sqrt(0.75), 0], [-0.5, -np.sqrt(0.75), 0]]),
    TETRAHEDRAL: np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3),
    OCTAHEDRAL: np.vstack([np.eye(3), -np.eye(3)]),
}
WHOLE_BOND_RATIO = 1.3  # a ligand further away than this times the usual bond is not bound
N_ORIENTATIONS = 30  # tries to turn a complex so that the symmetry of its place leaves it as it is
N_AVERAGES = 12  # rounds of averaging in one such try, fewer if it stays
LARGEST_BEND_DEG = 20.0  # between ligands after averaging, off the ideal angle
N_SKELETONS = 40  # arrangements of centres and other ions tried for one crystal
GROWTHS = (1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0)  # of the volume, until nothing overlaps


@dataclass(frozen=True, kw_only=True)
class Polyanion:
    """A complex of one centre and ``n_ligands`` ligands at ``bond_angstrom``."""

    centre: str
    ligand: str
    n_ligands: int
    bond_angstrom: float
    bond_strength: float  # oxidation state of the centre over the number of ligands

    @property
    def ligand_distance_angstrom(self) -> float | None:
        """Return the distance of two ligands; None where there are two such distances (octahedra)."""
        if self.n_ligands == OCTAHEDRAL:
            return None
        first, second = _DIRECTIONS[self.n_ligands][:2]
        return self.bond_angstrom * float(np.linalg.norm(first - second))


@dataclass(frozen=True, kw_only=True)
class Bonds:
    """Distances in Angstrom that complexes keep, (n_atoms, n_atoms), 0 where atoms are not bound."""

    centre_ligand: np.ndarray
    ligand_ligand: np.ndarray


def bond_length(centre: str, ligand: str, valence: float) -> float:
    """Return the length in Angstrom of a bond of that valence.

    O'Keeffe and Brese, J. Am. Chem. Soc. 113, 3226 (1991), doi 10.1021/ja00009a002.
    """
    (r1, c1), (r2, c2) = ((BV_PARAMS[Element(s)]["r"], BV_PARAMS[Element(s)]["c"]) for s in (centre, ligand))
    single = r1 + r2 - r1 * r2 * (np.sqrt(c1) - np.sqrt(c2)) ** 2 / (c1 * r1 + c2 * r2)
    return float(single - SOFTNESS_ANGSTROM * np.log(valence))


def polyanions(content: Mapping[str, int]) -> list[Polyanion]:
    """Return the complexes that these amounts of elements make, the strongest bonds first; often none.

    All centres of an element are in complexes or none is; no ligand is shared.
    """
    found = assign_oxidation_states(Composition(content))
    if found.rule in (METALLIC, IMBALANCED):
        return []
    free = {s: n for s, n in content.items() if found.states[s] < 0}
    chosen = []
    for one in sorted(_possible(found.states, free), key=lambda p: -p.bond_strength):
        needed = one.n_ligands * content[one.centre]
        if needed <= free[one.ligand] and one.centre not in {p.centre for p in chosen}:
            free[one.ligand] -= needed
            chosen.append(one)
    return chosen


def _possible(states: Mapping[str, float], anions: Mapping[str, int]) -> list[Polyanion]:
    """Return every complex strong enough, of ligands of the most abundant anion first."""
    made = []
    for ligand in sorted(anions, key=lambda s: -anions[s]):
        for centre, state in states.items():
            n = _OTHER_LIGANDS.get((centre, ligand), _LIGANDS.get(centre, 0)) if state > 0 else 0
            if n and state / n >= -states[ligand] / 2 - 1e-9 and _has_parameters(centre, ligand):
                made.append(
                    Polyanion(
                        centre=centre,
                        ligand=ligand,
                        n_ligands=n,
                        bond_angstrom=bond_length(centre, ligand, state / n),
                        bond_strength=state / n,
                    )
                )
    return made


def _has_parameters(*symbols: str) -> bool:
    return all(Element(s) in BV_PARAMS for s in symbols)


def whole_bonds(atoms: Atoms, complexes: Sequence[Polyanion]) -> Bonds | None:
    """Return the bonds of a crystal whose complexes are all whole; None without complexes too."""
    if not complexes:
        return None
    n, symbols = len(atoms), np.array(atoms.get_chemical_symbols())
    bonds = Bonds(centre_ligand=np.zeros((n, n)), ligand_ligand=np.zeros((n, n)))
    taken = np.zeros(n, dtype=bool)
    for one in complexes:
        for centre in np.flatnonzero(symbols == one.centre):
            ligands = _ligands_of(atoms, centre, symbols == one.ligand, one)
            if ligands is None or taken[ligands].any():
                return None
            taken[ligands] = True
            bonds.centre_ligand[centre, ligands] = bonds.centre_ligand[ligands, centre] = one.bond_angstrom
            if one.ligand_distance_angstrom is not None:
                bonds.ligand_ligand[np.ix_(ligands, ligands)] = one.ligand_distance_angstrom
    np.fill_diagonal(bonds.ligand_ligand, 0.0)
    return bonds


def _ligands_of(atoms: Atoms, centre: int, of_kind: np.ndarray, one: Polyanion) -> np.ndarray | None:
    """Return the atoms bound to a centre, None if they are not exactly as many as it has."""
    i, j, *_ = near_pairs(atoms, WHOLE_BOND_RATIO * one.bond_angstrom)
    bound = np.concatenate([j[i == centre], i[j == centre]])
    bound = bound[of_kind[bound]]
    return bound if len(bound) == len(set(bound)) == one.n_ligands else None


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
    for _ in range(N_SKELETONS):
        skeleton = random_seed(_without_ligands(content, complexes), **like)
        ligands = _oriented(skeleton.atoms, complexes, rng)
        if ligands is None:
            continue
        for growth in GROWTHS:
            atoms = _decorated(skeleton.atoms, ligands, volume * growth)
            if shortest_ratio(atoms) >= SEED_RATIO and whole_bonds(atoms, complexes) is not None:
                return Seed(atoms=atoms, space_group=skeleton.space_group)
    return random_seed(dict(content), **like)


def _without_ligands(content: Mapping[str, int], complexes: Sequence[Polyanion]) -> dict[str, int]:
    left = dict(content)
    for one in complexes:
        left[one.ligand] -= one.n_ligands * content[one.centre]
    return {s: n for s, n in left.items() if n}


def _decorated(
    skeleton: Atoms, ligands: Sequence[tuple[int, str, np.ndarray]], volume_angstrom3: float
) -> Atoms:
    """Return the skeleton at a volume, with its ligands at their distances."""
    atoms = skeleton.copy()
    atoms.set_cell(atoms.cell * (volume_angstrom3 / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
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
    rotations, translations, first_of = _symmetry(skeleton)
    by_centre = {one.centre: one for one in complexes}
    symbols, placed = skeleton.get_chemical_symbols(), []
    moves = _images(skeleton, rotations, translations)
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


def _symmetry(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rotations and translations (of fractional coordinates) and the first equivalent atom of each."""
    import spglib

    found = spglib.get_symmetry((atoms.cell[:], atoms.get_scaled_positions(), atoms.numbers), symprec=0.01)
    return found["rotations"], found["translations"], np.asarray(found["equivalent_atoms"])


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
    ideal = _DIRECTIONS[n_ligands]
    for _ in range(N_ORIENTATIONS):
        turned = ideal @ Rotation.random(rng=rng).as_matrix().T
        for _ in range(N_AVERAGES if len(operations) > 1 else 0):
            before = turned
            turned = np.mean([_paired_with(turned, turned @ o.T) for o in operations], axis=0)
            turned /= np.linalg.norm(turned, axis=1, keepdims=True) + 1e-12
            if np.allclose(turned, before, atol=1e-3):
                break
        if _bend_deg(turned, ideal) < LARGEST_BEND_DEG and _is_invariant(turned, operations):
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


def _is_invariant(directions: np.ndarray, operations: np.ndarray) -> bool:
    return all(
        np.allclose(_paired_with(directions, directions @ o.T), directions, atol=0.02) for o in operations
    )

"""Polyanions such as PO4, CO3 or BH4: which of them a composition has, and where they are in a crystal.

Where a cation gives each of its anions at least half of what that needs (Pauling's bond strength), and there
are anions enough, it keeps them to itself: such crystals consist of complexes (Evans, An Introduction to
Crystal Chemistry, 2nd ed., Cambridge 1964, anisodesmic and mesodesmic structures). Shared ligands (chains,
P2O7) and bonds between centres (P2S6) are not described.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from pymatgen.analysis.bond_valence import BV_PARAMS
from pymatgen.core import Element

from crystal_search.neighbours import near_pairs

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
DIRECTIONS: Mapping[int, np.ndarray] = {  # of the ligands, from the centre
    TRIGONAL: np.array([[1, 0, 0], [-0.5, np.sqrt(0.75), 0], [-0.5, -np.sqrt(0.75), 0]]),
    TETRAHEDRAL: np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3),
    OCTAHEDRAL: np.vstack([np.eye(3), -np.eye(3)]),
}
WHOLE_BOND_RATIO = 1.3  # a ligand further away than this times the usual bond is not bound


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
        first, second = DIRECTIONS[self.n_ligands][:2]
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


def polyanions(content: Mapping[str, int], states: Mapping[str, float]) -> list[Polyanion]:
    """Return the complexes that these amounts of elements make, the strongest bonds first; often none.

    ``states``: oxidation state of each element; without any there are no complexes.
    All centres of an element are in complexes or none is; no ligand is shared.
    """
    free = {s: n for s, n in content.items() if states.get(s, 0) < 0}
    chosen = []
    for one in sorted(_possible(states, free), key=lambda p: -p.bond_strength):
        needed = one.n_ligands * content[one.centre]
        if needed <= free[one.ligand] and one.centre not in {p.centre for p in chosen}:
            free[one.ligand] -= needed
            chosen.append(one)
    return chosen


def _possible(states: Mapping[str, float], anions: Mapping[str, int]) -> list[Polyanion]:
    """Return every complex strong enough, of ligands of the most abundant anion first."""
    made = []
    cations = sorted((c, state) for c, state in states.items() if state > 0 and Element(c) in BV_PARAMS)
    for ligand in sorted(anions, key=lambda s: -anions[s]):
        for centre, state in cations if Element(ligand) in BV_PARAMS else ():
            n = _OTHER_LIGANDS.get((centre, ligand), _LIGANDS.get(centre, 0))
            if n and state / n >= -states[ligand] / 2 - 1e-9:
                length = bond_length(centre, ligand, state / n)
                one = {"centre": centre, "ligand": ligand, "n_ligands": n, "bond_strength": state / n}
                made.append(Polyanion(bond_angstrom=length, **one))
    return made


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

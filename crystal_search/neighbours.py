"""Pairs of near atoms in a periodic crystal."""

import numpy as np
from ase import Atoms
from pymatgen.optimization.neighbors import find_points_in_spheres


def near_pairs(atoms: Atoms, cutoff_angstrom: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return both atoms, the vector from the second to the first and its length of each near pair.

    Shapes (n,), (n,), (n, 3), (n,), in Angstrom. Every pair is there once, an atom's own images included;
    the crystal is periodic in all three directions.
    """
    cell = np.ascontiguousarray(atoms.cell, dtype=float)
    inside = np.ascontiguousarray(atoms.get_positions(wrap=True), dtype=float)
    periodic = np.ones(3, dtype=np.int64)
    i, j, image, length = find_points_in_spheres(inside, inside, cutoff_angstrom, periodic, cell, 1e-8)
    leading = image @ np.array([1e8, 1e4, 1.0])  # has the sign of the first component that is not 0
    once = (i < j) | ((i == j) & (leading > 0))
    i, j, image = i[once], j[once], image[once]
    return i, j, inside[i] - inside[j] - image @ cell, length[once]

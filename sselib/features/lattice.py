"""Features of the unit cell: as tabulated, and in a form that does not depend on its setting.

The lattice of the table is taken where it is complete, else that of the structure. Density comes from the
content of the cell in the table (the true composition) where given, else from the structure's occupancies.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pymatgen.core import Composition, Element, Lattice, Structure

from sselib.columns import Entry
from sselib.materials.composition import parse_formula

_G_CM3_PER_U_A3 = 1.66053906660  # 1 u/Angstrom^3 in g/cm3 (CODATA 2018)
_LENGTHS = (Entry.A_ANGSTROM, Entry.B_ANGSTROM, Entry.C_ANGSTROM)
_ANGLES = (Entry.ALPHA_DEG, Entry.BETA_DEG, Entry.GAMMA_DEG)
_RANKS = ("short", "middle", "long")
_VOLUME_PER_ATOM_A3 = (4.0, 60.0)  # outside this range cell and content cannot belong together

# Primitive lattice vectors (rows) in terms of the conventional ones, International Tables A, 1.5.1.
_PRIMITIVE: dict[str, np.ndarray] = {
    "P": np.eye(3),
    "A": np.array([[1, 0, 0], [0, 0.5, -0.5], [0, 0.5, 0.5]]),
    "B": np.array([[0.5, 0, -0.5], [0, 1, 0], [0.5, 0, 0.5]]),
    "C": np.array([[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 1]]),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "F": np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
}


@dataclass(frozen=True)
class Cell:
    """A unit cell: conventional lattice, primitive lattice, and content (None where not known)."""

    lattice: Lattice
    primitive: Lattice
    content: Composition | None


def cell_of_row(row: Mapping[str, object]) -> Cell | None:
    """Return the cell that a row of the curated table gives, None where lengths or angles are missing.

    The primitive lattice follows from the centring letter of the space-group symbol; without a symbol
    the cell counts as primitive.
    """
    values = [row.get(name) for name in (*_LENGTHS, *_ANGLES)]
    if any(pd.isna(v) for v in values):
        return None
    lattice = Lattice.from_parameters(*map(float, values))
    symbol, formula = row.get(Entry.SPACE_GROUP_SYMBOL), row.get(Entry.CELL_FORMULA)
    centring = "P" if pd.isna(symbol) else str(symbol).strip()[:1].upper()
    content = None if pd.isna(formula) or not formula else parse_formula(str(formula))
    return Cell(lattice, primitive_lattice(lattice, centring=centring), content)


def cell_of_structure(structure: Structure) -> Cell:
    """Return the cell of a structure; spglib finds its primitive lattice (symprec 0.01 Angstrom)."""
    primitive = structure.get_primitive_structure(tolerance=0.01, use_site_props=False)
    return Cell(structure.lattice, primitive.lattice, structure.composition.element_composition)


def primitive_lattice(lattice: Lattice, *, centring: str) -> Lattice:
    """Return the primitive lattice of a centred cell (P, A, B, C, I, F, R).

    R counts as centred only in the hexagonal setting (gamma = 120); the rhombohedral cell is primitive.
    """
    hexagonal = abs(lattice.gamma - 120) < 0.5 and abs(lattice.a - lattice.b) < 0.01 * lattice.a
    letter = "P" if centring == "R" and not hexagonal else centring
    return Lattice(_PRIMITIVE.get(letter, np.eye(3)) @ lattice.matrix)


def density_g_cm3(content: Composition, volume_angstrom3: float) -> float:
    """Return mass over volume; ``content`` is what the cell holds, partial occupancies included."""
    return float(content.weight) / volume_angstrom3 * _G_CM3_PER_U_A3


def geometric_features(cell: Cell, *, mobile_ion: str = "Li") -> dict[str, float]:
    """Return a, b, c (Angstrom), density (g/cm3) and volumes per atom and per mobile ion (Angstrom^3)."""
    lengths = dict(zip((str(n) for n in _LENGTHS), cell.lattice.abc, strict=True))
    content, volume = cell.content, cell.lattice.volume
    if content is None:
        return lengths
    ions = content.get_el_amt_dict().get(mobile_ion, 0.0)
    return {
        **lengths,
        "density_g_cm3": density_g_cm3(content, volume),
        "volume_per_atom_angstrom3": volume / content.num_atoms,
        f"volume_per_{mobile_ion.lower()}_angstrom3": volume / ions if ions else np.nan,
    }


def cell_features(cell: Cell, *, mobile_ion: str = "Li") -> dict[str, float]:
    """Return `geometric_features` and `invariant_features`."""
    return geometric_features(cell, mobile_ion=mobile_ion) | invariant_features(cell)


def invariant_features(cell: Cell) -> dict[str, float]:
    """Return lengths that do not depend on how the axes are called, and the packing of atoms."""
    niggli = sorted(cell.primitive.get_niggli_reduced_lattice(tol=1e-3).abc)
    kinds = {"length": sorted(cell.lattice.abc), "niggli": niggli}
    return {
        **{f"{kind}_{rank}_angstrom": x for kind, abc in kinds.items() for rank, x in zip(_RANKS, abc)},
        "niggli_long_to_short": niggli[2] / niggli[0],
        "primitive_volume_angstrom3": cell.primitive.volume,
        "packing_fraction": _packing(cell),
    }


def _packing(cell: Cell) -> float:
    """Return the volume of atoms of Slater's radius over the volume of the cell; NaN without content."""
    if cell.content is None:
        return np.nan
    amounts = cell.content.get_el_amt_dict()
    radii = {el: Element(el).atomic_radius for el in amounts}
    if not all(radii.values()):
        return np.nan
    balls = sum(n * float(radii[el]) ** 3 for el, n in amounts.items()) * 4 / 3 * np.pi
    return balls / cell.lattice.volume


def implausible(cell: Cell) -> str:
    """Return why cell and content cannot belong together, or an empty text."""
    if cell.content is None:
        return ""
    per_atom, (low, high) = cell.lattice.volume / cell.content.num_atoms, _VOLUME_PER_ATOM_A3
    if low <= per_atom <= high:
        return ""
    return (
        f"{per_atom:.1f} Angstrom^3 per atom in a cell of {cell.lattice.volume:.0f} Angstrom^3 that "
        f"holds {cell.content.formula}: expected {low:g} to {high:g}; the content or the cell is wrong"
    )

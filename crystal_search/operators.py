"""Operators that make a child from one or two relaxed parents: ase-ga's, and symmetrisation.

Parents and children are ASE atoms in the order of atomic number, all with the same content. An operator
returns None where it finds no legal child. ase-ga needs numpy's older `RandomState`.
"""

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms
from ase_ga.cutandsplicepairing import CutAndSplicePairing
from ase_ga.soft_mutation import SoftMutation
from ase_ga.standardmutations import PermutationMutation, RattleMutation, StrainMutation
from ase_ga.utilities import CellBounds, closest_distances_generator
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from crystal_search.errors import SearchError, did_you_mean
from crystal_search.seeds import sorted_atoms, with_content

CLOSEST_RATIO = 0.6  # of the sum of covalent radii, in a child before it is relaxed
CELL_ANGLES_DEG = (40.0, 140.0)
SYMMETRY_TOLERANCES_ANGSTROM = (0.1, 0.2, 0.3, 0.45, 0.6)  # Angstrom, tried from large to small
MOST_PARENTS = 8  # whose modes are remembered: a population has six

Operator = Callable[[Sequence[Atoms], np.random.Generator], Atoms | None]
Modes = dict[bytes, dict[float, np.ndarray]]  # of parents by the bond model, see `soft_mutation`


def heredity(parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms | None:
    """Cut two parents by a plane along a cell vector and join a slab of each (cut and splice).

    Deaven and Ho, Phys. Rev. Lett. 75, 288 (1995); variable cells as Glass, Oganov and Hansen, Comput.
    Phys. Commun. 175, 713 (2006), doi 10.1016/j.cpc.2006.07.020. The cell is a weighted mean of both.
    """
    operator = CutAndSplicePairing(
        Atoms(pbc=True),
        len(parents[0]),
        _closest(parents[0]),
        number_of_variable_cell_vectors=3,
        p2=0.2,
        minfrac=0.2,
        cellbounds=_bounds(),
        rng=_random_state(rng),
    )
    return operator.cross(parents[0].copy(), parents[1].copy())


def rattle(parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms | None:
    """Displace about half of the atoms at random by up to 0.4 to 1.2 Angstrom per axis ("atom mutation")."""
    parent = parents[0]
    operator = RattleMutation(
        _closest(parent),
        len(parent),
        rattle_strength=rng.uniform(0.4, 1.2),
        rattle_prop=0.5,
        rng=_random_state(rng),
    )
    return operator.mutate(parent.copy())


def strain(parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms | None:
    """Strain the cell at random (standard deviation 0.3) at constant volume."""
    operator = StrainMutation(_closest(parents[0]), cellbounds=_bounds(), stddev=0.3, rng=_random_state(rng))
    return operator.mutate(parents[0].copy())


def soft_mutation(parents: Sequence[Atoms], *, n_before: int, modes: Modes) -> Atoms | None:
    """Displace the atoms along the mode number ``n_before`` of a bond model, the softest being number 0.

    ``n_before`` may be how often the parent was soft-mutated, so that none is used twice. ``modes`` of a
    parent are found once: they take six calls for the forces of the bond model per atom, at 88 atoms 3.7 of a
    mutation's 5.1 s. Lyakhov, Oganov and Valle, Comput. Phys. Commun. 181, 1623 (2010), doi
    10.1016/j.cpc.2010.06.007. The bond model knows no lanthanides and actinides but La and Ac.
    """
    parent = parents[0].copy()
    if 3 * len(parent) <= 3 + n_before:
        return None
    parent.info["confid"] = 0
    operator = _SoftMutation(_closest(parent), bounds=[0.3, 2.0], rcut=6.0, used_modes_file=None)
    operator.known, operator.used_modes = modes, {0: list(range(3, 3 + n_before))}
    try:
        return operator.mutate(parent)
    except ValueError:  # an element outside the bond model
        return None


class _SoftMutation(SoftMutation):
    """ase-ga's, with the modes of parents ``known`` before."""

    known: Modes

    def _calculate_normal_modes(
        self, atoms: Atoms, *args: float, **options: float
    ) -> dict[float, np.ndarray]:
        parent = b"".join(a.tobytes() for a in (atoms.numbers, atoms.positions, atoms.cell.array))
        if parent not in self.known:
            self.known[parent] = super()._calculate_normal_modes(atoms, *args, **options)
        if len(self.known) > MOST_PARENTS:
            self.known.pop(next(iter(self.known)))
        return self.known[parent]


def permutation(parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms | None:
    """Swap atoms of different elements: one to a third of all pairs."""
    parent = parents[0]
    if len(set(parent.numbers)) < 2:
        return None
    operator = PermutationMutation(
        len(parent),
        probability=rng.uniform(0.05, 0.33),
        blmin=_closest(parent),
        rng=_random_state(rng),
    )
    return operator.mutate(parent.copy())


def symmetrise(parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms | None:
    """Move the atoms onto the symmetry that the parent nearly has, within up to 0.6 Angstrom."""
    parent = parents[0]
    structure = AseAtomsAdaptor.get_structure(parent)
    exact = SpacegroupAnalyzer(structure, symprec=0.02)
    for tolerance in reversed(SYMMETRY_TOLERANCES_ANGSTROM):
        analyser = SpacegroupAnalyzer(structure, symprec=tolerance, angle_tolerance=-1)
        try:
            if len(analyser.get_symmetry_operations()) <= len(exact.get_symmetry_operations()):
                continue
            child = with_content(analyser.get_primitive_standard_structure(), len(parent))
        except (TypeError, ValueError, AttributeError):  # spglib finds no cell at this tolerance
            continue
        if child is not None and np.array_equal(np.sort(child.numbers), np.sort(parent.numbers)):
            return child
    return None


SOFT_MUTATION = "soft_mutation"
OPERATORS: dict[str, Operator] = {
    "heredity": heredity,
    "rattle": rattle,
    "strain": strain,
    SOFT_MUTATION: soft_mutation,
    "permutation": permutation,
    "symmetrise": symmetrise,
}
N_PARENTS: dict[str, int] = {"heredity": 2}


def make_child(
    name: str, parents: Sequence[Atoms], *, n_before: int, modes: Modes, rng: np.random.Generator
) -> Atoms | None:
    """Return the child of an operator, sorted and wrapped, or None where it finds no legal one.

    ``n_before`` and ``modes`` are those of `soft_mutation`. Raises `SearchError` for an unknown operator.
    """
    if name not in OPERATORS:
        raise SearchError(
            f"there is no operator '{name}': expected one of {', '.join(OPERATORS)}."
            f"{did_you_mean(name, list(OPERATORS))}"
        )
    if name == SOFT_MUTATION:
        child = soft_mutation(parents, n_before=n_before, modes=modes)
    else:
        child = OPERATORS[name](parents, rng)
    if child is None:
        return None
    child = sorted_atoms(Atoms(child.numbers, child.positions, cell=child.cell, pbc=True))
    child.wrap()
    return child


def _closest(atoms: Atoms) -> dict[tuple[int, int], float]:
    return closest_distances_generator(sorted(set(atoms.numbers)), CLOSEST_RATIO)


def _bounds() -> CellBounds:
    angles = list(CELL_ANGLES_DEG)
    return CellBounds(dict.fromkeys(("alpha", "beta", "gamma"), angles) | {"phi": [25, 155]})


def _random_state(rng: np.random.Generator) -> np.random.RandomState:
    return np.random.RandomState(rng.integers(2**31))

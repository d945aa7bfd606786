"""Features of the space group, from the table where given, else found in the structure by spglib.

A caution on space group 1: a generated structure mostly has it because nobody symmetrised it, so that
"P1" tells where a structure comes from rather than what the material is.
"""

from functools import lru_cache

from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from pymatgen.symmetry.groups import PointGroup, SpaceGroup

from sselib.features.description import Group, names

SYMPREC_ANGSTROM = 0.01  # pymatgen's default; disordered sites are compared by species and occupancy
CRYSTAL_SYSTEMS = tuple(n.removeprefix("is_") for n in names(Group.SYMMETRY) if n.startswith("is_"))


def space_group_of(structure: Structure) -> int:
    """Return the space-group number that spglib finds with symprec 0.01 Angstrom."""
    return int(SpacegroupAnalyzer(structure, symprec=SYMPREC_ANGSTROM).get_space_group_number())


@lru_cache(maxsize=230)
def _described(number: int) -> tuple[str, int]:
    """Return crystal system and order of the point group of a space group."""
    group = SpaceGroup.from_int_number(number)
    return group.crystal_system, len(PointGroup(group.point_group).symmetry_ops)


def symmetry_features(number: int) -> dict[str, float]:
    """Return the features of a space group; ``number`` is 1 to 230."""
    system, order = _described(number)
    return {
        "space_group_number": float(number),
        "point_group_order": float(order),
        "crystal_system_rank": float(CRYSTAL_SYSTEMS.index(system) + 1),
        **{f"is_{name}": float(name == system) for name in CRYSTAL_SYSTEMS},
    }

"""Simplified structures of McHaffie et al., Digital Discovery 4, 1518 (2025), doi 10.1039/d5dd00052a.

| name | mobile ion | other atoms |
|---|---|---|
| CAMN | kept | kept |
| CAN | removed | kept |
| CAMNS | kept | cations become Al, anions S, neutral atoms Mg |
| CANS | removed | as in CAMNS |

(Cations, anions, mobile ions, neutral atoms; S for simplified.) Occupancies are kept: where two
cations share a site they become one Al with the sum of their occupancies, and a vacancy stays a
vacancy, also where the mobile ion shared its site with another atom.
"""

from collections import defaultdict
from enum import StrEnum

import spglib
from pymatgen.core import Composition, DummySpecies, Element, Lattice, PeriodicSite, Structure

from sselib.errors import DataError, ParameterError, nearest
from sselib.materials.oxidation import ANION, CATION, NEUTRAL, assign_oxidation_states, role_of_state

_SYMPREC_ANGSTROM = 1e-3  # sites repeat within this distance when the primitive cell is sought
STAND_INS: dict[str, str] = {CATION: "Al", ANION: "S", NEUTRAL: "Mg"}


class Representation(StrEnum):
    """Names of the four representations."""

    CAMN = "CAMN"
    CAN = "CAN"
    CAMNS = "CAMNS"
    CANS = "CANS"


def simplify(structure: Structure, *, representation: str, mobile_ion: str = "Li") -> Structure:
    """Return one of the four representations of a structure, ordered or disordered.

    Oxidation states come from the structure where it carries them, site by site, and else from its
    composition (`sselib.materials.oxidation`). The result holds plain elements (no oxidation states, isotopes
    as their element) on the same sites in the same order; sites on which only the mobile ion sat are
    dropped from CAN and CANS. The input is not changed.

    Raises `ParameterError` for an unknown representation or a mobile ion that a simplified structure
    could not tell from Al, S or Mg, and `DataError` for dummy atoms or when no atom remains.
    """
    try:
        kind = Representation(representation)
    except ValueError as error:
        valid = [kind.value for kind in Representation]
        hint = nearest(str(representation).upper(), valid)
        raise ParameterError(
            f"unknown representation {representation!r}: expected one of {', '.join(valid)}.{hint}"
        ) from error
    simplified = kind in (Representation.CAMNS, Representation.CANS)
    if simplified and mobile_ion in STAND_INS.values():
        raise ParameterError(
            f"mobile ion {mobile_ion} cannot be told from the stand-ins Al, S and Mg of "
            f"{kind}: use CAMN or CAN"
        )
    states = _assigned_states(structure) if simplified else None
    dropped = "" if kind in (Representation.CAMN, Representation.CAMNS) else mobile_ion
    amounts = [_amounts(site, mobile_ion, states) for site in structure]
    left = [{symbol: x for symbol, x in a.items() if symbol != dropped} for a in amounts]
    kept = [
        PeriodicSite(_within_one(a), site.frac_coords, site.lattice)
        for site, a in zip(structure, left, strict=True)
        if a
    ]
    if not kept:
        raise DataError(
            f"no atom remains of {structure.composition.reduced_formula} in representation "
            f"{kind}: expected atoms other than {mobile_ion}; use CAMN or CAMNS"
        )
    return Structure.from_sites(kept)


def _assigned_states(structure: Structure) -> dict[str, float]:
    """Return states by element from the composition, or nothing where the structure carries its own."""
    given = [getattr(species, "oxi_state", None) for species in structure.composition]
    complete = all(state is not None for state in given)
    if complete and any(given):
        return {}
    return dict(assign_oxidation_states(structure.composition).states)


def _amounts(site: PeriodicSite, mobile_ion: str, states: dict[str, float] | None) -> dict[str, float]:
    """Return the occupancies of a site by symbol; with ``states`` all but the mobile ion are stand-ins.

    Where ``states`` are empty the species carry their own.
    """
    amounts: dict[str, float] = defaultdict(float)
    for species, occupancy in site.species.items():
        symbol = _symbol(species)
        if states is not None and symbol != mobile_ion:
            symbol = STAND_INS[role_of_state(states[symbol] if states else species.oxi_state)]
        amounts[symbol] += occupancy
    return amounts


def _symbol(species: object) -> str:
    """Return the element symbol of an element, ion or isotope."""
    if isinstance(species, DummySpecies):
        raise DataError(
            f"the structure holds the dummy atom {species}: expected elements only; remove it "
            "(a vacancy is a site occupancy below 1)"
        )
    return Element.from_Z(species.Z).symbol


def _within_one(amounts: dict[str, float]) -> Composition:
    """Return the site's composition; a sum that rounding left just above 1 is scaled to 1."""
    total = sum(amounts.values())
    scale = 1.0 / total if total > 1.0 else 1.0
    return Composition({symbol: amount * scale for symbol, amount in amounts.items()})


def primitive_cell(structure: Structure) -> Structure:
    """Return the primitive cell, occupancies kept, or the structure itself where there is no smaller one.

    Equivalent sites have equal features, so a structure loses nothing but repetitions.
    """
    kinds: dict[str, int] = {}
    numbers = [kinds.setdefault(str(site.species), len(kinds) + 1) for site in structure]
    cell = (structure.lattice.matrix, structure.frac_coords, numbers)
    found = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=_SYMPREC_ANGSTROM)
    if found is None or len(found[2]) >= len(structure):
        return structure
    species = {number: structure[numbers.index(number)].species for number in kinds.values()}
    return Structure(Lattice(found[0]), [species[k] for k in found[2]], found[1])

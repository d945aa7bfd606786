"""Crystal structures: JSON in tables, and findings about their quality.

Disordered structures stay as they are: nothing here orders or symmetrises a structure.
"""

import hashlib
import json

import pandas as pd
from pymatgen.core import Composition, Structure

from sselib.columns import StructureTable
from sselib.materials.cif import COMPOSITION_TOLERANCE_L1, OCCUPANCY_READ
from sselib.materials.composition import element_fractions, l1_distances

CLOSE_SITES_ANGSTROM = 0.6  # closer sites cannot both be filled: they are alternatives (split sites)
OCCUPANCY_TOLERANCE = 1e-3  # rounding allowed in the sum of a site's occupancies
FINDINGS: dict[str, str] = {
    "no_li": "no lithium in the structure",
    "occupancy_above_1": "the occupancies of a site add up to more than 1; they were scaled to 1",
    "sites_closer_than_0.6_angstrom": "sites that cannot be filled together (split sites)",
    "composition_mismatch": "composition more than 0.1 (L1) away from that of the table",
}


def structure_to_json(structure: Structure) -> str:
    """Return pymatgen's JSON of a structure, on one line."""
    return json.dumps(structure.as_dict(), separators=(",", ":"))


def structure_from_json(text: str) -> Structure:
    """Return the structure of `structure_to_json`."""
    return Structure.from_dict(json.loads(text))


def structures_by_id(table: pd.DataFrame) -> dict[str, Structure]:
    """Return the structures of a table with the columns of `StructureTable`, by their id."""
    texts = zip(table[StructureTable.STRUCTURE_ID], table[StructureTable.STRUCTURE_JSON], strict=True)
    return {key: structure_from_json(text) for key, text in texts}


def sha256_of_text(text: str) -> str:
    """Return the sha256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def structure_record(
    structure: Structure, *, structure_id: str, source: str, text: str, origin: str
) -> dict[str, str]:
    """Return one row of the structures table; ``text`` is what the structure was read from."""
    values = (structure_id, structure_to_json(structure), source, sha256_of_text(text), origin)
    return {str(column): value for column, value in zip(StructureTable, values, strict=True)}


def quality_findings(structure: Structure, *, expected: Composition | None = None) -> tuple[str, ...]:
    """Return what is suspicious about a structure: keys of `FINDINGS`, in their order.

    ``expected`` is the composition that the table gives for the same material; without it the
    composition is not judged. Findings do not depend on the setting, supercell or order of atoms.
    """
    found = (
        "Li" not in structure.composition.get_el_amt_dict(),
        _is_overfull(structure),
        _has_close_sites(structure),
        expected is not None and _mismatch(structure, expected),
    )
    return tuple(name for name, applies in zip(FINDINGS, found, strict=True) if applies)


def _is_overfull(structure: Structure) -> bool:
    sums = [site.species.num_atoms for site in structure]
    return max(*sums, structure.properties.get(OCCUPANCY_READ, 0)) > 1 + OCCUPANCY_TOLERANCE


def _has_close_sites(structure: Structure) -> bool:
    return len(structure.get_neighbor_list(CLOSE_SITES_ANGSTROM)[0]) > 0


def _mismatch(structure: Structure, expected: Composition) -> bool:
    formulas = [c.element_composition.formula for c in (structure.composition, expected)]
    first, second = element_fractions(formulas).to_numpy()
    return l1_distances(first[None], second[None]).item() > COMPOSITION_TOLERANCE_L1

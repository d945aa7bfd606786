"""Crystal structures: reading CIFs, JSON in tables, and findings about their quality.

Disordered structures stay as they are: nothing here orders or symmetrises a structure.
"""

import hashlib
import json
import re
import warnings

import numpy as np
from pymatgen.core import Composition, DummySpecies, Element, Species, Structure
from pymatgen.core.sites import PeriodicSite
from pymatgen.io.cif import CifParser

from sselib.columns import StructureTable
from sselib.errors import DataError
from sselib.materials.composition import element_fractions, l1_distances

CLOSE_SITES_ANGSTROM = 0.6  # closer sites cannot both be filled: they are alternatives (split sites)
COMPOSITION_TOLERANCE_L1 = 0.1  # L1 distance between structure and table, above which they disagree
OCCUPANCY_TOLERANCE = 1e-3  # rounding allowed in the sum of a site's occupancies
FINDINGS: dict[str, str] = {
    "no_li": "no lithium in the structure",
    "occupancy_above_1": "the occupancies of a site add up to more than 1; they were scaled to 1",
    "sites_closer_than_0.6_angstrom": "sites that cannot be filled together (split sites)",
    "composition_mismatch": "composition more than 0.1 (L1) away from that of the table",
}
_EMPTY = 1e-6  # pymatgen reads an occupancy of 0 as 1e-8
_OCCUPANCY_READ = "max_occupancy_read"  # structure property: largest sum of occupancies before scaling


def read_cif(text: str, *, name: str) -> Structure:
    """Return the structure of a CIF, in the cell and setting that it is written in.

    Sites without any occupancy are left out. Where the occupancies of a site add up to more than 1
    they are scaled down to 1, and `quality_findings` says so. ``name`` (a file name) is for the
    error. Raises `DataError` if the text is empty, holds no atoms or more than one structure, or
    cannot be read.
    """
    n_cells = len(re.findall(r"^\s*_cell_length_a\b", text, flags=re.MULTILINE))
    if n_cells != 1:
        raise DataError(f"CIF {name} holds {n_cells} unit cells: expected exactly one structure in a file")
    try:
        return _cleaned(_parse(text))
    except Exception as error:  # a broken line makes the parser raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        if reason.startswith("zip() argument"):  # pymatgen pairs the columns of a loop with its values
            reason = "a loop lacks values: is the file cut off?"
        raise DataError(
            f"CIF {name} cannot be read ({reason}): expected a cell, a symmetry and atom sites "
            "with elements, coordinates and occupancies"
        ) from error


def _parse(text: str) -> Structure:
    """Return the structure as written, with occupancies that may exceed 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns of what the errors and findings say
        try:
            parser = CifParser.from_str(text.removeprefix("\ufeff"), check_cif=False)
        except ZeroDivisionError as error:
            raise ValueError("a loop is empty or incomplete") from error
        try:
            return parser.parse_structures(primitive=False, check_occu=False, on_error="ignore")[0]
        except ValueError as error:
            raise ValueError("; ".join(parser.warnings) or str(error)) from error


def _cleaned(structure: Structure) -> Structure:
    """Return the structure without empty sites and with no site above occupancy 1.

    The largest sum of occupancies is kept as a property. Raises `ValueError` where no atoms remain,
    for an unknown element, and for a cell or coordinates that are no numbers.
    """
    species = [{s: x for s, x in site.species.items() if x > _EMPTY} for site in structure]
    unknown = sorted({str(s) for mix in species for s in mix if isinstance(s, DummySpecies)})
    if unknown:
        raise ValueError(f"unknown element {', '.join(unknown)}")
    if not any(species):
        raise ValueError("no site with an occupancy above 0")
    if not (np.isfinite(structure.cart_coords).all() and structure.volume > 1):
        raise ValueError(f"impossible cell or coordinates, cell {structure.lattice.parameters}")
    sites = [_site(mix, site) for mix, site in zip(species, structure, strict=True) if mix]
    largest = max(sum(mix.values()) for mix in species)
    return Structure.from_sites(sites, properties={_OCCUPANCY_READ: float(largest)} if largest > 1 else None)


def _site(mix: dict[Element | Species, float], site: PeriodicSite) -> PeriodicSite:
    """Return the site with the species ``mix``, scaled down where they add up to more than 1."""
    scale = max(1.0, sum(mix.values()))
    return PeriodicSite(
        {s: x / scale for s, x in mix.items()},
        site.frac_coords,
        site.lattice,
        properties=site.properties,
        label=site.label,
    )


def structure_to_json(structure: Structure) -> str:
    """Return pymatgen's JSON of a structure, on one line."""
    return json.dumps(structure.as_dict(), separators=(",", ":"))


def structure_from_json(text: str) -> Structure:
    """Return the structure of `structure_to_json`."""
    return Structure.from_dict(json.loads(text))


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
    return max(*sums, structure.properties.get(_OCCUPANCY_READ, 0)) > 1 + OCCUPANCY_TOLERANCE


def _has_close_sites(structure: Structure) -> bool:
    return len(structure.get_neighbor_list(CLOSE_SITES_ANGSTROM)[0]) > 0


def _mismatch(structure: Structure, expected: Composition) -> bool:
    formulas = [c.element_composition.formula for c in (structure.composition, expected)]
    first, second = element_fractions(formulas).to_numpy()
    return l1_distances(first[None], second[None]).item() > COMPOSITION_TOLERANCE_L1

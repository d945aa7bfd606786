"""Site disorder in the four classes of Kim et al., read from occupancies."""

from enum import StrEnum

from pymatgen.core import Structure

FULL_OCCUPANCY_TOLERANCE = 1e-3  # an occupancy of at least 0.999 counts as full


class DisorderClass(StrEnum):
    """The four classes of Kim et al. (Table 4 and the text above it), in their words."""

    NONE = "No disorder"
    LI = "Li cation disorder"
    OTHER = "Other atom disorder"
    LI_AND_OTHER = "Li cation and Other atom disorder"


def disordered_elements(structure: Structure) -> set[str]:
    """Return the elements that occupy a site partially (occupancy below 0.999).

    On a site shared by two species both occupy it partially, so a mixed site counts for each of its
    elements, whether or not they fill it together.
    """
    full = 1 - FULL_OCCUPANCY_TOLERANCE
    elements: set[str] = set()
    for site in structure:
        amounts = site.species.get_el_amt_dict()
        elements.update(el for el, occupancy in amounts.items() if occupancy < full)
    return elements


def disorder_class(structure: Structure) -> DisorderClass:
    """Return the disorder class of a structure.

    Lithium on partially occupied or shared sites is Li cation disorder, any other element there is
    other atom disorder; a site shared by Li and another element is both.
    """
    elements = disordered_elements(structure)
    if not elements:
        return DisorderClass.NONE
    if "Li" not in elements:
        return DisorderClass.OTHER
    return DisorderClass.LI if elements == {"Li"} else DisorderClass.LI_AND_OTHER

"""Features of site disorder, from occupancies; the structure needs no ordering."""

import numpy as np
from pymatgen.core import Structure

from sselib.features.description import Group, names
from sselib.materials.disorder import FULL_OCCUPANCY_TOLERANCE


def disorder_features(structure: Structure, *, mobile_ion: str = "Li") -> dict[str, float]:
    """Return how disordered a structure is; NaN for the mobile ion's features where it is absent."""
    sites = [site.species.get_el_amt_dict() for site in structure]
    full = 1 - FULL_OCCUPANCY_TOLERANCE
    partial = np.array([sum(site.values()) < full for site in sites])
    mixed = np.array([len(site) > 1 for site in sites])
    mobile = np.array([site[mobile_ion] for site in sites if mobile_ion in site])
    values = {
        "is_disordered": float((partial | mixed).any()),
        "fraction_partial_sites": float(partial.mean()),
        "fraction_mixed_sites": float(mixed.mean()),
        "mixing_entropy_per_site_kb": float(np.mean([site_entropy_kb(list(s.values())) for s in sites])),
    }
    if len(mobile):
        values |= {
            "fraction_mobile_sites_partial": float((mobile < full).mean()),
            "mean_mobile_site_occupancy": float(mobile.mean()),
            "mobile_sites_per_ion": float(1 / mobile.mean()),
        }
    return {name: values.get(name, np.nan) for name in names(Group.DISORDER)}


def site_entropy_kb(occupancies: list[float]) -> float:
    """Return -sum x ln x over the species of a site and its vacancy, in units of k_B."""
    x = np.array([*occupancies, max(1.0 - sum(occupancies), 0.0)])
    x = x[x > 0]
    return float(max(-(x * np.log(x)).sum(), 0.0))

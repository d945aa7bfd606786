"""Features of site disorder, from occupancies; the structure needs no ordering."""

import numpy as np
from pymatgen.core import Structure

from sselib.features.description import Feature, Group
from sselib.materials.disorder import FULL_OCCUPANCY_TOLERANCE

DISORDER_FEATURES: tuple[Feature, ...] = tuple(
    Feature(name, Group.DISORDER, unit, text)
    for name, unit, text in (
        ("is_disordered", "1", "1 if any site is shared or not full"),
        ("fraction_partial_sites", "1", "share of sites that are not full (occupancy below 0.999)"),
        ("fraction_mixed_sites", "1", "share of sites that two or more elements share"),
        ("fraction_mobile_sites_partial", "1", "share of the mobile ion's sites that are not full with it"),
        ("mean_mobile_site_occupancy", "1", "mean occupancy of the mobile ion on its sites"),
        ("mobile_sites_per_ion", "1", "sites of the mobile ion per ion: 1 means no vacancy"),
        ("mixing_entropy_per_site_kb", "k_B", "ideal mixing entropy per site, vacancies as a species"),
    )
)


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
    return {f.name: values.get(f.name, np.nan) for f in DISORDER_FEATURES}


def site_entropy_kb(occupancies: list[float]) -> float:
    """Return -sum x ln x over the species of a site and its vacancy, in units of k_B."""
    x = np.array([*occupancies, max(1.0 - sum(occupancies), 0.0)])
    x = x[x > 0]
    return float(max(-(x * np.log(x)).sum(), 0.0))

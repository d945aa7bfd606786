"""Features of a structure that cost some milliseconds, for the conductivity model that reads structures.

They change neither with the choice of cell (axis order, supercell, origin) nor with the symmetry that a
file states: symmetry is found anew, with a tolerance that forgives a relaxation in P1. Occupancies count: a
site filled by half counts half. Missing (NaN) where there is no structure, no mobile ion or no neighbour.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pymatgen.core import Structure
from pymatgen.optimization.neighbors import find_points_in_spheres
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

from sselib.columns import Entry, StructureTable
from sselib.errors import DataError
from sselib.features.description import Group, described, groups_frame, names
from sselib.features.lattice import Cell, cell_features
from sselib.features.occupancy import disorder_features
from sselib.features.stoichiometry import is_anion
from sselib.features.symmetry import symmetry_features
from sselib.materials.composition import MODIFIED_PETTIFOR_ORDER
from sselib.materials.structures import structure_from_json

HOP_ANGSTROM = (1.0, 4.0)  # distances of two mobile-ion sites between which an ion may hop
SHELL_ANGSTROM = 0.6  # an anion at most this much farther than the nearest is of the first shell
REACH_ANGSTROM = 4.0  # how far from a site, or from the middle of a hop, neighbours are looked for
_FILLED = 0.5  # occupancy from which on a site stands in the way of a hop
_SYMPREC_ANGSTROM = 0.1  # positions that differ by less are equivalent
_SYMMETRY = ("crystal_system_rank", "point_group_order")
_CELL = ("density_g_cm3", "volume_per_atom_angstrom3", "volume_per_li_angstrom3", "packing_fraction")

ENVIRONMENT_COLUMNS: tuple[str, ...] = names(Group.ENVIRONMENT)
STRUCTURE_COLUMNS: tuple[str, ...] = (*_CELL, *_SYMMETRY, *names(Group.DISORDER), *ENVIRONMENT_COLUMNS)


@dataclass(frozen=True)
class _Sites:
    """Positions (n, 3) in Angstrom and, per site (n,): occupancy by the mobile ion, by anions, by others."""

    positions: np.ndarray
    lattice: np.ndarray
    mobile: np.ndarray
    anions: np.ndarray
    framework: np.ndarray


def structure_features(structures: Sequence[Structure | None], *, mobile_ion: str = "Li") -> pd.DataFrame:
    """Return `STRUCTURE_COLUMNS`, one row per structure; all NaN for None.

    Raises `DataError` for a structure without sites.
    """
    rows = [{} if s is None else _features(s, mobile_ion) for s in structures]
    return pd.DataFrame(rows, columns=list(STRUCTURE_COLUMNS), dtype=float)


def with_environment(
    features: pd.DataFrame, groups: pd.DataFrame, table: pd.DataFrame, structures: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the features of notebook 03 and their groups with `ENVIRONMENT_COLUMNS` after them.

    ``features`` has ``id`` and a column per feature, ``groups`` the columns of `feature_groups`, ``table``
    the curated rows, ``structures`` the columns of `StructureTable`. NaN for a row without structure.
    """
    wanted = structures[structures[StructureTable.STRUCTURE_ID].isin(table[Entry.STRUCTURE_ID])]
    read = [structure_from_json(text) for text in wanted[StructureTable.STRUCTURE_JSON]]
    own = structure_features(read)[list(ENVIRONMENT_COLUMNS)].set_index(
        wanted[StructureTable.STRUCTURE_ID].to_numpy()
    )
    by_row = own.reindex(table[Entry.STRUCTURE_ID]).assign(id=table[Entry.ID].to_numpy())
    found = features.merge(by_row, on="id", how="left", validate="one_to_one")
    return found, pd.concat([groups, groups_frame(described(Group.ENVIRONMENT))], ignore_index=True)


def _features(structure: Structure, mobile_ion: str) -> dict[str, float]:
    if len(structure) == 0:
        raise DataError("the structure has no sites: expected at least one atom")
    cell = Cell(structure.lattice, structure.lattice, structure.composition.element_composition)
    known = cell_features(cell, mobile_ion=mobile_ion) | disorder_features(structure, mobile_ion=mobile_ion)
    with contextlib.suppress(SymmetryUndeterminedError):
        analyzer = SpacegroupAnalyzer(structure, symprec=_SYMPREC_ANGSTROM)
        known |= symmetry_features(analyzer.get_space_group_number())
    chosen = {name: known.get(name, np.nan) for name in STRUCTURE_COLUMNS}
    return chosen | _environment(_sites(structure, mobile_ion))


def _sites(structure: Structure, mobile_ion: str) -> _Sites:
    """Return the sites as occupancies by what they hold."""
    present = structure.composition.element_composition.get_el_amt_dict()
    table = pd.DataFrame([present], columns=list(MODIFIED_PETTIFOR_ORDER), dtype=float).fillna(0.0)
    anions = {str(el) for el in table.columns[is_anion(table)[0]]} - {mobile_ion}
    amounts = [site.species.get_el_amt_dict() for site in structure]
    mobile = np.array([a.get(mobile_ion, 0.0) for a in amounts])
    return _Sites(
        positions=np.ascontiguousarray(structure.cart_coords, float),
        lattice=np.ascontiguousarray(structure.lattice.matrix, float),
        mobile=mobile,
        anions=np.array([sum(x for el, x in a.items() if el in anions) for a in amounts]),
        framework=np.array([sum(a.values()) for a in amounts]) - mobile,
    )


def _environment(sites: _Sites) -> dict[str, float]:
    """Return `ENVIRONMENT_COLUMNS`; without the mobile ion none of them."""
    where = np.flatnonzero(sites.mobile > 0)
    if not len(where):
        return {}
    weights = sites.mobile[where]
    volume_nm3 = abs(np.linalg.det(sites.lattice)) / 1000
    nearest, shell = _first_shell(sites, where)
    found = {
        "li_site_density_per_nm3": len(where) / volume_nm3,
        "li_anion_distance_angstrom": _mean(nearest, weights),
        "li_coordination": _mean(shell, weights),
        "li_coordination_std": _mean((shell - _mean(shell, weights)) ** 2, weights) ** 0.5,
    }
    return found | _hops(sites, where, weights)


def _first_shell(sites: _Sites, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, per site in ``where``, the distance to the nearest anion and the number in the shell."""
    centre, other, _, distance = _around(sites, sites.positions[where])
    kept = sites.anions[other] > 0
    centre, other, distance = centre[kept], other[kept], distance[kept]
    nearest = np.full(len(where), np.nan)
    np.fmin.at(nearest, centre, distance)
    inside = distance <= nearest[centre] + SHELL_ANGSTROM
    shell = np.bincount(centre[inside], sites.anions[other[inside]], len(where))
    return nearest, np.where(np.isnan(nearest), np.nan, shell)


def _hops(sites: _Sites, where: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Return what the straight ways between neighbouring sites of the mobile ion are like."""
    centre, other, image, distance = _around(sites, sites.positions[where])
    kept = (sites.mobile[other] > 0) & (distance >= HOP_ANGSTROM[0]) & (distance <= HOP_ANGSTROM[1])
    centre, other, image, distance = centre[kept], other[kept], image[kept], distance[kept]
    found = {"hops_per_site": _mean(np.bincount(centre, minlength=len(where)).astype(float), weights)}
    if not len(centre):
        return found
    closest = np.full(len(where), np.nan)
    np.fmin.at(closest, centre, distance)
    ends = sites.positions[other] + image @ sites.lattice
    width = _clearance(sites, (sites.positions[where][centre] + ends) / 2)
    widest = np.full(len(where), np.nan)
    np.fmax.at(widest, centre, width)
    return found | {
        "li_li_distance_angstrom": _mean(closest, weights),
        "hop_width_angstrom": _mean(widest, weights),
        "hop_width_narrow_angstrom": float(np.nanmin(widest)) if np.isfinite(widest).any() else np.nan,
    }


def _clearance(sites: _Sites, points: np.ndarray) -> np.ndarray:
    """Return the distance of each point to the nearest framework site, NaN where none is in reach."""
    centre, other, _, distance = _around(sites, points)
    kept = sites.framework[other] >= _FILLED
    found = np.full(len(points), np.nan)
    np.fmin.at(found, centre[kept], distance[kept])
    return found


def _around(sites: _Sites, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return point, site, image (in cells) and distance of the sites within reach of each point."""
    periodic, centres = np.ones(3, dtype=np.int64), np.ascontiguousarray(points, float)
    return find_points_in_spheres(sites.positions, centres, REACH_ANGSTROM, periodic, sites.lattice, 1e-8)


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    """Return the weighted mean of the known values, NaN where none is."""
    known = np.isfinite(values)
    return float(np.average(values[known], weights=weights[known])) if known.any() else np.nan

"""The 20 atomistic features of Sendek et al., Energy Environ. Sci. 10, 306 (2017), doi 10.1039/c6ee02697d.

Definitions (their Table 2; electronegativities after Pauling): neighbours and bonds are all atoms within
4 Angstrom, the ionicity of a bond is its difference in electronegativity, the sublattice is everything
but Li, and the anion is the most electronegative element. Bonds are pooled over the cell, each counted
once; standard deviations are those of the population, so that supercells give the same value. An atom
whose bonds have a mean ionicity above 2 gets its ionic radius (Shannon's crystal radius of the nearest
state), others their covalent radius (Cordero). The radius of a straight path is that of the widest tube
between a Li atom and its nearest Li that touches no sublattice atom, 0 where an atom covers the line.

The paper's supplement was not at hand: the radius rule and the counting of bonds follow descriptions of
it. They reproduce its published values for LiI and Li3P, and the means over OBELiX come close to those
of its training set (packing fraction 0.49 against 0.47, path radius 0.81 against 0.85 Angstrom).

Disordered structures: the paper samples arrangements with a hard-sphere rule (2 Angstrom) and averages.
Here the average is computed directly. Sites are filled independently with their occupancies, except
that atoms too close together (Li-Li below 2.0, Li to others below 1.5, others below 0.9 Angstrom) are
both there with the least probability that their occupancies allow, max(0, p + q - 1). Hence split Li
sites are not each other's neighbours, and count as one for others. "Nearest" is the expectation over
which site is the nearest filled one. Spheres on partially filled sites cover a point with the sum of
their occupancies, at most 1. A site with several sublattice elements is one obstacle with their mean
radius and electronegativity. The standard deviation of the neighbour count includes the part that comes
from the random filling of the neighbours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import nan, pi

import numpy as np
from pymatgen.analysis.molecule_structure_comparator import CovalentRadius
from pymatgen.core import DummySpecies, Element, Structure
from scipy.spatial.distance import cdist
from scipy.stats import qmc

from sselib.errors import DataError
from sselib.materials.oxidation import assign_oxidation_states

SENDEK_FEATURES: dict[str, str] = {
    "volume_per_atom_angstrom3": "volume per atom",
    "li_neighbour_count_std": "standard deviation of the number of neighbours of Li",
    "li_bond_ionicity_std": "standard deviation of the ionicity of the bonds of Li (Pauling units)",
    "li_bond_ionicity": "mean ionicity of the bonds of Li (Pauling units)",
    "li_neighbour_count": "mean number of neighbours of Li",
    "li_li_bonds_per_li": "mean number of Li neighbours of Li",
    "sublattice_bond_ionicity": "mean ionicity of the bonds of other atoms, Li included (Pauling units)",
    "sublattice_neighbour_count": "mean number of neighbours of other atoms",
    "anion_coordination": "mean number of anions at most 1 Angstrom further than the nearest anion",
    "anion_anion_distance_angstrom": "mean distance of an anion to its nearest anion",
    "volume_per_anion_angstrom3": "volume per anion",
    "li_anion_distance_angstrom": "mean distance of Li to its nearest anion",
    "li_li_distance_angstrom": "mean distance of Li to its nearest Li",
    "sublattice_electronegativity": "mean electronegativity of other atoms (Pauling units)",
    "packing_fraction": "share of the volume inside atoms",
    "sublattice_packing_fraction": "share of the volume inside atoms other than Li",
    "path_width_angstrom": "mean radius of the straight path from Li to its nearest Li",
    "path_electronegativity": "mean electronegativity of the atom that limits that path (Pauling units)",
    "bond_ionicity_ratio": "li_bond_ionicity / sublattice_bond_ionicity",
    "neighbour_count_ratio": "li_neighbour_count / sublattice_neighbour_count",
}

NEIGHBOUR_CUTOFF_ANGSTROM = 4.0
ANION_SHELL_ANGSTROM = 1.0  # width of the first anion shell
IONIC_BOND_PAULING = 2.0  # mean ionicity above which an atom gets its ionic radius
LI_LI_EXCLUSION_ANGSTROM = 2.0  # the paper's hard-sphere distance
LI_OTHER_EXCLUSION_ANGSTROM = 1.5  # no bond of Li is shorter
OTHER_EXCLUSION_ANGSTROM = 0.9  # no bond is shorter (O-H is 0.96)

_NEAR_ANGSTROM, _FAR_ANGSTROM = 8.0, 20.0  # searched for nearest atoms; the second if the first may miss one
_MISSED = 0.01  # largest accepted probability that no nearest atom lies inside the radius
_TIE_ANGSTROM = 1e-3  # distances closer than this are the same shell
_UNSEEN = 1e-4  # probability that no site up to a distance is filled, below which the search ends
_FOLLOWED = 0.99  # share of the nearest Li, in order of distance, to which paths are followed
_BALL_POINTS = 512  # for packing fractions


@dataclass(frozen=True)
class SendekFeatures:
    """Values by feature name (keys of `SENDEK_FEATURES`; NaN where undefined) and reasons for NaN."""

    values: dict[str, float]
    reasons: dict[str, str]


@dataclass(frozen=True)
class _Occupants:
    """Atoms that sites may hold, one row per site and element, arrays of shape (n,)."""

    site: np.ndarray
    occupancy: np.ndarray
    electronegativity: np.ndarray
    is_li: np.ndarray
    symbols: tuple[str, ...]


@dataclass(frozen=True)
class _Pairs:
    """Ordered pairs of different sites up to a radius, periodic images included; shape (pairs,).

    ``vector`` (pairs, 3) leads from ``first`` to ``second``, in Angstrom.
    """

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray
    vector: np.ndarray

    def within(self, radius: float) -> "_Pairs":
        """Return the pairs at most ``radius`` Angstrom apart."""
        return self.chosen(self.distance <= radius)

    def chosen(self, mask: np.ndarray) -> "_Pairs":
        """Return the pairs that a mask or a slice selects."""
        return _Pairs(self.first[mask], self.second[mask], self.distance[mask], self.vector[mask])


@dataclass(frozen=True)
class _Crystal:
    """A structure as occupancies: ``li``, ``other`` and ``anion`` have shape (sites,).

    ``near`` holds the pairs within `_NEAR_ANGSTROM`, ``bonds`` those within the neighbour cutoff.
    """

    structure: Structure
    occupants: _Occupants
    li: np.ndarray
    other: np.ndarray
    anion: np.ndarray
    near: _Pairs
    bonds: _Pairs


class _Undefined(Exception):
    """A feature has no value; the text says why."""


def sendek_features(structure: Structure) -> dict[str, float]:
    """Return the 20 features of an ordered or disordered structure, NaN where undefined.

    See `sendek_features_with_reasons` for why a value is missing, `SENDEK_FEATURES` for meanings.
    """
    return sendek_features_with_reasons(structure).values


def sendek_features_with_reasons(structure: Structure) -> SendekFeatures:
    """Return the 20 features and, for each that is undefined, the reason.

    Undefined are features of Li without Li, of the sublattice without one, and those that need a
    radius or an electronegativity that the element lacks. Raises `DataError` for dummy atoms or an
    empty structure.
    """
    crystal = _crystal(structure)
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for names, compute in _blocks(crystal):
        try:
            values |= dict(zip(names, compute()))
        except _Undefined as undefined:
            values |= dict.fromkeys(names, nan)
            reasons |= dict.fromkeys(names, str(undefined))
    _add_ratio(values, reasons, "bond_ionicity_ratio", "li_bond_ionicity", "sublattice_bond_ionicity")
    _add_ratio(values, reasons, "neighbour_count_ratio", "li_neighbour_count", "sublattice_neighbour_count")
    return SendekFeatures(values={name: float(values[name]) for name in SENDEK_FEATURES}, reasons=reasons)


def _blocks(crystal: _Crystal) -> list[tuple[tuple[str, ...], Callable[[], tuple[float, ...]]]]:
    """Return the names and the computation of features that share their work."""
    return [
        (("volume_per_atom_angstrom3",), lambda: _volume_per(crystal, crystal.li + crystal.other, "atom")),
        (("volume_per_anion_angstrom3",), lambda: _volume_per(crystal, crystal.anion, "anion")),
        (
            ("li_neighbour_count", "li_neighbour_count_std", "li_li_bonds_per_li"),
            lambda: _li_neighbours(crystal),
        ),
        (("sublattice_neighbour_count",), lambda: _other_neighbours(crystal)),
        (("li_bond_ionicity", "li_bond_ionicity_std"), lambda: _ionicity(crystal, of_li=True)),
        (("sublattice_bond_ionicity",), lambda: _ionicity(crystal, of_li=False)[:1]),
        (("anion_coordination", "anion_anion_distance_angstrom"), lambda: _anion_shell(crystal)),
        (("li_anion_distance_angstrom",), lambda: _nearest_distance(crystal, "anion")),
        (("li_li_distance_angstrom",), lambda: _nearest_distance(crystal, "li")),
        (("sublattice_electronegativity",), lambda: _electronegativity(crystal)),
        (("packing_fraction",), lambda: _packing(crystal, with_li=True)),
        (("sublattice_packing_fraction",), lambda: _packing(crystal, with_li=False)),
        (("path_width_angstrom", "path_electronegativity"), lambda: _paths(crystal)),
    ]


def _add_ratio(values: dict[str, float], reasons: dict[str, str], name: str, top: str, bottom: str) -> None:
    """Add the ratio of two features, or NaN and the reason."""
    missing = reasons.get(top) or reasons.get(bottom)
    if missing or values[bottom] == 0:
        values[name], reasons[name] = nan, missing or f"{bottom} is 0"
    else:
        values[name] = values[top] / values[bottom]


# --- reading the structure ---------------------------------------------------------------------------


def _crystal(structure: Structure) -> _Crystal:
    """Return the occupancies of a structure; ions and isotopes count as their element."""
    if len(structure) == 0:
        raise DataError("the structure has no sites: expected at least one atom")
    occupants = _occupants(structure)
    p, n = occupants.occupancy, len(structure)
    anion = _anion_symbol(occupants)
    is_anion = np.array([symbol == anion for symbol in occupants.symbols])
    li, other, anions = (
        np.bincount(occupants.site, p * mask, n) for mask in (occupants.is_li, ~occupants.is_li, is_anion)
    )
    near = _pairs(structure, _NEAR_ANGSTROM)
    return _Crystal(structure, occupants, li, other, anions, near, near.within(NEIGHBOUR_CUTOFF_ANGSTROM))


def _occupants(structure: Structure) -> _Occupants:
    rows = []
    for i, site in enumerate(structure):
        for species, occupancy in site.species.items():
            if isinstance(species, DummySpecies):
                raise DataError(f"the structure holds the dummy atom {species}: expected elements only")
            rows.append((i, occupancy, Element.from_Z(species.Z)))
    symbols = tuple(element.symbol for _, _, element in rows)
    return _Occupants(
        site=np.array([i for i, _, _ in rows]),
        occupancy=np.array([p for _, p, _ in rows]),
        electronegativity=np.array([element.X for _, _, element in rows], dtype=float),
        is_li=np.array([symbol == "Li" for symbol in symbols]),
        symbols=symbols,
    )


def _anion_symbol(occupants: _Occupants) -> str:
    """Return the most electronegative element other than Li; an empty text if there is none."""
    ranked = [
        (x, symbol)
        for x, symbol, li in zip(
            np.nan_to_num(occupants.electronegativity), occupants.symbols, occupants.is_li
        )
        if not li
    ]
    return max(ranked)[1] if ranked else ""


def _pairs(structure: Structure, radius: float) -> _Pairs:
    """Return the pairs of sites up to ``radius`` Angstrom, sorted by the first site."""
    first, second, image, distance = structure.get_neighbor_list(radius)
    coords = structure.cart_coords
    vector = coords[second] + image @ structure.lattice.matrix - coords[first]
    order = np.argsort(first, kind="stable")
    return _Pairs(first, second, distance, vector).chosen(order)


def _given(p: np.ndarray, q: np.ndarray, distance: np.ndarray, exclusion: float) -> np.ndarray:
    """Return the probability of an atom (occupancy ``q``) given one (``p``) at this distance."""
    least = np.maximum(p + q - 1.0, 0.0) / np.where(p > 0, p, 1.0)
    return np.where(distance < exclusion, least, q)


def _need_li(crystal: _Crystal) -> None:
    if not crystal.li.any():
        raise _Undefined("no Li in the structure")


def _need_other(crystal: _Crystal) -> None:
    if not crystal.other.any():
        raise _Undefined("no atom other than Li in the structure")


def _need_electronegativities(crystal: _Crystal) -> None:
    lacking = {
        symbol
        for symbol, x in zip(crystal.occupants.symbols, crystal.occupants.electronegativity)
        if np.isnan(x)
    }
    if lacking:
        raise _Undefined(f"no electronegativity for {', '.join(sorted(lacking))}")


# --- neighbours and bonds ------------------------------------------------------------------------------


def _volume_per(crystal: _Crystal, occupancy: np.ndarray, what: str) -> tuple[float]:
    if not occupancy.any():
        raise _Undefined(f"no {what} in the structure")
    return (crystal.structure.volume / occupancy.sum(),)


def _li_neighbours(crystal: _Crystal) -> tuple[float, float, float]:
    """Return mean and standard deviation of the number of neighbours of Li, and its Li neighbours."""
    _need_li(crystal)
    li, i, j, d = crystal.li, crystal.bonds.first, crystal.bonds.second, crystal.bonds.distance
    to_li = _given(li[i], li[j], d, LI_LI_EXCLUSION_ANGSTROM)
    filled = np.minimum(to_li + _given(li[i], crystal.other[j], d, LI_OTHER_EXCLUSION_ANGSTROM), 1.0)
    count = np.bincount(i, filled, len(li))
    random = np.bincount(i, filled * (1.0 - filled), len(li)) + _split_covariance(crystal)
    mean = np.average(count, weights=li)
    spread = np.average((count - mean) ** 2 + np.maximum(random, 0.0), weights=li)
    return mean, np.sqrt(spread), np.average(np.bincount(i, to_li, len(li)), weights=li)


def _split_covariance(crystal: _Crystal) -> np.ndarray:
    """Return, per site, the covariance of the filling of its Li neighbours that exclude each other.

    Negative: of two split sites only one is filled, which does not change the number of neighbours.
    """
    p, pairs = crystal.li, crystal.bonds
    pairs = pairs.chosen((p[pairs.first] > 0) & (p[pairs.second] > 0))
    split = pairs.within(LI_LI_EXCLUSION_ANGSTROM)
    start, stop = (np.searchsorted(split.first, pairs.second, side=side) for side in ("left", "right"))
    bond = np.repeat(np.arange(len(start)), stop - start)  # every bond, with every split partner of its end
    rank = np.arange(len(bond)) - np.repeat(np.cumsum(stop - start) - (stop - start), stop - start)
    partner = start[bond] + rank
    reach = np.linalg.norm(pairs.vector[bond] + split.vector[partner], axis=1)
    counted = (
        (reach <= NEIGHBOUR_CUTOFF_ANGSTROM)
        & (reach >= LI_LI_EXCLUSION_ANGSTROM)
        & (pairs.distance[bond] >= LI_LI_EXCLUSION_ANGSTROM)
    )
    q, r = p[split.first[partner]], p[split.second[partner]]
    covariance = (np.maximum(q + r - 1.0, 0.0) - q * r) * counted
    return np.bincount(pairs.first[bond], covariance, len(p))


def _other_neighbours(crystal: _Crystal) -> tuple[float]:
    _need_other(crystal)
    other, i, j, d = crystal.other, crystal.bonds.first, crystal.bonds.second, crystal.bonds.distance
    filled = _given(other[i], crystal.li[j], d, LI_OTHER_EXCLUSION_ANGSTROM) + _given(
        other[i], other[j], d, OTHER_EXCLUSION_ANGSTROM
    )
    return (np.average(np.bincount(i, np.minimum(filled, 1.0), len(other)), weights=other),)


def _ionicity(crystal: _Crystal, *, of_li: bool) -> tuple[float, float]:
    """Return mean and standard deviation of the ionicity over the bonds of Li or of other atoms."""
    (_need_li if of_li else _need_other)(crystal)
    _need_electronegativities(crystal)
    a, b, weight = _atom_pairs(crystal.occupants, crystal.bonds)
    is_li, x = crystal.occupants.is_li, crystal.occupants.electronegativity
    weight = np.where(is_li[a] == of_li, np.where(is_li[b] == of_li, 0.5, 1.0), 0.0) * weight
    if not weight.sum() > 0:
        raise _Undefined("no bond within 4 Angstrom")
    ionicity = np.abs(x[a] - x[b])
    mean = np.average(ionicity, weights=weight)
    return mean, np.sqrt(np.average((ionicity - mean) ** 2, weights=weight))


def _atom_pairs(occupants: _Occupants, bonds: _Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expand ordered pairs of sites to pairs of atoms (rows of ``occupants``) with their probability."""
    n_species = np.bincount(occupants.site)
    start = np.concatenate([[0], np.cumsum(n_species)])
    n_first, n_second = n_species[bonds.first], n_species[bonds.second]
    pair = np.repeat(np.arange(len(bonds.first)), n_first * n_second)
    rank = np.arange(len(pair)) - np.repeat(
        np.cumsum(n_first * n_second) - n_first * n_second, n_first * n_second
    )
    a = start[bonds.first[pair]] + rank // n_second[pair]
    b = start[bonds.second[pair]] + rank % n_second[pair]
    exclusion = np.where(
        occupants.is_li[a] & occupants.is_li[b],
        LI_LI_EXCLUSION_ANGSTROM,
        np.where(
            occupants.is_li[a] | occupants.is_li[b], LI_OTHER_EXCLUSION_ANGSTROM, OTHER_EXCLUSION_ANGSTROM
        ),
    )
    p, q = occupants.occupancy[a], occupants.occupancy[b]
    return a, b, p * _given(p, q, bonds.distance[pair], exclusion)


def _electronegativity(crystal: _Crystal) -> tuple[float]:
    _need_other(crystal)
    _need_electronegativities(crystal)
    weight = crystal.occupants.occupancy * ~crystal.occupants.is_li
    return (np.average(crystal.occupants.electronegativity, weights=weight),)


# --- nearest atoms -------------------------------------------------------------------------------------


def _nearest_first(
    pairs: _Pairs, distance: np.ndarray, probability: np.ndarray, exclusion: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the order by ``distance`` and, in that order, how probably each site is the nearest filled.

    ``pairs`` lead from one site to the candidates; two candidates closer than ``exclusion`` are never
    filled together, so that an empty one makes the other more probable. Candidates of one shell
    (distances closer than `_TIE_ANGSTROM`) share it in proportion to their probability.
    """
    order, shell = _shell_order(distance, pairs.vector)
    survival = np.cumprod(1.0 - probability[order])  # an upper bound, as if none excluded another
    shell = shell[
        : np.searchsorted(shell, shell[np.argmax(survival < _UNSEEN)], side="right")
        if survival[-1] < _UNSEEN
        else None
    ]
    p, vector = probability[order[: len(shell)]], pairs.vector[order[: len(shell)]]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(shell)) + 1])
    earlier = np.tril(cdist(vector, vector) < exclusion, k=-1) @ p
    filled = np.minimum(p / np.maximum(1.0 - earlier, 1e-9), 1.0)
    empty = np.multiply.reduceat(1.0 - filled, starts)
    reached = np.concatenate([[1.0], np.cumprod(empty)[:-1]])
    total = np.add.reduceat(p, starts)
    share = (reached * (1.0 - empty) / np.where(total > 0, total, 1.0))[shell] * p
    return order, np.concatenate([share, np.zeros(len(order) - len(share))])


def _shell_order(distance: np.ndarray, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the order by distance, and the number of the shell in that order.

    Within a shell it is the order by direction, so that it does not depend on that of the atoms.
    """
    by_distance = np.argsort(distance, kind="stable")
    shell = np.concatenate([[0], np.cumsum(np.diff(distance[by_distance]) > _TIE_ANGSTROM)])
    x, y, z = np.round(vector[by_distance], 3).T
    return by_distance[np.lexsort((z, y, x, shell))], shell


def _shells(
    crystal: _Crystal, source: np.ndarray, target: np.ndarray, exclusions: tuple[float, float], what: str
) -> list[tuple[int, _Pairs, np.ndarray]]:
    """Return per site with ``source`` atoms its pairs to ``target`` sites and who is the nearest.

    Each entry is (site, pairs in order of distance, probability of being the nearest; it adds up to 1).
    Both occupancies have shape (sites,); ``exclusions`` are those of source and target, and of two
    targets, in Angstrom.
    """
    found = _shells_within(crystal.near, source, target, exclusions)
    if found is None:
        found = _shells_within(_pairs(crystal.structure, _FAR_ANGSTROM), source, target, exclusions)
    if found is None:
        raise _Undefined(f"no {what} within {_FAR_ANGSTROM:g} Angstrom")
    return found


def _shells_within(
    pairs: _Pairs, source: np.ndarray, target: np.ndarray, exclusions: tuple[float, float]
) -> list[tuple[int, _Pairs, np.ndarray]] | None:
    """Return `_shells` for one radius, or None if a nearest atom may lie beyond it."""
    pairs = pairs.chosen((source[pairs.first] > 0) & (target[pairs.second] > 0))
    probability = _given(source[pairs.first], target[pairs.second], pairs.distance, exclusions[0])
    bounds = np.searchsorted(pairs.first, np.arange(len(source) + 1))
    found = []
    for site in np.flatnonzero(source > 0):
        own = slice(bounds[site], bounds[site + 1])
        around = pairs.chosen(own)
        if len(around.distance) == 0:
            return None
        order, nearest = _nearest_first(around, around.distance, probability[own], exclusions[1])
        if nearest.sum() < 1.0 - _MISSED:
            return None
        found.append((int(site), around.chosen(order), nearest / nearest.sum()))
    return found


def _nearest_distance(crystal: _Crystal, target: str) -> tuple[float]:
    """Return the mean distance from Li to the nearest ``target`` ('li' or 'anion')."""
    _need_li(crystal)
    shells = (
        _li_shells(crystal)
        if target == "li"
        else _shells(
            crystal,
            crystal.li,
            crystal.anion,
            (LI_OTHER_EXCLUSION_ANGSTROM, OTHER_EXCLUSION_ANGSTROM),
            "anion",
        )
    )
    distances = [nearest @ pairs.distance for _, pairs, nearest in shells]
    return (np.average(distances, weights=[crystal.li[site] for site, _, _ in shells]),)


def _li_shells(crystal: _Crystal) -> list[tuple[int, _Pairs, np.ndarray]]:
    """Return `_shells` from Li to Li."""
    exclusions = (LI_LI_EXCLUSION_ANGSTROM, LI_LI_EXCLUSION_ANGSTROM)
    return _shells(crystal, crystal.li, crystal.li, exclusions, "second Li")


def _anion_shell(crystal: _Crystal) -> tuple[float, float]:
    """Return the mean number of anions in the first anion shell, and the mean nearest distance."""
    _need_other(crystal)
    exclusions = (OTHER_EXCLUSION_ANGSTROM, OTHER_EXCLUSION_ANGSTROM)
    shells = _shells(crystal, crystal.anion, crystal.anion, exclusions, "second anion")
    weights = [crystal.anion[site] for site, _, _ in shells]
    counts = [_shell_count(crystal, site, pairs, nearest) for site, pairs, nearest in shells]
    distances = [nearest @ pairs.distance for _, pairs, nearest in shells]
    return np.average(counts, weights=weights), np.average(distances, weights=weights)


def _shell_count(crystal: _Crystal, site: int, pairs: _Pairs, nearest: np.ndarray) -> float:
    """Return the expected number of anions in the first shell, the nearest one included."""
    filled = _given(
        crystal.anion[site], crystal.anion[pairs.second], pairs.distance, OTHER_EXCLUSION_ANGSTROM
    )
    first = np.flatnonzero(nearest)
    beyond = pairs.distance[None, :] - pairs.distance[first, None]  # row: the nearest; column: another
    inside = (beyond >= -_TIE_ANGSTROM) & (beyond <= ANION_SHELL_ANGSTROM + _TIE_ANGSTROM)
    apart = cdist(pairs.vector[first], pairs.vector) >= OTHER_EXCLUSION_ANGSTROM
    return float(nearest[first] @ (1.0 + (inside & apart) @ filled))


# --- spheres and straight paths --------------------------------------------------------------------------


def _radii(crystal: _Crystal) -> np.ndarray:
    """Return the radius of each occupant in Angstrom, shape (occupants,)."""
    _need_electronegativities(crystal)
    a, b, weight = _atom_pairs(crystal.occupants, crystal.bonds)
    x, n = crystal.occupants.electronegativity, len(crystal.occupants.site)
    total = np.bincount(a, weight, n)
    mean = np.bincount(a, weight * np.abs(x[a] - x[b]), n) / np.where(total > 0, total, 1.0)
    states = assign_oxidation_states(crystal.structure.composition).states
    return np.array(
        [
            _radius(symbol, states[symbol], ionic=bool(ionicity > IONIC_BOND_PAULING))
            for symbol, ionicity in zip(crystal.occupants.symbols, mean)
        ]
    )


def _radius(symbol: str, state: float, *, ionic: bool) -> float:
    """Return the crystal radius of the listed state nearest to ``state``, else the covalent radius."""
    listed = Element(symbol).ionic_radii
    if ionic and listed:
        return float(listed[min(listed, key=lambda known: abs(known - state))])
    if symbol not in CovalentRadius.radius:
        raise _Undefined(f"no covalent radius for {symbol}")
    return CovalentRadius.radius[symbol]


@lru_cache(maxsize=1)
def _ball() -> np.ndarray:
    """Return points that fill the unit ball evenly, shape (points, 3), the same in every run."""
    u, v, w = qmc.Halton(d=3, scramble=False).random(_BALL_POINTS).T
    r, cosine, angle = np.cbrt(u), 2.0 * v - 1.0, 2.0 * pi * w
    sine = np.sqrt(1.0 - cosine**2)
    return np.column_stack([r * sine * np.cos(angle), r * sine * np.sin(angle), r * cosine])


def _packing(crystal: _Crystal, *, with_li: bool) -> tuple[float]:
    """Return the expected share of the cell inside the spheres of the atoms.

    Each sphere is sampled with points fixed to its centre; a point that several spheres cover counts
    for each of them in part. Spheres of atoms more than 4 Angstrom apart are taken not to overlap.
    """
    radii = _radii(crystal)
    occupants = crystal.occupants
    chosen = np.ones(len(radii), dtype=bool) if with_li else ~occupants.is_li
    volume = sum(
        p * 4.0 / 3.0 * pi * radii[a] ** 3 * _own_share(crystal, radii, chosen, a)
        for a, p in enumerate(occupants.occupancy)
        if chosen[a]
    )
    return (volume / crystal.structure.volume,)


def _own_share(crystal: _Crystal, radii: np.ndarray, chosen: np.ndarray, a: int) -> float:
    """Return which share of the sphere of occupant ``a`` counts as its own, 1 without overlap."""
    occupants, site = crystal.occupants, crystal.occupants.site[a]
    own = slice(*np.searchsorted(crystal.bonds.first, [site, site + 1]))
    atoms, centres = _atoms_around(occupants, site, crystal.bonds.second[own], crystal.bonds.vector[own])
    reach = np.linalg.norm(centres, axis=1) < radii[atoms] + radii[a]
    atoms, centres = atoms[reach & chosen[atoms]], centres[reach & chosen[atoms]]
    points = _ball() * radii[a]
    squared = ((points[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2)
    covered = (squared < radii[atoms] ** 2) @ occupants.occupancy[atoms]
    return float(np.mean(1.0 / np.maximum(covered, 1.0)))


def _atoms_around(
    occupants: _Occupants, site: int, sites: np.ndarray, vectors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the occupants of a site and of its neighbours, with their place relative to the site."""
    sites = np.concatenate([[site], sites])
    vectors = np.vstack([np.zeros(3), vectors])
    start, stop = np.searchsorted(occupants.site, sites), np.searchsorted(occupants.site, sites, side="right")
    atoms = np.concatenate([np.arange(low, high) for low, high in zip(start, stop)])
    return atoms, np.repeat(vectors, stop - start, axis=0)


def _paths(crystal: _Crystal) -> tuple[float, float]:
    """Return the mean radius of the straight paths, and the electronegativity of what limits them."""
    _need_li(crystal)
    _need_other(crystal)
    radius, electronegativity = _obstacles(crystal, _radii(crystal))
    shells = [(site, pairs, _followed(nearest)) for site, pairs, nearest in _li_shells(crystal)]
    around = _around_paths(crystal, max(pairs.distance[nearest > 0].max() for _, pairs, nearest in shells))
    widths, limits, weights = [], [], []
    for site, pairs, nearest in shells:
        own = around.chosen(slice(*np.searchsorted(around.first, [site, site + 1])))
        for k in np.flatnonzero(nearest):
            path = _path(crystal, site, pairs.chosen(slice(k, k + 1)), own, radius)
            if path is not None:
                atom, share, clearance = path
                widths.append(share @ np.maximum(clearance, 0.0))
                limits.append(share @ electronegativity[atom])
                weights.append(crystal.li[site] * nearest[k])
    if not weights:
        raise _Undefined("no atom beside any straight path between two Li")
    return np.average(widths, weights=weights), np.average(limits, weights=weights)


def _followed(nearest: np.ndarray) -> np.ndarray:
    """Return the probabilities with the tail of distant sites, 1 % together, set to 0."""
    return np.where(np.cumsum(nearest) - nearest < _FOLLOWED, nearest, 0.0)


def _around_paths(crystal: _Crystal, longest: float) -> _Pairs:
    """Return the pairs to sublattice sites that may stand beside paths of at most this length (Angstrom)."""
    radius = longest + NEIGHBOUR_CUTOFF_ANGSTROM
    pairs = crystal.near if radius <= _NEAR_ANGSTROM else _pairs(crystal.structure, radius)
    return pairs.chosen(crystal.other[pairs.second] > 0)


def _obstacles(crystal: _Crystal, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean radius and electronegativity of the sublattice atoms of each site, shape (sites,)."""
    occupants, n = crystal.occupants, len(crystal.other)
    p = occupants.occupancy * ~occupants.is_li
    total = np.where(crystal.other > 0, crystal.other, 1.0)
    return (
        np.bincount(occupants.site, p * radii, n) / total,
        np.bincount(occupants.site, p * occupants.electronegativity, n) / total,
    )


def _path(
    crystal: _Crystal, site: int, end: _Pairs, around: _Pairs, radius: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return the sites that may limit the path to ``end``, with which probability, and their clearance.

    Only atoms beside the line count, not those beyond its ends. None if there is no such atom.
    """
    length, axis = end.distance[0], end.vector[0] / end.distance[0]
    along = around.vector @ axis
    beside = (along > -_TIE_ANGSTROM) & (along < length + _TIE_ANGSTROM)
    around, along = around.chosen(beside), along[beside]
    if len(along) == 0:
        return None
    clearance = np.sqrt(np.maximum(around.distance**2 - along**2, 0.0)) - radius[around.second]
    to_end = np.linalg.norm(around.vector - end.vector, axis=1)
    filled = np.minimum(
        *(
            _given(crystal.li[li_site], crystal.other[around.second], distance, LI_OTHER_EXCLUSION_ANGSTROM)
            for li_site, distance in ((site, around.distance), (end.second[0], to_end))
        )
    )
    order, share = _nearest_first(around, clearance, filled, OTHER_EXCLUSION_ANGSTROM)
    if not share.sum() > 0:
        return None
    return around.second[order], share / share.sum(), clearance[order]

"""New candidates by aliovalent doping: part of an ion is replaced by one of another charge, lithium balances.

A dopant of higher charge leaves lithium vacancies, one of lower charge brings lithium interstitials; both
are disordered structures (partial occupancies), as they would be refined. The likelihood of a dopant on a
site is the data-mined probability of Hautier et al., doi 10.1021/ic102031h.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from pymatgen.core import Composition, PeriodicSite, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from scipy.spatial import cKDTree

from sselib.errors import DataError
from sselib.screening.candidates import Material, formula_of_amounts
from sselib.screening.substitution import MOBILE_ION, Host, partners

_GRID_ANGSTROM = 0.4  # spacing of the points at which an interstitial site is looked for
_SHORTEST_ANGSTROM = 1.6  # an interstitial lithium keeps this distance from every atom
_MIN_LITHIUM_LEFT = 0.3  # of the host's lithium, after doping


@dataclass(frozen=True)
class Doping:
    """``fraction`` of the element ``old`` becomes ``new``; ``shift`` is the charge of new minus old."""

    old: str
    new: str
    fraction: float
    shift: int


def doped(
    hosts: Iterable[Host],
    *,
    fractions: Sequence[float] = (0.1, 0.25),
    threshold: float = 0.005,
    max_shift: int = 2,
) -> Iterator[Material]:
    """Yield every host with a fraction of one ion replaced by an ion of another charge.

    Charges differ by up to ``max_shift``; lithium goes or comes to balance them. At least 30 % of the
    lithium stays, and at most as much comes as there was framework to hold it (never more than doubles).
    """
    for host in hosts:
        amounts = Composition(host.formula).get_el_amt_dict()
        for old in sorted(set(host.states) - {MOBILE_ION}):
            for shift in (s for s in range(-max_shift, max_shift + 1) if s):
                for new, p in partners(old, host.states[old], shift=shift, threshold=threshold):
                    for fraction in fractions:
                        doping = Doping(old, new, fraction, shift)
                        ratio = 1 + _added_lithium(amounts, doping) / amounts[MOBILE_ION]
                        if new not in amounts and _MIN_LITHIUM_LEFT <= ratio <= 2.0:
                            yield _candidate(host, amounts, doping, p * host.probability)


def _added_lithium(amounts: Mapping[str, float], doping: Doping) -> float:
    """Return the lithium that balances the doping, per formula of the host; negative where it goes."""
    return -doping.shift * doping.fraction * amounts[doping.old]


def _candidate(host: Host, amounts: Mapping[str, float], doping: Doping, probability: float) -> Material:
    new = dict(amounts)
    new[doping.new] = doping.fraction * amounts[doping.old]
    new[doping.old] -= new[doping.new]
    change = _added_lithium(amounts, doping)
    new[MOBILE_ION] += change
    formula = formula_of_amounts(new)
    kind = "Li vacancies" if change < 0 else "Li interstitials"
    return Material(
        id=f"doped:{host.id}:{formula}",
        formula=formula,
        source="doping",
        parent=host.id,
        change=f"{doping.fraction:.0%} {doping.old}→{doping.new}, {kind}",
        probability=probability,
        structure=partial(doped_structure, host, doping),
    )


def doped_structure(host: Host, doping: Doping) -> Structure:
    """Return the disordered structure of a doped host, in the host's cell.

    Lithium goes from all its sites in proportion, or comes first to its partly filled sites and then to
    the largest void of the cell with its symmetry-equivalent positions. Raises `DataError` where neither
    has room for it.
    """
    crystal = host.structure
    before = crystal.composition.element_composition.get_el_amt_dict()
    wanted = before[MOBILE_ION] + _added_lithium(before, doping)
    species = [_doped_species(site, doping) for site in crystal]
    _set_lithium(species, wanted)
    filled = [
        PeriodicSite(amounts, site.frac_coords, site.lattice)
        for amounts, site in zip(species, crystal, strict=True)
    ]
    missing = wanted - sum(amounts.get(MOBILE_ION, 0.0) for amounts in species)
    if missing > 1e-6:
        filled += _interstitials(Structure.from_sites(filled), missing)
    return Structure.from_sites(filled)


def _doped_species(site: PeriodicSite, doping: Doping) -> dict[str, float]:
    amounts = {s.symbol: float(x) for s, x in site.species.element_composition.items()}
    if doping.old in amounts:
        amounts[doping.new] = amounts.get(doping.new, 0.0) + doping.fraction * amounts[doping.old]
        amounts[doping.old] *= 1 - doping.fraction
    return amounts


def _set_lithium(species: Sequence[dict[str, float]], wanted: float) -> None:
    """Scale the lithium of all sites down, or fill its partly filled sites up, towards ``wanted``."""
    lithium = [amounts for amounts in species if MOBILE_ION in amounts]
    now = sum(amounts[MOBILE_ION] for amounts in lithium)
    room = np.maximum([1 - sum(amounts.values()) for amounts in lithium], 0.0)
    share = min(1.0, max(0.0, wanted - now) / room.sum()) if room.sum() > 0 else 0.0
    for amounts, left in zip(lithium, room, strict=True):
        amounts[MOBILE_ION] = amounts[MOBILE_ION] * min(1.0, wanted / now) + share * left


def _interstitials(structure: Structure, amount: float) -> list[PeriodicSite]:
    """Return partly filled lithium sites on the orbit of the largest void, ``amount`` Li in all."""
    point, clearance = largest_void(structure)
    orbit = _orbit(structure, point)
    if clearance < _SHORTEST_ANGSTROM or amount / len(orbit) > 1:
        raise DataError(
            f"no room for {amount:.2f} interstitial Li in {structure.composition.reduced_formula}: the "
            f"largest void is {clearance:.2f} Angstrom from its nearest atom, on {len(orbit)} positions"
        )
    return [PeriodicSite({MOBILE_ION: amount / len(orbit)}, p, structure.lattice) for p in orbit]


def largest_void(structure: Structure) -> tuple[np.ndarray, float]:
    """Return the point (3,), fractional, farthest from every atom, and that distance (Angstrom).

    Searched on a grid of 0.4 Angstrom; of equally good points the first in the order of the axes.
    """
    counts = np.maximum(np.ceil(np.array(structure.lattice.abc) / _GRID_ANGSTROM).astype(int), 2)
    axes = [np.arange(n) / n for n in counts]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    images = np.array(np.meshgrid(*[(-1, 0, 1)] * 3)).reshape(3, -1).T
    frac = structure.frac_coords % 1.0
    atoms = structure.lattice.get_cartesian_coords((frac[:, None] + images).reshape(-1, 3))
    distance, _ = cKDTree(atoms).query(structure.lattice.get_cartesian_coords(grid))
    best = int(np.argmax(np.round(distance, 6)))
    return grid[best], float(distance[best])


def _orbit(structure: Structure, point: np.ndarray) -> np.ndarray:
    """Return the symmetry-equivalent positions of a point, (n, 3); copies closer than 1 Angstrom are one."""
    operations = SpacegroupAnalyzer(structure, symprec=0.1).get_symmetry_operations()
    found: list[np.ndarray] = []
    for operation in operations:
        image = operation.operate(point) % 1.0
        if all(structure.lattice.get_distance_and_image(image, other)[0] > 1.0 for other in found):
            found.append(image)
    return np.array(found)

"""How high a mobile ion climbs to cross a crystal: percolation barriers of a bond-valence energy.

The energy of the ion on a grid is a Morse attraction by the anions and a screened Coulomb repulsion by the
cations, with tabulated parameters and no calculation of electrons; the barrier is the lowest energy, above
that of the best place, at which the ion can go on for ever in one, two or three directions.
Sources: Chen, Wong and Adams, Acta Cryst. B 75, 18 (2019), doi 10.1107/S2052520618015718 (softBV);
computed by bvlain (extra ``transport``).

A barrier ranks frameworks of one kind. It is no activation energy: the lattice does not relax, all mobile
ions are taken out, a site that several species share counts as its majority species in full, and the grid
has about `N_POINTS` points whatever the cell, so that no structure takes longer than a second: in a large
cell that is coarse, and moves a barrier by some tenths of an eV.
"""

import contextlib
import io
from dataclasses import astuple, dataclass

import numpy as np
from pymatgen.core import Species, Structure

from sselib.errors import DataError
from sselib.features.description import Feature, Group
from sselib.features.pores import Framework, PoreSettings, framework
from sselib.features.representations import primitive_cell
from sselib.materials.oxidation import assign_oxidation_states

N_POINTS = 4000  # of the grid
FINEST_ANGSTROM = 0.25  # distance of grid points in small cells
HIGHEST_EV = 5.0  # where no path lies below it, a barrier takes this value
_FILLED = 0.5  # occupancy by other species from which on a site stands in the way
_NEIGHBOURS = 40  # atoms whose forces reach a grid point
_REACH_ANGSTROM = 8.0

BARRIER_FEATURES: tuple[Feature, ...] = tuple(
    Feature(f"barrier_{n}d_ev", Group.BARRIER, "eV", f"bond-valence barrier to cross in {text}")
    for n, text in ((1, "one direction"), (2, "two directions"), (3, "three directions"))
)
BARRIER_COLUMNS: tuple[str, ...] = tuple(f.name for f in BARRIER_FEATURES)


@dataclass(frozen=True)
class Barriers:
    """Energies in eV to cross in one, two and three directions; `HIGHEST_EV` where there is no path."""

    one: float
    two: float
    three: float


def percolation_barriers(structure: Structure, *, mobile_ion: str = "Li") -> Barriers:
    """Return the barriers of the mobile ion (charge 1) in a structure, ordered or not.

    Needs the extra ``transport``. Raises `DataError` for a structure without other atoms, or with an anion
    for which no parameters are tabulated.
    """
    atoms = framework(structure, PoreSettings(mobile_ion=mobile_ion, min_occupancy=_FILLED))
    if not atoms.elements:
        raise DataError(f"no atoms besides {mobile_ion}: there is no framework to cross")
    states = {str(el): x for el, x in assign_oxidation_states(structure.composition).states.items()}
    found = _computed(primitive_cell(_with_states(atoms, states)), mobile_ion)
    return Barriers(*np.minimum(found, HIGHEST_EV).tolist())


def barrier_row(structure: Structure, *, mobile_ion: str = "Li") -> np.ndarray:
    """Return the three barriers in eV, shape (3,); NaN where they cannot be had."""
    try:
        return np.array(astuple(percolation_barriers(structure, mobile_ion=mobile_ion)))
    except DataError:
        return np.full(len(BARRIER_COLUMNS), np.nan)


def _with_states(atoms: Framework, states: dict[str, float]) -> Structure:
    """Return the full atoms with whole oxidation states other than 0."""
    whole = {el: int(np.sign(x) * max(1, round(abs(x)))) or 1 for el, x in states.items()}
    return Structure(atoms.lattice, [Species(el, whole[el]) for el in atoms.elements], atoms.frac_coords)


def _computed(structure: Structure, mobile_ion: str) -> list[float]:
    """Return the energies of bvlain in eV; infinite where nothing percolates."""
    from bvlain import Lain

    spacing = max(FINEST_ANGSTROM, (structure.volume / N_POINTS) ** (1 / 3))
    calculator = Lain(verbose=False)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints an excuse before it raises
        calculator.read_structure(structure, oxi_check=False)
        try:
            calculator.bvse_distribution(
                mobile_ion=f"{mobile_ion}1+", resolution=spacing, r_cut=_REACH_ANGSTROM, k=_NEIGHBOURS
            )
        except KeyError as error:
            raise DataError(
                f"{structure.composition.reduced_formula}: no bond-valence parameters for {mobile_ion}+ and "
                f"one of its anions ({error}); leave the structure out"
            ) from error
        return list(calculator.percolation_barriers(encut=2 * HIGHEST_EV).values())

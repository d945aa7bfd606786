"""How much lithium the lithium sites of a structure can hold at once.

Refined structures split lithium over sites that are too close for two ions (24d and 96h in garnets). A
doped structure must not fill both ends of such a pair: occupancies of sites closer than a shortest distance
add up to 1 at most. The most lithium under these limits is a linear programme. For cubic garnets it gives
7.5 Li per formula unit, the limit that Thangadurai and Weppner, J. Am. Ceram. Soc. 88, 411 (2005),
doi 10.1111/j.1551-2916.2005.00060.x, and later work name for that framework.
"""

import numpy as np
from pymatgen.core import Structure
from scipy.optimize import linprog
from scipy.sparse import coo_array

SHORTEST_ANGSTROM = 1.9  # two lithium ions of ordered crystals stay 2.3 Angstrom or more apart


def lithium_filling(
    structure: Structure, *, mobile_ion: str = "Li", shortest: float = SHORTEST_ANGSTROM
) -> float:
    """Return the lithium of a structure over the most that its lithium sites can hold; NaN without lithium.

    Above 1 some pairs of sites closer than ``shortest`` (Angstrom) would have to be occupied at once.
    """
    amounts = np.array([float(s.species.element_composition[mobile_ion]) for s in structure])
    where = np.flatnonzero(amounts > 0)
    if not len(where):
        return float("nan")
    room = np.array([1 - structure[i].species.num_atoms for i in where]) + amounts[where]
    held = _capacity(Structure.from_sites([structure[i] for i in where]), np.clip(room, 0, 1), shortest)
    return float(amounts[where].sum() / held) if held > 0 else float("inf")


def _capacity(sites: Structure, room: np.ndarray, shortest: float) -> float:
    """Return the largest sum of occupancies, each at most its ``room``, close pairs together at most 1."""
    first, second, _, _ = sites.get_neighbor_list(shortest)
    pairs = np.unique(np.column_stack([first, second])[first < second], axis=0)
    if not len(pairs):
        return float(room.sum())
    rows = np.repeat(np.arange(len(pairs)), 2)
    limits = coo_array((np.ones(pairs.size), (rows, pairs.ravel())), shape=(len(pairs), len(room)))
    bounds = np.column_stack([np.zeros(len(room)), room])
    return -linprog(-np.ones(len(room)), A_ub=limits, b_ub=np.ones(len(pairs)), bounds=bounds).fun

"""Chemical compositions: reading formulas, canonical form, fractions and distances.

Everything works on element fractions (mole fractions that add up to 1), so that Z, supercells and
the order in which a formula is written make no difference.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from pymatgen.core import Composition
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from sselib.materials.formula_input import read_formula

# Modified Pettifor order (Glawe et al., New J. Phys. 18, 093011 (2016), doi 10.1088/1367-2630/18/9/093011):
# neighbours in this row replace each other in known structures. Position = index.
_PETTIFOR = (
    "He Ne Ar Kr Xe Rn Fr Cs Rb K Na Li Ra Ba Sr Ca Eu Yb Lu Tm Y Er Ho Dy Tb Gd Sm Pm Nd Pr Ce La "
    "Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Sc Zr Hf Ti Ta Nb V Cr Mo W Re Tc Os Ru Ir Rh Pt "
    "Pd Au Ag Cu Ni Co Fe Mn Mg Zn Cd Hg Be Al Ga In Tl Pb Sn Ge Si B C N P As Sb Bi Po Te Se S O "
    "At I Br Cl F H"
)
MODIFIED_PETTIFOR_ORDER: tuple[str, ...] = tuple(_PETTIFOR.split())
_COLUMN_OF = {element: column for column, element in enumerate(MODIFIED_PETTIFOR_ORDER)}
_DECIMALS = 6  # of a mole fraction in the canonical form


@lru_cache(maxsize=20_000)
def parse_formula(text: str) -> Composition:
    """Return the composition of `sselib.materials.formula_input.read_formula`, whose error it raises."""
    return read_formula(text).composition


def canonical(composition: Composition | str) -> str:
    """Return mole fractions in alphabetical order, ``"Cl0.076923 Li0.461538 ..."``.

    Two formulas of the same material give the same text whatever their Z. Six decimals.
    """
    parsed = parse_formula(composition) if isinstance(composition, str) else composition
    fractions = parsed.get_el_amt_dict()
    total = sum(fractions.values())
    return " ".join(f"{el}{fractions[el] / total:.{_DECIMALS}f}" for el in sorted(fractions))


def chemical_system(composition: Composition | str) -> str:
    """Return the elements in alphabetical order, ``"Cl-Li-P-S"``."""
    parsed = parse_formula(composition) if isinstance(composition, str) else composition
    return "-".join(sorted(el.symbol for el in parsed.elements))


def element_fractions(formulas: Sequence[str]) -> pd.DataFrame:
    """Return mole fractions, shape (n formulas, 103), columns in the modified Pettifor order."""
    amounts = np.zeros((len(MODIFIED_PETTIFOR_ORDER), len(formulas)))
    for row, formula in enumerate(formulas):
        for element, amount in parse_formula(formula).items():
            if element.symbol in _COLUMN_OF:
                amounts[_COLUMN_OF[element.symbol], row] += amount
    return pd.DataFrame((amounts / amounts.sum(axis=0)).T, columns=list(MODIFIED_PETTIFOR_ORDER))


def l1_distances(fractions: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the L1 distance between mole fractions, shape (n, m), 0 (same) to 2 (no element shared).

    "Within 5 %" in this suite means a distance of at most 0.05.
    """
    fractions, others = np.asarray(fractions, float), np.asarray(others, float)
    present = (fractions != 0).any(axis=0) | (others != 0).any(axis=0)  # other elements add nothing
    if present.any():
        fractions, others = fractions[:, present], others[:, present]
    return cdist(fractions, others, metric="cityblock")


def rows_within(fractions: np.ndarray, others: np.ndarray, limit: float) -> Iterator[np.ndarray]:
    """Yield for each row the positions of the ``others`` within ``limit`` (L1), the nearest first.

    A search tree, so that neither time nor memory grows with the product of the two.
    """
    tree = cKDTree(np.asarray(others, float))
    for row in np.asarray(fractions, float):
        near = np.sort(np.asarray(tree.query_ball_point(row, limit, p=1), int))
        distance = np.abs(others[near] - row).sum(axis=1)
        yield near[np.argsort(distance, kind="stable")]


def elmd_distances(fractions: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the element mover's distance, shape (n, m), in steps of the modified Pettifor scale.

    The earth mover's distance on a line is the L1 distance of the cumulative distributions, so no
    optimisation is needed. Both inputs have columns in `MODIFIED_PETTIFOR_ORDER`. Source: Hargreaves
    et al., Chem. Mater. 32, 10610 (2020), doi 10.1021/acs.chemmater.0c03381.
    """
    first, second = (np.cumsum(np.asarray(x, float), axis=1) for x in (fractions, others))
    return cdist(first, second, metric="cityblock")

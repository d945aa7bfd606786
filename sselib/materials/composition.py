"""Chemical compositions: reading formulas, canonical form, fractions and distances.

Everything works on element fractions (mole fractions that add up to 1), so that Z, supercells and
the order in which a formula is written make no difference.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from pymatgen.core import Composition
from scipy.spatial.distance import cdist

from sselib.errors import FormulaError

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
_CHUNK = re.compile(r'^[\s"\'`]+|[\s"\'`]+$')


@lru_cache(maxsize=20_000)
def parse_formula(text: str) -> Composition:
    """Read a formula such as ``Li1.3Al0.3Ti1.7(PO4)3`` or ``(Li2S)0.8 (P2S5)0.2``.

    Blanks, quotes, ``[]``/``{}`` brackets and subscript digits are accepted. Raises
    `FormulaError`, which names the text, for anything else: unknown elements, variables such as
    ``Li1-x``, negative or zero amounts, an empty text.
    """
    cleaned = _clean(text)
    if not cleaned:
        raise FormulaError(f"formula {text!r} is empty: expected for example 'Li6PS5Cl'")
    if re.search(r"[^A-Za-z0-9.()]", cleaned) or re.search(r"\d\.\d+\.", cleaned):
        raise FormulaError(
            f"formula {text!r} holds characters that are not part of a formula: "
            "write amounts as numbers, for example 'Li6.4Al0.2La3Zr2O12'"
        )
    try:
        composition = Composition(cleaned, strict=True)
    except (ValueError, KeyError) as error:
        raise FormulaError(f"formula {text!r} cannot be read: {error}") from error
    if not composition or not 0 < min(composition.values()) <= max(composition.values()) < np.inf:
        raise FormulaError(f"formula {text!r} has no element with a positive amount")
    return composition


def _clean(text: str) -> str:
    """Normalise brackets, subscripts, blanks, and middle dots that no amount follows, of a formula."""
    table = str.maketrans("₀₁₂₃₄₅₆₇₈₉[]{}", "0123456789()()")
    plain = re.sub(r"\s+", "", _CHUNK.sub("", str(text)).translate(table))
    return re.sub(r"·(?![\d.])", "", plain)  # "LiI·3H2O" is not LiI3H2O: see sselib.materials.formula_input


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


def elmd_distances(fractions: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the element mover's distance, shape (n, m), in steps of the modified Pettifor scale.

    The earth mover's distance on a line is the L1 distance of the cumulative distributions, so no
    optimisation is needed. Both inputs have columns in `MODIFIED_PETTIFOR_ORDER`. Source: Hargreaves
    et al., Chem. Mater. 32, 10610 (2020), doi 10.1021/acs.chemmater.0c03381.
    """
    first, second = (np.cumsum(np.asarray(x, float), axis=1) for x in (fractions, others))
    return cdist(first, second, metric="cityblock")

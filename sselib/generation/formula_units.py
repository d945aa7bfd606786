"""From a formula to the content of a cell: integer formula, number of formula units, limit of atoms."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd

import numpy as np
from pymatgen.core import Composition

from sselib.errors import FormulaError
from sselib.materials.composition import parse_formula

MAX_ATOMS = 149  # Kim et al.: fewer than 150 atoms in the cell
INTEGER_TOLERANCE = 1e-3  # of an amount in the formula


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The nearest integer formula within the limit of atoms and how far it is away.

    ``l1_error`` is the L1 distance of the mole fractions, 0 to 2.
    """

    formula: str
    n_atoms: int
    l1_error: float


@dataclass(frozen=True, kw_only=True)
class CellContent:
    """What a search is about: ``amounts`` are the atoms of each element in a cell of Z formula units."""

    formula: str  # reduced, integer
    z: int
    amounts: Mapping[str, int]

    @property
    def n_atoms(self) -> int:
        """Return the number of atoms in the cell."""
        return sum(self.amounts.values())


def integer_formula(formula: str) -> tuple[str, dict[str, int]]:
    """Return the reduced formula and its amounts, all integers without a common divisor.

    Raises `FormulaError` for a formula that cannot be read, and for a fractional one (Li1.3Al0.3...),
    with the nearest integer formula and its error.
    """
    amounts = parse_formula(formula).get_el_amt_dict()
    if any(abs(x - round(x)) > INTEGER_TOLERANCE for x in amounts.values()):
        proposal = nearest_integer_formula(formula)
        raise FormulaError(
            f"formula {formula!r} has fractional amounts, and a cell holds whole atoms: the nearest integer "
            f"formula with at most {MAX_ATOMS} atoms is {proposal.formula} ({proposal.n_atoms} atoms, L1 "
            f"error {proposal.l1_error:.3f}); ask for that one if the error is acceptable"
        )
    whole = {element: round(x) for element, x in amounts.items()}
    reduced = {element: n // gcd(*whole.values()) for element, n in whole.items()}
    return Composition(reduced).reduced_formula, reduced


def nearest_integer_formula(formula: str, *, max_atoms: int = MAX_ATOMS) -> Proposal:
    """Return the integer formula of at most ``max_atoms`` atoms nearest in mole fractions.

    Of equally near ones (within 0.001) the smallest is taken. No element is lost. Raises `FormulaError`
    if the formula has more elements than ``max_atoms`` or cannot be read.
    """
    amounts = parse_formula(formula).get_el_amt_dict()
    elements, exact = list(amounts), np.array(list(amounts.values())) / sum(amounts.values())
    if len(elements) > max_atoms:
        raise FormulaError(f"formula {formula!r} has {len(elements)} elements for {max_atoms} atoms")
    best, whole = np.inf, np.ones(len(elements))
    for n in range(len(elements), max_atoms + 1):
        near = np.maximum(np.rint(exact * n), 1)
        error = float(np.abs(near / near.sum() - exact).sum())
        if near.sum() <= max_atoms and error < best - 1e-3:
            best, whole = error, near
    whole = whole.astype(int) // np.gcd.reduce(whole.astype(int))
    text = "".join(f"{e}{w if w > 1 else ''}" for e, w in zip(elements, whole, strict=True))
    return Proposal(formula=text, n_atoms=int(whole.sum()), l1_error=best)


def cell_content(formula: str, *, z: int = 0, max_atoms: int = MAX_ATOMS) -> CellContent:
    """Return the atoms of the cell to be searched.

    ``z``: formula units; 0 takes the largest of 4, 2 and 1 that keeps the cell at 24 atoms or fewer (else
    1), because most inorganic crystals have Z of 4, 2 or 1 in the primitive cell. Raises `FormulaError`
    for a fractional formula and for a cell above ``max_atoms``.
    """
    text, amounts = integer_formula(formula)
    size = sum(amounts.values())
    units = z or next((n for n in (4, 2) if n * size <= 24), 1)
    if units * size > max_atoms or units < 1:
        raise FormulaError(
            f"{units} formula units of {text} are {units * size} atoms: expected at least one unit and at "
            f"most {max_atoms} atoms; choose a smaller z (largest possible: {max_atoms // size})"
        )
    return CellContent(formula=text, z=units, amounts={e: n * units for e, n in amounts.items()})

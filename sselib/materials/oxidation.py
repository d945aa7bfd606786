"""Oxidation states from the composition alone, also where amounts are fractional.

The CIFs of OBELiX carry no oxidation states, and guesses that enumerate whole atoms fail or take
minutes on formulas such as Li6.55Ga0.15La3Zr2O12. Here every element takes one state, and all
combinations of common states are scored at once; so are those in which one element takes a rarer
state, or the average that balances the charge (mixed valence, such as Ti 3.4+ or the two kinds of
hydrogen in an amidoborane). The lowest score wins. It adds up

- the charge left over per atom;
- 0.3 per unit of Pauling electronegativity by which a cation exceeds an anion;
- 0.5 for each anion that seldom is one (P, Si, B, ...) beside a more electronegative anion;
- a cost of the rarer state or of the average, growing with the mole fraction of its element.

A composition that stays unbalanced (CIFs with wrong occupancies) keeps plausible signs and is marked
so. States are one per element: the average, not the state of one site.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from types import MappingProxyType

import numpy as np
import pandas as pd
from pymatgen.core import Composition, DummySpecies, Element

from sselib.errors import DataError, FormulaError
from sselib.materials.composition import parse_formula

COMMON = "common states balance"
ONE_RARE = "one rarer state"
MIXED_VALENCE = "mixed valence average"
METALLIC = "no anion, all zero"
IMBALANCED = "imbalanced"
RULES = (COMMON, ONE_RARE, MIXED_VALENCE, METALLIC, IMBALANCED)

CATION, ANION, NEUTRAL, MOBILE = "cation", "anion", "neutral", "mobile"

BALANCE_TOLERANCE = 0.05  # elementary charges per atom: nominal and refined amounts are rounded
_INVERSION_COST = 0.3  # per unit of Pauling electronegativity of a cation above an anion
_ODD_ANION_COST = 0.5
_RARE_COST = 0.02  # of one element in a rarer state, plus the next line times its mole fraction
_RARE_COST_PER_FRACTION = 0.3
_AVERAGE_COST = 0.02  # of an average, on top of the cost of a rarer state
_COMMON_AVERAGE_COST = 0.07  # of an average between two common states, if that is less

_USUAL_ANIONS = frozenset({"H", "C", "N", "O", "F", "S", "Cl", "Se", "Br", "Te", "I"})
# With a third element present these keep a common state: a charge left over then means wrong amounts.
_STEADY = frozenset({"N", "O", "F", "Cl", "Br", "I"})
# Where pymatgen's common states do not fit solids: it lists all of -4..4 for C, only 5 for V, 3 for Bi.
_COMMON_OVERRIDES: dict[str, tuple[int, ...]] = {
    "C": (-4, 4),
    "V": (3, 4, 5),
    "Cr": (2, 3, 6),
    "Mn": (2, 3, 4, 7),
    "Cu": (1, 2),
    "Bi": (-3, 3, 5),
}
# States of borides and peroxides, which the ICSD list of pymatgen lacks.
_EXTRA_STATES: dict[str, tuple[int, ...]] = {"B": (-1,), "O": (-1,)}


@dataclass(frozen=True)
class OxidationAssignment:
    """One average oxidation state per element.

    ``states`` maps element symbols to elementary charges, ``imbalance_per_atom`` is the absolute
    charge left over per atom (elementary charges), ``rule`` one of `RULES`.
    """

    states: Mapping[str, float]
    imbalance_per_atom: float
    rule: str


@dataclass(frozen=True)
class _Candidate:
    """One combination of states, in the order of the elements, and its score (lower is better)."""

    score: float
    states: tuple[float, ...]
    rule: str


def assign_oxidation_states(composition: Composition | str) -> OxidationAssignment:
    """Return average oxidation states that balance a (fractional) composition.

    A charge of at most 0.05 per atom counts as balanced; above it the rule is `IMBALANCED`, unless
    no element can be an anion (metals, alloys), where all states are 0. Isotopes and ions count as
    their element. Raises `FormulaError` for an unreadable or empty formula and `DataError` for
    dummy atoms.
    """
    parsed = parse_formula(composition) if isinstance(composition, str) else composition
    fractions = _fractions(parsed)
    return _assign(tuple((el, round(x, 8)) for el, x in sorted(fractions.items())))


def rule_counts(compositions: Sequence[Composition | str]) -> pd.DataFrame:
    """Return for each of `RULES` that was needed how many compositions needed it, and the worst imbalance.

    Columns: rule, compositions, worst_imbalance_per_atom (elementary charges).
    """
    found = [assign_oxidation_states(c) for c in compositions]
    table = pd.DataFrame(
        [(a.rule, a.imbalance_per_atom) for a in found], columns=["rule", "imbalance"]
    ).astype({"imbalance": float})
    counts = table.groupby("rule").agg(
        compositions=("imbalance", "size"), worst_imbalance_per_atom=("imbalance", "max")
    )
    return counts.reindex([r for r in RULES if r in counts.index]).reset_index()


def site_roles(composition: Composition | str, *, mobile_ion: str = "Li") -> dict[str, str]:
    """Return 'cation', 'anion', 'neutral' or 'mobile' for each element, by the sign of its state."""
    states = assign_oxidation_states(composition).states
    return {el: MOBILE if el == mobile_ion else role_of_state(state) for el, state in states.items()}


def role_of_state(state: float) -> str:
    """Return 'cation', 'anion' or 'neutral' for an oxidation state."""
    if abs(state) < 1e-6:
        return NEUTRAL
    return CATION if state > 0 else ANION


def common_states(symbol: str) -> tuple[int, ...]:
    """Return the common oxidation states of an element: pymatgen's list, six corrected; 0 if none."""
    return _COMMON_OVERRIDES.get(symbol) or tuple(Element(symbol).common_oxidation_states) or (0,)


def known_states(symbol: str) -> tuple[int, ...]:
    """Return the common states and those that the ICSD knows of (pymatgen's list), without 0."""
    known = {*common_states(symbol), *Element(symbol).icsd_oxidation_states, *_EXTRA_STATES.get(symbol, ())}
    return tuple(sorted(known - {0})) or (0,)


def _fractions(composition: Composition) -> dict[str, float]:
    """Return mole fractions by element symbol."""
    amounts: dict[str, float] = {}
    for species, amount in composition.items():
        if isinstance(species, DummySpecies):
            raise DataError(
                f"composition {composition.formula!r} holds the dummy atom {species}: expected "
                "elements only; remove it or name its element"
            )
        symbol = Element.from_Z(species.Z).symbol
        amounts[symbol] = amounts.get(symbol, 0.0) + float(amount)
    total = sum(amounts.values())
    if total <= 0:
        raise FormulaError("composition is empty: expected at least one element with a positive amount")
    return {symbol: amount / total for symbol, amount in amounts.items() if amount > 0}


@lru_cache(maxsize=20_000)
def _assign(fractions: tuple[tuple[str, float], ...]) -> OxidationAssignment:
    """Return the assignment for mole fractions given as sorted (symbol, fraction) pairs."""
    symbols = [symbol for symbol, _ in fractions]
    x = np.array([fraction for _, fraction in fractions])
    candidates = [_common_candidate(symbols, x)]
    for k in _adjustable(symbols):
        candidates += _rarer_candidates(symbols, x, k) + _average_candidates(symbols, x, k)
    best = min(candidates, key=lambda c: (round(c.score, 9), c.states))
    if len(symbols) == 1 or min(best.states) >= 0:
        best = _Candidate(0.0, (0.0,) * len(symbols), METALLIC)
    imbalance = float(abs(x @ np.array(best.states)))
    return OxidationAssignment(
        states=MappingProxyType({s: round(float(v), 6) for s, v in zip(symbols, best.states)}),
        imbalance_per_atom=imbalance,
        rule=best.rule if imbalance <= BALANCE_TOLERANCE else IMBALANCED,
    )


def _adjustable(symbols: list[str]) -> list[int]:
    """Return the positions of elements that may leave their common states: all of them in binaries
    (peroxides, polysulfides, borides), else neither `_STEADY` ones nor the most electronegative one.
    """
    if len(symbols) <= 2:
        return list(range(len(symbols)))
    fixed = _STEADY | {max(symbols, key=_electronegativity)}
    return [k for k, symbol in enumerate(symbols) if symbol not in fixed]


def _common_candidate(symbols: list[str], x: np.ndarray) -> _Candidate:
    return _best(symbols, x, _grid([common_states(s) for s in symbols]), cost=0.0, rule=COMMON)


def _rarer_candidates(symbols: list[str], x: np.ndarray, k: int) -> list[_Candidate]:
    """Return the best combination with element ``k`` in a rarer state, if it has one."""
    choices = [common_states(s) for s in symbols]
    choices[k] = tuple(s for s in known_states(symbols[k]) if s not in choices[k])
    cost = _RARE_COST + _RARE_COST_PER_FRACTION * x[k]
    return [_best(symbols, x, _grid(choices), cost=cost, rule=ONE_RARE)] if choices[k] else []


def _average_candidates(symbols: list[str], x: np.ndarray, k: int) -> list[_Candidate]:
    """Return the best balanced combinations with an average state of element ``k``, if any.

    Averages between common states cost little; those only between rarer states cost more.
    """
    common, known = common_states(symbols[k]), known_states(symbols[k])
    states = _grid([(0,) if j == k else common_states(s) for j, s in enumerate(symbols)])
    states[:, k] = -(states @ x) / x[k]
    rare_cost = _AVERAGE_COST + _RARE_COST + _RARE_COST_PER_FRACTION * x[k]
    found = []
    for bounds, cost in ((common, min(_COMMON_AVERAGE_COST, rare_cost)), (known, rare_cost)):
        inside = states[(states[:, k] >= min(bounds)) & (states[:, k] <= max(bounds))]
        if len(inside):
            found.append(_best(symbols, x, inside, cost=cost, rule=MIXED_VALENCE))
    return found


def _grid(choices: list[tuple[int, ...]]) -> np.ndarray:
    """Return all combinations of the states offered, shape (combinations, elements)."""
    return np.array(list(product(*choices)), dtype=float)


def _best(symbols: list[str], x: np.ndarray, states: np.ndarray, *, cost: float, rule: str) -> _Candidate:
    """Score combinations, shape (combinations, elements), and return the one with the lowest score."""
    scores = np.abs(states @ x) + cost + _sign_cost(symbols, states)
    best = int(np.argmin(np.round(scores, 9)))
    return _Candidate(float(scores[best]), tuple(states[best]), rule)


def _sign_cost(symbols: list[str], states: np.ndarray) -> np.ndarray:
    """Return what implausible signs cost, shape (combinations,)."""
    electronegativity = np.array([_electronegativity(s) for s in symbols])
    excess = np.maximum(electronegativity[:, None] - electronegativity[None, :], 0.0)
    cations, anions = states > 0, states < 0
    inversions = np.einsum("ni,ij,nj->n", cations, excess, anions)
    odd = np.array([s not in _USUAL_ANIONS for s in symbols])
    beside_stronger = (anions.astype(int) @ (excess > 0)) > 0
    return _INVERSION_COST * inversions + _ODD_ANION_COST * (anions & odd & beside_stronger).sum(axis=1)


@lru_cache(maxsize=200)
def _electronegativity(symbol: str) -> float:
    """Return the Pauling electronegativity, 0 where there is none (noble gases)."""
    return float(np.nan_to_num(Element(symbol).X))

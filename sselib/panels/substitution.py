"""Formulas for what-if questions: replace part of an element, and let lithium balance the charge."""

from pymatgen.core import Element

from sselib.errors import FormulaError
from sselib.materials.composition import parse_formula

_ANIONS = frozenset({"N", "O", "S", "Se", "Te", "F", "Cl", "Br", "I"})


def usual_charge(symbol: str) -> int:
    """Return the charge of an element in most electrolytes: the anion's, else the highest common one.

    Raises `FormulaError` for an unknown element, or one without a common oxidation state (noble gases).
    """
    if not Element.is_valid_symbol(symbol):
        raise FormulaError(f"{symbol!r} is no element: expected a symbol such as Zr")
    states = Element(symbol).common_oxidation_states
    if not states:
        raise FormulaError(f"{symbol} has no common oxidation state, so no charge can be balanced for it")
    return min(states) if symbol in _ANIONS else max(states)


def substitute(formula: str, *, replaced: str, by: str, fraction: float, balance: bool = True) -> str:
    """Return the formula with ``fraction`` (0 to 1) of one element replaced by another.

    With ``balance`` the amount of Li changes by the difference of charge, e.g. Li7La3Zr2O12 with a quarter
    of Zr replaced by Ta is Li6.5La3Zr1.5Ta0.5O12. Raises `FormulaError` for an unreadable formula, an
    element that is not in it, a fraction outside 0 to 1, or where less than no lithium would be left.
    """
    amounts = dict(parse_formula(formula).get_el_amt_dict())
    if replaced not in amounts:
        raise FormulaError(f"{formula} holds no {replaced}: expected one of {', '.join(amounts)}")
    if not 0 <= fraction <= 1:
        raise FormulaError(f"the fraction {fraction} is impossible: expected 0 to 1")
    charges = (usual_charge(replaced), usual_charge(by))
    moved = fraction * amounts[replaced]
    amounts[replaced] -= moved
    amounts[by] = amounts.get(by, 0.0) + moved
    if balance and "Li" not in (replaced, by):
        amounts["Li"] = amounts.get("Li", 0.0) + moved * (charges[0] - charges[1])
    if amounts.get("Li", 0.0) <= 0:
        raise FormulaError(
            f"{formula} with {fraction:.2f} of {replaced} as {by} would have no lithium left: replace less, "
            "or do not balance the charge"
        )
    kept = {symbol: n for symbol, n in amounts.items() if n > 1e-6}
    return "".join(symbol if n == 1 else f"{symbol}{n:.4g}" for symbol, n in kept.items())

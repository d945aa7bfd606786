"""Price, abundance and hazards of the elements of a composition, from the small table `data/elements.yaml`.

The table names its sources. Costs are those of the elements, not of precursors or synthesis: orders of
magnitude, to tell a sulfide of phosphorus from one of germanium.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import yaml
from pymatgen.core import Element

from sselib.materials.composition import parse_formula
from sselib.paths import project_root


@dataclass(frozen=True)
class ElementFacts:
    """Facts of one element; NaN where the table has no value."""

    price_usd_kg: float
    abundance_mg_kg: float
    is_critical: bool
    is_toxic: bool
    is_radioactive: bool


@lru_cache(maxsize=1)
def element_facts() -> Mapping[str, ElementFacts]:
    """Return the facts of every element by symbol."""
    table = yaml.safe_load((project_root() / "data" / "elements.yaml").read_text(encoding="utf-8"))
    known = table["elements"]
    return {
        symbol: ElementFacts(
            price_usd_kg=float(known.get(symbol, {}).get("price_usd_kg", np.nan)),
            abundance_mg_kg=float(known.get(symbol, {}).get("abundance_mg_kg", np.nan)),
            is_critical=symbol in table["critical"],
            is_toxic=symbol in table["toxic_because"],
            is_radioactive=symbol in table["radioactive"],
        )
        for symbol in (el.symbol for el in Element)
    }


def practical_facts(formulas: Sequence[str]) -> pd.DataFrame:
    """Return what the elements of each formula cost and bring with them, one row per formula.

    Columns: ``element_cost_usd_kg`` (USD per kg of compound), ``element_cost_usd_mol_li`` (USD per mol of
    lithium in it; inf without lithium), ``scarcest_element`` and its ``scarcest_abundance_mg_kg``, and the
    symbols, joined by blanks, of ``toxic_elements``, ``critical_elements``, ``radioactive_elements``.
    Lithium is left out of the scarcest and the critical, since every candidate holds it. Raises
    `FormulaError` for a formula that cannot be read.
    """
    return pd.DataFrame([_facts_of(f) for f in formulas], columns=list(_facts_of("LiCl")))


def _facts_of(formula: str) -> dict[str, object]:
    amounts = {el.symbol: float(x) for el, x in parse_formula(formula).element_composition.items()}
    facts = {symbol: element_facts()[symbol] for symbol in amounts}
    masses = {symbol: x * float(Element(symbol).atomic_mass) for symbol, x in amounts.items()}  # g/mol
    cost = sum(masses[s] * facts[s].price_usd_kg for s in amounts) / 1000  # USD per mol of formula
    others = [s for s in amounts if s != "Li"] or list(amounts)
    scarcest = min(others, key=lambda s: (np.nan_to_num(facts[s].abundance_mg_kg), s))
    return {
        "element_cost_usd_kg": 1000 * cost / sum(masses.values()),
        "element_cost_usd_mol_li": cost / amounts["Li"] if amounts.get("Li") else np.inf,
        "scarcest_element": scarcest,
        "scarcest_abundance_mg_kg": facts[scarcest].abundance_mg_kg,
        "toxic_elements": " ".join(sorted(s for s in amounts if facts[s].is_toxic)),
        "critical_elements": " ".join(sorted(s for s in others if facts[s].is_critical and s != "Li")),
        "radioactive_elements": " ".join(sorted(s for s in amounts if facts[s].is_radioactive)),
    }

"""Prices, abundances and hazards of elements."""

import pytest
from pymatgen.analysis.cost import CostAnalyzer, CostDBElements
from pymatgen.core import Composition
from scipy.stats import spearmanr

from sselib.errors import FormulaError
from sselib.materials.element_data import element_facts, practical_facts


def test_facts_are_there_for_the_elements_of_solid_electrolytes_and_positive():
    for symbol in [
        "Li",
        "Na",
        "P",
        "S",
        "O",
        "Cl",
        "Br",
        "I",
        "F",
        "N",
        "B",
        "Si",
        "Ge",
        "Sn",
        "Al",
        "Ga",
        "In",
        "La",
        "Y",
        "Zr",
        "Hf",
        "Ta",
        "Nb",
        "Ti",
        "Sc",
        "Er",
        "Yb",
    ]:
        facts = element_facts()[symbol]
        assert facts.price_usd_kg > 0 and facts.abundance_mg_kg > 0, symbol


PRICED = """
    Li B C Na Mg Al Si P S Cl K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge Se Br Sr
    Y Zr Nb Mo Ru Pd Ag Cd In Sn Te I Cs Ba La Nd Eu Tb Lu Hf Ta W Ir Pt Au Tl Pb Bi
"""


def test_prices_rank_elements_as_an_independent_table_does():
    """pymatgen's own price table is of other years and forms; the order must still agree."""
    other = CostAnalyzer(CostDBElements())
    pairs = [(element_facts()[s].price_usd_kg, other.get_cost_per_kg(s)) for s in PRICED.split()]
    assert spearmanr(*zip(*pairs, strict=True)).statistic > 0.8


def test_cost_is_the_mass_weighted_price():
    """LiCl: 6.94 g Li at 83.5 USD/kg and 35.45 g Cl at 0.082 USD/kg."""
    row = practical_facts(["LiCl"]).iloc[0]
    assert row["element_cost_usd_kg"] == pytest.approx((6.94 * 83.5 + 35.45 * 0.082) / 42.39, rel=1e-3)
    assert row["element_cost_usd_mol_li"] == pytest.approx((6.94 * 83.5 + 35.45 * 0.082) / 1000, rel=1e-3)


def test_cost_does_not_depend_on_the_size_of_the_formula_unit():
    table = practical_facts(["Li6PS5Cl", "Li24P4S20Cl4"]).drop(columns="scarcest_element")
    assert table.iloc[0, 0] == pytest.approx(table.iloc[1, 0])
    assert table.iloc[0, 1] == pytest.approx(table.iloc[1, 1])


def test_hazards_are_named():
    row = practical_facts(["Li3Pb2AsS4Ge", "LiThO2"])
    assert row["toxic_elements"].tolist() == ["As Pb", ""]
    assert row["radioactive_elements"].tolist() == ["", "Th"]
    assert row["scarcest_element"].iloc[0] == "Ge"
    assert row["critical_elements"].iloc[0] == "As Ge"


def test_lithium_is_not_its_own_scarcest_element():
    assert practical_facts(["Li2O"])["scarcest_element"].iloc[0] == "O"
    assert Composition("Li2O")["Li"] == 2


def test_an_unreadable_formula_is_an_error():
    with pytest.raises(FormulaError, match="Xx"):
        practical_facts(["XxCl"])

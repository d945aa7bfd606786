"""Oxidation states from compositions: known cases, fractional amounts, and all of OBELiX."""

import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition, Element, Species

from sselib.errors import DataError, FormulaError
from sselib.materials.cif import read_cif
from sselib.materials.oxidation import (
    BALANCE_TOLERANCE,
    COMMON,
    IMBALANCED,
    METALLIC,
    MIXED_VALENCE,
    ONE_RARE,
    RULES,
    assign_oxidation_states,
    role_of_state,
    rule_counts,
    site_roles,
)

KNOWN = {
    "Li3P": {"P": -3},
    "Li8GeP4": {"Ge": 4, "P": -3},
    "Li9AlP4": {"Al": 3, "P": -3},
    "Li8SiP4": {"Si": 4, "P": -3},
    "Li3BP2": {"B": 3, "P": -3},
    "Li3N": {"N": -3},
    "Li2O": {"O": -2},
    "LiI": {"I": -1},
    "Li6PS5Cl": {"P": 5, "S": -2, "Cl": -1},
    "Li6PS5I": {"P": 5, "S": -2, "I": -1},
    "Li5NI2": {"N": -3, "I": -1},
    "Li9N2Cl3": {"N": -3, "Cl": -1},
    "Li3OCl": {"O": -2, "Cl": -1},
    "LiBH4": {"B": 3, "H": -1},
    "LiAlH4": {"Al": 3, "H": -1},
    "LiH": {"H": -1},
    "Li2OHCl": {"O": -2, "H": 1, "Cl": -1},
    "LiOH": {"O": -2, "H": 1},
    "LiNH2": {"N": -3, "H": 1},
    "Li2CN2": {"C": 4, "N": -3},
    "Li2CO3": {"C": 4, "O": -2},
    "LiClO4": {"Cl": 7, "O": -2},
    "Li7La3Zr2O12": {"La": 3, "Zr": 4, "O": -2},
    "LiTi2(PO4)3": {"Ti": 4, "P": 5, "O": -2},
    "Li10GeP2S12": {"Ge": 4, "P": 5, "S": -2},
    "Li3YCl6": {"Y": 3, "Cl": -1},
    "Li3V2(PO4)3": {"V": 3, "P": 5, "O": -2},
    "Li5La3Bi2O12": {"La": 3, "Bi": 5, "O": -2},
}
FRACTIONAL = {
    "Li0.34La0.55TiO3": {"La": 3, "Ti": 4, "O": -2},
    "Li2.9PO3.3N0.5": {"P": 5, "O": -2, "N": -3},
    "Li6.4Al0.2La3Zr2O12": {"Al": 3, "La": 3, "Zr": 4, "O": -2},
    "Li9.54Si1.74P1.44S11.7Cl0.3": {"Si": 4, "P": 5, "S": -2, "Cl": -1},
    "Li6.6Si0.6Sb0.4S5I": {"Si": 4, "Sb": 5, "S": -2, "I": -1},
}


@pytest.mark.parametrize(("formula", "expected"), [*KNOWN.items(), *FRACTIONAL.items()])
def test_known_compound(formula: str, expected: dict[str, int]) -> None:
    assignment = assign_oxidation_states(formula)
    assert dict(assignment.states) == {"Li": 1, **expected}
    assert assignment.rule == COMMON
    assert assignment.imbalance_per_atom <= BALANCE_TOLERANCE


@pytest.mark.parametrize(
    ("formula", "element", "state", "rule"),
    [
        ("Li2O2", "O", -1, ONE_RARE),  # peroxide
        ("LiB", "B", -1, ONE_RARE),  # boride
        ("AlB2", "B", -1.5, MIXED_VALENCE),
        ("CaB6", "B", -1 / 3, MIXED_VALENCE),
        ("Li2B12H12", "B", 10 / 12, MIXED_VALENCE),  # closo-borate: hydridic H, cage B
        ("Li7Ti5O12", "Ti", 3.4, MIXED_VALENCE),
        ("Li2PS3", "P", 4, MIXED_VALENCE),  # hypothiodiphosphate: P-P bond
        ("LiNH2BH3", "H", -0.2, MIXED_VALENCE),  # two protons, three hydrides
        ("Li2S4", "S", -0.5, MIXED_VALENCE),
    ],
)
def test_one_element_leaves_its_common_states(formula: str, element: str, state: float, rule: str) -> None:
    assignment = assign_oxidation_states(formula)
    assert assignment.states[element] == pytest.approx(state, abs=1e-5)
    assert assignment.rule == rule
    assert assignment.imbalance_per_atom == pytest.approx(0, abs=1e-6)


def test_hydrogen_is_a_hydride_or_a_proton() -> None:
    assert site_roles("LiBH4")["H"] == "anion"
    assert site_roles("Li2OHBr")["H"] == "cation"


def test_wrong_amounts_keep_plausible_signs() -> None:
    assignment = assign_oxidation_states("Li45.888P4S20Br3Cl")
    assert assignment.rule == IMBALANCED
    assert assignment.imbalance_per_atom > BALANCE_TOLERANCE
    assert assignment.states["P"] > 0
    assert assignment.states["S"] == -2


@pytest.mark.parametrize("formula", ["Li", "LiIn", "Cu3Au", "Xe"])
def test_metals_and_elements_are_zero(formula: str) -> None:
    assignment = assign_oxidation_states(formula)
    assert assignment.rule == METALLIC
    assert set(assignment.states.values()) == {0.0}


def test_roles_name_the_mobile_ion() -> None:
    assert site_roles("Li6PS5Cl") == {"Li": "mobile", "P": "cation", "S": "anion", "Cl": "anion"}
    assert site_roles("Na3PS4", mobile_ion="Na")["Na"] == "mobile"
    assert site_roles("LiIn")["In"] == "neutral"
    assert [role_of_state(s) for s in (0.0, 0.5, -2)] == ["neutral", "cation", "anion"]


@given(st.sampled_from(sorted(KNOWN)), st.floats(0.01, 500))
def test_multiples_of_a_formula_agree(formula: str, factor: float) -> None:
    scaled = Composition({el: n * factor for el, n in Composition(formula).items()})
    assert assign_oxidation_states(scaled).states == assign_oxidation_states(formula).states


@given(
    st.dictionaries(
        st.sampled_from(["Li", "La", "Ti", "Fe", "P", "B", "H", "C", "O", "S", "Cl", "Xe"]),
        st.floats(1e-4, 50),
        min_size=1,
        max_size=8,
    )
)
def test_any_composition_gets_a_consistent_assignment(amounts: dict[str, float]) -> None:
    assignment = assign_oxidation_states(Composition(amounts))
    assert set(assignment.states) == set(amounts)
    charge = sum(assignment.states[el] * n for el, n in amounts.items()) / sum(amounts.values())
    assert assignment.imbalance_per_atom == pytest.approx(abs(charge), abs=1e-4)
    assert (assignment.rule == IMBALANCED) == (assignment.imbalance_per_atom > BALANCE_TOLERANCE)


def test_ions_and_isotopes_count_as_their_element() -> None:
    deuteride = Composition({Species("Li", 1): 1, Element("D"): 1})
    assert dict(assign_oxidation_states(deuteride).states) == {"Li": 1, "H": -1}


def test_unusable_input_is_named() -> None:
    with pytest.raises(FormulaError, match="empty"):
        assign_oxidation_states(Composition())
    with pytest.raises(FormulaError, match="Li1-x"):
        assign_oxidation_states("Li1-xCoO2")
    with pytest.raises(DataError, match="dummy"):
        assign_oxidation_states(Composition({"X": 1, "O": 1}))


@pytest.mark.mirror
def test_all_of_obelix(obelix_structures: dict) -> None:
    from sselib.materials import oxidation

    oxidation._assign.cache_clear()
    start = time.perf_counter()
    assigned = {key: assign_oxidation_states(s.composition) for key, s in obelix_structures.items()}
    assert time.perf_counter() - start < 5  # 0.4 s alone; slack for a busy machine
    rules = Counter(a.rule for a in assigned.values())
    assert rules == {COMMON: 304, MIXED_VALENCE: 5, ONE_RARE: 3, IMBALANCED: 9}
    wrong_amounts = {key for key, a in assigned.items() if a.rule == IMBALANCED}
    assert wrong_amounts == {"hta", "s3h", "9yt", "dlj", "hx7", "ckw", "yab", "etz", "duf"}


@pytest.fixture
def obelix_structures(mirror) -> dict:
    """Return the 321 structures of OBELiX by id."""
    import zipfile

    with zipfile.ZipFile(mirror / "obelix" / "all_cifs.zip") as archive:
        names = [n for n in archive.namelist() if n.endswith(".cif")]
        return {n.rsplit("/", 1)[-1][:-4]: read_cif(archive.read(n).decode(), name=n) for n in names}


def test_rules_are_counted_in_their_order() -> None:
    found = rule_counts(["Li2O", "NaCl", "Cu", "Fe3O4"])
    counts = dict(zip(found["rule"], found["compositions"], strict=True))
    assert counts.pop(COMMON) == 2 and sum(counts.values()) == 2 and METALLIC in counts
    assert list(found["rule"]) == [r for r in RULES if r in set(found["rule"])]
    assert found["worst_imbalance_per_atom"].max() <= BALANCE_TOLERANCE
    assert rule_counts([]).empty

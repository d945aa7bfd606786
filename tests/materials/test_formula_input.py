"""Formulas as people write them: each notation is read as meant, or refused with a reason."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sselib.errors import FormulaError
from sselib.materials.composition import canonical, element_fractions, parse_formula
from sselib.materials.formula_input import FormulaReading, read_formula

READ = {  # as written: (plain meaning, part of the note or "" for no note)
    "Li6PS5Cl": ("Li6PS5Cl", ""),
    " Li6PS5Cl\t": ("Li6PS5Cl", ""),
    "Li 6 P S 5 Cl": ("Li6PS5Cl", ""),
    "Li₆PS₅Cl": ("Li6PS5Cl", ""),
    "Ｌｉ６ＰＳ５Ｃｌ": ("Li6PS5Cl", ""),
    "Li<sub>6</sub>PS<sub>5</sub>Cl": ("Li6PS5Cl", ""),
    "Li$_{6}$PS$_5$Cl": ("Li6PS5Cl", ""),
    "\u200bLi2O\ufeff": ("Li2O", ""),
    "Li2In1/3Sc1/3Cl4": ("Li6InScCl12", ""),
    "Li½La½TiO3": ("LiLaTi2O6", ""),
    "Li2½O": ("Li5O2", ""),
    "Li1,3Al0,3Ti1,7(PO4)3": ("Li1.3Al0.3Ti1.7(PO4)3", "decimal commas"),
    "⁶Li₂S": ("Li2S", "isotopes"),
    "^{7}Li2S": ("Li2S", "isotopes"),
    "[6Li]2S": ("Li2S", "isotopes"),
    "LiOD": ("LiOH", "isotopes"),
    "6Li2S": ("Li2S", "leading number 6"),
    "LiOH·H2O": ("LiH3O2", "LiOH and H2O"),
    "LiOH.H2O": ("LiH3O2", "LiOH and H2O"),
    "LiI*3H2O": ("LiIH6O3", "LiI and 3H2O"),
    "LiI.3H2O": ("LiIH6O3", "LiI and 3H2O"),
    "Li2SO4.0.5H2O": ("Li4S2O9H2", "Li2SO4 and 0.5H2O"),
    "Li.5La.5TiO3": ("LiLaTi2O6", ""),
    "Li1.5H2O": ("Li3H4O2", ""),
    "75Li2S-25P2S5": ("Li6P2S8", "mixture of 75Li2S and 25P2S5"),
    "0.75Li2S·0.25P2S5": ("Li6P2S8", "0.75Li2S and 0.25P2S5"),
    "(Li2S)0.75 (P2S5)0.25": ("Li6P2S8", ""),
    "Li⁺Cl⁻": ("LiCl", "charges"),
    "Li3PS4^{0+}": ("Li3PS4", "charges"),
    "β-Li3PS4": ("Li3PS4", "polymorph"),
    "Li3PS4 (glass)": ("Li3PS4", "polymorph"),
    "Li3PS4 (beta)": ("Li3PS4", "polymorph"),
    "t-Li7La3Zr2O12": ("Li7La3Zr2O12", "polymorph"),
    "LiCl (aq)": ("LiCl", "polymorph"),
    "75Li2S-25P2S5 (mol%)": ("Li6P2S8", "mixture of 75Li2S and 25P2S5"),
    "LiMn(III)Mn(IV)O4": ("LiMn2O4", "oxidation states"),
    "Li(I)Cl": ("LiCl", "oxidation states"),
    "Li6PS5(I)": ("Li6PS5I", ""),
    "Li6PS5(I)2": ("Li6PS5I2", ""),
    "Li6PS5CI": ("Li6PS5CI", "carbon and iodine"),
    "Li3 Y Cl6": ("Li3YCl6", ""),
    "Li3 (PO4) (SO4)": ("Li3PSO8", ""),
    "Li7La3Zr2Ta0O12": ("Li7La3Zr2O12", "amount 0"),
    "(Li(P(S)2)3)4": ("LiP3S6", ""),
    "((((Li))))": ("Li", ""),
    "Li" * 250 + "O" * 250: ("LiO", ""),
}
REFUSED = {
    "": "missing",
    "None": "missing",
    "NaN": "missing",
    "N/A": "missing",
    "Lithium": "write the symbol 'Li'",
    "lithium phosphate": "reads like a name",
    "LLZO": "abbreviation",
    "LiPON": "abbreviation",
    "LI6PS5CL": "Did you mean 'Li6PS5Cl'",
    "li6ps5cl": "Did you mean 'Li6PS5Cl'",
    "Xx2O3": "no known element with 'Xx'",
    "Li6PS5C1x": "small letter|no known element",
    "TLi": "'T'",
    "Li0": "positive amount",
    "()": "cannot be read",
    "123": "names no compound",
    "Li3(PS4": "1 opening and 0 closing",
    "Li2S-P2S5": "ratio is not known",
    "Li3YCl6 Li3InCl6": "several compounds",
    "Li2O B2O3": "several compounds",
    "75Li2S-25P2S5 (wt%)": "'wt'",
    "0.75 Li2S 0.25 P2S5": "not clear what '0.25' counts",
    "LiCl 3 H2O": "not clear what '3' counts",
    "Li1-xTi2(PO4)3": "ratio|variable|charge",
    "Li7−δLa3Zr2O12": "variable",
    "Li1+0.3Al0.3Ti1.7(PO4)3": "a sum",
    "Li+": "charge",
    "LiСl": "cyrillic",
    "Li6PS5□": "white square",
    "Li6PS5Cl/LiBr": "solidus",
    "Li2/0O": "divides by zero",
    "Li1e5O": "no known element with 'e'",
    "LiRf": "beyond lawrencium",
    "Li⁶PS⁵Cl": "no isotope",
    "Li2O\nLiF3,": "several compounds",
    "Li9" + "9" * 400: "amount",
    "Li1000000000000O": "amount",
    "Li" * 1001: "2002 characters",
}


@pytest.mark.parametrize("text", READ)
def test_a_notation_is_read_as_meant_and_a_choice_is_noted(text: str) -> None:
    meant, note = READ[text]
    reading = read_formula(text)
    assert canonical(reading.plain) == canonical(reading.composition) == canonical(meant)
    assert note in "; ".join(reading.notes) and bool(reading.notes) == bool(note)


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_single_composition_is_refused_with_its_reason(text: str) -> None:
    with pytest.raises(FormulaError, match=REFUSED[text]):
        read_formula(text)


@pytest.mark.parametrize("value", [None, float("nan"), 3.0, True])
def test_values_that_are_no_text_are_refused(value: object) -> None:
    with pytest.raises(FormulaError):
        read_formula(value)


def test_a_hydrate_with_an_amount_is_not_read_as_a_plain_formula() -> None:
    with pytest.raises(FormulaError):
        parse_formula("LiI·3H2O")  # once read as LiI3H2O


AMOUNTS = st.one_of(
    st.just(""), st.integers(1, 99).map(str), st.integers(1, 9000).map(lambda n: f"{n / 1000:.3f}")
)
ELEMENT = st.sampled_from(["Li", "P", "S", "Cl", "La", "Zr", "O", "C", "H", "N", "Co", "Sn", "Ta", "Dy"])
PLAIN = st.lists(st.tuples(ELEMENT, AMOUNTS), min_size=1, max_size=6).map(
    lambda parts: "".join(el + amount for el, amount in parts)
)
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@given(PLAIN)
def test_plain_formulas_are_read_as_parse_formula_reads_them(formula: str) -> None:
    try:
        expected = canonical(parse_formula(formula))
    except FormulaError:
        with pytest.raises(FormulaError):
            read_formula(formula)
        return
    assert canonical(read_formula(formula).plain) == expected


@given(PLAIN)
def test_typography_changes_nothing(formula: str) -> None:
    expected = canonical(read_formula(formula).composition)
    for written in (formula.translate(SUBSCRIPTS), f" {formula} ", f"[{formula}]", f"{{{formula}}}2"):
        assert canonical(read_formula(written).composition) == expected


@given(PLAIN)
def test_the_plain_form_is_read_as_itself(formula: str) -> None:
    try:
        reading = read_formula(formula)
    except FormulaError:
        return
    again = read_formula(reading.plain)
    assert (again.plain, again.notes) == (reading.plain, ())


ODD = st.text(alphabet="LiPSClOHDT0123456789.,·*+-−/()[]{}^_$<>sub₂²⁺ xδ'\"\u200b\n½Ａ", max_size=40)


@settings(max_examples=400)
@given(st.one_of(st.text(max_size=40), ODD))
def test_any_text_gives_a_usable_reading_or_the_one_error(text: str) -> None:
    try:
        reading = read_formula(text)
    except FormulaError as error:
        assert len(str(error)) < 700
        return
    assert isinstance(reading, FormulaReading)
    fractions = element_fractions([reading.plain]).to_numpy()
    assert fractions.sum() == pytest.approx(1) and (fractions >= 0).all()

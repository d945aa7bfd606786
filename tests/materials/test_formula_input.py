"""Formulas as people write them: each notation is read as meant, or refused with a reason."""

import re
import time
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pymatgen.core import Composition

from sselib.errors import FormulaError
from sselib.materials.composition import canonical, element_fractions
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
    "Li3PS4 (glass)": ("Li3PS4", "the name 'glass'"),
    "Li3PS4 (beta)": ("Li3PS4", "polymorph"),
    "t-Li7La3Zr2O12": ("Li7La3Zr2O12", "polymorph"),
    "LiCl (aq)": ("LiCl", "polymorph"),
    "75Li2S-25P2S5 (mol%)": ("Li6P2S8", "mixture of 75Li2S and 25P2S5"),
    "LiMn(III)Mn(IV)O4": ("LiMn2O4", "oxidation states"),
    "Li(I)Cl": ("LiCl", "oxidation states"),
    "Li6PS5(I)": ("Li6PS5I", ""),
    "Li6PS5(I)2": ("Li6PS5I2", ""),
    "LiBF2CI": ("LiBF2CI", "carbon and iodine"),
    "Li3 Y Cl6": ("Li3YCl6", ""),
    "Li3 (PO4) (SO4)": ("Li3PSO8", ""),
    "Li7La3Zr2Ta0O12": ("Li7La3Zr2O12", "amount 0"),
    "(Li(P(S)2)3)4": ("LiP3S6", ""),
    "LiPON (Li2.88PO3.73N0.14)": ("Li2.88PO3.73N0.14", "the name 'LiPON'"),
    "Li14Zn(GeO4)4 (LiSICON)": ("Li14Zn(GeO4)4", "the name 'LiSICON'"),
    "LATP: Li1.3Al0.3Ti1.7(PO4)3": ("Li1.3Al0.3Ti1.7(PO4)3", "'LATP'"),
    "argyrodite-type Li6PS5Cl": ("Li6PS5Cl", "'argyrodite-type'"),
    "Li7La3Zr2O12 (Ia-3d)": ("Li7La3Zr2O12", "'Ia-3d'"),
    "Li10GeP2S12 P4_2/nmc": ("Li10GeP2S12", "'P42/nmc'"),
    "LiTi2(PO4)3_167": ("LiTi2P3O12", "space group"),
    "LiCoO_2": ("LiCoO2", ""),
    "Li2O.2SiO2": ("Li2Si2O5", "sum of Li2O and 2SiO2"),
    "LiCl.2AlCl3": ("LiAl2Cl7", "sum of LiCl and 2AlCl3"),
    "Li3InCl6.2H2O": ("Li3InCl6H4O2", "sum of Li3InCl6 and 2H2O"),
    "LiTi2(PO4)3.5H2O": ("LiTi2P3O17H10", "and 5H2O"),
    "Li10Ge.95Si.05P2S12": ("Li10Ge0.95Si0.05P2S12", ""),
    "Li6·5La3Zr1·5Ta0·5O12": ("Li6.5La3Zr1.5Ta0.5O12", "raised dots"),
    "70(0.75Li2S·0.25P2S5)·30LiI": ("Li135S140P35I30", "sum of"),
    "90(75Li2S-25P2S5)-10LiI": ("Li145S180P45I10", "mixture of"),
    "0.2(Li2S) 0.8(GeS2)": ("Li0.4Ge0.8S1.8", "sum of"),
    "0.5 Li2S * 0.5 SiS2": ("Li2SiS3", "sum of"),
    "75 mol% Li2S - 25 mol% P2S5": ("Li6P2S8", "mixture of"),
    "Li2S-P2S5 (75:25)": ("Li6P2S8", "mixture of"),
    "Li2O + 2 SiO2": ("Li2Si2O5", "sum of"),
    "Li6PS5Cl. [12]": ("Li6PS5Cl", "citation"),
    "Li0.33La0.56□0.11TiO3": ("Li0.33La0.56TiO3", "vacancies"),
    "Li0.33La0.56Va0.11TiO3": ("Li0.33La0.56TiO3", "vacancies"),
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
    "75Li2S-25P2S5 (wt%)": "percent sign",
    "0.75 Li2S 0.25 P2S5": "not clear what '0.25' counts",
    "LiCl 3 H2O": "not clear what '3' counts",
    "Li1-xTi2(PO4)3": "ratio|variable|charge",
    "Li7−δLa3Zr2O12": "delta",
    "Li1+0.3Al0.3Ti1.7(PO4)3": "a sum",
    "Li+": "charge",
    "LiСl": "cyrillic",
    "LiPON.": "abbreviation",
    "LiSiON": "oxynitride glass",
    "LiBPON": "oxynitride glass",
    "Li6PS5CI": "Li6PS5CI or Li6PS5Cl",
    "Li6PS5C1": "Li6PS5C1 or Li6PS5Cl",
    "Li3.5Si0.5P05S4": "P0.5 or PO5",
    "LiTi2(P04)3": "P0.4 or PO4",
    "Li7La3Zr2012": "Zr2012 or Li7La3Zr2O12",
    "Li7La3Zr2 012": "not clear what '012' counts",
    "Li6PS5Cl.18": "Li6PS5Cl0.18 or Li6PS5Cl with a citation",
    "0.2(Li2S)0.8(GeS2)": r"0.2\(Li2S\) \+ 0.8\(GeS2\) or 0.2 x",
    "0.9(SiS2-Li2S)-0.1LiCl": "ratio is not known",
    "Li3PS4 2": "not clear what '2' counts",
    "Li3PS4-": "charge",
    "Li3PS4 P21": "a label",
    "Li2S (Li3PS4)": "several compounds",
    "Al-doped Li7La3Zr2O12": "'doped'",
    "Li7La3Zr2O12 with 10 wt% LiF": "not clear what '10' counts",
    "LIPSCLARGYRODISAMPLEFROMSUPPLIERBOCHUM": "no known element",
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


AMOUNTS = st.one_of(
    st.just(""), st.integers(1, 99).map(str), st.integers(1, 9000).map(lambda n: f"{n / 1000:.3f}")
)
ELEMENT = st.sampled_from(["Li", "P", "S", "Cl", "La", "Zr", "O", "C", "H", "N", "Co", "Sn", "Ta", "Dy"])
PLAIN = st.lists(st.tuples(ELEMENT, AMOUNTS), min_size=1, max_size=6).map(
    lambda parts: "".join(el + amount for el, amount in parts)
)
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def _read_or_skip(formula: str) -> Composition:
    try:
        return read_formula(formula).composition
    except FormulaError:  # two readings, such as Zr2012
        assume(False)
        raise


@given(PLAIN)
def test_typography_changes_nothing(formula: str) -> None:
    expected = canonical(_read_or_skip(formula))
    for written in (formula.translate(SUBSCRIPTS), f" {formula} ", f"[{formula}]", f"{{{formula}}}2"):
        assert canonical(read_formula(written).composition) == expected


COMPOUNDS = ("Li2S", "P2S5", "LiCl", "Li2O", "B2O3", "SiO2", "GeS2", "Li3PO4", "H2O", "LiI", "AlCl3")
MIXTURE = st.lists(st.sampled_from(COMPOUNDS), min_size=2, max_size=3, unique=True)
SHARES = st.lists(st.integers(1, 99), min_size=3, max_size=3)
NOTATIONS: dict[str, Callable[[list[tuple[int, str]]], str]] = {
    "hyphens": lambda parts: "-".join(f"{n}{f}" for n, f in parts),
    "raised dots": lambda parts: "·".join(f"{n}{f}" for n, f in parts),
    "blanks": lambda parts: " ".join(f"{n}({f})" for n, f in parts),
    "plus": lambda parts: " + ".join(f"{n} {f}" for n, f in parts),
    "brackets": lambda parts: "".join(f"({f}){n}" for n, f in parts),
    "fractions": lambda parts: "".join(f"({f}){n}/7" for n, f in parts),
    "ratio": lambda parts: "-".join(f for _, f in parts) + f" ({':'.join(str(n) for n, _ in parts)})",
    "decimal commas": lambda parts: " ".join(f"({f}){n / 10}".replace(".", ",") for n, f in parts),
    "LaTeX": lambda parts: "".join(re.sub(r"(\d+)", r"$_{\1}$", f"({f}){n}") for n, f in parts),
    "HTML": lambda parts: "".join(re.sub(r"(\d+)", r"<sub>\1</sub>", f"({f}){n}") for n, f in parts),
}


@given(MIXTURE, SHARES, st.sampled_from(sorted(NOTATIONS)))
def test_a_known_composition_is_read_back_from_each_notation(
    compounds: list[str], shares: list[int], notation: str
) -> None:
    parts = list(zip(shares, compounds, strict=False))
    expected = sum((Composition(f) * n for n, f in parts), Composition())
    written = NOTATIONS[notation](parts)
    assert canonical(read_formula(written).composition) == canonical(expected), written


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
    letters = unicodedata.normalize("NFKC", text).replace("D", "H")
    assert all(element.symbol in letters for element in reading.composition), reading
    fractions = element_fractions([reading.plain]).to_numpy()
    assert fractions.sum() == pytest.approx(1) and (fractions >= 0).all()


@pytest.mark.parametrize(
    "text", ["LIPSCL" * 300, "(" * 1900, "L" * 2000, "Li.5" * 500, "(Li2O.2SiO2)" * 150, "1-" * 900]
)
def test_no_text_takes_long(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(FormulaError):
        read_formula(text + "Q")
    assert time.perf_counter() - start < 2

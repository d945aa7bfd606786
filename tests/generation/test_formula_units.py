"""From formula to cell: integers, Z, limit of atoms, refusal of fractional formulas with a proposal."""

import re
from functools import reduce
from math import gcd

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sselib.errors import FormulaError
from sselib.generation.formula_units import (
    MAX_ATOMS,
    cell_content,
    integer_formula,
    nearest_integer_formula,
)
from sselib.materials.composition import parse_formula

ELEMENTS = st.lists(
    st.sampled_from(["Li", "La", "P", "S", "O", "Cl", "Ti"]), min_size=1, max_size=5, unique=True
)


@pytest.mark.parametrize(
    ("formula", "z", "expected"),
    [
        ("Li4SiS4", 2, {"Li": 8, "Si": 2, "S": 8}),
        ("Li5La3(SbO6)2", 4, {"Li": 20, "La": 12, "Sb": 8, "O": 48}),
        ("Li8Si2S8", 1, {"Li": 4, "Si": 1, "S": 4}),
        ("Li0.5Ti1.5O4", 0, None),
    ],
)
def test_worked_examples(formula: str, z: int, expected: dict[str, int] | None) -> None:
    if expected is None:
        with pytest.raises(FormulaError, match="nearest integer"):
            cell_content(formula, z=z)
    else:
        assert dict(cell_content(formula, z=z).amounts) == expected


def test_kim_s_two_examples_have_18_and_88_atoms() -> None:
    assert cell_content("Li4SiS4", z=2).n_atoms == 18
    assert cell_content("Li5La3(SbO6)2", z=4).n_atoms == 88


@given(elements=ELEMENTS, data=st.data())
def test_amounts_are_reduced_and_composition_is_kept(elements: list[str], data: st.DataObject) -> None:
    amounts = {e: data.draw(st.integers(1, 6)) for e in elements}
    formula = "".join(f"{e}{n}" for e, n in amounts.items())
    text, whole = integer_formula(formula)
    assert reduce(gcd, whole.values()) == 1
    given_one, reduced = parse_formula(formula), parse_formula(text)
    assert reduced.fractional_composition.almost_equals(given_one.fractional_composition)


def test_refusal_proposes_the_nearest_formula_and_its_error() -> None:
    with pytest.raises(FormulaError) as error:
        integer_formula("Li1.3Al0.3Ti1.7(PO4)3")
    found = re.search(r"is (\S+) \((\d+) atoms, L1 error ([\d.]+)\)", str(error.value))
    assert found and int(found[2]) <= MAX_ATOMS and float(found[3]) < 0.02


@given(x=st.floats(0.05, 0.95), limit=st.integers(10, 149))
def test_proposal_is_within_the_limit_and_its_error_is_true(x: float, limit: int) -> None:
    formula = f"Li{x:.4f}Na{1 - x:.4f}Cl1"
    proposal = nearest_integer_formula(formula, max_atoms=limit)
    exact = parse_formula(formula).fractional_composition
    near = parse_formula(proposal.formula).fractional_composition
    error = sum(abs(exact[e] - near[e]) for e in exact)
    assert proposal.n_atoms <= limit and len(near) == 3
    assert error == pytest.approx(proposal.l1_error, abs=1e-6)


def test_an_exact_fraction_is_found_exactly() -> None:
    proposal = nearest_integer_formula("Li0.5La0.5TiO3")
    assert (proposal.formula, proposal.l1_error) == ("LiLaTi2O6", pytest.approx(0, abs=1e-9))


def test_too_many_atoms_are_refused_with_the_largest_z() -> None:
    with pytest.raises(FormulaError, match="largest possible: 6"):
        cell_content("Li5La3(SbO6)2", z=7)


def test_z_is_chosen_to_stay_small() -> None:
    assert cell_content("Li3N").z == 4 and cell_content("Li3PS4").z == 2
    assert cell_content("Li7La3Zr2O12").z == 1

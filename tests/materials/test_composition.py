"""Compositions: canonical form, fractions and distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Composition
from scipy.stats import wasserstein_distance

from sselib.errors import FormulaError
from sselib.materials.composition import (
    MODIFIED_PETTIFOR_ORDER,
    canonical,
    chemical_system,
    element_fractions,
    elmd_distances,
    l1_distances,
    parse_formula,
)

ELEMENTS = ("Li", "La", "Zr", "O", "P", "S", "Cl", "Ti", "Al", "H")
AMOUNTS = st.dictionaries(st.sampled_from(ELEMENTS), st.integers(1, 99), min_size=1, max_size=5)
PAIRS = st.lists(AMOUNTS, min_size=3, max_size=3)


def formula(amounts: dict[str, int]) -> str:
    return "".join(f"{el}{n / 10:g}" for el, n in amounts.items())


@given(AMOUNTS, st.integers(2, 24), st.randoms())
def test_canonical_is_invariant_to_z_order_and_brackets(amounts, z, random):
    items = list(amounts.items())
    random.shuffle(items)
    expected = canonical(formula(amounts))
    assert canonical(formula({el: n * z for el, n in amounts.items()})) == expected
    assert canonical(formula(dict(items))) == expected
    assert canonical(f"({formula(amounts)}){z}") == expected
    assert canonical(f" [ {formula(amounts)} ] ") == expected


@given(AMOUNTS)
def test_canonical_can_be_read_again(amounts):
    once = canonical(formula(amounts))
    assert l1_distances(element_fractions([once]), element_fractions([formula(amounts)]))[0, 0] < 1e-5
    assert chemical_system(once) == "-".join(sorted(amounts))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Li1.3Al0.3Ti1.7(PO4)3", "Li1.3Al0.3Ti1.7P3O12"),
        ("(Li2S)0.75(P2S5)0.25", "Li3PS4"),
        ("Li₆PS₅Cl", "Li6PS5Cl"),
        ('"(Li2O)50 (P2O5)50"', "LiPO3"),
        ("Li7La3Zr2O12", "Li56La24Zr16O96"),
    ],
)
def test_ways_to_write_one_material(first, second):
    assert canonical(first) == canonical(second)


UNREADABLE = ["", "  ", "Li1-xTi2(PO4)3", "Xx2O3", "LiPO4-d", "Li0", "Li1.2.3O", "nan"]


@pytest.mark.parametrize("text", UNREADABLE)
def test_unreadable_formula_names_the_text(text):
    with pytest.raises(FormulaError, match="formula"):
        parse_formula(text)


def test_pettifor_order_holds_each_element_once():
    assert len(MODIFIED_PETTIFOR_ORDER) == len(set(MODIFIED_PETTIFOR_ORDER)) == 103
    assert all(Composition(el).elements for el in MODIFIED_PETTIFOR_ORDER)


@settings(max_examples=50)
@given(PAIRS)
def test_distances_are_metrics(amounts):
    fractions = element_fractions([formula(a) for a in amounts]).to_numpy()
    for distances in (l1_distances(fractions, fractions), elmd_distances(fractions, fractions)):
        assert np.allclose(np.diag(distances), 0) and np.allclose(distances, distances.T)
        assert distances[0, 2] <= distances[0, 1] + distances[1, 2] + 1e-9
        same = canonical(formula(amounts[0])) == canonical(formula(amounts[1]))
        assert (distances[0, 1] < 1e-5) == same


@settings(max_examples=50)
@given(AMOUNTS, AMOUNTS)
def test_elmd_is_the_wasserstein_distance(first, second):
    fractions = element_fractions([formula(first), formula(second)]).to_numpy()
    positions = np.arange(len(MODIFIED_PETTIFOR_ORDER))
    expected = wasserstein_distance(positions, positions, *fractions)
    assert elmd_distances(fractions[:1], fractions[1:])[0, 0] == pytest.approx(expected, abs=1e-9)


def test_l1_limits():
    fractions = element_fractions(["Li", "O", "Li2O"]).to_numpy()
    assert l1_distances(fractions, fractions)[0] == pytest.approx([0, 2, 2 / 3])
